"""Haze, thin cloud and shadow that the mask of one date misses, from spectrum and surroundings.

A small network reads the reflectance of a pixel, its mean, variation and minimum over the visible
pixels around, and how much around is hidden. No weight belongs to a place, and bands may be
missing. The weights are fitted by ``examples/haze_mask.py``, see ``haze.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
import scipy
from numpy.typing import NDArray

from xcloudfree.core.box_sums import whole_box_sums
from xcloudfree.masks.scores import dilate

Booleans = NDArray[np.bool_]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Layers = tuple[tuple[Doubles, Doubles], ...]

CHANNELS: Final = (("B02",), ("B03",), ("B04", "B05"), ("B08", "B8A"), ("B11",), ("B12",), ("B10",))
"""What the network reads: of each the first band that the scene has."""

NEEDED: Final = (2, 3)
"""Channels without which haze cannot be told from ground: red and near infrared."""

NARROW, WIDE, SHARE = 2, 15, 30
"""Pixels around a pixel over which it is described; SHARE for the hidden share alone."""

STEPS: Final = 10_000
"""Steps per unit in which values are summed: whole numbers add up in any order."""

BRIGHTEST: Final = 1.5
"""Reflectance at which values are clipped."""

BRIGHT: Final = (0.3, 0.5)
"""Reflectance in blue, and sum in the visible bands, that scores 0.5 in eq. 13: towns and bright
soil score 0.2 too."""

GROWN: Final = 4
"""Pixels by which what :func:`bright` finds is extended."""

LIKELY: Final = 0.8
"""Probability from which a pixel is hidden."""

SNOW: Final = (1 + 0.4) / (1 - 0.4)
"""Green over short-wave infrared of snow, from an NDSI of 0.4 on."""

STRIP: Final = 256
"""Rows that are described at once."""

EXACT: Final = 2.0**12
"""Steps per unit of what the network reads, and of its weights."""

FEATURES: Final = 5 * len(CHANNELS) + 2 + len(CHANNELS) + 1
"""Numbers that describe a pixel: 5 for each channel, 2 hidden shares, known channels, level."""


def channels(names: tuple[str, ...]) -> tuple[str | None, ...]:
    """The band of a scene for each channel, None without one."""
    return tuple(next((b for b in some if b in names), None) for some in CHANNELS)


def possible(names: tuple[str, ...]) -> bool:
    """Whether the bands are enough."""
    found = channels(names)
    return all(found[k] is not None for k in NEEDED)


def bright(planes: Mapping[str, Floats]) -> Booleans:
    """Cloud by eq. 13 in the visible bands alone, grown: to start from if there is no mask."""
    if not {"B02", "B03", "B04"} <= planes.keys():
        return np.zeros(next(iter(planes.values())).shape, bool)
    blue, green, red = (planes[name] for name in ("B02", "B03", "B04"))
    return dilate((blue > BRIGHT[0]) & (blue + green + red > BRIGHT[1]), GROWN)


def hazy(
    planes: Mapping[str, Floats], hidden: Booleans, top: bool, layers: Layers | None = None
) -> Booleans:
    """Visible pixels (y, x) that do not show the ground.

    `planes` are reflectance by band, NaN without data, at the top of the atmosphere or not;
    `hidden` is what another mask found. Snow is ground. A pixel depends on :data:`SHARE` pixels
    around.
    """
    out = np.zeros(hidden.shape, bool)
    for start in range(0, len(hidden), STRIP):
        first = max(start - SHARE, 0)
        rows = slice(first, start + STRIP + SHARE)
        part = {name: plane[rows] for name, plane in planes.items()}
        core = slice(start - first, start - first + STRIP)
        found, visible = described(part, hidden[rows], top)
        visible = visible[core]
        if visible.any():
            odd = probability(found[:, core][:, visible].T, layers) > LIKELY
            out[start : start + STRIP][visible] = odd
    if {"B03", "B11"} <= planes.keys():
        out &= ~(planes["B03"] > SNOW * planes["B11"])
    return out


def described(planes: Mapping[str, Floats], hidden: Booleans, top: bool) -> tuple[Floats, Booleans]:
    """What the network reads of every pixel (number, y, x), and which pixels are visible."""
    names = channels(tuple(planes))
    known = [planes[name] for name in names if name is not None]
    valid = np.logical_and.reduce([np.isfinite(plane) for plane in known])
    visible, one = valid & ~hidden, np.ones(hidden.shape, np.int64)
    out = np.zeros((FEATURES, *hidden.shape), np.float32)
    numbers = visible.astype(np.int64)
    counts = {r: np.maximum(whole_box_sums(numbers, r), 1) for r in (NARROW, WIDE)}
    for k, name in enumerate(names):
        if name is not None:
            steps = _roots(planes[name], visible)
            out[k : 5 * len(CHANNELS) : len(CHANNELS)] = _described(steps, visible, counts)
            out[5 * len(CHANNELS) + 2 + k] = 1
    clouded = (hidden & valid).astype(np.int64)
    for k, radius in enumerate((WIDE, SHARE)):
        share = whole_box_sums(clouded, radius) / whole_box_sums(one, radius)
        out[5 * len(CHANNELS) + k] = share
    out[-1] = top
    return out, visible


def _roots(plane: Floats, visible: Booleans) -> NDArray[np.int64]:
    """Square roots of reflectance in whole steps, 0 where not visible."""
    value = np.sqrt(np.clip(np.where(visible, plane, 0), 0, BRIGHTEST), dtype=np.float64)
    return np.asarray(np.rint(value * STEPS), np.int64)


def _described(
    steps: NDArray[np.int64], visible: Booleans, counts: Mapping[int, NDArray[np.integer[Any]]]
) -> Floats:
    """Value, means, deviation and minimum of a channel around each pixel, (5, y, x)."""
    near, mean, square = (
        whole_box_sums(a, r) / counts[r]
        for a, r in ((steps, NARROW), (steps, WIDE), (steps * steps, WIDE))
    )
    spread = np.sqrt(np.maximum(square - mean * mean, 0)) / STEPS
    shown = np.where(visible, steps, 2 * STEPS)
    low = scipy.ndimage.minimum_filter(shown, 2 * WIDE + 1, mode="nearest")
    low = np.where(visible, low, steps)
    values = np.stack([steps, near, mean, low]) / STEPS
    # of about the same size for the network
    scaled = 3 * (values - 0.3)
    return np.stack([*scaled[:3], 12 * spread - 0.9, scaled[3]]).astype(np.float32)


def probability(rows: Floats, layers: Layers | None = None) -> Doubles:
    """Probability that a pixel is hazy, for what :func:`described` says of it (pixel, number).

    The mean over several networks. Inputs and weights are multiples of 1 / EXACT, so that products
    add up without rounding, and a row gives the same bits beside any others.
    """
    x: Any = rows
    for number, (weight, bias) in enumerate(layers or shipped()):
        x = np.maximum(x, 0) if number else x
        x = np.rint(np.asarray(x, np.float64) * EXACT) / EXACT @ weight + bias
    return np.asarray((1 / (1 + np.exp(-x))).mean(1))


@cache
def shipped() -> Layers:
    """The weights of this package."""
    return layers_of(safetensors.numpy.load_file(Path(__file__).with_name("haze.safetensors")))


def layers_of(found: Mapping[str, Floats]) -> Layers:
    """Weights (from, to) and biases (to,) of each layer, all networks side by side."""
    out = []
    for number in range(len(found) // 2):
        weights, biases = (
            np.rint(found[f"layer{number}.{kind}"].astype(np.float64) * EXACT) / EXACT
            for kind in ("weight", "bias")  # (network, from, to) and (network, to)
        )
        # the first layer reads the same in all networks, the others each its own
        joined = (
            np.concatenate(list(weights), 1) if number == 0 else scipy.linalg.block_diag(*weights)
        )
        out.append((joined, biases.ravel()))
    return tuple(out)
