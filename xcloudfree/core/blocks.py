"""The loop over the blocks of a scene, in memory or as a dask graph with one task per block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, product
from math import isqrt
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.core.devices import block_gate
from xcloudfree.core.predictor import DERIVED
from xcloudfree.core.progress import track
from xcloudfree.core.windows import (
    ALONE,
    Plan,
    Span,
    divided,
    merged,
    parted,
    pieces,
    rim,
    windows_of,
)

if TYPE_CHECKING:  # imported only for lazy arrays: dask takes a third of the import time
    from xcloudfree.core.lazy_blocks import LazyValue

BLOCK = 1024
"""Side of the blocks in which arrays in memory are processed."""

Function = Callable[..., Any]
"""``function(*windows, core=(rows, columns))``: windows (*lead, [band,] y, x) in, cores out; with
values of the scene also ``origin=(row, column)`` of the first pixel, and ``scene=[...]``. Functions
whose attribute ``joins`` is true get each window as a :class:`.windows.Mosaic`."""

Index = tuple[int, ...]

SceneValue: TypeAlias = "Mapping[Index, Any] | LazyValue"
"""A value of a whole scene, one for each block along the leading dimensions."""


class Stage:
    """A function of blocks, known to dask by the version of the package and its own fields."""

    def __dask_tokenize__(self) -> Any:
        from dask.base import normalize_token  # dask takes the text of objects in here

        own = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        return normalize_token((__version__, *own))


@dataclass(frozen=True)
class Output:
    """One array that a block returns."""

    dtype: np.dtype[Any]
    bands: int | None = None  # length of the axis before y and x; None without one


@dataclass(frozen=True)
class Together:
    """Dates that are processed in one block."""

    axis: int | None  # of the leading dimensions; None if dates come after them
    side: int  # largest number of rows and columns of a block


BYTES: Final = 1 << 31
"""Largest number of bytes of all arrays of one block of a series."""

LEAST: Final = 128
"""Side in px of the smallest block of a series."""


def side_of(dates: int, bands: int, reach: int, derived: int = DERIVED) -> int:
    """Side of the blocks in which a series is processed.

    A block with all dates and the pixels read around it then takes at most :data:`BYTES`.

    >>> side_of(30, 10, 0), side_of(118, 10, 0), side_of(118, 10, 207)
    (472, 238, 128)
    """
    window = isqrt(BYTES // max(1, 4 * dates * bands * derived))
    return min(BLOCK, max(window - 2 * reach, LEAST, reach // 2))


def map_windows(
    function: Function,
    groups: Sequence[Sequence[Any]],
    outputs: Sequence[Output],
    *,
    lead: int,
    plan: Plan = ALONE,
    scene: Sequence[SceneValue] | None = None,
    together: Together | None = None,
    resources: Mapping[str, float] | None = None,
) -> tuple[Any, ...]:
    """Apply a function to each block of a scene and its surroundings; each group is one window."""
    if (empty := _empty(groups, outputs, lead)) is not None:
        return empty
    loop = Loop.over(function, groups, lead, plan, scene, together)
    if loop.lazy:
        from xcloudfree.core.lazy_blocks import mapped

        every_date = together is not None and together.axis is not None
        found = mapped(loop, list(outputs), resources, every_date)
        return tuple(r.rechunk((*r.chunks[:-2], *loop.results)) for r in found)
    size = loop.size
    results = tuple(
        np.empty((*size[:lead], *(() if o.bands is None else (o.bands,)), *size[-2:]), o.dtype)
        for o in outputs
    )
    with block_gate():
        for _, place, block in loop.run():
            for result, part in zip(results, block, strict=True):
                result[place] = part
    return results


def _empty(
    groups: Sequence[Sequence[Any]], outputs: Sequence[Output], lead: int
) -> tuple[Any, ...] | None:
    """Results for a scene without pixels; None if it has some."""
    arrays = [array for group in groups for array in group]
    like = next(filter(is_lazy, arrays), arrays[0])
    size = (*like.shape[:lead], *like.shape[-2:])
    if 0 not in size:
        return None
    if is_lazy(like):
        from dask.array import empty
    else:
        from numpy import empty
    shapes = ((*size[:lead], *(() if o.bands is None else (o.bands,)), *size[-2:]) for o in outputs)
    return tuple(empty(shape, dtype=o.dtype) for shape, o in zip(shapes, outputs, strict=True))


def reduce_windows(
    function: Function,
    combine: Callable[[Sequence[Any]], Any],
    groups: Sequence[Sequence[Any]],
    *,
    lead: int,
    plan: Plan = ALONE,
    scene: Sequence[SceneValue] | None = None,
    together: Together | None = None,
) -> SceneValue:
    """Measure each block of a scene, and combine the measurements."""
    if _empty(groups, [], lead) is not None:
        return {}
    loop = Loop.over(function, groups, lead, plan, scene, together)
    if loop.lazy:
        from xcloudfree.core.lazy_blocks import summed

        return summed(loop, combine)
    values: dict[Index, Any] = {}
    with block_gate():
        for index, _, part in loop.run():
            at = index[:lead]
            values[at] = combine([values[at], part]) if at in values else part
    return values


def call_once(function: Function, scene: Sequence[SceneValue]) -> SceneValue:
    """Apply a function to values of a scene."""
    if is_lazy(scene[0]):
        from xcloudfree.core.lazy_blocks import called

        return called(function, scene)
    places = cast("Mapping[Index, Any]", scene[0])
    with block_gate():
        return {index: function(*(value[index] for value in scene)) for index in places}


def for_each(value: SceneValue, axis: int | None, count: int) -> SceneValue:
    """A value of all blocks along one leading dimension together as one of each of them."""
    if axis is None:
        return value
    if is_lazy(value):
        return replace(value, shared=axis)  # type: ignore[type-var]
    places = cast("Mapping[Index, Any]", value)
    return {(*i[:axis], n, *i[axis + 1 :]): v for i, v in places.items() for n in range(count)}


def spread(numbers: NDArray[Any], like: Any) -> Any:
    """Numbers at each pixel of a scene (*lead, y, x), as views that take no memory."""
    if not is_lazy(like):
        return np.broadcast_to(numbers, like.shape)
    import dask.array as da

    chunks = tuple(
        c if n > 1 else 1
        for n, c in zip(numbers.shape, like.chunks[like.ndim - numbers.ndim :], strict=True)
    )
    return da.broadcast_to(da.from_array(numbers, chunks=chunks), like.shape, chunks=like.chunks)


@dataclass(frozen=True)
class Work:
    """Data shared by all blocks, stored once in the graph."""

    function: Function
    groups: tuple[int, ...]  # arrays of each window
    spans: tuple[tuple[Span, ...], tuple[Span, ...]]
    chunks: tuple[tuple[int, ...], ...]  # along y and x, perhaps smaller than blocks
    lead: int
    scene: int | None  # number of values of the scene that the function takes, if any

    def pieces(self, axis: int, block: int) -> list[tuple[int, slice]]:
        """Chunks that the window of a block touches along y (0) or x (1)."""
        s = self.spans[axis][block]
        return pieces(s.read_start, s.read_stop, self.chunks[axis])

    def windows(self, groups: Sequence[Sequence[Sequence[Sequence[NDArray[Any]]]]]) -> list[Any]:
        """Windows from the parts of each of their arrays, in rows."""
        return windows_of(groups, None if getattr(self.function, "joins", False) else self.lead)

    def call(self, i: int, j: int, windows: Sequence[Any], scene: Sequence[Any]) -> Any:
        """The function on the windows of a block."""
        rows, columns = self.spans[0][i], self.spans[1][j]
        given: dict[str, Any] = {"core": (rows.core, columns.core)}
        if self.scene is not None:
            given |= {"origin": (rows.read_start, columns.read_start), "scene": scene}
        return self.function(*windows, **given)


@dataclass(frozen=True)
class Loop:
    """The blocks of some arrays (*lead, [band,] y, x)."""

    work: Work
    groups: Sequence[Sequence[Any]]
    chunks: tuple[tuple[int, ...], ...]  # along lead, y and x
    results: tuple[tuple[int, ...], ...]  # chunks of what it returns, along y and x
    scene: list[SceneValue]
    lazy: bool
    plan: Plan

    @classmethod
    def over(
        cls,
        function: Function,
        groups: Sequence[Sequence[Any]],
        lead: int,
        plan: Plan,
        scene: Sequence[SceneValue] | None,
        together: Together | None,
    ) -> Loop:
        """Cut arrays into blocks: by their chunks, or images in memory one by one into squares."""
        every = [array for group in groups for array in group]
        first = next(filter(is_lazy, every), None)
        like = every[0] if first is None else first
        chunks = [tuple((1,) * n if first is None else like.chunks[k])
                  for k, n in enumerate(like.shape[:lead])]  # fmt: skip
        ends = [(n,) for n in like.shape[-2:]] if first is None else like.chunks[-2:]
        if together is not None and together.axis is not None:
            chunks[together.axis] = (sum(chunks[together.axis]),)
        if first is None or together is not None:
            ends = [divided(c, BLOCK if together is None else together.side) for c in ends]
        results = tuple(map(tuple, ends))
        if together is not None:
            # a block that is smaller than what is read around it costs many times its own work
            most = min(together.side, rim(plan))
            ends = [merged(c, most) for c in ends]
        chunks += map(tuple, ends)
        if first is not None:
            from xcloudfree.core.lazy_blocks import aligned

            groups = [[aligned(a, tuple(chunks), lead) for a in group] for group in groups]
        spans = tuple(map(tuple, map(plan.spans, chunks[-2:])))
        count = None if scene is None else len(scene)
        sizes = tuple(map(len, groups))
        read = tuple(chunks[-2:])
        if first is not None and together is not None and together.axis is not None:
            # blocks beside a chunk wait for their part of it, which with all dates is large
            read = tuple(tuple(chain(*parted(c, s))) for c, s in zip(read, spans, strict=True))
        work = Work(function, sizes, spans, read, lead, count)  # type: ignore[arg-type]
        lazy = first is not None
        return cls(work, groups, tuple(chunks), results, list(scene or ()), lazy, plan)

    @property
    def size(self) -> tuple[int, ...]:
        """Lengths along lead, y and x."""
        return tuple(map(sum, self.chunks))

    def run(self) -> Iterator[tuple[Index, tuple[Any, ...], Any]]:
        """Index of each block of arrays in memory, its position, and its result."""
        work, lead = self.work, self.work.lead
        starts = [np.concatenate([[0], np.cumsum(c)]) for c in self.chunks[:lead]]
        for index in track(list(indices(self.chunks)), type(work.function).__name__.lower()):
            *head, i, j = index
            rows, columns = work.spans[0][i], work.spans[1][j]
            if rows.start == rows.stop or columns.start == columns.stop:
                continue
            images = [slice(s[k], s[k + 1]) for s, k in zip(starts, head, strict=True)]
            read = (*images, ..., slice(rows.read_start, rows.read_stop),
                    slice(columns.read_start, columns.read_stop))  # fmt: skip
            windows = work.windows([[[[a[read]]] for a in group] for group in self.groups])
            values = [value[tuple(head)] for value in self.scene]
            written = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
            yield index, (*images, ..., *written), work.call(i, j, windows, values)


def indices(chunks: Sequence[Sequence[int]]) -> Iterator[Index]:
    """Position of each block."""
    return product(*(range(len(c)) for c in chunks))


def is_lazy(array: Any) -> bool:
    """Whether an array, or a value of a scene, is lazy."""
    return hasattr(array, "__dask_graph__")
