"""Whether bounds hold what they say: coverage, width and interval score of each band."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.core.restore import stacked_beside
from xcloudfree.exceptions import DataError

ROUNDING: Final = 1e-6
"""Reflectance by which a stored number may miss the bound that it is."""

WORDS: Final = {
    "coverage": ("share of the truth inside the bounds", "mean over reconstructed pixels"),
    "width": ("upper minus lower bound", "mean over reconstructed pixels: sharpness"),
    "interval_score": (
        "interval score",
        "width + 2 / (1 - interval) x what the truth lies outside by, mean; Gneiting and Raftery, "
        "Journal of the American Statistical Association 102, 2007, equation 43",
    ),
    "calibration_error": ("coverage minus the nominal level", "0 is best; below it is too narrow"),
}


def bound(obj: Any, name: str) -> xr.DataArray:
    """The lower or upper bounds of an object in reflectance, (..., band, y, x)."""
    scene = read(obj)
    found = stacked_beside(scene, name)
    if found is None:
        raise DataError(
            f"the prediction has no {name} bounds",
            fix="make bounds with ds.cloudfree.reconstruct(interval=0.9), or call "
            "evaluate(..., interval=None)",
        )
    return found.rename(dict(zip(scene.spatial, ("y", "x"), strict=True)))


def nominal_level(obj: Any, interval: Any) -> float:
    """The share that bounds are to hold: what they say themselves, or what is given."""
    held = obj.coords if isinstance(obj, xr.DataArray) else obj.data_vars
    said = {float(a.attrs["interval"]) for a in held.values() if "interval" in a.attrs}
    if interval is not True:
        number = isinstance(interval, (int, float, np.number)) and 0 < interval < 1
        if not number or (said and said != {float(interval)}):
            own = f" and the bounds are of {', '.join(map(str, sorted(said)))}" if said else ""
            raise DataError(
                f"interval is {interval!r}{own}",
                fix="call evaluate(..., interval=True)",
            )
        return float(interval)
    if len(said) != 1:
        raise DataError(
            "the bounds do not say of which level they are",
            fix="call evaluate(..., interval=0.9) with the level that they were made for",
        )
    return said.pop()


def interval_metrics(
    truth: xr.DataArray,
    lower: xr.DataArray,
    upper: xr.DataArray,
    cloudy: xr.DataArray | None,
    level: float,
) -> xr.Dataset:
    """Coverage, width, interval score and calibration error (..., band) of reconstructed pixels."""
    use = lower.notnull() & upper.notnull() & truth.notnull()
    use = use & (upper > lower if cloudy is None else cloudy)
    outside = (lower - truth).clip(min=0) + (truth - upper).clip(min=0)
    width = upper - lower
    each = {
        "coverage": (outside <= ROUNDING).astype(np.float64),
        "width": width.astype(np.float64),
        "interval_score": (width + 2 / (1 - level) * outside).astype(np.float64),
    }
    out = xr.Dataset({n: a.where(use).mean(("y", "x")) for n, a in each.items()})
    out["calibration_error"] = out.coverage - level
    for name, (words, definition) in WORDS.items():
        out[name].attrs = {"long_name": words, "units": "1", "definition": definition}
    out.coverage.attrs["interval"] = level
    return out.reset_coords(drop=True).transpose(..., "band")
