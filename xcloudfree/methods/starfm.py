"""STARFM: a fine image of another date, brought to this one by what a coarse sensor saw change."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.trivial import local_mean

WINDOW: Final = 31
"""Width in px of the window that similar pixels are sought in."""

REACH: Final = WINDOW // 2
"""Pixels beyond a window that may influence it, given the coarse images."""

TILE: Final = (32, 256)
"""Rows and columns that are worked on at a time: their arrays stay in the processor's cache."""

LEAST: Final = 1e-14
"""Cost below which cells weigh alike."""

Floats = NDArray[np.float32]


def starfm(
    fine: NDArray[np.floating],
    coarse_then: NDArray[np.floating],
    coarse_now: NDArray[np.floating],
    wanted: NDArray[np.bool_] | None = None,
    *,
    window: int = WINDOW,
    classes: int = 4,
    uncertainty: float = 0.005,
    deviation: NDArray[np.floating] | None = None,
    average: Literal["changes", "values"] = "changes",
    logarithmic: bool = False,
) -> Floats:
    """Predict a fine image from those of other dates and from coarse images of all dates."""
    # Every spectrally similar pixel of the window votes with weight 1 / (S T D): S = |fine -
    # coarse|, T = the coarse change, D = 1 + distance / (window / 2). Pixels whose S or T exceeds
    # that of the centre by more than the uncertainty have no vote.
    # Gao, Masek, Schwaller and Hall, "On the blending of the Landsat and MODIS surface reflectance:
    # predicting daily Landsat surface reflectance", IEEE TGRS 44(8), 2006, equations 3 to 9.
    pairs, bands, height, width = fine.shape
    half = window // 2
    now = np.broadcast_to(coarse_now, fine.shape)
    wanted = np.ones((height, width), np.bool_) if wanted is None else wanted
    out = np.full((bands, height, width), np.nan, np.float32)
    rows, columns = TILE
    for band in range(bands):
        layers = [
            _layers(fine[k, band], coarse_then[k, band], now[k, band], half, logarithmic)
            for k in range(pairs)
        ]
        limits = [
            _deviation(fine[k, band], window)
            if deviation is None
            else np.full((height, width), deviation[k, band], np.float32)
            for k in range(pairs)
        ]
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                area = (slice(top, top + rows), slice(left, left + columns))
                if wanted[area].any():
                    similar = [2 / classes * limit[area] for limit in limits]
                    out[band, *area] = _predict(
                        layers, similar, (top, left), window, uncertainty, average
                    )
    out[:, ~wanted] = np.nan
    return out


class _Layers(NamedTuple):
    """What one pair and band say about each pixel, with a border that has no vote."""

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
    logarithmic: bool,
) -> _Layers:
    change = np.asarray(now, np.float32) - then.astype(np.float32)
    spectral = np.abs(fine.astype(np.float32) - then.astype(np.float32))
    temporal = np.abs(change)
    if logarithmic:
        cost = np.log1p(np.float32(1e4) * spectral) * np.log1p(np.float32(1e4) * temporal)
    else:
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
    return _Layers(
        *(
            np.pad(p.astype(np.float32), half, constant_values=o)
            for p, o in zip(planes, outside, strict=True)
        )
    )


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
    average: str,
) -> Floats:
    """One tile of one band: the sums run over the shifts, so memory does not grow with them."""
    half = window // 2
    top, left = origin
    height, width = similar[0].shape
    centre = (slice(top + half, top + half + height), slice(left + half, left + half + width))
    votes, total = np.zeros((2, height, width), np.float32)
    copied, copies = np.zeros((2, height, width), np.float32)
    weight, scratch = np.empty((2, height, width), np.float32)
    ok, other = np.empty((2, height, width), np.bool_)
    for pair, limit in zip(layers, similar, strict=True):
        own = pair.fine[centre]
        valid = pair.vote[centre] > 0
        own = np.where(valid, own, np.float32(0))
        most_spectral = pair.spectral[centre] + np.float32(uncertainty * 2**0.5)
        most_temporal = pair.temporal[centre] + np.float32(uncertainty * 2**0.5)
        limit = np.where(valid, limit + np.float32(1e-7), np.float32(-1))
        share, sums = np.zeros((2, height, width), np.float32)
        for y in range(window):
            for x in range(window):
                cell = (slice(top + y, top + y + height), slice(left + x, left + x + width))
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
                if average == "values":
                    np.multiply(weight, np.where(ok, fine, 0), out=scratch)
                    sums += scratch
        votes += share
        total += sums + own * share if average == "changes" else sums
        exact = valid & ((pair.spectral[centre] == 0) | (pair.temporal[centre] == 0))
        copies += exact
        copied += np.where(exact, own + pair.change[centre], np.float32(0))
    out = np.full((height, width), np.nan, np.float32)
    np.divide(total, votes, out=out, where=votes > 0)
    np.divide(copied, copies, out=out, where=copies > 0)
    return out
