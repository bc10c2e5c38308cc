"""Errors of the hidden pixels of an image: by band, index and distance to visible pixels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

ANY: Final = "any"
ALL: Final = "all"

DISTANCES: Final = {
    "up to 4 px": (0.0, 4.0),
    "4 to 16 px": (4.0, 16.0),
    "over 16 px": (16.0, np.inf),
}
"""Classes of the distance of a hidden pixel to the nearest visible one: above, and up to."""

FIGURES: Final = ("psnr", "mae", "bias")
"""Figures of :func:`band_errors` for each band and index."""

Floats = NDArray[np.floating]
Booleans = NDArray[np.bool_]


class Errors(NamedTuple):
    """Errors of one image; the first class of distance is any, the first band all of them."""

    values: NDArray[np.float64]  # (distance, band and index, figure)
    angles: NDArray[np.float64]  # spectral angle in degrees (distance,)
    asked: NDArray[np.int64]  # pixels with a known truth (distance,)
    filled: NDArray[np.int64]  # those of them that were predicted (distance,)


def indices_of(bands: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Normalised differences that the bands allow: positions of the two bands of each."""
    infrared = next((b for b in ("B08", "B8A") if b in bands), None)
    pairs = {"NDVI": (infrared, "B04"), "NDWI": ("B03", infrared)}  # Rouse 1973; McFeeters 1996
    return {
        name: (bands.index(one), bands.index(other))
        for name, (one, other) in pairs.items()
        if one in bands and other in bands
    }


def band_errors(
    guess: Floats, truth: Floats, hidden: Booleans, indices: dict[str, tuple[int, int]]
) -> Errors:
    """Errors of the hidden pixels of an image (band, y, x), clipped to [0, 1] as all figures are.

    As in :func:`xcloudfree.judge.metrics.image_metrics`, a pixel without data in some band of
    either image is left out, and for an index also one where both of its bands are 0.
    """
    known: Booleans = np.isfinite(truth).all(axis=0)  # type: ignore[assignment]
    predicted = np.isfinite(guess).all(0)
    classes = _classes(hidden, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (np.clip(a.astype(np.float64), 0, 1) for a in (guess, truth))
        ratios = [
            [(a[i] - a[j]) / (a[i] + a[j]) for i, j in indices.values()] for a in (one, other)
        ]
        lengths = np.sqrt((one**2).sum(0)) * np.sqrt((other**2).sum(0))
        angle = np.degrees(np.arccos(np.clip((one * other).sum(0) / lengths, -1, 1)))
    angle[lengths == 0] = np.nan
    difference = one - other
    rows, angles = [], []
    with warnings.catch_warnings():  # a class without pixels has no mean
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        for chosen in classes:
            use = chosen & known & predicted
            planes = [difference[:, use], *difference[:, use]]
            planes += [a[use] - b[use] for a, b in zip(*ratios, strict=True)]
            rows.append([_figures(plane) for plane in planes])
            angles.append(float(np.nanmean(angle[use])))
    asked = [np.count_nonzero(chosen & known) for chosen in classes]
    filled = [np.count_nonzero(chosen & known & predicted) for chosen in classes]
    return Errors(np.array(rows), np.array(angles), np.array(asked), np.array(filled))


def _classes(hidden: Booleans, known: Booleans) -> list[Booleans]:
    """Hidden pixels, and those of each class of distance."""
    visible = ~hidden & known
    away: Floats = np.full(hidden.shape, np.inf)
    if visible.any():
        away = scipy.ndimage.distance_transform_edt(~visible)
    return [hidden, *(hidden & (away > low) & (away <= high) for low, high in DISTANCES.values())]


def _figures(differences: Floats) -> list[float]:
    """PSNR, mean absolute error and bias; NaN without pixels."""
    square = float(np.nanmean(differences**2))
    psnr = np.inf if square == 0 else -10 * np.log10(square)
    return [float(psnr), float(np.nanmean(np.abs(differences))), float(np.nanmean(differences))]
