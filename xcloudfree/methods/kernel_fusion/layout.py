"""Tiles of the scene: positions, and blending of neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.methods.kernel_fusion.settings import Settings

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """One tile: rows and columns in the window of its result and of its input."""

    core: tuple[slice, slice]
    region: tuple[slice, slice]
    weight: Tensor


def tiles(origin: tuple[int, int], shape: tuple[int, int], settings: Settings) -> Iterator[Tile]:
    """Tiles of the scene that a window touches, on a grid that starts with the scene."""
    axes = [list(_axis(o, n, settings)) for o, n in zip(origin, shape, strict=True)]
    for (rows, around_rows, down), (columns, around_columns, across) in (
        (r, c) for r in axes[0] for c in axes[1]
    ):
        weight = torch.as_tensor(down[:, None] * across)
        yield Tile((rows, columns), (around_rows, around_columns), weight)


def _axis(origin: int, length: int, settings: Settings) -> Iterator[tuple[slice, slice, Floats]]:
    side, blend, margin = settings.side, settings.blend, settings.margin
    end = origin + length
    for start in range(origin // side * side, end, side):
        first, last = max(start - blend, origin), min(start + side + blend, end)
        place = np.arange(first, last) + 0.5
        # rises from 0 to 1 between blend pixels before the tile and blend pixels inside it
        rise = np.ones_like(place) if not start else (place - start + blend) / (2 * blend)
        fall = (start + side + blend - place) / (2 * blend)
        if start + side >= end:
            fall = np.ones_like(place)
        weight = np.clip(np.minimum(rise, fall), 0, 1).astype(np.float32)
        low, high = max(start - margin, origin), min(start + side + margin, end)
        yield (
            slice(first - origin, last - origin),
            slice(low - origin, high - origin),
            weight,
        )


def own_part(tile: Tile, settings: Settings) -> Tensor:
    """Pixels of the region that belong to no neighbour, (y, x): every pixel is in one such part."""
    shape = tuple(s.stop - s.start for s in tile.region)
    inside = torch.zeros(shape, dtype=torch.bool)
    cut = []
    for core, region in zip(tile.core, tile.region, strict=True):
        first = core.start + settings.blend if core.start != region.start else core.start
        last = core.stop - settings.blend if core.stop != region.stop else core.stop
        cut.append(slice(first - region.start, last - region.start))
    inside[tuple(cut)] = True
    return inside


def inside_of(tile: Tile, inside: Tensor) -> Tensor:
    """The pixels of the core that belong to the tile alone, from those of its region."""
    cut = tuple(
        slice(c.start - r.start, c.stop - r.start)
        for c, r in zip(tile.core, tile.region, strict=True)
    )
    return inside[cut]
