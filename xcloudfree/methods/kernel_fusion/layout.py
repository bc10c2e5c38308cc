"""Tiles of the scene: positions, blending of neighbours, and the panels that they form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.core.windows import Area
from xcloudfree.methods.kernel_fusion.settings import Settings

Floats = NDArray[np.float32]

PANEL: Final = 3
"""Tiles along a side of a panel: what is derived from it takes little memory."""


@dataclass(frozen=True)
class Tile:
    """One tile: rows and columns in the window of its result and of its input."""

    core: Area
    region: Area
    weight: Tensor

    def inside(self, area: Area) -> Tile:
        """The tile in a part of the window."""
        core, region = ((_within(part[0], area[0]), _within(part[1], area[1]))
                        for part in (self.core, self.region))  # fmt: skip
        return replace(self, core=core, region=region)


class _Side(NamedTuple):
    """A tile along one axis: its number on the scene, pixels, and weights."""

    number: int
    core: slice
    region: slice
    weight: Floats


def panels(
    origin: tuple[int, int], wanted: NDArray[np.bool_], around: int, settings: Settings
) -> Iterator[tuple[Area, list[Tile]]]:
    """Tiles with wanted pixels (y, x), in squares on a grid that starts with the scene.

    With each the part of the window that its tiles and some pixels `around` them read; the tiles
    are positioned in that part.
    """
    axes = [
        [list(same) for _, same in groupby(_axis(o, n, settings), lambda s: s.number // PANEL)]
        for o, n in zip(origin, wanted.shape, strict=True)
    ]
    for rows, columns in ((r, c) for r in axes[0] for c in axes[1]):
        every = (_tile(row, column) for row in rows for column in columns)
        found = [tile for tile in every if wanted[tile.core].any()]
        if found:
            area = tuple(
                slice(
                    max(0, min(tile.region[k].start for tile in found) - around),
                    min(wanted.shape[k], max(tile.region[k].stop for tile in found) + around),
                )
                for k in range(2)
            )
            yield area, [tile.inside(area) for tile in found]  # type: ignore[arg-type,misc]


def _tile(row: _Side, column: _Side) -> Tile:
    weight = torch.as_tensor(row.weight[:, None] * column.weight)
    return Tile((row.core, column.core), (row.region, column.region), weight)


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _axis(origin: int, length: int, settings: Settings) -> Iterator[_Side]:
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
        core, region = slice(first - origin, last - origin), slice(low - origin, high - origin)
        yield _Side(start // side, core, region, weight)


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
