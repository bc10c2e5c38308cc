"""No data: one rule for the numbers of a variable that mean no measurement.

Declared numbers are those of the attributes and encoding ``nodata``, ``_FillValue``,
``missing_value`` and ``nodatavals``. In integers of Sentinel-2, 65535 also means no data, and so
does 0 if the type is unsigned or nothing is declared. NaN and infinity always do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.radiometry import Calibration, holds
from xcloudfree.exceptions import UnitsError

KEYS = ("nodata", "_FillValue", "missing_value", "nodatavals")
"""Where programs declare such a number, in order of precedence."""

SATURATED = 65535
"""In counts of Sentinel-2, saturation or a fill value, never ground."""


def numeric(value: Any, key: str, owner: str, fix: str) -> float:
    """A declared number as Python's; single precision as the decimal that was written."""
    try:
        number = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        if isinstance(number, (bool, np.bool_)):
            raise TypeError
        return float(str(number)) if isinstance(number, np.floating) else float(number)
    except (TypeError, ValueError):
        problem = f"{key} of {owner} is {value!r} and no number"
        raise UnitsError(
            problem,
            fix=f"declare it with {fix}",
            option=f"correct {key} in the attributes of the file",
        ) from None


def declared(array: xr.DataArray, fix: str) -> tuple[float, ...]:
    """Numbers that an array declares as no data."""
    found: list[float] = []
    for source in (array.attrs, array.encoding):
        for key in KEYS:
            value = source.get(key)
            several = isinstance(value, (list, tuple, np.ndarray)) and key != "nodata"
            for one in np.ravel(np.asarray(value, object)) if several else [value]:
                if one is None or (found and source.get("nodata") is not None):
                    continue
                found.append(numeric(one, key, repr(array.name), fix))
    return tuple(dict.fromkeys(v for v in found if not np.isnan(v)))


def missing_reflectance(
    names: Sequence[str], arrays: Sequence[xr.DataArray], scaled: bool
) -> tuple[float | None, tuple[float, ...]]:
    """The number to write for no data in Sentinel-2 bands, and all others with that meaning."""
    fix, own = "ds.cloudfree.calibrate(nodata=0)", []
    for array in arrays:
        numbers = declared(array, fix)
        if array.dtype.kind == "f" and "scale_factor" in array.encoding:
            # decoded on reading: a declared number was a stored one, unless it is impossible
            numbers = tuple(v for v in numbers if not _plausible(v))
        if array.dtype.kind in "iu":
            numbers = tuple(v for v in numbers if holds(array.dtype, v))
            if array.dtype.kind == "u" or not numbers:
                numbers = tuple(dict.fromkeys((*numbers, 0)))
        own.append(numbers)
    first = {numbers[0] if numbers else None for numbers in own}
    written = first.pop() if len(first) == 1 else None
    every = dict.fromkeys(v for numbers in own for v in numbers)
    integer = any(a.dtype.kind in "iu" for a in arrays)
    if integer and written is None:
        if any(a.dtype.kind == "i" for a in arrays):
            shown = {n: v[0] for n, v in zip(names, own, strict=False)}
            raise UnitsError(
                f"the bands disagree on no data: {shown}",
                fix="declare one number for all with ds.cloudfree.calibrate(nodata=0)",
                option="--nodata 0",
            )
        written = 0
    if integer or scaled:
        every[SATURATED] = None
    return written, tuple(v for v in every if v != written)


def missing_backscatter(
    arrays: Sequence[xr.DataArray],
) -> tuple[float | None, tuple[float, ...]]:
    """The same for Sentinel-1; NaN if no number is declared to mean no data."""
    numbers = dict.fromkeys(
        v for a in arrays for v in declared(a, "ds.cloudfree.calibrate(sar_nodata=0)")
    )
    if not numbers:
        explicit = all(a.attrs.get("nodata") is not None for a in arrays)
        return (np.nan if explicit else None), ()
    first, *others = numbers
    return first, tuple(others)


def declaration(attrs: Mapping[str, Any], number: float) -> dict[str, Any]:
    """Attributes that declare a number as no data, without contradiction."""
    return {k: v for k, v in attrs.items() if k not in KEYS[1:]} | {"nodata": number}


def _plausible(number: float) -> bool:
    """Whether a number can be a reflectance."""
    try:
        Calibration().check(np.array([number], np.float32))
    except UnitsError:
        return False
    return True
