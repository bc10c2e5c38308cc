"""Whether pixels agree with the offset that their metadata tell."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from xcloudfree.exceptions import CatalogWarning, DataError, UnitsError
from xcloudfree.stac.rules.harmonise import BASELINE_OFFSET, SCALE
from xcloudfree.stac.series.status import block_slices

DARK: Final = 950
"""Stored numbers below this are reflectance below -0.005 if there is an offset: hardly any."""

SHARE: Final = 0.05
"""Largest share of such numbers in a band that is still believed."""

FEW: Final = 1000
"""Fewer valid pixels than this prove nothing."""

LARGE: Final = 50_000
"""So many valid pixels of which none is below 1000 are suspicious where there is no offset."""

_BANDS: Final = ("B04", "B12", "B11", "B03", "B02", "B08")  # the darkest over land come first
_NONE: Final = 1e-4


def check_offset(
    ds: xr.Dataset, *, on_error: Literal["raise", "report"] = "raise", chunks: int = 4
) -> xr.Dataset:
    """Compare pixels with the offset that was applied, and say where they contradict each other.

    Some catalogs say of an item that its offset is in the pixels when it is not, or the reverse.
    Then reflectance is wrong by 0.1 everywhere. From processing baseline 04.00 on stored numbers
    are raised by 1000, so that numbers below 950 hardly occur; without an offset the darkest band
    of almost every scene over land has many. This reads `chunks` chunks of two bands of every
    scene; :func:`xcloudfree.stac.load` stays lazy and does not call it.

    Parameters
    ----------
    ds : xarray.Dataset
        What :func:`xcloudfree.stac.load` returned.
    on_error : {"raise", "report"}
        Whether a contradiction is an error, or only stands in the result.
    chunks : int
        Chunks that are read of every band and scene, evenly spread.

    Returns
    -------
    xarray.Dataset
        Along ``time``: ``verdict`` (``agrees``, ``contradiction``, ``suspicious``, ``too few
        pixels``, ``items differ``), ``share`` of stored numbers below 950 in the band that has
        most, and ``valid``, the number of pixels that were looked at.

    Raises
    ------
    UnitsError
        An offset was applied, and more than 5 % of the stored numbers of a band are below 950.
    DataError
        The Dataset lacks ``item_id``, ``offset`` or ``offset_reason`` along ``time``, or
        reflectance; or another `on_error`.

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
        raise DataError(f'on_error={on_error!r} is unknown: check_offset(ds, on_error="report").')
    bands = [name for name in _BANDS if name in ds.data_vars][:2]
    kept = ["item_id", "offset", "offset_reason"]
    if not set(kept) <= set(ds.coords) or "time" not in ds.dims or not bands:
        raise DataError(
            f"The offset is checked of what load returned, with {', '.join(kept)}, and a band of "
            f"{', '.join(_BANDS)}: check_offset(xcloudfree.stac.load(...))."
        )
    rows = [_scene(ds[bands].isel(time=step), chunks) for step in range(ds.sizes["time"])]
    out = xr.Dataset(
        {
            "verdict": ("time", np.array([row[0] for row in rows])),
            "share": ("time", np.array([row[1] for row in rows])),
            "valid": ("time", np.array([row[2] for row in rows])),
        },
        coords={"time": ds["time"], **{name: ds[name] for name in kept}},
    )
    wrong = {
        word: [n for n, row in enumerate(rows) if row[0] == word]
        for word in ("contradiction", "suspicious")
    }
    if wrong["suspicious"]:
        warnings.warn(
            "No offset was applied, yet no stored number is below 1000: "
            f"{_told(out, wrong['suspicious'])}. If it is missing (not over snow, cloud or desert "
            f"throughout): {_mended(out, wrong['suspicious'], BASELINE_OFFSET)}",
            CatalogWarning,
            stacklevel=2,
        )
    if wrong["contradiction"] and on_error == "raise":
        raise UnitsError(
            f"An offset of {BASELINE_OFFSET} was applied, yet many stored numbers are below "
            f"{DARK}: {_told(out, wrong['contradiction'])}. It seems to be in the pixels already. "
            f"To load without it: {_mended(out, wrong['contradiction'], 0.0)}"
        )
    return out


def _told(out: xr.Dataset, steps: Sequence[int]) -> str:
    shown = [
        f"{out['item_id'].values[n]} ({100 * out['share'].values[n]:.1f} %, "
        f"offset {out['offset_reason'].values[n]})"
        for n in steps[:5]
    ]
    return ", ".join(shown) + (f" and {len(steps) - 5} more" if len(steps) > 5 else "")


def _mended(out: xr.Dataset, steps: Sequence[int], offset: float) -> str:
    names = [name for n in steps for name in str(out["item_id"].values[n]).split(", ")]
    return f"load(..., offsets={dict.fromkeys(names[:5], offset)})."


def _scene(scene: xr.Dataset, chunks: int) -> tuple[str, float, int]:
    offset = float(scene["offset"])
    if np.isnan(offset):
        return "items differ", np.nan, 0
    below = dict.fromkeys(scene.data_vars, 0)
    shifted = dict(below)
    valid = dict(below)
    for part in _blocks(scene, chunks):
        for name, band in part.compute().data_vars.items():
            numbers = np.rint((band.values.astype("float64") - offset) / SCALE)
            numbers = numbers[np.isfinite(numbers)]
            valid[name] += numbers.size
            below[name] += int((numbers < DARK).sum())
            shifted[name] += int((numbers < -BASELINE_OFFSET / SCALE).sum())
    count = max(valid.values())
    if count < FEW:
        return "too few pixels", np.nan, count
    share = max(below[name] / max(valid[name], 1) for name in below)
    if offset < 0:
        return ("contradiction" if share > SHARE else "agrees"), share, count
    none = all(shifted[name] <= _NONE * valid[name] for name in shifted)
    return ("suspicious" if none and count >= LARGE else "agrees"), share, count


def _blocks(scene: xr.Dataset, count: int) -> list[xr.Dataset]:
    """Some chunks of a scene, evenly spread; all of one that is in memory."""
    down, across = next(iter(scene.data_vars.values())).dims[-2:]
    sizes: Any = scene.chunksizes or scene.sizes
    places = [
        {down: y, across: x} for y in block_slices(sizes[down]) for x in block_slices(sizes[across])
    ]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int))
    return [scene.isel(places[n]) for n in chosen]
