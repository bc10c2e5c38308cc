"""Which parts of a window a network has to read so that every wanted pixel comes out right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Span, span

CELL = 16
"""Resolution in pixels at which boxes are sought."""

Box = tuple[Span, Span]


def boxes(wanted: NDArray[np.bool_], halo: int, stride: int = 1) -> list[Box]:
    """Cover the wanted pixels with boxes that are as small, halos included, as cuts make them."""
    cell = -(-CELL // stride) * stride
    height, width = wanted.shape
    grid = np.zeros((-(-height // cell), -(-width // cell)), bool)
    rows, columns = np.nonzero(wanted)
    grid[rows // cell, columns // cell] = True
    found: list[tuple[slice, slice]] = []
    _cut(grid, (0, 0), halo / cell, found)
    return [
        (
            span(y.start * cell, min(y.stop * cell, height), height, halo, stride),
            span(x.start * cell, min(x.stop * cell, width), width, halo, stride),
        )
        for y, x in found
    ]


def _cut(
    grid: NDArray[np.bool_], origin: tuple[int, int], halo: float, found: list[tuple[slice, slice]]
) -> None:
    """Append the boxes of a grid of cells whose first cell is `origin`."""
    extent = _extent(grid)
    if extent is None:
        return
    grid = grid[extent]
    origin = origin[0] + extent[0].start, origin[1] + extent[1].start
    best, where = _cost(grid.shape, halo), None
    for axis in (0, 1):
        for place in range(1, grid.shape[axis]):
            halves = np.split(grid, [place], axis)
            shapes = (_shape(_extent(half)) for half in halves)
            cost = sum(_cost(shape, halo) for shape in shapes)
            if cost < best:
                best, where = cost, (axis, place)
    if where is None:
        found.append(
            (
                slice(origin[0], origin[0] + grid.shape[0]),
                slice(origin[1], origin[1] + grid.shape[1]),
            )
        )
        return
    axis, place = where
    first, second = np.split(grid, [place], axis)
    moved = (origin[0] + place, origin[1]) if axis == 0 else (origin[0], origin[1] + place)
    _cut(first, origin, halo, found)
    _cut(second, moved, halo, found)


def _extent(grid: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(grid.any(1)), np.flatnonzero(grid.any(0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _shape(extent: tuple[slice, slice] | None) -> tuple[int, ...]:
    return (0, 0) if extent is None else tuple(s.stop - s.start for s in extent)


def _cost(shape: tuple[int, ...], halo: float) -> float:
    return (shape[0] + 2 * halo) * (shape[1] + 2 * halo) if min(shape) else 0.0
