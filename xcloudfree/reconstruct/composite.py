"""Composites of a labelled series: one image per month, season, or other interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import optical_band
from xcloudfree.core.blocks import Output, Together, map_windows, side_of
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import beside, provenance_of, restore
from xcloudfree.core.scene import Scene, band_dim
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.core.times import utc_times
from xcloudfree.core.windows import ALONE, Halo
from xcloudfree.exceptions import DataError
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
"""Names of the methods in the CF conventions."""


def composite(
    obj: Any, freq: Any, method: How = "geomedian", *, mask: Mask = "auto", fill: bool = False
) -> Any:
    """Compute one image per period: month, season, or any interval.

    A date of a pixel counts if all bands have data and the pixel is not occluded. The output has
    the optical bands only, without radar and other variables. Lazy data stays lazy: each period
    has tasks of its own, which read only its dates.

    Parameters
    ----------
    obj : Dataset or DataArray
        Series in any accepted form, or a result of `reconstruct`. The ``provenance`` of a result
        replaces the mask.
    freq : str, pandas.DateOffset, pandas.IntervalIndex or sequence of (start, end)
        Periods: ``"MS"`` for months, ``"10D"``, ``"QS-DEC"`` for seasons that start in December,
        or another offset of pandas, with the labels of ``ds.resample(time=freq)``; or a list, in
        which an end without a time includes its whole day. Intervals may overlap and leave gaps.
    method : {"geomedian", "median", "medoid", "best", "mean"}
        ``"geomedian"``: geometric median of the spectra. ``"median"``: median of each band.
        ``"medoid"``: the spectrum nearest to all others. ``"best"``: the spectrum of the date with
        the highest score, which is the mean of the clear fraction within 50 pixels, a sigmoid of
        the distance to cloud, and a Gaussian of the days to the middle of the period. ``"mean"``:
        mean of each band; with `fill` weighted by the inverse of the variance, which is
        ``(0.005 + 0.05 * reflectance) ** 2`` for an observed value.
    mask : str, DataArray or callable
        Occluded pixels, see :func:`xcloudfree.masks.mask`.
    fill : bool
        Whether to include reconstructed values. Without ``provenance`` in the input, this calls
        ``reconstruct(mask=mask)`` first. ``"best"`` uses a reconstructed value only if no date of
        the pixel was observed.

    Returns
    -------
    Dataset or DataArray
        One image per period, in the form of the input. It also has these planes (time, y, x), as
        variables, or as coordinates of a DataArray: ``count`` and ``count_reconstructed`` (uint16),
        the number of observed and reconstructed values; ``age`` (float32), their mean distance in
        days from the middle of the period; ``provenance`` (uint8 flags: reconstructed if at least
        one value is, unreconstructable if all dates are occluded); ``emad``, ``smad``, ``bcmad``
        (float32), their Euclidean, cosine and Bray-Curtis median absolute deviation from the
        composite. The coordinates ``period_start`` and ``period_end`` (exclusive) give the periods.

    Raises
    ------
    DataError
        If there are no dates, no period contains a date, the method is unknown, there is both a
        mask and ``provenance``, or the weighted mean lacks the deviation of the reconstruction.
    MissingBandError
        If there are no optical bands, or bands for the mask are missing.
    UnitsError
        If the reflectance is ambiguous.

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
    scene = read(obj)
    scene.need_bands("a composite")
    scene.need_times("a composite")
    carried = provenance_of(obj)
    if carried is not None and not (isinstance(mask, str) and mask == "auto"):
        raise DataError(
            "the data has both provenance and a mask",
            fix='call composite(..., mask="auto"), or drop the provenance with '
            'ds.drop_vars("provenance")',
            option="leave out --mask",
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
                "the weighted mean needs the deviation of the reconstruction, which is missing",
                fix='call composite(..., method="geomedian"), or reconstruct(uncertainty=True) '
                "before",
                option="use --method geomedian, or reconstruct with --uncertainty first",
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


def _period(
    scene: Scene,
    flags: xr.DataArray,
    deviation: list[xr.DataArray] | None,
    period: Period,
    method: str,
    kind: tuple[bool, bool],
) -> tuple[Any, ...]:
    """Values, provenance, counts and numbers of one period, (*others, [band,] y, x)."""
    optical, others = scene.need_bands(), [d for d in scene.lead if d != "time"]
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
    """Consecutive positions as a slice, which makes no copy."""
    if len(dates) and (np.diff(dates) == 1).all():
        return slice(int(dates[0]), int(dates[-1]) + 1)
    return dates


def _labelled(
    scene: Scene, periods: list[Period], parts: list[tuple[Any, ...]], attrs: dict[str, str]
) -> Any:
    """The periods in the form of the input."""
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
    """The optical bands of the input with one image per period, whose values are arbitrary."""
    source: Any = scene.source
    variables = scene.need_bands().variables
    if scene.form != "array":
        source = source[list(dict.fromkeys(variables))]
    if scene.form != "bands":
        array = source if scene.form == "array" else source[variables[0]]
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
