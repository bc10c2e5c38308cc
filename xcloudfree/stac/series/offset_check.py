"""Check whether pixels agree with the offset in their metadata."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import CatalogWarning, DataError, UnitsError
from xcloudfree.stac.rules.harmonise import BASELINE_OFFSET, SCALE
from xcloudfree.stac.series.status import block_slices

DARK: Final = 0.95
"""Stored numbers below this share of the offset are reflectance below -0.005, which is rare."""

SHARE: Final = 0.05
"""Largest plausible share of such numbers in a band."""

FEW: Final = 1000
"""Fewer valid pixels than this prove nothing."""

LARGE: Final = 50_000
"""With at least this many valid pixels, none below 1000 is suspicious if there is no offset."""

_BANDS: Final = ("B04", "B12", "B11", "B03", "B02", "B08")  # the darkest over land come first
_NONE: Final = 1e-4


@dataclass(frozen=True)
class _Numbers:
    """Two bands, and the conversion of their stored numbers to values."""

    bands: xr.Dataset
    scale: float
    offsets: npt.NDArray[np.float64]  # of each date
    nodata: float  # NaN in decoded values
    decoded: bool  # whether the values are reflectance already


def check_offset(
    ds: xr.Dataset | xr.DataArray,
    *,
    on_error: Literal["raise", "report"] = "raise",
    chunks: int = 4,
) -> xr.Dataset:
    """Check whether pixels agree with the offset that was applied to them.

    Some catalogs wrongly say that the offset of an item was already applied, or that it was not.
    Reflectance is then wrong by 0.1 everywhere. From processing baseline 04.00 on, stored numbers
    are raised by 1000, so numbers below 950 are rare; without an offset, the darkest band
    of almost every scene over land has many. This function reads `chunks` chunks of two bands of
    every scene; :func:`xcloudfree.stac.load` stays lazy and does not call it.

    It also checks your own arrays, in any accepted form, if they declare a scale and an offset,
    set by ``ds.cloudfree.calibrate(scale=, offset=)`` or decoded by xarray.

    Parameters
    ----------
    ds : Dataset or DataArray
        Output of :func:`xcloudfree.stac.load`, or other Sentinel-2 numbers with a declared offset.
    on_error : {"raise", "report"}
        Whether a contradiction raises an error, or is only reported in the result.
    chunks : int
        Number of chunks to read of every band and scene, evenly spread.

    Returns
    -------
    xarray.Dataset
        Along ``time``, if there is one: ``verdict`` (``agrees``, ``contradiction``, ``suspicious``,
        ``too few pixels``, ``items differ``), ``share`` of stored numbers below 95 % of the offset
        (950) in the band with the largest share, and ``valid``, the number of pixels used.

    Raises
    ------
    UnitsError
        An offset was applied, and more than 5 % of the stored numbers of a band are below 950.
    DataError
        No loaded series, and no numbers with a declared scale and offset; or an unknown `on_error`.

    Warns
    -----
    CatalogWarning
        No offset was applied, and no number of a large scene is below 1000.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((64, 64), cover=0.0, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = xcf.stac.publish(scene, folder)
    ...     with xcf.stac.serve(folder) as catalog:
    ...         ds = xcf.stac.load(catalog.url, like=scene)
    ...         check_offset(ds).verdict.values.tolist()
    ['agrees']
    """
    if on_error not in ("raise", "report"):
        raise DataError(
            f"on_error={on_error!r} is unknown", fix='call check_offset(ds, on_error="report")'
        )
    if isinstance(ds, xr.Dataset) and {"item_id", "offset", "offset_reason"} <= set(ds.coords):
        numbers = _loaded(ds)
    else:
        numbers = _declared(ds)
    steps = [numbers.bands]
    if "time" in numbers.bands.dims:
        steps = [numbers.bands.isel(time=n) for n in range(numbers.bands.sizes["time"])]
    rows = [_judge(step, n, numbers, chunks) for n, step in enumerate(steps)]
    along = ("time",) if "time" in numbers.bands.dims else ()
    kept = ("time", "item_id", "offset", "offset_reason")
    out = xr.Dataset(
        {
            name: (along, np.array([row[k] for row in rows]).reshape([len(rows)] * len(along)))
            for k, name in enumerate(("verdict", "share", "valid"))
        },
        coords={name: ds[name] for name in kept if name in ds.coords},
    )
    suspicious, wrong = (
        [n for n, row in enumerate(rows) if row[0] == word]
        for word in ("suspicious", "contradiction")
    )
    if suspicious:
        warnings.warn(
            "No offset was applied, yet no stored number is below 1000: "
            f"{_list(out, suspicious)}. If it is missing (not over snow, cloud or desert "
            f"throughout): {_call_with(out, suspicious, numbers, BASELINE_OFFSET)}",
            CatalogWarning,
            stacklevel=2,
        )
    if wrong and on_error == "raise":
        offset = numbers.offsets[wrong[0]]
        raise UnitsError(
            f"An offset of {offset:g} was applied, yet many stored numbers are below "
            f"{-DARK * offset / numbers.scale:.0f}, as if the pixels already included it: "
            f"{_list(out, wrong)}",
            fix=f"leave it out with {_call_with(out, wrong, numbers, 0.0)}",
        )
    return out


def _loaded(ds: xr.Dataset) -> _Numbers:
    """Numbers of a series from load(), each date with its own offset."""
    bands = [name for name in _BANDS if name in ds.data_vars][:2]
    if not bands or "time" not in ds.dims:
        raise DataError(
            f"The check needs a band of {', '.join(_BANDS)}, along time",
            fix="call check_offset(xcloudfree.stac.load(...))",
        )
    return _Numbers(ds[bands], SCALE, ds["offset"].values.astype(float), np.nan, decoded=True)


def _declared(ds: xr.Dataset | xr.DataArray) -> _Numbers:
    """Numbers of arrays that declare their scale and offset, in attributes or decoded by xarray."""
    layer = read(ds).optical
    names = [name for name in _BANDS if layer is not None and name in layer.names][:2]
    if layer is None or not names:
        raise DataError(
            f"The check needs a band of {', '.join(_BANDS)}",
            fix="call check_offset(ds[['B04']])",
        )
    source = layer.select(names)
    first = source.arrays[0]
    decoded = first.dtype.kind == "f"
    held = first.encoding if decoded else first.attrs
    scale, offset = held.get("scale_factor"), held.get("add_offset", 0.0)
    if scale is None:
        raise DataError(
            "The check needs the output of load, with item_id, offset, offset_reason, "
            "or numbers that declare a scale and an offset",
            fix='call check_offset(ds.cloudfree.calibrate(scale=1e-4, offset=-0.1, level="BOA"))',
            option="--scale 1e-4 --offset -0.1 --level BOA",
        )
    arrays = source.arrays
    if source.stacked:
        arrays = tuple(first.isel(band=k, drop=True) for k in range(len(names)))
    bands = xr.Dataset({n: a.drop_vars(a.coords) for n, a in zip(names, arrays, strict=True)})
    offsets = np.full(bands.sizes.get("time", 1), float(offset))
    nodata = np.nan if decoded else float(first.attrs.get("nodata", 0))
    return _Numbers(bands, float(scale), offsets, nodata, decoded=decoded)


def _list(out: xr.Dataset, steps: Sequence[int]) -> str:
    def names(variable: str, n: int) -> str:
        return str(np.atleast_1d(out[variable].values)[n])

    shown = []
    for n in steps[:5]:
        label = next((names(v, n) for v in ("item_id", "time") if v in out.coords), "the scene")
        reason = f", offset {names('offset_reason', n)}" if "offset_reason" in out.coords else ""
        shown.append(f"{label} ({100 * float(names('share', n)):.1f} %{reason})")
    return ", ".join(shown) + (f" and {len(steps) - 5} more" if len(steps) > 5 else "")


def _call_with(out: xr.Dataset, steps: Sequence[int], numbers: _Numbers, offset: float) -> str:
    if "item_id" not in out.coords:
        return f"ds.cloudfree.calibrate(scale={numbers.scale:g}, offset={offset:g})"
    names = [name for n in steps for name in str(out["item_id"].values[n]).split(", ")]
    return f"load(..., offsets={dict.fromkeys(names[:5], offset)})"


def _judge(scene: xr.Dataset, n: int, source: _Numbers, chunks: int) -> tuple[str, float, int]:
    """Verdict, share of dark numbers and count of one date."""
    offset = source.offsets[n]
    if np.isnan(offset):
        return "items differ", np.nan, 0
    below = dict.fromkeys(scene.data_vars, 0)
    low, valid = dict(below), dict(below)
    for part in _blocks(scene, chunks):
        for name, band in part.compute().data_vars.items():
            values = band.values.astype("float64")
            numbers = values[np.isfinite(values) & (values != source.nodata)]
            if source.decoded:
                numbers = np.rint((numbers - offset) / source.scale)
            valid[name] += numbers.size
            below[name] += int((numbers < -DARK * offset / source.scale).sum())
            low[name] += int((numbers < -BASELINE_OFFSET / source.scale).sum())
    count = max(valid.values())
    if count < FEW:
        return "too few pixels", np.nan, count
    share = max(below[name] / max(valid[name], 1) for name in below)
    if offset < 0:
        return ("contradiction" if share > SHARE else "agrees"), share, count
    none = all(low[name] <= _NONE * valid[name] for name in low)
    return ("suspicious" if none and count >= LARGE else "agrees"), share, count


def _blocks(scene: xr.Dataset, count: int) -> list[xr.Dataset]:
    """Some chunks of a scene, evenly spread; all chunks of a scene in memory."""
    down, across = next(iter(scene.data_vars.values())).dims[-2:]
    sizes: Any = scene.chunksizes or scene.sizes
    places = [
        {down: y, across: x} for y in block_slices(sizes[down]) for x in block_slices(sizes[across])
    ]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int))
    return [scene.isel(places[n]) for n in chosen]
