"""Cloud score and masks on plain arrays: eq. 13-16 of the paper and the other built-in methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt, prod
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.radiometry import Calibration
from xcloudfree.exceptions import DataError
from xcloudfree.masks.compiled import COMPILED, PIECE, WORTH, compiled, mark_pixels, score_pixels
from xcloudfree.masks.thresholds import SNOW_RATIO, TERMS, Limits, stored_limits, stored_nodata

Bands = Mapping[str, NDArray[Any]]
Planes = Sequence[NDArray[Any]]

OCCLUDED_CLASSES = (3, 8, 9, 10)
"""Scene classification: cloud shadow, cloud medium and high probability, thin cirrus."""

LAST_CLASS = 11
"""Scene classification: its classes are the whole numbers from 0 to this one."""

UNCLASSED = 127
"""Replaces class 0, NaN or no data of the scene classification where the bands have data: it may be
cloud."""

STRIP = 12 * 1024
"""Pixels of a strip: malloc keeps a float64 plane of this size instead of mapping it again."""


@dataclass(frozen=True)
class MaskMethod:
    """A method that finds occluded pixels."""

    bands: tuple[str, ...]  # canonical bands that `kernel` reads, or only "SCL"
    # kernel(stored numbers by band, each (y, x), calibration, threshold) -> bool (y, x)
    kernel: Callable[[Bands, Calibration, float], NDArray[np.bool_]]
    reach: int = 0  # pixels around a pixel that influence its value
    threshold: float = 0.2  # default of the third argument


def score(
    bands: Bands, cirrus: bool = True, calibration: Calibration | None = None
) -> NDArray[np.float32]:
    """Cloud score of eq. 13, NaN where a band has no data; B10 counts only with `cirrus`."""
    rule = calibration or Calibration()
    names = ("B01", "B02", "B03", "B04", "B10") if cirrus else ("B01", "B02", "B03", "B04")
    planes, shape = _planes(bands, names)
    nodata = stored_nodata(rule, planes[0].dtype)
    out = np.empty(planes[0].shape, np.float32)
    loop = compiled(score_pixels) if cirrus and _worth_compiling(planes) else None
    if loop is None:
        in_strips(
            partial(_score_strip, scale=rule.scale, offset=rule.offset, nodata=nodata), planes, out
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
    """Mask of eq. 14-16: score above the threshold, and not snow; False without data."""
    # without cirrus, B01 takes the place of B10, and the limit of that term is always exceeded
    names = ("B01", "B02", "B03", "B04", "B10" if cirrus else "B01", "B11")
    planes, shape = _planes(bands, names)
    # integers are compared with exact rational limits and never rounded
    limits = stored_limits(calibration, threshold, planes[0].dtype, cirrus)
    out = np.empty(planes[0].shape, bool)
    loop = compiled(mark_pixels) if _worth_compiling(planes) else None
    if loop is None:
        in_strips(partial(_mark_strip, limits=limits), planes, out)
    else:
        kind, largest = limits.kind, limits.largest
        edges = tuple(kind(v) for v in (*limits.cloud, *limits.bright, *limits.dark))
        rest = (kind, edges, kind(limits.nodata), None if largest is None else kind(largest))
        in_strips(lambda parts, o: loop(*parts, o, *rest), planes, out, _piece(planes))
    return out.reshape(shape)


def code_mask(bands: Bands, calibration: Calibration, threshold: float = 0.2) -> NDArray[np.bool_]:
    """Mask as the paper's published code computes it: closed, averaged, with a soft snow term."""
    names = METHODS["reference-code"].bands
    reflectance = {n: calibration.decode(bands[n]) for n in names}
    smooth = np.minimum(score(reflectance), 1)
    green, swir = reflectance["B03"], reflectance["B11"]
    total = green + swir
    ndsi = (green - swir) / np.where(total == 0, np.float32(1e-3), total)
    smooth = np.minimum(smooth, (ndsi - np.float32(0.8)) / np.float32(0.6 - 0.8))
    # a pixel without data counts as score 0
    smooth = scipy.ndimage.grey_closing(np.nan_to_num(smooth), size=(5, 5))
    smooth = scipy.ndimage.uniform_filter(smooth, 7, mode="constant")
    return np.asarray(np.clip(smooth, 1e-5, 1) >= threshold)


def class_mask(bands: Bands, calibration: Calibration, threshold: float) -> NDArray[np.bool_]:
    """Occluded classes of the scene classification (SCL)."""
    classes = bands["SCL"]
    check_classes(classes, calibration.nodata)
    return np.isin(classes, (*OCCLUDED_CLASSES, UNCLASSED))


def check_classes(classes: NDArray[Any], nodata: float | None = None) -> None:
    """Raise an error for interpolated, scaled or stretched classes: their mask has holes."""
    wrong = (classes < 0) | ((classes > LAST_CLASS) & (classes != UNCLASSED))
    if classes.dtype.kind == "f":
        wrong |= np.isfinite(classes) & (classes != np.rint(classes))
    if nodata is not None and wrong.any():
        wrong &= classes != nodata
    if not wrong.any():
        return
    value = classes[wrong].flat[0]
    if value == np.rint(value):
        cure = 'load the classes as stored, or call mask("l2a")'
    elif np.nanmax(np.abs(classes[wrong])) < 1:  # a scale of 1e-4 was applied
        cure = "read it with mask_and_scale=False"
    else:
        cure = "load it with resampling='nearest'"
    raise DataError(
        f"SCL holds {value:g}, which is no class of 0 to {LAST_CLASS}",
        fix=cure,
        option="load the classes as stored, with nearest-neighbour resampling, or use --mask l2a",
    )


def dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Extend a mask (y, x) by a disk: True within `radius` pixels of a True pixel."""
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


AUTO, SERIES, HAZE = "auto", "series", "haze"
"""Names of the default method, of the comparison of dates, and of the look for haze in one date."""

METHODS: dict[str, MaskMethod] = {
    "score": MaskMethod(("B01", "B02", "B03", "B04", "B10", "B11"), paper_mask),
    "reference-code": MaskMethod(("B01", "B02", "B03", "B04", "B10", "B11"), code_mask, reach=7),
    "l2a": MaskMethod(
        ("B01", "B02", "B03", "B04", "B11"), lambda b, c, t: paper_mask(b, c, t, cirrus=False)
    ),
    "scl": MaskMethod(("SCL",), class_mask),
}
"""Built-in methods by name."""


def in_strips(
    evaluate: Callable[[Planes, NDArray[Any]], None],
    planes: Planes,
    out: NDArray[Any],
    pixels: int = STRIP,
) -> None:
    """Call ``evaluate(parts, out)`` for strips of `planes` and of `out`, contiguous (pixel,)."""
    ordered = all(plane.flags.c_contiguous for plane in planes)
    rows = [plane.reshape(-1, 1) for plane in planes] if ordered else list(planes)
    height, width = rows[0].shape
    flat, step = out.reshape(-1), max(1, pixels // max(1, width))
    for y in range(0, height, step):
        parts = [np.ascontiguousarray(r[y : y + step]).reshape(-1) for r in rows]
        evaluate(parts, flat[y * width : (y + step) * width])


def _mark_strip(parts: Planes, out: NDArray[np.bool_], limits: Limits) -> None:
    """Write the mask of eq. 14-16 of a strip of B01 B02 B03 B04 B10 B11."""
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


def _score_strip(
    parts: Planes, out: NDArray[np.float32], scale: float, offset: float, nodata: float
) -> None:
    """Write the score of eq. 13 of a strip of B01 B02 B03 B04, and B10 if that term counts."""
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
    """Write to `flag` where there is a measurement."""
    np.isfinite(part, out=flag)
    if not np.isnan(nodata):
        flag &= part != part.dtype.type(nodata)
    return flag


def _planes(bands: Bands, names: tuple[str, ...]) -> tuple[Planes, tuple[int, ...]]:
    """Bands of one type as (y, x), and the shape that they had."""
    arrays = np.broadcast_arrays(*(bands[name] for name in names))
    kind = np.result_type(*arrays)  # in the machine's byte order
    shape = arrays[0].shape
    flat = (prod(shape[:-1]), shape[-1] if shape else 1)
    return [a.astype(kind, copy=False).reshape(flat) for a in arrays], shape


def _worth_compiling(planes: Planes) -> bool:
    return planes[0].size >= WORTH and planes[0].dtype.str[1:] in COMPILED


def _piece(planes: Planes) -> int:
    """Process everything at once if nothing has to be copied."""
    return planes[0].size if all(p.flags.c_contiguous for p in planes) else PIECE
