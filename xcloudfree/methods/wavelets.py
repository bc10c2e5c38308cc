"""Wavelet fusion: a filled image takes the details of the backscatter, scale by scale."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.methods.component_substitution import Match, backscatter_intensity, matched_gain

LEVELS: Final = 3
"""Scales of the transform."""

REACH: Final = 2 * (2**LEVELS - 1)
"""Pixels beyond a pixel that its details read."""

SPLINE: Final = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Cubic B-spline, the scaling function."""

MIDDLE: Final = -14.5
"""(VV + VH) / 2 in dB that stands where there is none, so that details around it stay small."""

Doubles = NDArray[np.float64]


def wavelet_details(plane: NDArray[np.floating], levels: int = LEVELS) -> Doubles:
    """Details of an image by scale: the undecimated ("a trous") transform with a cubic B-spline."""
    # The plane is the sum of its details and of what remains. Unlike the decimated transforms it
    # does not depend on where the window starts.
    # Starck and Murtagh, "Astronomical Image and Data Analysis", Springer 2006, section 2.3.
    smooth = plane.astype(np.float64)
    out = []
    for level in range(levels):
        kernel = np.zeros(4 * 2**level + 1)
        kernel[:: 2**level] = SPLINE
        coarser = smooth
        for axis in (0, 1):
            coarser = scipy.ndimage.correlate1d(coarser, kernel, axis=axis, mode="nearest")
        out.append(smooth - coarser)
        smooth = coarser
    return np.stack([*out, smooth])


def backscatter_details(backscatter: NDArray[np.floating], levels: int = LEVELS) -> Doubles:
    """Details of (VV + VH) / 2 by scale."""
    intensity = backscatter_intensity(backscatter)
    missing = np.isnan(intensity)
    details = wavelet_details(np.where(missing, MIDDLE, intensity), levels)[:-1]
    details[:, missing] = np.nan
    return details


def detail_sums(
    image: NDArray[np.floating],
    backscatter: NDArray[np.floating],
    clear: NDArray[np.bool_],
    core: tuple[slice, slice] = (slice(None), slice(None)),
    levels: int = LEVELS,
) -> Doubles:
    """Sums over a block from which the gains of the scene follow: they add up over blocks."""
    # Only pixels count whose details read nothing hidden.
    side = 2 * (2**levels - 1) * 2 + 1
    usable = clear & np.isfinite(image).all(axis=0) & np.isfinite(backscatter).all(axis=0)
    inner = scipy.ndimage.minimum_filter(usable, side, mode="nearest")[core]
    radar = backscatter_details(backscatter, levels)[:, *core][:, inner]
    out = np.zeros((3, len(image), levels))
    for band, plane in enumerate(image):
        optical = wavelet_details(np.where(usable, plane, 0), levels)[:-1, *core][:, inner]
        out[:, band] = [(a * b).sum(axis=1) for a, b in
                        ((optical, optical), (radar, radar), (optical, radar))]  # fmt: skip
    return out


def fit_detail_gains(sums: Doubles, match: Match = "spread") -> Doubles:
    """How much of the details of backscatter each band takes."""
    optical, radar, product = sums
    gains = [
        matched_gain(a, b, c, match)
        for a, b, c in zip(optical.flat, radar.flat, product.flat, strict=True)
    ]
    return np.reshape(gains, optical.shape)


def inject_details(
    base: NDArray[np.floating], backscatter: NDArray[np.floating], gains: Doubles
) -> NDArray[np.float32]:
    """Add the details of backscatter to an image that was filled without any."""
    # Nunez et al., "Multiresolution-based image fusion with additive wavelet decomposition", IEEE
    # TGRS 37(3), 1999.
    details = backscatter_details(backscatter, gains.shape[1])
    out = np.empty(base.shape, np.float32)
    for band, result, gain in zip(base, out, gains, strict=True):
        total = band.astype(np.float64)
        for detail, share in zip(details, gain, strict=True):
            total = total + share * detail
        result[...] = total
    return out
