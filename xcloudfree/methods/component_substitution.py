"""Component substitution: a component of the optical image gives way to backscatter (IHS, PCA)."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.digits import significant
from xcloudfree.methods.trivial import told_apart

REACH: Final = 0
"""Pixels beyond a pixel that it reads."""

DIGITS: Final = 7
"""Significant digits of a fit: sums over blocks differ in their last digits, a fit must not."""

Doubles = NDArray[np.float64]
Component = Literal["ihs", "pca"]
Match = Literal["spread", "regression"]


class Substitution(NamedTuple):
    """A component of the optical image, and what backscatter says of it."""

    weights: Doubles  # the component is the sum of weights times bands (band,)
    injection: Doubles  # what one unit of it changes in each band (band,)
    offset: float  # what takes its place is offset + gain * (VV + VH) / 2, in dB
    gain: float  # what takes its place is offset + gain * (VV + VH) / 2, in dB


def backscatter_intensity(backscatter: NDArray[np.floating]) -> Doubles:
    """Mean of VV and VH in dB, clipped to what is told apart."""
    vv, vh = told_apart(backscatter)
    return np.asarray((vv + vh) / 2)


def joint_sums(planes: NDArray[np.floating], use: NDArray[np.bool_]) -> Doubles:
    """Sums of [1, planes] [1, planes]' over pixels, from which means and covariances follow."""
    use = use & np.isfinite(planes).all(axis=0)
    z = np.concatenate([np.ones((1, int(use.sum()))), planes[:, use].astype(np.float64)])
    return np.asarray(z @ z.T)


def fit_substitution(sums: Doubles, component: Component, match: Match = "spread") -> Substitution:
    """Component of a scene and its match with backscatter."""
    # Tu, Su, Shyu and Huang, "A new look at IHS-like image fusion methods", Information Fusion
    # 2(3), 2001; Chavez, Sides and Anderson, "Comparison of three different methods to merge
    # multiresolution and multispectral data", PE&RS 57(3), 1991; Kulkarni and Rege, "Pixel level
    # fusion techniques for SAR and optical images: a review", Information Fusion 59, 2020.
    mean, covariance = _statistics(sums)
    bands = len(mean) - 1
    weights, injection = np.full(bands, 1 / bands), np.ones(bands)
    if component == "pca":
        weights = np.linalg.eigh(covariance[:-1, :-1])[1][:, -1]
        weights = significant(weights * (1 if weights.sum() >= 0 else -1), DIGITS)
        injection = weights
    both = np.concatenate([weights, [0.0]])
    variance = float(both @ covariance @ both)
    gain = matched_gain(variance, float(covariance[-1, -1]), float(both @ covariance[-1]), match)
    offset = float(significant(weights @ mean[:-1] - gain * mean[-1], DIGITS))
    return Substitution(weights, injection, offset, gain)


def matched_gain(variance: float, source: float, covariance: float, match: Match) -> float:
    """Factor that brings a source to a target."""
    if variance < 1e-14 or source < 1e-14:
        return 0.0
    gain = np.sign(covariance) * np.sqrt(variance / source)
    return float(significant(covariance / source if match == "regression" else gain, DIGITS))


def substitute(
    base: NDArray[np.floating], backscatter: NDArray[np.floating], substitution: Substitution
) -> NDArray[np.float32]:
    """Put matched backscatter in the place of a component of a filled image."""
    difference = substitution.offset + substitution.gain * backscatter_intensity(backscatter)
    for band, weight in zip(base, substitution.weights, strict=True):
        difference = difference - weight * band.astype(np.float64)
    out = np.empty(base.shape, np.float32)
    for band, result, injection in zip(base, out, substitution.injection, strict=True):
        result[...] = band + injection * difference
    return out


def _statistics(sums: Doubles) -> tuple[Doubles, Doubles]:
    """Means and covariances; zeros where no pixel counted."""
    count = max(sums[0, 0], 1)
    mean = sums[0, 1:] / count
    return mean, sums[1:, 1:] / count - np.outer(mean, mean)
