"""Real cloudy dates: compare their filled pixels with the clear history of the same pixels."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.core.restore import provenance_of
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError, GridError
from xcloudfree.judge.protocols import ground_of
from xcloudfree.masks.resolve import Mask

SURE_GROUND: Final = (4, 5, 6)
"""Scene classes of ground, without "unclassified", which is often cloud on overcast dates."""

_RECONSTRUCTED: Final = 2  # flag of provenance
_FILLED: Final = 0.5  # share of a date that must be filled for a meaningful ratio


def overcast(
    series: xr.Dataset,
    out: Any,
    *,
    clear: Mask = "scl",
    band: str = "B02",
    hidden: float = 0.9,
    days: float = 60.0,
) -> xr.Dataset:
    """Compare the brightness of filled pixels on overcast dates with clear ground around them.

    The truth of a real cloudy date is unknown, but the result must look like ground. The median
    of the filled pixels is divided by the median of the same pixels on clear dates, pixel
    by pixel, within so many days. A ratio far from 1 (above 1.5, below 0.5) is cloud or shadow
    taken for ground. :func:`hidden_dates`, which hides clear dates, cannot detect this.

    Parameters
    ----------
    series : Dataset
        The observed series, in any accepted form, with dates along ``time``.
    out : Dataset or DataArray
        Its reconstruction, with ``provenance``.
    clear : str, DataArray or callable
        ``"scl"``: vegetation, bare soil and water of the scene classification are clear. Otherwise
        a mask, see :func:`xcloudfree.masks.mask`; pixels outside it are clear.
    band : str
        Band to compare; blue separates cloud from ground best.
    hidden : float
        Fraction of a date that must not be clear to count as overcast.
    days : float
        Calendar days before and after the date.

    Returns
    -------
    Dataset
        For each overcast ``time``: ``ratio``, NaN if less than half of the date was filled or no
        pixel was clear around it; ``hidden`` and ``filled``, fractions of the date.

    Raises
    ------
    DataError
        If there is no time, or `out` has no provenance.
    GridError
        If `out` has other dates or another grid.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> cover = [0, 0.3, 0.97, 0.3, 0]
    >>> series = xcf.datasets.simulate_scene((48, 48), dates=5, cover=cover, level="BOA")
    >>> out = series.cloudfree.reconstruct(model="median", mask="l2a")
    >>> found = overcast(series, out, clear="l2a", hidden=0.8)
    >>> bool((abs(found.ratio - 1) < 0.5).all())
    True
    """
    scene, filled = read(series), read(out)
    if scene.lead != ("time",) or "time" not in series.coords:
        raise DataError(
            "overcast dates are those of one series",
            fix="call overcast(ds, out) with dates along time",
        )
    provenance = provenance_of(out)
    if provenance is None:
        raise DataError(
            "there is no record of the filled pixels",
            fix="call overcast(ds, out) with out = ds.cloudfree.reconstruct(...), which "
            "carries provenance",
        )
    observed = scene.reflectance([band]).isel(band=0).compute().values
    made = filled.reflectance([band]).isel(band=0).compute().values
    times = utc_times(series.time)
    if made.shape != observed.shape or not np.array_equal(utc_times(out.time), times):
        raise GridError(
            "the reconstruction has other dates or another grid than the series",
            fix="call overcast(ds, ds.cloudfree.reconstruct(...))",
        )
    dims = ("time", *scene.spatial)
    use = provenance.transpose(*dims).values == _RECONSTRUCTED
    ground = ground_of(series, scene, clear, SURE_GROUND)
    share = 1 - ground.mean((1, 2))
    when = times.astype("datetime64[D]").astype(int)
    chosen = np.flatnonzero(share > hidden)
    ratios = np.full(len(chosen), np.nan)
    for place, date in enumerate(chosen):
        if use[date].mean() < _FILLED:
            continue
        near = np.abs(when - when[date]) <= days
        with warnings.catch_warnings():  # pixels that are never clear have no median
            warnings.filterwarnings("ignore", "(All-NaN|Mean of empty)", RuntimeWarning)
            usual = np.nanmedian(np.where(ground[near], observed[near], np.nan), axis=0)
            ratios[place] = np.nanmedian(made[date][use[date]]) / np.nanmedian(usual[use[date]])
    return xr.Dataset(
        {
            "ratio": ("time", ratios, {"units": "1", "long_name": f"filled {band} over clear"}),
            "hidden": ("time", share[chosen], {"units": "1", "long_name": "share not clear"}),
            "filled": ("time", use[chosen].mean((1, 2)), {"units": "1"}),
        },
        {"time": times[chosen]},
        {"title": f"Filled {band} on overcast dates over its clear median within {days:g} days"},
    )
