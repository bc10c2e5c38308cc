"""The one loop over the blocks of a scene, in memory or as a dask graph of one task a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import getitem
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.base import is_dask_collection, tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from numpy.typing import NDArray

from xcloudfree.core.devices import block_gate
from xcloudfree.core.graphs import ALL_DATES, SCENE_SUM, reference, task, value
from xcloudfree.core.windows import ALONE, Plan, Span, divided, pieces

if TYPE_CHECKING:  # imported late: dask.array takes a third of the time of all the rest
    from dask.array import Array as DaskArray

BLOCK = 1024
"""Side of the blocks in which arrays in memory are worked through."""

FAN_IN = 16
"""Measurements that are combined at a time."""

Function = Callable[..., Any]
"""``function(*windows, core=(rows, columns))``: windows (*lead, [band,] y, x) in, cores out; with
values of the scene also ``origin=(row, column)`` of the first pixel, and ``scene=[...]``."""

Index = tuple[int, ...]


@dataclass(frozen=True)
class Output:
    """One array that a block returns."""

    dtype: np.dtype[Any]
    bands: int | None = None  # length of the axis before y and x; None without one


@dataclass(frozen=True)
class Together:
    """Dates that are worked on in one block."""

    axis: int  # of the leading dimensions
    side: int  # rows and columns that a block has at most


@dataclass(frozen=True)
class SceneValue:
    """A value of a whole scene, one for each block along the leading dimensions, or its graph."""

    name: str
    values: Mapping[Index, Any] | None = None
    graph: HighLevelGraph | None = None

    def __dask_graph__(self) -> HighLevelGraph | None:
        return self.graph

    def __dask_layers__(self) -> tuple[str, ...]:
        return (self.name,)

    def argument(self, index: Index) -> Any:
        """The value, or a reference to it."""
        return self.values[index] if self.values is not None else reference((self.name, *index))


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
    """Apply a function to each block of a scene together with what it needs around it.

    Each group becomes one window: a single array (*lead, [band,] y, x), or several arrays
    (*lead, y, x) that are stacked along a new band axis. Numpy if all arrays are, else dask with
    the chunks of the first dask array.
    """
    if (empty := _empty(groups, outputs, lead)) is not None:
        return empty
    loop = _Loop.over(function, groups, lead, plan, scene, together)
    if not loop.lazy:
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
    name, blocks = loop.layer(list(outputs), resources, ALL_DATES if together else None)
    return tuple(_picked(loop, name, blocks, n, output) for n, output in enumerate(outputs))


def _empty(
    groups: Sequence[Sequence[Any]], outputs: Sequence[Output], lead: int
) -> tuple[Any, ...] | None:
    """Results without pixels, where a scene has none; None where it has some."""
    arrays = [array for group in groups for array in group]
    like = next((a for a in arrays if is_dask_collection(a)), arrays[0])
    size = (*like.shape[:lead], *like.shape[-2:])
    if 0 not in size:
        return None
    if is_dask_collection(like):
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
        return SceneValue(tokenize(function), {})
    loop = _Loop.over(function, groups, lead, plan, scene, together)
    if not loop.lazy:
        values: dict[Index, Any] = {}
        with block_gate():
            for index, _, part in loop.run():
                at = index[:lead]
                values[at] = combine([values[at], part]) if at in values else part
        return SceneValue(tokenize(function), values)
    name, graph = loop.layer([], None, SCENE_SUM)
    whole, nodes = f"{name}-whole", {}
    for index in _indices(loop.chunks[:lead]):
        keys = [(name, *index, *block) for block in _indices(loop.chunks[lead:])]
        level = 0
        while len(keys) > FAN_IN:
            level += 1
            parts = [keys[n : n + FAN_IN] for n in range(0, len(keys), FAN_IN)]
            keys = [(f"{whole}-{level}", *index, n) for n in range(len(parts))]
            for key, part in zip(keys, parts, strict=True):
                nodes[key] = task(key, _combined, combine, *map(reference, part))
        nodes[whole, *index] = task((whole, *index), _combined, combine, *map(reference, keys))
    layer = MaterializedLayer(nodes, annotations={SCENE_SUM: True})
    needs = {**graph.dependencies, whole: {name}}
    return SceneValue(whole, graph=HighLevelGraph({**graph.layers, whole: layer}, needs))


def call_once(function: Function, scene: Sequence[SceneValue]) -> SceneValue:
    """A function of values of a scene, as another one."""
    first, work = scene[0], _Gated(function)
    name = f"{type(function).__name__.lower()}-{tokenize(function, [s.name for s in scene])}"
    if first.values is not None:
        return SceneValue(name, {i: work(*(s.argument(i) for s in scene)) for i in first.values})
    assert first.graph is not None
    indices = [key[1:] for key in first.graph.layers[first.name] if key[0] == first.name]
    nodes = {(name, *i): task((name, *i), work, *(s.argument(i) for s in scene)) for i in indices}
    layer = MaterializedLayer(nodes, annotations={SCENE_SUM: True})
    graph = HighLevelGraph.from_collections(name, layer, dependencies=list(scene))
    return SceneValue(name, graph=graph)


@dataclass(frozen=True)
class _Gated:
    """A function that has the threads of the work on a block."""

    function: Function

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        with block_gate():
            return self.function(*arguments)


def spread(numbers: NDArray[Any], like: Any) -> Any:
    """Numbers at each pixel of a scene (*lead, y, x), as views that take no memory."""
    import dask.array as da

    if isinstance(like, np.ndarray):
        return np.broadcast_to(numbers, like.shape)

    chunks = tuple(
        c if n > 1 else 1
        for n, c in zip(numbers.shape, like.chunks[like.ndim - numbers.ndim :], strict=True)
    )
    return da.broadcast_to(da.from_array(numbers, chunks=chunks), like.shape, chunks=like.chunks)


@dataclass(frozen=True)
class _Work:
    """What all blocks share, stored once in the graph."""

    function: Function
    groups: tuple[int, ...]  # arrays of each window
    spans: tuple[tuple[Span, ...], tuple[Span, ...]]
    chunks: tuple[tuple[int, ...], ...]  # along y and x
    lead: int
    scene: int | None  # how many values of the scene the function takes, if any

    def pieces(self, axis: int, block: int) -> list[tuple[int, slice]]:
        """Chunks that the window of a block touches along y (0) or x (1)."""
        s = self.spans[axis][block]
        return pieces(s.read_start, s.read_stop, self.chunks[axis])

    def call(self, i: int, j: int, windows: Sequence[Any], scene: Sequence[Any]) -> Any:
        """The function on the windows of a block."""
        rows, columns = self.spans[0][i], self.spans[1][j]
        given: dict[str, Any] = {"core": (rows.core, columns.core)}
        if self.scene is not None:
            given |= {"origin": (rows.read_start, columns.read_start), "scene": scene}
        return self.function(*windows, **given)


@dataclass(frozen=True)
class _Loop:
    """The blocks of some arrays (*lead, [band,] y, x)."""

    work: _Work
    groups: list[list[Any]]
    chunks: tuple[tuple[int, ...], ...]  # along lead, y and x
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
    ) -> _Loop:
        """Cut arrays into blocks: by their chunks, or images in memory one by one into squares."""
        every = [array for group in groups for array in group]
        first = next((a for a in every if is_dask_collection(a)), None)
        like = every[0] if first is None else first
        chunks = [tuple((1,) * n if first is None else like.chunks[k])
                  for k, n in enumerate(like.shape[:lead])]  # fmt: skip
        ends = [(n,) for n in like.shape[-2:]] if first is None else like.chunks[-2:]
        if together is not None:
            chunks[together.axis] = (sum(chunks[together.axis]),)
        if first is None or together is not None:
            ends = [divided(c, BLOCK if together is None else together.side) for c in ends]
        chunks += map(tuple, ends)
        arrays = [list(group) for group in groups]
        if first is not None:
            arrays = [[_aligned(a, tuple(chunks), lead) for a in group] for group in groups]
        spans = tuple(map(tuple, map(plan.spans, chunks[-2:])))
        count = None if scene is None else len(scene)
        sizes = tuple(map(len, groups))
        work = _Work(function, sizes, spans, tuple(chunks[-2:]), lead, count)  # type: ignore[arg-type]
        return cls(work, arrays, tuple(chunks), list(scene or ()), first is not None, plan)

    @property
    def size(self) -> tuple[int, ...]:
        """Lengths along lead, y and x."""
        return tuple(map(sum, self.chunks))

    def run(self) -> Iterator[tuple[Index, tuple[Any, ...], Any]]:
        """Index of each block of arrays in memory, where it belongs, and what comes of it."""
        work, lead = self.work, self.work.lead
        starts = [np.concatenate([[0], np.cumsum(c)]) for c in self.chunks[:lead]]
        for index in _indices(self.chunks):
            *head, i, j = index
            rows, columns = work.spans[0][i], work.spans[1][j]
            if rows.start == rows.stop or columns.start == columns.stop:
                continue
            images = [slice(s[k], s[k + 1]) for s, k in zip(starts, head, strict=True)]
            read = (*images, ..., slice(rows.read_start, rows.read_stop),
                    slice(columns.read_start, columns.read_stop))  # fmt: skip
            windows = [_stack([a[read] for a in group], lead) for group in self.groups]
            values = [s.argument(tuple(head)) for s in self.scene]
            written = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
            yield index, (*images, ..., *written), work.call(i, j, windows, values)

    def layer(
        self,
        outputs: list[Output],
        resources: Mapping[str, float] | None,
        annotation: str | None,
    ) -> tuple[str, HighLevelGraph]:
        """Name and graph of a layer with one task a block."""
        work, chunks, lead = self.work, self.chunks, self.work.lead
        arrays = [a for group in self.groups for a in group]
        names = [x.name for x in (*arrays, *self.scene)]
        token = tokenize(work.function, names, outputs, self.plan)
        name = f"{type(work.function).__name__.lower()}-{token}"
        touched = [
            [[n for n, _ in work.pieces(axis, k)] for k in range(len(chunks[axis - 2]))]
            for axis in (0, 1)
        ]
        # each reference is made once and shared, or a large graph would take twice the bytes
        shared = f"{name}-function"
        common = reference(shared)
        sources = [_references(a, chunks, lead) for a in arrays]
        values = {i: [s.argument(i) for s in self.scene] for i in _indices(chunks[:lead])}
        graph: dict[Any, Any] = {}
        for index in _indices(chunks):
            *head, i, j = index
            parts = (s[*head, m, n] for s in sources for m in touched[0][i] for n in touched[1][j])
            key = (name, *index)
            graph[key] = task(key, _run, common, i, j, *values[tuple(head)], *parts)
        annotations: dict[str, Any] = {"resources": dict(resources)} if resources else {}
        if annotation is not None:
            annotations[annotation] = True
        layer = MaterializedLayer(graph, annotations=annotations or None)
        whole = HighLevelGraph.from_collections(name, layer, dependencies=[*arrays, *self.scene])
        layers = {**whole.layers, shared: MaterializedLayer({shared: value(shared, work)})}
        needs = {**whole.dependencies, name: {*whole.dependencies[name], shared}, shared: set()}
        return name, HighLevelGraph(layers, needs)


def _picked(loop: _Loop, name: str, blocks: HighLevelGraph, number: int, output: Output) -> Any:
    """One of the arrays that the blocks of a layer return."""
    import dask.array as da

    label, lead, chunks = f"{name}-{number}", loop.work.lead, loop.chunks
    middle = () if output.bands is None else (0,)
    bands = () if output.bands is None else ((output.bands,),)
    layer = {}
    for index in _indices(chunks):
        key = (label, *index[:lead], *middle, *index[lead:])
        layer[key] = task(key, getitem, reference((name, *index)), number)
    graph = HighLevelGraph({**blocks.layers, label: layer}, {**blocks.dependencies, label: {name}})
    shape = (*chunks[:lead], *bands, *chunks[lead:])
    return da.Array(graph, label, chunks=shape, dtype=output.dtype)


def _run(work: _Work, i: int, j: int, *parts: Any) -> Any:
    """The task: join the chunks of each array, stack each group, apply the function."""
    scene, queue = parts[: work.scene or 0], iter(parts[work.scene or 0 :])
    grid = [work.pieces(0, i), work.pieces(1, j)]
    windows = []
    for count in work.groups:
        joined = [
            _join([[next(queue) for _ in grid[1]] for _ in grid[0]], grid) for _ in range(count)
        ]
        windows.append(_stack(joined, work.lead))
    with block_gate():
        return work.call(i, j, windows, scene)


def _combined(combine: Callable[[Sequence[Any]], Any], *parts: Any) -> Any:
    return combine(parts)


def _indices(chunks: Sequence[Sequence[int]]) -> Iterator[Index]:
    return product(*(range(len(c)) for c in chunks))


def _references(
    array: DaskArray, chunks: tuple[tuple[int, ...], ...], lead: int
) -> dict[Index, Any]:
    """References to the chunks of an array, which is one chunk along dimensions between."""
    name, middle = array.name, (0,) * (array.ndim - lead - 2)
    return {
        index: reference((name, *index[:lead], *middle, *index[lead:]))
        for index in _indices(chunks)
    }


def _join(parts: list[list[NDArray[Any]]], grid: list[list[tuple[int, slice]]]) -> NDArray[Any]:
    rows = [
        [part[..., y, x] for part, (_, x) in zip(line, grid[1], strict=True)]
        for line, (_, y) in zip(parts, grid[0], strict=True)
    ]
    if len(rows) == 1 and len(rows[0]) == 1:
        return np.asarray(rows[0][0])
    return np.concatenate([np.concatenate(line, axis=-1) for line in rows], axis=-2)


def _stack(arrays: list[NDArray[Any]], lead: int) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=lead)


def _aligned(array: Any, chunks: tuple[tuple[int, ...], ...], lead: int) -> DaskArray:
    """As dask array with the given chunks along lead, y and x, and one along bands."""
    import dask.array as da

    middle = array.shape[lead:-2]
    needed = (*chunks[:lead], *((n,) for n in middle), *chunks[lead:])
    if not is_dask_collection(array):
        return da.from_array(array, chunks=needed)
    return array if array.chunks == needed else array.rechunk(needed)
