"""Cloud score and masks on plain arrays: eq. 13-16 of the paper and the other built-in methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xcloudfree.kernels.radiometry import Calibration

Bands = Mapping[str, NDArray[Any]]

TERMS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("B02",), "0.1", "0.5"),
    (("B01",), "0.1", "0.3"),
    (("B10", "B01"), "0.15", "0.2"),
    (("B04", "B03", "B02"), "0.2", "0.8"),
)
"""Terms of eq. 13: bands to add, and the sums of reflectance that score 0 and 1."""

SNOW = Fraction("0.6")
"""NDSI above which a bright pixel is snow, eq. 16."""

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


def score(bands: Bands, cirrus: bool = True) -> NDArray[np.float32]:
    """Cloud score of eq. 13, not limited above.

    Parameters
    ----------
    bands : mapping of str to ndarray
        Reflectance by band; B10 only with `cirrus`.
    cirrus : bool
        Whether to use the term with B10, which Level-2A lacks.

    Returns
    -------
    ndarray of float32

    Examples
    --------
    >>> bright = {b: np.full((1, 1), 0.4) for b in ("B01", "B02", "B03", "B04", "B10")}
    >>> score(bright).round(4).tolist()
    [[0.75]]
    """
    out = None
    for names, low, high in _terms(cirrus):
        total = sum(np.asarray(bands[n], np.float64) for n in names)
        term = (total - float(low)) / (float(high) - float(low))
        out = term if out is None else np.minimum(out, term)
    return np.asarray(out, np.float32)


def paper_mask(
    bands: Bands, calibration: Calibration, threshold: float = 0.2, cirrus: bool = True
) -> NDArray[np.bool_]:
    """Mask of eq. 14-16: score above the threshold, and not snow.

    A minimum exceeds a threshold where every term does, so each term is compared by itself.
    Integers are compared with the exact rational thresholds and never rounded.

    Parameters
    ----------
    bands : mapping of str to ndarray
        Stored numbers by band: B01 B02 B03 B04 B11, and B10 with `cirrus`.
    calibration : Calibration
        From stored numbers to reflectance.
    threshold : float
        Score above which a pixel is cloud.
    cirrus : bool
        Whether to use the term with B10.

    Returns
    -------
    ndarray of bool
        True where cloudy; False where a band has no data.
    """
    scale, offset = _exact(calibration.scale), _exact(calibration.offset)
    limit = _exact(threshold)
    cloud = None
    for names, low, high in _terms(cirrus):
        total = _total(bands, names)
        edge = Fraction(low) + limit * (Fraction(high) - Fraction(low))
        stored = (edge - len(names) * offset) / scale
        above = total > (floor(stored) if total.dtype.kind == "i" else float(stored))
        cloud = above if cloud is None else cloud & above
    assert cloud is not None
    for name in _names(cirrus):
        cloud &= calibration.valid(bands[name])
    return np.asarray(cloud & ~_is_snow(bands, offset / scale))


def code_mask(
    bands: Bands, calibration: Calibration, threshold: float = 0.2, cirrus: bool = True
) -> NDArray[np.bool_]:
    """Mask as the paper's published code computes it: closed, averaged, with a soft snow term.

    Parameters
    ----------
    bands, calibration, threshold, cirrus
        See :func:`paper_mask`.

    Returns
    -------
    ndarray of bool
        True where cloudy; a pixel without data counts as score 0.
    """
    reflectance = {n: calibration.decode(bands[n]) for n in _names(cirrus)}
    smooth = np.minimum(score(reflectance, cirrus), 1)
    green, swir = reflectance["B03"], reflectance["B11"]
    total = green + swir
    ndsi = (green - swir) / np.where(total == 0, np.float32(1e-3), total)
    smooth = np.minimum(smooth, (ndsi - np.float32(0.8)) / np.float32(0.6 - 0.8))
    smooth = ndimage.grey_closing(np.nan_to_num(smooth), size=(5, 5))
    smooth = ndimage.uniform_filter(smooth, 7, mode="constant")
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
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)


METHODS: dict[str, MaskMethod] = {
    "score": MaskMethod(("B01", "B02", "B03", "B04", "B10", "B11"), paper_mask),
    "reference-code": MaskMethod(("B01", "B02", "B03", "B04", "B10", "B11"), code_mask, reach=7),
    "l2a": MaskMethod(
        ("B01", "B02", "B03", "B04", "B11"), lambda b, c, t: paper_mask(b, c, t, cirrus=False)
    ),
    "scl": MaskMethod(("SCL",), class_mask),
}
"""Built-in methods by name."""


def _terms(cirrus: bool) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    return TERMS if cirrus else tuple(t for t in TERMS if "B10" not in t[0])


def _names(cirrus: bool) -> tuple[str, ...]:
    return METHODS["score" if cirrus else "l2a"].bands


def _exact(value: float) -> Fraction:
    """The decimal that a person wrote, not the binary float next to it."""
    return Fraction(str(float(value)))


def _total(bands: Bands, names: tuple[str, ...]) -> NDArray[Any]:
    kind = np.int64 if np.issubdtype(bands[names[0]].dtype, np.integer) else np.float64
    return np.asarray(sum(bands[n].astype(kind) for n in names))


def _is_snow(bands: Bands, offset: Fraction) -> NDArray[np.bool_]:
    """NDSI above 0.6; an empty sum counts as NDSI 0. `offset` in stored units."""
    green, swir = _total(bands, ("B03",)), _total(bands, ("B11",))
    exact = green.dtype.kind == "i" and offset.denominator < 10**9  # else int64 would overflow
    unit = offset.denominator if exact else 1
    both = unit * (green + swir) + 2 * (offset.numerator if exact else float(offset))
    left, right = SNOW.denominator * unit * (green - swir), SNOW.numerator * both
    return np.asarray(np.where(both > 0, left > right, (both < 0) & (left < right)))
