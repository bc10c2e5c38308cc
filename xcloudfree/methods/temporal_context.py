"""Temporal context of each pixel: the last clear observation, the next one, and their ages.

All planes exclude the date itself, even where it is clear. Dates are in order of time. A side
that does not exist is NaN in all its planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.normalisation import Normalisation
from xcloudfree.methods.interpolation import clear_sides, pick

SIDES: Final = ("before", "after")
"""The last clear observation, and the next."""

ESTIMATES: Final = {"regression": "area-regression", "kernel-fusion": "kernel-fusion"}
"""Parts that are the estimate of a method of this name, with its deviation."""

NAMES: Final = (*SIDES, "regression", "median", "kernel-fusion")
"""Parts of a context in order; the median is that of the clear dates within 30 days."""

MONTH: Final = 30.0
"""Days at which the freshness of an observation has fallen to one half."""

STEADY: Final = 10.0
"""Factor that scales errors of reflectance to the size of reflectance."""

Floats = NDArray[np.float32]


def planes(names: Sequence[str], bands: int) -> int:
    """Number of planes of a context."""
    beside = {**dict.fromkeys(ESTIMATES, bands), "median": 0}
    return sum(bands + beside.get(name, 1) for name in names)


def scaled_planes(names: Sequence[str], bands: int) -> int:
    """Number of planes that a network reads, see :func:`scale`."""
    return planes(names, bands) + len(names)


def observations(
    reflectance: Floats,
    clear: NDArray[np.bool_],
    days: NDArray[np.float64],
    least: float = 0.0,
    sides: Sequence[str] = SIDES,
    dates: Sequence[int] | None = None,
) -> Floats:
    """The last clear observation before each date, and the next after it."""
    found = clear_sides(clear, days, least)
    bands, wanted = reflectance.shape[1], range(len(days)) if dates is None else dates
    out = np.empty((len(wanted), planes(sides, bands), *clear.shape[1:]), np.float32)
    for n, date in enumerate(wanted):
        for k, side in enumerate(sides):
            start = k * (bands + 1)
            where = getattr(found, side)[date]
            out[n, start : start + bands] = pick(reflectance, where)
            age = np.abs(days[where] - days[date])
            out[n, start + bands] = np.where(where < 0, np.nan, age)
    return out


def scale(
    context: Floats, names: Sequence[str], bands: int, normalisation: Normalisation
) -> Floats:
    """Scale a context to the inputs of networks; nothing is clipped, and missing values are 0."""
    if context.shape[1] != planes(names, bands):
        raise ValueError(
            f"a context of {tuple(names)} has {planes(names, bands)} planes for {bands} bands, "
            f"not {context.shape[1]}"
        )
    parts, start = [], 0
    for name in names:
        stop = start + planes((name,), bands)
        values, beside = context[:, start : start + bands], context[:, start + bands : stop]
        known = np.asarray(np.isfinite(values).all(1, keepdims=True))
        if name in ESTIMATES:
            known &= np.isfinite(beside).all(1, keepdims=True)
            beside = beside * np.float32(STEADY * normalisation.gain)
        else:
            beside = np.float32(1) / (1 + beside / np.float32(MONTH))
        for part in (normalisation.to_scale(values), beside):
            parts.append(np.where(known, np.nan_to_num(part), np.float32(0)))
        parts.append(known)
        start = stop
    return np.concatenate(parts, axis=1, dtype=np.float32)
