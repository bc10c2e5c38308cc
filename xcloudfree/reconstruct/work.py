"""Classical methods over a whole scene: passes that sum up, then one that predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isqrt
from typing import Any, Final

import numpy as np

from xcloudfree.core.blocks import BLOCK, Output, map_windows
from xcloudfree.core.windows import Area, Halo, Span
from xcloudfree.methods.base import Method
from xcloudfree.reconstruct.series_windows import WANTED, Reader
from xcloudfree.reconstruct.stages import Conclude, Measure, Predict, Surround

FLOAT, DOUBLE = (np.dtype(t) for t in ("float32", "float64"))

BYTES: Final = 1 << 28
"""Reflectance of all dates that one block of a series may hold; with what is made of it, about
three times as much is in memory."""

LEAST: Final = 128
"""Side in px of the smallest block of a series."""

_EMPTY = np.empty((0,))


@dataclass
class Work:
    """A method on the physical values of a scene: arrays (*lead, [band,] y, x)."""

    method: Method
    reader: Reader
    lead: int
    windows: list[Any]
    side: int | None = None

    def predict(self, bands: int, uncertainty: bool) -> tuple[Any, ...]:
        """Mean and, if asked for, standard deviation."""
        plan = Halo(self.method.reach)
        if self.method.planes:
            before = replace(self.reader, context=False)
            outputs = [Output(FLOAT, self.method.planes)]
            self.windows += self._map(Surround(self.method, before), self.windows, outputs, plan)
            plan = Halo()
        known: list[Any] = []
        for measured, concluded in self.method.passes(bands):
            totals = self._measure(measured, known, plan)
            known.append(_call(Conclude(self.method, self.reader), [totals, *known], concluded))
        outputs = [Output(FLOAT, bands)] * (1 + uncertainty)
        function = Predict(self.method, self.reader, uncertainty)
        return self._map(function, [*self.windows, *map(self._spread, known)], outputs, plan)

    def _map(
        self, function: Any, windows: Sequence[Any], outputs: Sequence[Output], plan: Halo
    ) -> tuple[Any, ...]:
        return map_series(function, windows, outputs, lead=self.lead, plan=plan, side=self.side)

    def _measure(self, numbers: int, known: Sequence[Any], plan: Halo) -> Any:
        """Sums over the scene, (*lead, number, 1, 1)."""
        function = Measure(self.method, self.reader)
        windows = [*self.windows, *map(self._spread, known)]
        if all(isinstance(w, np.ndarray) for w in windows):
            total: Any = 0.0
            asked = ((windows[1] & WANTED) > 0).any((-2, -1))
            for rows, columns in _blocks(windows[0].shape[-2:], plan, self.side):
                parts = (w[..., *_read(rows, columns)] for w in windows)
                total = total + function.sums(*parts, core=_core(rows, columns), asked=asked)
            return total
        (parts,) = self._map(function, windows, [Output(DOUBLE, numbers)], plan)
        ones = [(1,) * len(c) for c in parts.chunks[-2:]]
        sums = parts.map_blocks(_corner, chunks=(*parts.chunks[:-2], *ones), meta=_EMPTY)
        return sums.sum((-2, -1), keepdims=True)

    def _spread(self, known: Any) -> Any:
        """Numbers (*lead, number, 1, 1) at every pixel, as views of one."""
        like = next((w for w in self.windows if not isinstance(w, np.ndarray)), self.windows[0])
        shape = (*known.shape[:-2], *like.shape[-2:])
        if isinstance(known, np.ndarray):
            return np.broadcast_to(known, shape)
        chunks = (*known.chunks[:-2], *like.chunks[-2:])
        return like.map_blocks(_broadcast, known, chunks=chunks, meta=_EMPTY)


def map_series(
    function: Any,
    windows: Sequence[Any],
    outputs: Sequence[Output],
    *,
    lead: int,
    plan: Halo,
    side: int | None = None,
) -> tuple[Any, ...]:
    """As :func:`~xcloudfree.core.blocks.map_windows`, with all dates of a place in one call."""
    if any(not isinstance(w, np.ndarray) for w in windows):
        return map_windows(function, [[w] for w in windows], outputs, lead=lead, plan=plan)
    head, size = windows[1].shape[:lead], windows[1].shape[-2:]
    results = tuple(np.empty((*head, o.bands or 1, *size), o.dtype) for o in outputs)
    for rows, columns in _blocks(size, plan, side):
        area = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
        parts = function(
            *(w[..., *_read(rows, columns)] for w in windows), core=_core(rows, columns)
        )
        for result, part in zip(results, parts, strict=True):
            result[..., *area] = part
    return results


def _blocks(size: tuple[int, ...], plan: Halo, side: int | None) -> Iterator[tuple[Span, Span]]:
    """Rows and columns in which images in memory are worked through, all dates at once."""
    rows, columns = (plan.spans(divided([n], side or BLOCK)) for n in size)
    yield from product(rows, columns)


def _read(rows: Span, columns: Span) -> Area:
    return slice(rows.read_start, rows.read_stop), slice(columns.read_start, columns.read_stop)


def _core(rows: Span, columns: Span) -> Area:
    return rows.core, columns.core


def _corner(block: Any) -> Any:
    return block[..., :1, :1]


def _broadcast(block: Any, numbers: Any) -> Any:
    return np.broadcast_to(numbers, (*numbers.shape[:-2], *block.shape[-2:]))


def _call(function: Conclude, numbers: Sequence[Any], count: int) -> Any:
    first, *others = numbers
    if isinstance(first, np.ndarray):
        return function(first, *others)
    chunks = (*first.chunks[:-3], (count,), (1,), (1,))
    return first.map_blocks(function, *others, chunks=chunks, meta=_EMPTY)


def whole_series(array: Any, axis: int | None, side: int | None = None) -> Any:
    """With all dates in one chunk."""
    if axis is None or isinstance(array, np.ndarray):
        return array
    chunks = {axis: -1}
    if side is not None:
        chunks |= {array.ndim + d: divided(array.chunks[d], side) for d in (-2, -1)}
    return array.rechunk(chunks)


def divided(sizes: Sequence[int], side: int) -> tuple[int, ...]:
    """Chunks of at most `side` pixels, of nearly one size within each given chunk."""
    found: list[int] = []
    for size in sizes:
        count = max(1, -(-size // side))
        found += [size // count + (i < size % count) for i in range(count)]
    return tuple(found)


def side_of(dates: int, bands: int, reach: int) -> int:
    """Side of the blocks in which a series is worked through."""
    window = isqrt(BYTES // max(1, 4 * dates * bands))
    return min(BLOCK, max(window - 2 * reach, LEAST, reach // 2))
