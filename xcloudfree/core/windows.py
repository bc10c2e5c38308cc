"""Which pixels to read for each block: plans of halos and tiles, and windows of joined chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Area = tuple[slice, slice]
"""Rows and columns."""

LARGEST: Final = 1 << 22
"""Number of reflectances that are processed at a time: bounds what is derived from them."""

WHOLE: Area = (slice(None), slice(None))


@dataclass(frozen=True)
class Span:
    """One block along one axis: the pixels to write, and the pixels to read for it."""

    start: int  # pixels that the block writes, half open
    stop: int  # pixels that the block writes, half open
    read_start: int  # pixels that it reads; `read_start` lies on the stride grid of the scene
    read_stop: int  # pixels that it reads; `read_start` lies on the stride grid of the scene

    @cached_property
    def core(self) -> slice:
        """The written pixels as a part of those that are read."""
        return slice(self.start - self.read_start, self.stop - self.read_start)


class Plan(Protocol):
    """A plan of the pixels to read for each block of an axis."""

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """One span per block."""
        ...

    def around(self, margin: int) -> Plan:
        """The same for blocks that also need so many pixels around them."""
        ...


@dataclass(frozen=True)
class Halo:
    """Blocks that are read with pixels around them, on a grid."""

    pixels: int = 0  # pixels beyond a grid-aligned block that influence it
    stride: int = 1  # period of the grid

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """One span per block, see :func:`spans`."""
        return spans(chunks, self.pixels, self.stride)

    def around(self, margin: int) -> Halo:
        """A halo for a block and a margin around it."""
        return Halo(self.pixels + -(-margin // self.stride) * self.stride, self.stride)


@dataclass(frozen=True)
class Tiles:
    """Fixed, overlapping tiles of a scene, independent of its blocks."""

    side: int  # side of a tile in pixels
    overlap: int  # pixels that neighbours share, at most half of `side`
    margin: int = 0  # pixels beyond a block that the tiles must cover too

    def around(self, margin: int) -> Tiles:
        """Tiles for a block and a margin around it."""
        return replace(self, margin=margin)

    def origins(self, size: int) -> list[int]:
        """First pixel of each tile along an axis."""
        last = max(0, size - self.side)
        return [*range(0, last, self.side - self.overlap), last]

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """Windows that contain every tile touched by a block and its margin."""
        size, start, out = sum(chunks), 0, []
        tiles = [(o, min(o + self.side, size)) for o in self.origins(size)]
        for length in chunks:
            stop = start + length
            low, high = start - self.margin, stop + self.margin
            touched = [t for t in tiles if t[0] < high and t[1] > low]
            out.append(Span(start, stop, touched[0][0], max(t[1] for t in touched)))
            start = stop
        return out

    def weights(self, length: int) -> NDArray[np.float32]:
        """Weight of a tile at each of its pixels, relative to its neighbours."""
        place = np.arange(1, length + 1, dtype=np.float32)
        ramp = np.minimum(place, place[::-1]) / np.float32(self.overlap + 1)
        return np.asarray(np.minimum(ramp, 1), np.float32)


ALONE = Halo()
"""Blocks that need no pixels around them."""


def span(start: int, stop: int, size: int, halo: int, stride: int = 1) -> Span:
    """Plan the reading of one block."""
    margin = -(-halo // stride) * stride
    low = start // stride * stride - margin
    high = -(-stop // stride) * stride + margin
    return Span(start, stop, max(low, 0), min(high, size))


def spans(chunks: Sequence[int], halo: int, stride: int = 1) -> list[Span]:
    """Plan all blocks of an axis."""
    size, start, out = sum(chunks), 0, []
    for length in chunks:
        out.append(span(start, start + length, size, halo, stride))
        start += length
    return out


def pieces(start: int, stop: int, chunks: Sequence[int]) -> list[tuple[int, slice]]:
    """Chunks that contain an interval, and the part of each."""
    out, offset = [], 0
    for index, length in enumerate(chunks):
        low, high = max(start - offset, 0), min(stop - offset, length)
        if low < high:
            out.append((index, slice(low, high)))
        offset += length
        if offset >= stop:
            break
    return out


def parted(chunks: Sequence[int], spans: Sequence[Span]) -> tuple[tuple[int, ...], ...]:
    """Parts of each chunk that the blocks beside it read, if less than half of it, and the rest.

    >>> parted((10, 10, 4), spans((10, 10, 4), 3))
    ((7, 3), (3, 4, 3), (4,))
    """
    cuts: list[set[int]] = [{0, size} for size in chunks]
    for block, span in enumerate(spans):
        for chunk, part in pieces(span.read_start, span.read_stop, chunks):
            if chunk != block and 2 * (part.stop - part.start) < chunks[chunk]:
                cuts[chunk] |= {part.start, part.stop}
    return tuple(tuple(b - a for a, b in pairwise(sorted(ends))) for ends in cuts)


def divided(sizes: Sequence[int], side: int) -> tuple[int, ...]:
    """Chunks of at most `side` pixels, of nearly one size within each given chunk.

    >>> divided((1024, 100), 400)
    (342, 341, 341, 100)
    """
    found: list[int] = []
    for size in sizes:
        count = max(1, -(-size // side))
        found += [size // count + (i < size % count) for i in range(count)]
    return tuple(found)


def merged(sizes: Sequence[int], most: int) -> tuple[int, ...]:
    """Neighbouring chunks joined to at most `most` pixels.

    >>> merged((8, 8, 8, 8, 8, 30), 20)
    (16, 16, 8, 30)
    """
    found: list[int] = []
    for size in sizes:
        if found and found[-1] + size <= most:
            found[-1] += size
        else:
            found.append(size)
    return tuple(found)


def rim(plan: Plan) -> int:
    """Pixels that a plan reads on each side of a block."""
    (span,) = plan.spans((1 << 16, 1, 1 << 16))[1:2]
    return max(span.start - span.read_start, span.read_stop - span.stop)


def widened(core: Area, pixels: int, shape: tuple[int, ...]) -> tuple[Area, Area]:
    """A part of an image with the available pixels around it, and its position in that."""
    core = tuple(slice(*s.indices(n)[:2]) for s, n in zip(core, shape, strict=True))  # type: ignore[assignment]
    starts = [max(0, s.start - pixels) for s in core]
    wide = tuple(
        slice(a, min(n, s.stop + pixels)) for a, s, n in zip(starts, core, shape, strict=True)
    )
    inner = tuple(slice(s.start - a, s.stop - a) for s, a in zip(core, starts, strict=True))
    return wide, inner  # type: ignore[return-value]


CELL = 16
"""Resolution in pixels of the search for boxes."""


def boxes(wanted: NDArray[np.bool_], halo: int, stride: int = 1) -> list[tuple[Span, Span]]:
    """Cover the wanted pixels with boxes of small total size, halos included."""
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


def ranks(origin: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.uint64]:
    """A random number for each pixel, determined only by its row and column on the scene.

    >>> bool((ranks((3, 4), (2, 2)) == ranks((0, 0), (9, 9))[3:5, 4:6]).all())
    True
    """
    rows = np.arange(origin[0], origin[0] + shape[0], dtype=np.uint64)[:, None]
    columns = np.arange(origin[1], origin[1] + shape[1], dtype=np.uint64)
    state = (rows << np.uint64(32)) | columns
    # The mixing function of splitmix64 (Steele, Lea, Flood 2014) is one to one: no two pixels tie.
    with np.errstate(over="ignore"):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))


# ------------------------------------------------------------------ windows


class Mosaic:
    """Neighbouring arrays (..., y, x) in rows, read like the one array that they form.

    Several such arrays, divided alike, are read as one with an axis for bands before rows and
    columns.

    >>> left, right = np.zeros((5, 4, 2)), np.ones((5, 4, 3))
    >>> one, two = Mosaic([[[left, right]]]), Mosaic([[[left, right]], [[left + 2, right + 2]]])
    >>> one.shape, two.shape, two[0, ..., slice(1), slice(1, 3)].tolist()
    ((5, 4, 5), (5, 2, 4, 5), [[[0.0, 1.0]], [[2.0, 3.0]]])
    """

    def __init__(self, arrays: Sequence[Sequence[Sequence[NDArray[Any]]]]) -> None:
        self._arrays, rows = arrays, arrays[0]
        self._ends = [line[0].shape[-2] for line in rows], [part.shape[-1] for part in rows[0]]
        bands = (len(arrays),) if len(arrays) > 1 else ()
        self._alone = len(arrays) == len(rows) == len(rows[0]) == 1
        self.shape = (*rows[0][0].shape[:-2], *bands, *map(sum, self._ends))
        self.ndim = len(self.shape)

    def each(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Mosaic:
        """The same of arrays that a function changes along the leading dimensions."""
        return Mosaic([[[function(p) for p in line] for line in rows] for rows in self._arrays])

    def images(self) -> Iterator[NDArray[Any]]:
        """One along the first dimension at a time."""
        return (self[n, ..., *WHOLE] for n in range(self.shape[0]))

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        *head, y, x = key
        if self._alone:  # a window in memory
            return np.asarray(self._arrays[0][0][0][*head, y, x])
        areas = (s.indices(n) for s, n in zip((y, x), self.shape[-2:], strict=True))
        rows, columns = (pieces(a, b, e) for (a, b, _), e in zip(areas, self._ends, strict=True))
        parts = [
            [[part[i][j][*head, b, c] for j, c in columns] for i, b in rows]
            for part in self._arrays
        ]
        return stacked(parts, -3)


class Encoded:
    """Stored numbers (time, band, y, x) that are decoded one image, or a few, at a time."""

    def __init__(
        self,
        stored: Mosaic,
        decode: Callable[[NDArray[Any]], NDArray[np.float32]],
        bands: int,
        area: Area = WHOLE,
    ) -> None:
        ends = (s.indices(n)[:2] for s, n in zip(area, stored.shape[-2:], strict=True))
        self._area: Area = tuple(slice(*e) for e in ends)  # type: ignore[assignment]
        self._stored, self._decode = stored, decode
        self.shape = (stored.shape[0], bands, *(s.stop - s.start for s in self._area))

    def cut(self, area: Area) -> Encoded:
        """Some rows and columns, still encoded."""
        starts = (s.start for s in self._area)
        inside = tuple(slice(a + s.start, a + s.stop) for a, s in zip(starts, area, strict=True))
        return Encoded(self._stored, self._decode, self.shape[1], inside)  # type: ignore[arg-type]

    def __getitem__(self, date: int) -> NDArray[np.float32]:
        return self._decode(self._stored[date, ..., *self._area])

    def decoded(self) -> NDArray[np.float32]:
        """All physical values."""
        out = np.empty(self.shape, np.float32)
        step = max(1, LARGEST // max(1, prod(self.shape[1:])))
        for start in range(0, len(out), step):
            dates = slice(start, start + step)
            out[dates] = self._decode(self._stored[dates, ..., *self._area])
        return out


def windows_of(
    groups: Sequence[Sequence[Sequence[Sequence[NDArray[Any]]]]], axis: int | None
) -> list[Any]:
    """A window from each group of arrays in parts: stacked along an axis, or as they are."""
    return [Mosaic(arrays) if axis is None else stacked(arrays, axis) for arrays in groups]


def stacked(arrays: Sequence[Sequence[Sequence[NDArray[Any]]]], axis: int) -> NDArray[Any]:
    """Arrays, each in parts, as one with an axis for them if there are several."""
    found = [joined(rows) for rows in arrays]
    return found[0] if len(found) == 1 else np.stack(found, axis)


def joined(rows: Sequence[Sequence[NDArray[Any]]]) -> NDArray[Any]:
    """Neighbouring arrays (..., y, x) as one; a view if there is one."""
    if len(rows) == len(rows[0]) == 1:
        return np.asarray(rows[0][0])
    out = np.empty(
        (*rows[0][0].shape[:-2], sum(line[0].shape[-2] for line in rows),
         sum(part.shape[-1] for part in rows[0])), rows[0][0].dtype,
    )  # fmt: skip
    top = 0
    for line in rows:
        left = 0
        for part in line:
            height, width = part.shape[-2:]
            out[..., top : top + height, left : left + width] = part
            left += width
        top += height
    return out
