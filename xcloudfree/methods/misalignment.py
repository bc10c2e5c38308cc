"""How far Sentinel-1 lies off Sentinel-2: edges of both, correlated.

The sensors show different things, so values do not match; their edges, borders of fields, forests
and waters, do. Where edges say nothing, as on open water, the answer is "unknown".
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError

SIGMA: Final = 1.5
"""Pixels over which gradients are smoothed: less lets speckle through, more blurs edges."""

BORDER: Final = 4
"""Pixels beside something hidden whose gradient is its edge."""

MOST: Final = 10
"""Pixels of the largest shift that is looked for, in blocks that are large enough."""

AROUND: Final = 4
"""Pixels around a shift among which the second opinion chooses."""

AGREEING: Final = 1.5
"""Pixels by which the second opinion may differ."""

CONFIDENT: Final = 0.1
"""Least confidence of a shift that is reported."""

DEVIATIONS: Final = 4.0
"""Deviations of the correlation by which its peak stands out at least. These two and `AGREEING`
were chosen on two TerraMesh pairs and 16 SEN12MS-CR triplets, and on radar of other places put
beside them: 0.8 % of these get an answer (docs/guides/geotiffs.md)."""

STEPS: Final = 10
"""Steps a pixel of the answer."""

CLIPPED: Final = 0.98
"""Quantile of the gradients to which larger ones are cut: a bridge is not all."""

LEAST: Final = 48
"""Rows and columns of the smallest block that gets a shift."""

Floats = NDArray[np.float32]
Grid = NDArray[np.float64]


def registration() -> Any:
    """Scikit-image, which is an extra."""
    try:
        import skimage.metrics
        import skimage.registration
    except ImportError as error:
        raise DataError(
            "the shift between sensors is measured with scikit-image",
            fix="install it with pip install 'xcloudfree[align]'",
        ) from error
    return skimage


def shift(optical: Floats, radar: Floats) -> tuple[float, float, float]:
    """Rows and columns by which radar lies below and right of what is optical, and confidence.

    Parameters
    ----------
    optical : ndarray of float32
        (time, band, y, x), NaN where hidden.
    radar : ndarray of float32
        (time, polarisation, y, x) in dB, NaN where missing; other times are allowed.

    Returns
    -------
    tuple of float
        NaN, NaN where it is unknown. The confidence, from 0 to 1, is what the peak of the
        correlation has more than the next one, as a share.
    """
    side = min(optical.shape[-2:])
    seen, heard = edges(optical), edges(_mean(radar)[None])
    if side < LEAST or seen is None or heard is None:
        return np.nan, np.nan, 0.0
    most = min(MOST, side // 6)
    first, second = (_windowed(a) for a in (seen, heard))
    (dy, dx), height, confidence = peak(first, second, most)
    if height < DEVIATIONS or confidence < CONFIDENT:
        return np.nan, np.nan, confidence
    if np.hypot(*second_opinion(seen, heard, (dy, dx), most)) > AGREEING:
        return np.nan, np.nan, confidence
    back, _, _ = registration().registration.phase_cross_correlation(
        first, second, normalization=None, upsample_factor=STEPS
    )
    return -float(back[0]), -float(back[1]), confidence


def edges(images: Floats) -> Grid | None:
    """Mean size of the gradient over images and bands, in deviations; None where there is none."""
    total = np.zeros(images.shape[-2:])
    count = np.zeros_like(total)
    for bands in images:
        known = np.asarray(np.isfinite(bands).all(0))
        inner = scipy.ndimage.binary_erosion(known, iterations=BORDER, border_value=1)
        if 2 * inner.sum() < inner.size:
            continue
        for band in bands:
            level = float(band[known].mean())
            filled = np.where(known, band, level).astype(np.float64)
            size = scipy.ndimage.gaussian_gradient_magnitude(filled, SIGMA, mode="nearest")
            size = np.minimum(size, np.quantile(size[inner], CLIPPED))
            deviation = size[inner].std()
            if deviation > 1e-6 * (abs(level) + 1e-6):
                total[inner] += (size[inner] - size[inner].mean()) / deviation
                count[inner] += 1
    if 2 * (count > 0).sum() < count.size:
        return None
    return total / np.maximum(count, 1)


def peak(seen: Grid, heard: Grid, most: int) -> tuple[tuple[int, int], float, float]:
    """Whole shift of the greatest correlation, how far it stands out, and its confidence."""
    spectrum = scipy.fft.fft2(heard) * scipy.fft.fft2(seen).conj()
    surface = scipy.fft.fftshift(scipy.fft.ifft2(spectrum).real)
    middle = [n // 2 for n in surface.shape]
    rows, columns = (slice(m - most, m + most + 1) for m in middle)
    near = surface[rows, columns]
    place = np.unravel_index(near.argmax(), near.shape)
    dy, dx = int(place[0]) - most, int(place[1]) - most
    y, x = np.ogrid[: surface.shape[0], : surface.shape[1]]
    others = surface[np.hypot(y - middle[0] - dy, x - middle[1] - dx) > 4 * SIGMA]
    top, deviation = float(near.max()), float(others.std())
    if top <= 0 or deviation == 0:
        return (dy, dx), 0.0, 0.0
    confidence = 1 - float(others.max()) / top
    return (dy, dx), (top - float(others.mean())) / deviation, min(max(confidence, 0.0), 1.0)


def second_opinion(seen: Grid, heard: Grid, about: tuple[int, int], most: int) -> tuple[int, int]:
    """Steps from a shift to that of the greatest normalised mutual information around it."""
    measure = registration().metrics.normalized_mutual_information
    around = min(AROUND, most)
    margin = most + around
    core = seen[margin:-margin, margin:-margin]
    height, width = core.shape
    best = {}
    for i in range(-around, around + 1):
        for j in range(-around, around + 1):
            top, left = margin + about[0] + i, margin + about[1] + j
            other = heard[top : top + height, left : left + width]
            best[i, j] = float(measure(core, other, bins=24))
    return max(best, key=lambda step: best[step])


def resampled(values: Grid, dy: float, dx: float) -> Grid:
    """Values (..., y, x) `dy` below and `dx` right, bilinear; NaN where a neighbour is missing."""
    for axis, offset in ((-2, dy), (-1, dx)):
        whole = int(np.floor(offset))
        part = offset - whole
        first = moved(values, whole, axis)
        if part:
            first = (1 - part) * first + part * moved(values, whole + 1, axis)
        values = first
    return values


def moved(values: Grid, steps: int, axis: int) -> Grid:
    """The values that many places on; NaN beyond the end."""
    size = values.shape[axis]
    out = np.full_like(values, np.nan)
    there = [slice(None)] * values.ndim
    here = list(there)
    there[axis] = slice(max(steps, 0), max(size + min(steps, 0), 0))
    here[axis] = slice(max(-steps, 0), max(size - max(steps, 0), 0))
    out[tuple(here)] = values[tuple(there)]
    return out


def _mean(radar: Floats) -> Floats:
    """Mean over dates, which calms speckle; NaN where there is none."""
    known = np.isfinite(radar)
    count = known.sum(0)
    total = np.where(known, radar, 0).sum(0, dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(mean, np.float32)


def _windowed(image: Grid) -> Grid:
    """The image faded out at its ends, which would otherwise be the strongest edges."""
    tapers = (scipy.signal.windows.tukey(n, 0.25) for n in image.shape)
    return np.asarray((image - image.mean()) * np.outer(*tapers))
