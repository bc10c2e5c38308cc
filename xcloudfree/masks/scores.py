"""Cloud score and masks on plain arrays: eq. 13-16 of the paper and the other built-in methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt, prod
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.radiometry import Calibration
from xcloudfree.masks.compiled import COMPILED, PIECE, WORTH, compiled, mark_pixels, score_pixels
from xcloudfree.masks.strips import Planes, in_strips, mark, score_strip
from xcloudfree.masks.thresholds import TERMS, stored_limits, stored_nodata

Bands = Mapping[str, NDArray[Any]]

OCCLUDED_CLASSES = (3, 8, 9, 10)
"""Scene classification: cloud shadow, cloud medium and high probability, thin cirrus."""


@dataclass(frozen=True)
class MaskMethod:
    """A way to tell occluded pixels.

    Parameters
    ----------
    bands : tuple of str
        Canonical bands that `kernel` reads; ``"SCL"`` for the scene classification.
    kernel : callable
        ``kernel(bands, calibration, threshold)`` with stored numbers by band name, each (y, x);
        returns bool (y, x).
    reach : int
        Pixels around a pixel that influence its value.
    threshold : float
        Default of the third argument.
    """

    bands: tuple[str, ...]
    kernel: Callable[[Bands, Calibration, float], NDArray[np.bool_]]
    reach: int = 0
    threshold: float = 0.2


def score(
    bands: Bands, cirrus: bool = True, calibration: Calibration | None = None
) -> NDArray[np.float32]:
    """Cloud score of eq. 13, not limited above.

    Parameters
    ----------
    bands : mapping of str to ndarray
        Stored numbers by band, (..., y, x); B10 only with `cirrus`.
    cirrus : bool
        Whether to use the term with B10, which Level-2A lacks.
    calibration : Calibration, optional
        From stored numbers to reflectance, in float32; by default they are reflectance.

    Returns
    -------
    ndarray of float32
        NaN where a band has no data. The same with numba as without.

    Examples
    --------
    >>> bright = {b: np.full((1, 1), 0.4) for b in ("B01", "B02", "B03", "B04", "B10")}
    >>> score(bright).round(4).tolist()
    [[0.75]]
    """
    rule = calibration or Calibration()
    names = ("B01", "B02", "B03", "B04", "B10") if cirrus else ("B01", "B02", "B03", "B04")
    planes, shape = _planes(bands, names)
    nodata = stored_nodata(rule, planes[0].dtype)
    out = np.empty(planes[0].shape, np.float32)
    loop = compiled(score_pixels) if cirrus and _worth(planes) else None
    if loop is None:
        in_strips(
            partial(score_strip, scale=rule.scale, offset=rule.offset, nodata=nodata), planes, out
        )
    else:
        lows = tuple(float(low) for _, low, _ in TERMS)
        spans = tuple(float(high) - float(low) for _, low, high in TERMS)
        rest = (np.float32(rule.scale), np.float32(rule.offset), nodata, lows, spans)
        in_strips(lambda parts, o: loop(*parts, o, *rest), planes, out, _piece(planes))
    return out.reshape(shape)


def paper_mask(
    bands: Bands, calibration: Calibration, threshold: float = 0.2, cirrus: bool = True
) -> NDArray[np.bool_]:
    """Mask of eq. 14-16: score above the threshold, and not snow.

    Integers are compared with the exact rational thresholds and never rounded.

    Parameters
    ----------
    bands : mapping of str to ndarray
        Stored numbers by band, (..., y, x): B01 B02 B03 B04 B11, and B10 with `cirrus`.
    calibration : Calibration
        From stored numbers to reflectance.
    threshold : float
        Score above which a pixel is cloud.
    cirrus : bool
        Whether to use the term with B10.

    Returns
    -------
    ndarray of bool
        True where cloudy; False where a band has no data. The same with numba as without.
    """
    # without cirrus B01 stands in for B10, and the limit of that term is always exceeded
    names = ("B01", "B02", "B03", "B04", "B10" if cirrus else "B01", "B11")
    planes, shape = _planes(bands, names)
    limits = stored_limits(calibration, threshold, planes[0].dtype, cirrus)
    out = np.empty(planes[0].shape, bool)
    loop = compiled(mark_pixels) if _worth(planes) else None
    if loop is None:
        in_strips(partial(mark, limits=limits), planes, out)
    else:
        kind, largest = limits.kind, limits.largest
        edges = tuple(kind(v) for v in (*limits.cloud, *limits.bright, *limits.dark))
        rest = (kind, edges, kind(limits.nodata), None if largest is None else kind(largest))
        in_strips(lambda parts, o: loop(*parts, o, *rest), planes, out, _piece(planes))
    return out.reshape(shape)


def code_mask(bands: Bands, calibration: Calibration, threshold: float = 0.2) -> NDArray[np.bool_]:
    """Mask as the paper's published code computes it: closed, averaged, with a soft snow term.

    Parameters
    ----------
    bands, calibration, threshold
        See :func:`paper_mask`.

    Returns
    -------
    ndarray of bool
        True where cloudy; a pixel without data counts as score 0.
    """
    names = METHODS["reference-code"].bands
    reflectance = {n: calibration.decode(bands[n]) for n in names}
    smooth = np.minimum(score(reflectance), 1)
    green, swir = reflectance["B03"], reflectance["B11"]
    total = green + swir
    ndsi = (green - swir) / np.where(total == 0, np.float32(1e-3), total)
    smooth = np.minimum(smooth, (ndsi - np.float32(0.8)) / np.float32(0.6 - 0.8))
    smooth = scipy.ndimage.grey_closing(np.nan_to_num(smooth), size=(5, 5))
    smooth = scipy.ndimage.uniform_filter(smooth, 7, mode="constant")
    return np.asarray(np.clip(smooth, 1e-5, 1) >= threshold)


def class_mask(bands: Bands, calibration: Calibration, threshold: float) -> NDArray[np.bool_]:
    """Occluded classes of the scene classification (SCL).

    Parameters
    ----------
    bands : mapping of str to ndarray
        ``{"SCL": classes}``.
    calibration, threshold
        Not used.

    Returns
    -------
    ndarray of bool
    """
    return np.isin(bands["SCL"], OCCLUDED_CLASSES)


def dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Extend a mask by a disk.

    Parameters
    ----------
    mask : ndarray of bool
        (y, x).
    radius : int
        Pixels.

    Returns
    -------
    ndarray of bool
        True within `radius` of a True pixel.

    Examples
    --------
    >>> dilate(np.array([[False, False, True, False, False]]), 1).astype(int).tolist()
    [[0, 1, 1, 1, 0]]
    """
    if radius <= 0 or not mask.any():
        return mask
    height, out = len(mask), np.zeros_like(mask)
    wide, width = mask.copy(), 0
    for dy in range(radius, -1, -1):  # the disk row by row, each row as wide as the last or wider
        for dx in range(width + 1, isqrt(radius**2 - dy**2) + 1):
            wide[:, dx:] |= mask[:, :-dx]
            wide[:, :-dx] |= mask[:, dx:]
            width = dx
        rest = max(height - dy, 0)
        out[dy:] |= wide[:rest]
        out[:rest] |= wide[dy:]
    return out


METHODS: dict[str, MaskMethod] = {
    "score": MaskMethod(("B01", "B02", "B03", "B04", "B10", "B11"), paper_mask),
    "reference-code": MaskMethod(("B01", "B02", "B03", "B04", "B10", "B11"), code_mask, reach=7),
    "l2a": MaskMethod(
        ("B01", "B02", "B03", "B04", "B11"), lambda b, c, t: paper_mask(b, c, t, cirrus=False)
    ),
    "scl": MaskMethod(("SCL",), class_mask),
}
"""Built-in methods by name."""


def _planes(bands: Bands, names: tuple[str, ...]) -> tuple[Planes, tuple[int, ...]]:
    """Bands of one type as (y, x), and the shape that they had."""
    arrays = np.broadcast_arrays(*(bands[name] for name in names))
    kind = np.result_type(*arrays)  # in the machine's byte order
    shape = arrays[0].shape
    flat = (prod(shape[:-1]), shape[-1] if shape else 1)
    return [a.astype(kind, copy=False).reshape(flat) for a in arrays], shape


def _worth(planes: Planes) -> bool:
    return planes[0].size >= WORTH and planes[0].dtype.str[1:] in COMPILED


def _piece(planes: Planes) -> int:
    """Everything at once where nothing has to be copied."""
    return planes[0].size if all(p.flags.c_contiguous for p in planes) else PIECE
