"""STARFM: predicts a date from a fine image of another date and the change in coarse images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.box_sums import FADING_REACH, WIDTHS, fading_sums
from xcloudfree.core.windows import Area
from xcloudfree.methods.base import Booleans, Method, Option, Prediction, Series, positive, whole
from xcloudfree.methods.regression import local_mean

WINDOW: Final = 31
"""Width in px of the window to search for similar pixels."""

REACH: Final = WINDOW // 2
"""Pixels beyond a window that may influence it, if coarse images are given."""

TILE: Final = (32, 256)
"""Rows and columns that are processed at a time: their arrays stay in the processor's cache."""

LEAST: Final = 1e-14
"""Cost below which cells have equal weights."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Starfm(Method):
    """The nearest clear dates, updated by the change that a coarse sensor sees."""

    # The nearest date before and the nearest after make two pairs. If only one shows the ground it
    # is used alone, and if neither does, the next two are used. Without images of a coarse sensor,
    # means of the clear pixels around replace it, on the date itself and on the others; then
    # nothing is predicted where the date has no visible pixel within reach. The user's images
    # (`methods.get("starfm", coarse=modis)`: MODIS, Sentinel-3) must have the bands, the dates and
    # the grid of the scene, as reflectance; where they have no data on a date, nothing is predicted
    # for it.

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "coarse": Option(
            "a Dataset or DataArray of reflectance",
            lambda v: hasattr(v, "dims") and hasattr(v, "coords"),
        ),
        "pairs": whole(1, 2),
        "window": whole(3, 255, odd=True),
        "classes": whole(1, 1000),
        "uncertainty": Option("reflectance above 0, such as 0.005", positive),
    }

    temporal: bool = True
    reach: int = FADING_REACH + REACH
    pairs: int = 2  # dates per value, 1 or 2
    window: int = WINDOW  # width in px of the search for similar pixels, odd
    classes: int = 4  # land cover classes: pixels within 2 deviations / classes are similar
    uncertainty: float = 0.005  # standard deviation of reflectance of either sensor

    def set(self, **options: Any) -> Self:
        """See :meth:`Method.set`; images from the user need nothing beyond the window."""
        name = self.named(options)
        images = options.pop("coarse", self.images)
        found = replace(self, name=name, images=images, **options)
        around = 0 if images is not None else FADING_REACH
        return replace(found, reach=around + found.window // 2)

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        out = np.full(series.reflectance.shape, np.nan, np.float32)
        for date, wanted in enumerate(series.wanted):
            if wanted.any():
                area = self._around(wanted)
                out[date][:, *area] = self._image(series.cut(area), date)
        return Prediction(out)

    def _around(self, wanted: Booleans) -> Area:
        """The smallest window with all wanted pixels and all pixels that influence them."""
        first = [np.flatnonzero(wanted.any(axis)) for axis in (1, 0)]
        rows, columns = (slice(max(i[0] - self.reach, 0), i[-1] + 1 + self.reach) for i in first)
        return rows, columns

    def _image(self, series: Series, date: int) -> Floats:
        """One date, (band, y, x)."""
        clear = series.clear
        if series.coarse is None:
            seen = np.asarray(fading_sums(clear[date].astype(np.float64)) > 0)
        else:
            seen = np.asarray(np.isfinite(series.coarse[date]).all(0))
        left = series.wanted[date] & seen  # elsewhere the change is unknown
        out = np.full(series.reflectance.shape[1:], np.nan, np.float32)
        for dates in _nearest(series, date, self.pairs):
            if not left.any():
                break
            use = [d for d in dates if (clear[d] & left).any()]
            if not use:
                continue
            fine = [np.where(clear[d], series.reflectance[d], np.float32(np.nan)) for d in use]
            then, now = zip(
                *(self._coarse(series, f, d, date) for f, d in zip(fine, use, strict=True)),
                strict=True,
            )
            found = starfm(
                np.stack(fine), np.stack(then), np.stack(now), left,
                window=self.window, classes=self.classes, uncertainty=self.uncertainty,
            )  # fmt: skip
            out[:, left] = found[:, left]
            left &= np.isnan(out).any(axis=0)
        return out

    def _coarse(self, series: Series, fine: Floats, then: int, now: int) -> CoarsePair:
        if series.coarse is not None:
            return CoarsePair(series.coarse[then], series.coarse[now])
        return coarse_pair(fine, series.reflectance[now], series.clear[now])


def _nearest(series: Series, date: int, pairs: int) -> Iterator[list[int]]:
    """The nearest dates before and after a date, then the next two; or one by one."""
    assert series.days is not None
    place = [(float(day), number) for number, day in enumerate(series.days)]
    before = sorted((p for p in place if p < place[date]), reverse=True)
    after = sorted(p for p in place if p > place[date])
    if pairs == 1:
        day = place[date][0]
        for one in sorted(before + after, key=lambda p: (abs(p[0] - day), p)):
            yield [one[1]]
        return
    for both in zip_longest(before, after):
        yield [p[1] for p in both if p is not None]


class CoarsePair(NamedTuple):
    """The scene as a coarse sensor would see it on two dates, (band, y, x) on the fine grid."""

    then: NDArray[np.float32]
    now: NDArray[np.float32]


def coarse_pair(
    then: NDArray[np.floating],
    now: NDArray[np.floating],
    clear: NDArray[np.bool_],
    *,
    widths: Sequence[int] = WIDTHS,
) -> CoarsePair:
    """Coarse images of a clear date and of a cloudy one, from their own fine pixels."""
    # The change is averaged over the pixels that both dates show and added to the coarse image of
    # the clear date: change is smoother than reflectance, and a mean over different pixels would be
    # mistaken for change. Moving means, not blocks, so that the result does not depend on the grid.
    base = fading_mean(then, widths)
    change = fading_mean(np.where(clear, now, np.nan) - then, widths)
    return CoarsePair(base.astype(np.float32), (base + change).astype(np.float32))


def fading_mean(image: NDArray[np.floating], widths: Sequence[int] = WIDTHS) -> NDArray[np.float64]:
    """Mean of the valid pixels around each pixel, with the largest weights nearby."""
    valid = np.isfinite(image).all(axis=0)
    weight = fading_sums(valid.astype(np.float64), widths)
    out = np.full(image.shape, np.nan)
    for band, mean in zip(image, out, strict=True):
        np.divide(fading_sums(np.where(valid, band, 0), widths), weight, out=mean, where=weight > 0)
    return out


def starfm(
    fine: NDArray[np.floating],
    coarse_then: NDArray[np.floating],
    coarse_now: NDArray[np.floating],
    wanted: NDArray[np.bool_] | None = None,
    *,
    window: int = WINDOW,
    classes: int = 4,
    uncertainty: float = 0.005,
) -> Floats:
    """Predict a fine image from those of other dates and from coarse images of all dates."""
    # Every spectrally similar pixel of the window has weight 1 / (S T D): S = |fine -
    # coarse|, T = the coarse change, D = 1 + distance / (window / 2). Pixels whose S or T exceeds
    # that of the centre by more than the uncertainty have no weight.
    # Gao, Masek, Schwaller and Hall, "On the blending of the Landsat and MODIS surface reflectance:
    # predicting daily Landsat surface reflectance", IEEE TGRS 44(8), 2006, equations 3 to 9.
    pairs, bands, height, width = fine.shape
    half = window // 2
    now = np.broadcast_to(coarse_now, fine.shape)
    wanted = np.ones((height, width), np.bool_) if wanted is None else wanted
    out = np.full((bands, height, width), np.nan, np.float32)
    rows, columns = TILE
    together = max(1, rows * columns // max(1, height * width))  # bands of small images
    for first in range(0, bands, together):
        some = slice(first, min(first + together, bands))
        layers = [
            _layers(fine[k, some], coarse_then[k, some], now[k, some], half) for k in range(pairs)
        ]
        limits = [
            np.stack([_deviation(fine[k, band], window) for band in range(some.start, some.stop)])
            for k in range(pairs)
        ]
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                area = (slice(top, top + rows), slice(left, left + columns))
                if wanted[area].any():
                    similar = [2 / classes * limit[:, *area] for limit in limits]
                    out[some, *area] = _predict(layers, similar, (top, left), window, uncertainty)
    out[:, ~wanted] = np.nan
    return out


class _Layers(NamedTuple):
    """Prediction from one pair for each pixel of some bands, with a border without weight."""

    fine: Floats
    change: Floats
    spectral: Floats
    temporal: Floats
    vote: Floats


def _layers(
    fine: NDArray[np.floating],
    then: NDArray[np.floating],
    now: NDArray[np.floating],
    half: int,
) -> _Layers:
    change = np.asarray(now, np.float32) - then.astype(np.float32)
    spectral = np.abs(fine.astype(np.float32) - then.astype(np.float32))
    temporal = np.abs(change)
    cost = spectral * temporal
    valid = ~np.isnan(cost)
    vote = np.where(valid, 1 / np.maximum(np.where(valid, cost, 1), np.float32(LEAST)), 0)
    planes = (
        np.where(valid, fine, np.inf),
        np.where(valid, change, 0),
        np.where(valid, spectral, np.inf),
        np.where(valid, temporal, np.inf),
        vote,
    )
    outside = (np.inf, 0, np.inf, np.inf, 0)
    border = ((0, 0), (half, half), (half, half))
    padded = (
        np.pad(plane.astype(np.float32), border, constant_values=value)
        for plane, value in zip(planes, outside, strict=True)
    )
    return _Layers(*padded)


def _deviation(fine: NDArray[np.floating], window: int) -> Floats:
    """Standard deviation of the valid pixels in the window around each pixel."""
    mean = local_mean(fine, window)
    square = local_mean(fine.astype(np.float64) ** 2, window)
    return np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)


def _predict(
    layers: list[_Layers],
    similar: list[Floats],
    origin: tuple[int, int],
    window: int,
    uncertainty: float,
) -> Floats:
    """One tile of some bands: the sums run over the shifts, so memory does not grow with them."""
    half = window // 2
    top, left = origin
    shape = similar[0].shape
    height, width = shape[1:]
    centre = (..., slice(top + half, top + half + height), slice(left + half, left + half + width))
    votes, total, copied, copies = np.zeros((4, *shape), np.float32)
    weight, scratch = np.empty((2, *shape), np.float32)
    ok, other = np.empty((2, *shape), np.bool_)
    for pair, limit in zip(layers, similar, strict=True):
        own = pair.fine[centre]
        valid = pair.vote[centre] > 0
        own = np.where(valid, own, np.float32(0))
        most_spectral = pair.spectral[centre] + np.float32(uncertainty * 2**0.5)
        most_temporal = pair.temporal[centre] + np.float32(uncertainty * 2**0.5)
        limit = np.where(valid, limit + np.float32(1e-7), np.float32(-1))
        share, sums = np.zeros((2, *shape), np.float32)
        for y in range(window):
            for x in range(window):
                cell = (..., slice(top + y, top + y + height), slice(left + x, left + x + width))
                fine = pair.fine[cell]
                np.subtract(fine, own, out=scratch)
                np.abs(scratch, out=scratch)
                np.less_equal(scratch, limit, out=ok)
                np.less(pair.spectral[cell], most_spectral, out=other)
                ok &= other
                np.less(pair.temporal[cell], most_temporal, out=other)
                ok &= other
                distance = ((y - half) ** 2 + (x - half) ** 2) ** 0.5
                np.multiply(pair.vote[cell], ok, out=weight)
                weight *= np.float32(1 / (1 + distance / (window / 2)))
                share += weight
                np.multiply(weight, pair.change[cell], out=scratch)
                sums += scratch
        votes += share
        total += sums + own * share
        exact = valid & ((pair.spectral[centre] == 0) | (pair.temporal[centre] == 0))
        copies += exact
        copied += np.where(exact, own + pair.change[centre], np.float32(0))
    out = np.full(shape, np.nan, np.float32)
    np.divide(total, votes, out=out, where=votes > 0)
    np.divide(copied, copies, out=out, where=copies > 0)
    return out
