"""Pixel fusion of reflectance and backscatter: local regression, components, wavelets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.box_sums import FADING_REACH, WIDTHS, fading_sums
from xcloudfree.methods import idw
from xcloudfree.methods.base import Booleans, Doubles, Floats, Method, Prediction, Series
from xcloudfree.methods.regression import clip_backscatter, local_mean, significant, stepped

Kind = Literal["ihs", "pca"]

DIGITS: Final = 7
"""Significant digits of a fit: sums over blocks differ in their last digits, but fits must not."""


# ------------------------------------------------------------ local regression

SPECKLE: Final = 3
"""Width in px of the mean that reduces speckle."""

REGRESSION_REACH: Final = FADING_REACH + SPECKLE // 2
"""Pixels beyond a window that influence it."""

CENTRE: Final = (-11.0, -18.0)
"""Reference backscatter in dB, VV and VH, for sums: near the mean, to avoid cancellation."""

PENALTY: Final = 0.3
"""Added to the variance of backscatter in the window, in dB^2: the remaining speckle."""


@dataclass(frozen=True)
class LocalRegression(Method):
    """Regression of reflectance on backscatter in a moving window."""

    reach: int = REGRESSION_REACH
    polarisations: tuple[str, ...] = ("VV", "VH")

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        assert series.backscatter is not None
        images = zip(series.reflectance, series.backscatter, series.clear, strict=True)
        return Prediction(np.stack([local_regression(*i) for i in images]))


def local_regression(
    image: NDArray[np.floating],
    backscatter: NDArray[np.floating],
    clear: NDArray[np.bool_],
    *,
    widths: Sequence[int] = WIDTHS,
    penalty: float = PENALTY,
) -> NDArray[np.float32]:
    """Reflectance from VV and VH by a separate regression for every pixel."""
    # The training data are the clear pixels around it, with the largest weights nearby. In dB the
    # ratio of both is their difference, so it adds nothing as a third predictor.
    # Kulkarni and Rege, "Pixel level fusion techniques for SAR and optical images: a review",
    # Information Fusion 59, 2020 (regression fusion); Hoerl and Kennard, "Ridge regression",
    # Technometrics 12(1), 1970.
    v, h = (
        local_mean(plane, SPECKLE) - centre
        for plane, centre in zip(clip_backscatter(backscatter), CENTRE, strict=True)
    )
    there = np.isfinite(backscatter).all(axis=0)
    use = clear & there & np.isfinite(image).all(axis=0)
    v_used, h_used = np.where(use, v, 0), np.where(use, h, 0)
    count = fading_sums(use, widths)
    known = (count > 0) & there
    count = np.where(known, count, 1)
    mean_v, mean_h = fading_sums(v_used, widths) / count, fading_sums(h_used, widths) / count
    vv = fading_sums(v_used * v_used, widths) / count - mean_v**2 + penalty
    hh = fading_sums(h_used * h_used, widths) / count - mean_h**2 + penalty
    vh = fading_sums(v_used * h_used, widths) / count - mean_v * mean_h
    determinant = vv * hh - vh**2
    out = np.full(image.shape, np.nan, np.float32)
    for band, result in zip(image, out, strict=True):
        y = np.where(use, band, 0).astype(np.float64)
        mean = fading_sums(y, widths) / count
        vy = fading_sums(v_used * y, widths) / count - mean_v * mean
        hy = fading_sums(h_used * y, widths) / count - mean_h * mean
        by_v = (hh * vy - vh * hy) / determinant
        by_h = (vv * hy - vh * vy) / determinant
        value = mean + by_v * (v - mean_v) + by_h * (h - mean_h)
        result[known] = value[known]
    return out


# ------------------------------------------------------------ component substitution


class Component(NamedTuple):
    """A component of the optical image, and its relation to backscatter; for one or more images."""

    weights: Doubles  # the component is the sum of weights times bands (band,)
    injection: Doubles  # change of each band per unit of the component (band,)
    offset: Any  # its replacement is offset + gain * (VV + VH) / 2, in dB
    gain: Any


class JointSums(NamedTuple):
    """Sums of [1, bands, backscatter] times itself over the clear pixels of images."""

    products: Doubles  # (image, 2 + band, 2 + band)


@dataclass(frozen=True)
class Substitution(Method):
    """Inverse-distance fill with one component replaced by backscatter."""

    passes: ClassVar[int] = 1

    reach: int = idw.REACH
    polarisations: tuple[str, ...] = ("VV", "VH")
    component: Kind = "ihs"  # which component

    def measure(self, series: Series, statistics: Sequence[Any]) -> JointSums:
        """Means and covariances of the bands and backscatter."""
        found = []
        for image, radar, clear in _images(series):
            planes = np.concatenate([image, backscatter_intensity(radar)[None]])[:, *series.core]
            found.append(joint_sums(planes, clear[series.core]))
        return JointSums(np.stack(found))

    def conclude(self, total: JointSums, statistics: Sequence[Any]) -> Component:
        """Relation of backscatter to the component of each image."""
        found = [fit_substitution(sums, self.component) for sums in total.products]
        return Component(*(np.array(same) for same in zip(*found, strict=True)))

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        out = []
        for n, (image, radar, clear) in enumerate(_images(series)):
            base = idw.inverse_distance_weighting(image, clear, series.wanted[n])
            fit = Component(*(field[n] for field in statistics[0]))
            out.append(substitute(base, radar, fit))
        return Prediction(np.stack(out))


def backscatter_intensity(backscatter: NDArray[np.floating]) -> Doubles:
    """Mean of VV and VH in dB, clipped."""
    vv, vh = clip_backscatter(backscatter)
    return np.asarray((vv + vh) / 2)


def joint_sums(planes: NDArray[np.floating], use: NDArray[np.bool_]) -> Doubles:
    """Sums of [1, planes] [1, planes]' over pixels, for means and covariances."""
    use = use & np.isfinite(planes).all(axis=0)
    bits = [[14]] * (len(planes) - 1) + [[10]]
    z = np.concatenate([np.ones((1, int(use.sum()))), stepped(planes[:, use], bits)])
    return np.asarray(z @ z.T)


def fit_substitution(sums: Doubles, kind: Kind) -> Component:
    """Component of a scene and its match with backscatter."""
    # Tu, Su, Shyu and Huang, "A new look at IHS-like image fusion methods", Information Fusion
    # 2(3), 2001; Chavez, Sides and Anderson, "Comparison of three different methods to merge
    # multiresolution and multispectral data", PE&RS 57(3), 1991; Kulkarni and Rege, "Pixel level
    # fusion techniques for SAR and optical images: a review", Information Fusion 59, 2020.
    mean, covariance = _statistics(sums)
    bands = len(mean) - 1
    weights, injection = np.full(bands, 1 / bands), np.ones(bands)
    if kind == "pca":
        weights = np.linalg.eigh(covariance[:-1, :-1])[1][:, -1]
        weights = significant(weights * (1 if weights.sum() >= 0 else -1), DIGITS)
        injection = weights
    both = np.concatenate([weights, [0.0]])
    variance = float(both @ covariance @ both)
    gain = matched_gain(variance, float(covariance[-1, -1]), float(both @ covariance[-1]))
    offset = float(significant(weights @ mean[:-1] - gain * mean[-1], DIGITS))
    return Component(weights, injection, offset, gain)


def matched_gain(variance: float, source: float, covariance: float) -> float:
    """Factor that scales a source to the spread of a target."""
    if variance < 1e-14 or source < 1e-14:
        return 0.0
    return float(significant(np.sign(covariance) * np.sqrt(variance / source), DIGITS))


def substitute(
    base: NDArray[np.floating], backscatter: NDArray[np.floating], component: Component
) -> NDArray[np.float32]:
    """Replace a component of a filled image by matched backscatter."""
    difference = component.offset + component.gain * backscatter_intensity(backscatter)
    for band, weight in zip(base, component.weights, strict=True):
        difference = difference - weight * band.astype(np.float64)
    out = np.empty(base.shape, np.float32)
    for band, result, injection in zip(base, out, component.injection, strict=True):
        result[...] = band + injection * difference
    return out


def _statistics(sums: Doubles) -> tuple[Doubles, Doubles]:
    """Means and covariances; zeros if no pixel counted."""
    count = max(sums[0, 0], 1)
    mean = sums[0, 1:] / count
    return mean, sums[1:, 1:] / count - np.outer(mean, mean)


# ------------------------------------------------------------ wavelets

LEVELS: Final = 3
"""Scales of the transform."""

DETAIL_REACH: Final = 2 * (2**LEVELS - 1)
"""Pixels beyond a pixel that its details read."""

SPLINE: Final = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Cubic B-spline, the scaling function."""

MIDDLE: Final = -14.5
"""(VV + VH) / 2 in dB that replaces missing values, so that details around them stay small."""


class DetailSums(NamedTuple):
    """Sums over details of images that depend on no hidden pixel, (image, band, level)."""

    optical: Doubles  # squared
    radar: Doubles  # squared
    product: Doubles  # of both


class DetailGains(NamedTuple):
    """Gain of each band for the details of backscatter."""

    gains: Doubles  # (image, band, level)


@dataclass(frozen=True)
class Wavelets(Method):
    """Inverse-distance fill plus the details of backscatter."""

    passes: ClassVar[int] = 1

    reach: int = max(idw.REACH, DETAIL_REACH)
    polarisations: tuple[str, ...] = ("VV", "VH")

    def measure(self, series: Series, statistics: Sequence[Any]) -> DetailSums:
        """Variances and covariances of details."""
        found = np.stack([detail_sums(*image, series.core) for image in _images(series)])
        return DetailSums(*np.moveaxis(found, 1, 0))

    def conclude(self, total: DetailSums, statistics: Sequence[Any]) -> DetailGains:
        """Gains of each image, band and scale."""
        tables = [np.stack(one) for one in zip(*total, strict=True)]
        return DetailGains(np.stack([fit_detail_gains(table) for table in tables]))

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        out = []
        for n, (image, radar, clear) in enumerate(_images(series)):
            base = idw.inverse_distance_weighting(image, clear, series.wanted[n])
            out.append(inject_details(base, radar, statistics[0].gains[n]))
        return Prediction(np.stack(out))


def wavelet_details(plane: NDArray[np.floating], levels: int = LEVELS) -> Doubles:
    """Details of an image by scale: the undecimated ("a trous") transform with a cubic B-spline."""
    # The plane is the sum of its details and the remainder. Unlike decimated transforms, this one
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
    """Sums over a block that determine the gains of the scene: they add up over blocks."""
    # Only pixels whose details depend on no hidden pixel count.
    side = 2 * (2**levels - 1) * 2 + 1
    usable = clear & np.isfinite(image).all(axis=0) & np.isfinite(backscatter).all(axis=0)
    inner = scipy.ndimage.minimum_filter(usable, side, mode="nearest")[core]
    radar = stepped(backscatter_details(backscatter, levels)[:, *core][:, inner], 12)
    out = np.zeros((3, len(image), levels))
    for band, plane in enumerate(image):
        details = wavelet_details(np.where(usable, plane, 0), levels)[:-1, *core]
        optical = stepped(details[:, inner], 18)
        out[:, band] = [(a * b).sum(axis=1) for a, b in
                        ((optical, optical), (radar, radar), (optical, radar))]  # fmt: skip
    return out


def fit_detail_gains(sums: Doubles) -> Doubles:
    """Gain of each band for the details of backscatter."""
    optical, radar, product = sums
    gains = [
        matched_gain(a, b, c)
        for a, b, c in zip(optical.flat, radar.flat, product.flat, strict=True)
    ]
    return np.reshape(gains, optical.shape)


def inject_details(
    base: NDArray[np.floating], backscatter: NDArray[np.floating], gains: Doubles
) -> NDArray[np.float32]:
    """Add the details of backscatter to an image that was filled without them."""
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


def _images(series: Series) -> Iterator[tuple[Floats, Floats, Booleans]]:
    """Reflectance, backscatter and clear pixels of each date."""
    assert series.backscatter is not None
    yield from zip(series.reflectance, series.backscatter, series.clear, strict=True)
