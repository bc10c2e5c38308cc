"""Cloud score and mask by numpy, in strips that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.masks.thresholds import SNOW_RATIO, TERMS, Limits

Planes = Sequence[NDArray[Any]]

STRIP = 12 * 1024
"""Pixels of a strip: a float64 plane of them stays below what malloc maps anew every time."""


def in_strips(
    evaluate: Callable[[Planes, NDArray[Any]], None],
    planes: Planes,
    out: NDArray[Any],
    pixels: int = STRIP,
) -> None:
    """Fill an array strip by strip.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(parts, out)`` writes to one strip of `out`; all are contiguous (pixel,).
    planes : sequence of ndarray
        (y, x) each, of any strides.
    out : ndarray
        (y, x), contiguous.
    pixels : int
        Size of a strip.

    Examples
    --------
    >>> sizes, out = [], np.empty((3, 4))
    >>> in_strips(lambda parts, strip: sizes.append(strip.size), [out.T.T, out[::-1]], out, 8)
    >>> sizes
    [8, 4]
    """
    ordered = all(plane.flags.c_contiguous for plane in planes)
    rows = [plane.reshape(-1, 1) for plane in planes] if ordered else list(planes)
    height, width = rows[0].shape
    flat, step = out.reshape(-1), max(1, pixels // max(1, width))
    for y in range(0, height, step):
        parts = [np.ascontiguousarray(r[y : y + step]).reshape(-1) for r in rows]
        evaluate(parts, flat[y * width : (y + step) * width])


def mark(parts: Planes, out: NDArray[np.bool_], limits: Limits) -> None:
    """Mask of eq. 14-16 for a strip.

    Parameters
    ----------
    parts : sequence of ndarray
        Stored numbers of B01 B02 B03 B04 B10 B11, (pixel,).
    out : ndarray of bool
        (pixel,), written.
    limits : Limits
        For the type of the stored numbers.
    """
    kind, total, flag = limits.kind, np.empty(out.shape, limits.kind), np.empty(out.shape, bool)
    b01, b02, b03, b04, b10, b11 = (part.astype(kind, copy=False) for part in parts)
    with np.errstate(invalid="ignore", over="ignore"):
        np.greater(b02, kind(limits.cloud[0]), out=out)
        out &= np.greater(b01, kind(limits.cloud[1]), out=flag)
        out &= np.greater(np.add(b10, b01, out=total), kind(limits.cloud[2]), out=flag)
        np.add(np.add(b04, b03, out=total), b02, out=total)
        out &= np.greater(total, kind(limits.cloud[3]), out=flag)
        np.add(b03, b11, out=total)
        bright, dark = total > kind(limits.bright[0]), total < kind(limits.dark[0])
        np.subtract(b03, np.multiply(b11, kind(SNOW_RATIO), out=total), out=total)
    bright &= np.greater(total, kind(limits.bright[1]), out=flag)
    dark &= np.less(total, kind(limits.dark[1]), out=flag)
    out &= ~(bright | dark)
    for part in parts:
        out &= _measured(part, limits.nodata, flag)


def score_strip(
    parts: Planes, out: NDArray[np.float32], scale: float, offset: float, nodata: float
) -> None:
    """Score of eq. 13 for a strip.

    Parameters
    ----------
    parts : sequence of ndarray
        Stored numbers of B01 B02 B03 B04, and B10 if the term with it counts; (pixel,).
    out : ndarray of float32
        (pixel,), written; NaN without a measurement.
    scale, offset : float
        To reflectance.
    nodata : float
        Stored number without a measurement, NaN if there is none.
    """
    names = ("B01", "B02", "B03", "B04", "B10")[: len(parts)]
    good, flag = np.ones(out.shape, bool), np.empty(out.shape, bool)
    reflectance = {}
    with np.errstate(invalid="ignore", over="ignore"):
        for name, part in zip(names, parts, strict=True):
            value = part.astype(np.float32) * np.float32(scale) + np.float32(offset)
            good &= _measured(part, nodata, flag)
            good &= np.isfinite(value, out=flag)
            reflectance[name] = value.astype(np.float64)
        least = np.full(out.shape, np.inf)
        for term, low, high in TERMS:
            if set(term) <= reflectance.keys():
                total = sum(reflectance[name] for name in term)
                np.minimum(least, (total - float(low)) / (float(high) - float(low)), out=least)
        out[:] = np.where(good, least, np.nan)


def _measured(part: NDArray[Any], nodata: float, flag: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where there is a measurement, written to `flag`."""
    np.isfinite(part, out=flag)
    if not np.isnan(nodata):
        flag &= part != part.dtype.type(nodata)
    return flag
