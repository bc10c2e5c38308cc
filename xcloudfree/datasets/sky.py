"""Clouds drawn for a whole scene; :mod:`xcloudfree.datasets.overcast` lays them over parts of it.

One layer is an opacity field (smooth noise with a power-law spectrum, cut at the requested cover)
at one height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from xcloudfree.datasets.cloud_layers import CloudKind, CloudLayer, draw_layers
from xcloudfree.datasets.fields import Field, power_law_noise

Ground = tuple[tuple[float, float], tuple[float, float]]
"""Rows and columns to a metre eastwards, and northwards."""

LARGEST = 2048
"""Pixels after which the clouds of a large scene repeat themselves."""

_FAINTEST = np.float32(1e-3)


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """Clouds over a scene, before they are laid over anything."""

    shape: tuple[int, int]  # rows and columns of the scene
    layers: tuple[CloudLayer, ...]  # the lowest first
    vapour: float  # optical depth of the whole column of water vapour in B09
    # optical thickness ``u`` of each layer and brightness of its surface, float32, periodic
    thickness: tuple[Field, ...]
    # optical thickness ``u`` of each layer and brightness of its surface, float32, periodic
    light: tuple[Field, ...]
    offsets: tuple[tuple[float, float], ...]  # rows and columns from each layer to its shadow


def draw_sky(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    cover: float,
    kind: CloudKind,
    sun: tuple[float, float],
    axes: Ground,
    resolution: float,
) -> Sky:
    """Draw the clouds over a scene."""
    vapour = float(rng.uniform(2.4, 4.4))
    layers = draw_layers(rng, kind)
    offsets = [offset_on(one.height * 1e3, sun, axes) for one in layers]
    margin = int(min(max(math.hypot(*o) for o in offsets), 0.5 * max(shape))) + 16
    domain = tuple(scipy.fft.next_fast_len(min(n + margin, LARGEST), real=True) for n in shape)
    fields = _excess(rng, layers, domain, shape, cover, resolution)
    down, right = offset_on(1.0, (sun[0], 45.0), axes)
    size = max(math.hypot(down, right), 1e-12)
    slope = down / size, right / size
    light = [_relief(u, layer.relief, slope) for u, layer in zip(fields, layers, strict=True)]
    return Sky(shape, tuple(layers), vapour, tuple(fields), tuple(light), tuple(offsets))


def offset_on(height: float, sun: tuple[float, float], axes: Ground) -> tuple[float, float]:
    """Rows and columns from a cloud to its shadow."""
    azimuth, elevation = (math.radians(angle) for angle in sun)
    reach = height / math.tan(elevation)
    east, north = -reach * math.sin(azimuth), -reach * math.cos(azimuth)
    return tuple(east * e + north * n for e, n in zip(*axes, strict=True))  # type: ignore[return-value]


def _excess(
    rng: np.random.Generator,
    layers: Sequence[CloudLayer],
    domain: tuple[int, ...],
    shape: tuple[int, int],
    cover: float,
    resolution: float,
) -> list[Field]:
    """Thickness ``u`` of each layer on the periodic domain; the layers together keep the cover."""
    noises = [
        power_law_noise(
            rng,
            domain,
            slope=layer.slope,
            scale=layer.scale * 1e3 / resolution,
            stretch=layer.stretch,
            orientation=layer.orientation,
        )
        - np.float32(layer.offset)
        for layer in layers
    ]
    window = np.maximum.reduce([noise[: shape[0], : shape[1]] for noise in noises]).ravel()
    clear = window.size - round(cover * window.size)
    level = np.partition(window, clear - 1)[clear - 1] if clear else np.nextafter(window.min(), -9)
    fields = []
    for layer, noise in zip(layers, noises, strict=True):
        excess = np.maximum(noise - level, 0)
        inside = excess[: shape[0], : shape[1]]
        count = max(int(np.count_nonzero(inside)), 1)
        mean = max(float(inside.sum(dtype=np.float64)) / count, 0.15)
        u = np.float32(layer.strength) * (excess / np.float32(mean)) ** np.float32(layer.power)
        fields.append(np.where(excess > 0, np.maximum(u, _FAINTEST), np.float32(0)))
    return fields


def _relief(u: Field, amount: float, slope: tuple[float, float]) -> Field:
    """Brightness of a cloud's surface: its side towards the sun is the brighter one."""
    if amount == 0 or min(u.shape) < 2:
        return np.ones((1, 1), np.float32)
    height = np.log1p(u)
    down, right = (np.roll(height, -1, axis) - np.roll(height, 1, axis) for axis in (0, 1))
    descent = np.float32(0.5 * slope[0]) * down + np.float32(0.5 * slope[1]) * right
    light: Field = 1 + np.float32(amount) * np.tanh(12 * descent, dtype=np.float32)
    return light
