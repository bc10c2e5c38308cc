"""Composites of a labelled series: one image a month, a season, or any interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import optical_band
from xcloudfree.core.beside import beside, provenance_of
from xcloudfree.core.blocks import Output, Together, map_windows, side_of
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import restore
from xcloudfree.core.scene import Scene, band_dim
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.core.times import utc_times
from xcloudfree.core.windows import ALONE, Halo
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.masks.masking import where_occluded
from xcloudfree.masks.resolve import Mask, plan_mask
from xcloudfree.methods import composites as kernel
from xcloudfree.reconstruct.compose import label_provenance
from xcloudfree.reconstruct.composite_block import COUNT, COUNTS, NUMBERS, ComposePeriod
from xcloudfree.reconstruct.observe import BYTE, FLOAT
from xcloudfree.reconstruct.periods import DAY, Period, periods_of
from xcloudfree.reconstruct.pipeline import reconstruct

How = Literal["geomedian", "median", "medoid", "best", "mean"]

METHODS: Final[tuple[str, ...]] = get_args(How)

CELLS: Final = {
    "geomedian": "time: median (comment: geometric)",
    "median": "time: median",
    "medoid": "time: point (comment: medoid)",
    "best": "time: point (comment: best score)",
    "mean": "time: mean",
}
"""What CF calls the methods."""


def composite(
    obj: Any, freq: Any, method: How = "geomedian", *, mask: Mask = "auto", fill: bool = False
) -> Any:
    """One image a period: month, season, or any interval.

    A pixel of a date counts if all its bands have data and no cloud hides it. Bands of radar and
    other variables are left out. Each period is a task of its own for each block, with the dates
    of that period alone.

    Parameters
    ----------
    obj : Dataset or DataArray
        Series in any accepted form, or what `reconstruct` made of it: then its ``provenance``
        tells what was observed, and no mask is made.
    freq : str, pandas.DateOffset, pandas.IntervalIndex or sequence of (start, end)
        Periods: ``"MS"`` months, ``"10D"``, ``"QS-DEC"`` seasons from December on, or any other
        offset of pandas, with labels as ``ds.resample(time=freq)`` gives; or a list, in which an
        end without a time of day is that whole day. Intervals may overlap and leave gaps.
    method : {"geomedian", "median", "medoid", "best", "mean"}
        ``"geomedian"``: geometric median of the spectra. ``"median"``: of each band by itself.
        ``"medoid"``: the observed spectrum nearest to all others. ``"best"``: that of the date with
        the highest score, the mean of the clear share within 50 pixels, a sigmoid of the distance
        to cloud and a Gaussian of the days to the middle of the period. ``"mean"``: of each band;
        with `fill` each value weighs one over its variance, that of an observed value being
        ``(0.005 + 0.05 * reflectance) ** 2``.
    mask : str, DataArray or callable
        What is occluded, see :func:`xcloudfree.masks.mask`.
    fill : bool
        Whether reconstructed values count beside the observed ones; where there is no
        ``provenance`` yet, ``reconstruct(mask=mask)`` is called first. With ``"best"`` they count
        only where nothing was observed.

    Returns
    -------
    Dataset or DataArray
        Of the form that came in, with the optical bands, one image a period, and these along
        ``(time, y, x)``, as variables, or coordinates of a DataArray: ``count`` and
        ``count_reconstructed`` (uint16), ``age`` (float32, days), ``provenance`` (uint8 flags:
        reconstructed where a reconstructed value entered, unreconstructable where all dates were
        occluded, no data there), and ``emad``, ``smad``, ``bcmad`` (float32), the median absolute
        deviations of what counted from the composite: Euclidean, cosine and Bray-Curtis. The
        coordinates ``period_start`` and ``period_end`` (excluded) give the periods.

    Raises
    ------
    DataError
        If there are no dates, no period holds one, the method is not known, a mask is given beside
        ``provenance``, or a weighted mean is asked for of a result without its deviation.
    MissingBandError
        If there are no optical bands, or the mask needs some that are absent.
    UnitsError
        If the reflectance cannot be read without guessing.

    References
    ----------
    Geometric median and deviations: Roberts et al. 2017, doi:10.1109/TGRS.2017.2723896; Roberts et
    al. 2018, doi:10.1109/IGARSS.2018.8518312. Medoid: Flood 2013, doi:10.3390/rs5126481. Best
    pixel: Griffiths et al. 2013, doi:10.1109/JSTARS.2012.2228167.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_scene((32, 32), dates=12, cover=0.4, seed=1)
    >>> maps = ds.cloudfree.composite("MS", method="median")
    >>> maps.time.dt.strftime("%Y-%m").values.tolist(), maps["count"].dims
    (['2025-06', '2025-07', '2025-08'], ('time', 'y', 'x'))
    """
    if method not in METHODS:
        raise DataError(
            f"unknown composite {method!r}{did_you_mean(method, METHODS)}",
            fix=f'call composite(..., method="geomedian") or with another of {list(METHODS)}',
            option="--method geomedian",
        )
    scene = _series(obj)
    carried = provenance_of(obj)
    if carried is not None and not (isinstance(mask, str) and mask == "auto"):
        raise DataError(
            "the data has provenance, which says what was observed, and a mask is given too",
            fix='call composite(..., mask="auto"), or leave the provenance out with '
            'ds.drop_vars("provenance")',
        )
    periods = periods_of(freq, utc_times(scene.template()["time"]))
    if fill and carried is None:
        made = reconstruct(obj, mask=mask, uncertainty=method == "mean")
        return composite(made, freq, method, fill=True)
    deviation = None
    if method == "mean" and fill:
        deviation = beside(scene, "std")
        if deviation is None:
            raise DataError(
                "a mean weighs by the deviation of what was reconstructed, and none is stated",
                fix='call composite(..., method="geomedian"), or reconstruct(uncertainty=True) '
                "before",
            )
    attrs: dict[str, str] = {"composite": method}
    if carried is None:
        plan = plan_mask(scene, mask, None, 0, shadow=None)
        flags = where_occluded(scene, plan, "mask", {})
        attrs |= {"mask": plan.label} | ({"mask_reason": plan.reason} if plan.reason else {})
    else:
        flags = carried
        attrs |= {k: v for k, v in carried.attrs.items() if k in ("model", "mask", "mask_reason")}
    parts = [
        _period(scene, flags, deviation, period, method, (carried is not None, fill))
        for period in periods
    ]
    return _labelled(scene, periods, parts, attrs)


def _series(obj: Any) -> Scene:
    """The scene, where it has optical bands and dates."""
    scene = read(obj)
    if scene.optical is None:
        raise MissingBandError(
            "composite() reads optical bands and the data has none",
            fix="load some, for example with xcf.stac.load(...)",
        )
    if "time" not in scene.lead or "time" not in scene.template().coords:
        raise DataError(
            "composite() needs dates and there is no time coordinate",
            fix="give it one with ds.expand_dims(time=...) or ds.assign_coords(time=...)",
        )
    return scene


def _period(
    scene: Scene,
    flags: xr.DataArray,
    deviation: list[xr.DataArray] | None,
    period: Period,
    method: str,
    kind: tuple[bool, bool],
) -> tuple[Any, ...]:
    """Values, provenance, counts and numbers of one period, (*others, [band,] y, x)."""
    assert scene.optical is not None
    optical, others = scene.optical, [d for d in scene.lead if d != "time"]
    dates, order = _consecutive(period.dates), [*others, "time"]

    def arrays(given: Sequence[xr.DataArray]) -> list[Any]:
        picked = (a.isel(time=dates) for a in given)
        return [a.transpose(*order, ..., *scene.spatial).data for a in picked]

    groups = [arrays(optical.arrays), arrays([flags])]
    if deviation is not None:
        groups.append(arrays(deviation))
    times = utc_times(scene.template()["time"])[period.dates]
    days = tuple(((times - period.middle) / DAY).tolist())
    bands = len(optical.names)
    work = ComposePeriod(
        method, scene.calibration(), days, period.length, *kind, optical.stacked, len(others)
    )
    return map_windows(
        work,
        groups,
        [
            Output(optical.dtype(), bands),
            Output(BYTE),
            Output(COUNT, len(COUNTS)),
            Output(FLOAT, len(NUMBERS)),
        ],
        lead=len(others),
        plan=Halo(kernel.REACH) if method == "best" else ALONE,
        together=Together(None, side_of(max(1, len(days)), bands, work.reach)),
    )


def _consecutive(dates: NDArray[np.int64]) -> Any:
    """Positions as a slice where they follow each other, of which no copy is made."""
    if len(dates) and (np.diff(dates) == 1).all():
        return slice(int(dates[0]), int(dates[-1]) + 1)
    return dates


def _labelled(
    scene: Scene, periods: list[Period], parts: list[tuple[Any, ...]], attrs: dict[str, str]
) -> Any:
    """The periods in the form that came in."""
    assert scene.optical is not None
    others = [d for d in scene.lead if d != "time"]

    def joined(number: int, *middle: str) -> Any:
        dims = (*others, *middle, *scene.spatial)
        whole = xr.concat([xr.DataArray(p[number], dims=dims) for p in parts], dim="time")
        return whole.transpose(*scene.lead, *middle, *scene.spatial).data

    out = read(_template(scene, periods, CELLS[attrs["composite"]]))
    planes = {"provenance": label_provenance(out, joined(1), attrs)}
    labels: list[tuple[str, str, str]] = [(n, words, "1") for n, words in COUNTS.items()]
    labels += [(n, words, unit) for n, (words, unit) in NUMBERS.items()]
    counts, numbers = joined(2, "plane"), joined(3, "plane")
    for k, (name, words, unit) in enumerate(labels):
        data = counts[..., k, :, :] if k < 2 else numbers[..., k - 2, :, :]
        plane = planes["provenance"].transpose(*out.lead, *out.spatial).copy(data=data)
        plane.attrs = {"long_name": words, "units": unit}
        planes[name] = plane.rename(name).transpose(*out.dims)
    return restore(out, joined(0, "band"), planes)


def _template(scene: Scene, periods: list[Period], cells: str) -> Any:
    """The optical bands of the input, with one image a period; its values mean nothing."""
    assert scene.optical is not None
    source: Any = scene.source
    if scene.form != "array":
        source = source[list(dict.fromkeys(scene.optical.variables))]
    if scene.form != "bands":
        array = source if scene.form == "array" else source[scene.optical.variables[0]]
        dim = band_dim(array)
        names = [i for i, n in enumerate(array[dim].values) if optical_band(n) is not None]
        source = source.isel({dim: names})
    if scene.form == "array":
        source = source.assign_attrs(cell_methods=cells)
    else:
        source = source.assign({n: a.assign_attrs(cell_methods=cells) for n, a in source.items()})
    lost = [n for n, c in source.coords.items() if n != "time" and "time" in c.dims]
    lost += [n for n in ("provenance", "std") if n in source.coords and n not in lost]
    source = source.drop_vars(lost).isel(time=[0] * len(periods))
    coords = {
        "time": ("time", [p.label for p in periods], source["time"].attrs),
        "period_start": ("time", [p.start for p in periods], {"long_name": "start of the period"}),
        "period_end": (
            "time",
            [p.stop for p in periods],
            {"long_name": "first moment after the period"},
        ),
    }
    return source.assign_coords(coords)
