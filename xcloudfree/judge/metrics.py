"""Image quality of one reconstructed image: PSNR, SSIM, MAE, RMSE and SAM in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

METRICS: Final[tuple[str, ...]] = ("psnr", "ssim", "mae", "rmse", "sam")
"""Names of the columns that :func:`image_metrics` returns, before the two counts."""

UNITS: Final = {"psnr": "dB", "ssim": "1", "mae": "1", "rmse": "1", "sam": "degree"}

BETTER: Final = {"psnr": 1, "ssim": 1, "mae": -1, "rmse": -1, "sam": -1}
"""Whether larger (1) or smaller (-1) values of a metric are better."""

NAMES: Final = {
    "psnr": "PSNR dB",
    "ssim": "SSIM",
    "mae": "MAE",
    "rmse": "RMSE",
    "sam": "SAM deg",
    "bias": "bias",
}
"""Metrics with their units, as named in tables."""

DIGITS: Final = {"psnr": 2, "ssim": 3, "mae": 4, "rmse": 4, "sam": 2, "bias": 4}
"""Digits shown in tables."""

DEFINITIONS: Final = {
    "psnr": (
        "peak signal-to-noise ratio",
        "-10 log10(mean squared difference), peak 1; infinite if identical",
    ),
    "ssim": (
        "structural similarity",
        "mean over bands and pixels of the map with a Gaussian window 11x11, sigma 1.5, C1 = 1e-4, "
        "C2 = 9e-4, zeros beyond the border and at left-out pixels; for a selection the mean of "
        "the full image's map over it",
    ),
    "mae": ("mean absolute error", "mean |difference|"),
    "rmse": ("root mean squared error", "sqrt(mean squared difference)"),
    "sam": (
        "spectral angle",
        "mean over pixels of the angle between the spectra; all-zero spectra left out",
    ),
}
"""Long name, and definition."""

SSIM_C1: Final = 1e-4
SSIM_C2: Final = 9e-4
SSIM_SIGMA: Final = 1.5
SSIM_SIZE: Final = 11

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def gaussian_window() -> Doubles:
    """One-dimensional Gaussian window with sum 1."""
    offset = np.arange(SSIM_SIZE, dtype=np.float64) - (SSIM_SIZE - 1) / 2
    taps = np.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    return np.asarray(taps / taps.sum(), dtype=np.float64)


def ssim_map(prediction: Floats, truth: Floats) -> Doubles:
    """Structural similarity of every pixel of one band, values 0 to 1 (Wang 2004, eq. 13)."""
    taps = gaussian_window()

    def local(image: Doubles) -> Doubles:
        rows = scipy.ndimage.correlate1d(image, taps, axis=0, mode="constant")
        return np.asarray(scipy.ndimage.correlate1d(rows, taps, axis=1, mode="constant"))

    p, t = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    mean_p, mean_t = local(p), local(t)
    variance_p = local(p * p) - mean_p**2
    variance_t = local(t * t) - mean_t**2
    covariance = local(p * t) - mean_p * mean_t
    similarity = (2 * mean_p * mean_t + SSIM_C1) * (2 * covariance + SSIM_C2)
    similarity /= (mean_p**2 + mean_t**2 + SSIM_C1) * (variance_p + variance_t + SSIM_C2)
    return similarity


def image_metrics(
    prediction: Floats, truth: Floats, selections: Sequence[Booleans | None] = (None,)
) -> Doubles:
    """Metrics, pixels compared and left out for each selection; values are clipped to [0, 1]."""
    bands, height, width = truth.shape
    valid: Booleans = np.ones((height, width), dtype=np.bool_)
    for p, t in zip(prediction, truth, strict=True):
        valid &= ~(np.isnan(p) | np.isnan(t))

    absolute = np.zeros((height, width))
    squared = np.zeros((height, width))
    similarity = np.zeros((height, width))
    dot = np.zeros((height, width))
    length_p = np.zeros((height, width))
    length_t = np.zeros((height, width))
    for p, t in zip(prediction, truth, strict=True):  # one band at a time bounds the memory
        p = np.clip(np.where(valid, p, 0).astype(np.float64), 0, 1)
        t = np.clip(np.where(valid, t, 0).astype(np.float64), 0, 1)
        difference = p - t
        absolute += np.abs(difference)
        squared += difference**2
        similarity += ssim_map(p, t)
        dot += p * t
        length_p += p * p
        length_t += t * t
    lengths = np.sqrt(length_p) * np.sqrt(length_t)
    with np.errstate(invalid="ignore", divide="ignore"):
        angle = np.degrees(np.arccos(np.clip(dot / lengths, -1, 1)))
    angle[lengths == 0] = np.nan

    rows = []
    for selection in selections:
        chosen = valid if selection is None else valid & selection
        asked = valid.size if selection is None else int(np.count_nonzero(selection))
        count = int(np.count_nonzero(chosen))
        if count == 0:
            rows.append([np.nan] * len(METRICS) + [0, asked])
            continue
        mse = float(squared[chosen].mean()) / bands
        angles = angle[chosen]
        angles = angles[~np.isnan(angles)]
        rows.append(
            [
                -10 * np.log10(mse) if mse > 0 else np.inf,
                float(similarity[chosen].mean()) / bands,
                float(absolute[chosen].mean()) / bands,
                np.sqrt(mse),
                float(angles.mean()) if angles.size else np.nan,
                count,
                asked - count,
            ]
        )
    return np.asarray(rows, dtype=np.float64)
