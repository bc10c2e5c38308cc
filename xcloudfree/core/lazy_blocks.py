"""The blocks of a scene as a dask graph: one task per block joins its window and processes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import getitem
from typing import Any

import dask.array as da
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from numpy.typing import NDArray

from xcloudfree.core.blocks import Function, Index, Loop, Output, Work, indices, is_lazy
from xcloudfree.core.devices import block_gate
from xcloudfree.core.graphs import ALL_DATES, SCENE_SUM, part_of, reference, task, value

FAN_IN = 16
"""Number of measurements that are combined at a time."""


@dataclass(frozen=True)
class LazyValue:
    """The graph of a value of a whole scene, one for each block along the leading dimensions."""

    name: str
    graph: HighLevelGraph
    shared: int | None = None  # leading dimension along which one value serves all blocks

    def __dask_graph__(self) -> HighLevelGraph:
        return self.graph

    def __dask_layers__(self) -> tuple[str, ...]:
        return (self.name,)

    def __getitem__(self, index: Index) -> Any:
        if self.shared is not None:
            index = (*index[: self.shared], 0, *index[self.shared + 1 :])
        return reference((self.name, *index))


# ------------------------------------------------------------------ results of the loop


def mapped(
    loop: Loop, outputs: list[Output], resources: Mapping[str, float] | None, all_dates: bool
) -> tuple[da.Array, ...]:
    """The arrays that the blocks return."""
    name, blocks = _layer(loop, outputs, resources, ALL_DATES if all_dates else None)
    return tuple(_picked(loop, name, blocks, n, output) for n, output in enumerate(outputs))


def summed(loop: Loop, combine: Callable[[Sequence[Any]], Any]) -> LazyValue:
    """The combined results of the blocks."""
    lead = loop.work.lead
    name, graph = _layer(loop, [], None, SCENE_SUM)
    whole, nodes = f"{name}-whole", {}
    for index in indices(loop.chunks[:lead]):
        keys = [(name, *index, *block) for block in indices(loop.chunks[lead:])]
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
    return LazyValue(whole, HighLevelGraph({**graph.layers, whole: layer}, needs))


def called(function: Function, scene: Sequence[Any]) -> LazyValue:
    """Result of a function of values of a scene."""
    first = scene[0]
    name = f"{type(function).__name__.lower()}-{tokenize(function, [s.name for s in scene])}"
    places = [key[1:] for key in first.graph.layers[first.name] if key[0] == first.name]
    nodes = {(name, *i): task((name, *i), _gated, function, *(s[i] for s in scene)) for i in places}
    layer = MaterializedLayer(nodes, annotations={SCENE_SUM: True})
    return LazyValue(name, HighLevelGraph.from_collections(name, layer, dependencies=list(scene)))


def _layer(
    loop: Loop, outputs: list[Output], resources: Mapping[str, float] | None, annotation: str | None
) -> tuple[str, HighLevelGraph]:
    """Name and graph of a layer with one task per block."""
    work, chunks, lead = loop.work, loop.chunks, loop.work.lead
    arrays = [a for group in loop.groups for a in group]
    names = [x.name for x in (*arrays, *loop.scene)]
    token = tokenize(work.function, names, outputs, loop.plan)
    name = f"{type(work.function).__name__.lower()}-{token}"
    touched = [
        [[n for n, _ in work.pieces(axis, k)] for k in range(len(chunks[axis - 2]))]
        for axis in (0, 1)
    ]
    # each reference is made once and shared; otherwise a large graph would take twice the bytes
    shared = f"{name}-function"
    common = reference(shared)
    sources, cut = _sources(work, f"{name}-parts", arrays, chunks)
    values = {i: [s[i] for s in loop.scene] for i in indices(chunks[:lead])}
    graph: dict[Any, Any] = {}
    for index in indices(chunks):
        *head, i, j = index
        parts = [s[*head, m, n] for s in sources for m in touched[0][i] for n in touched[1][j]]
        key = (name, *index)
        graph[key] = task(key, _run, common, i, j, *values[tuple(head)], *parts)
    annotations: dict[str, Any] = {"resources": dict(resources)} if resources else {}
    if annotation is not None:
        annotations[annotation] = True
    layer = MaterializedLayer(graph, annotations=annotations or None)
    whole = HighLevelGraph.from_collections(name, layer, dependencies=[*arrays, *loop.scene])
    layers = {**whole.layers, shared: MaterializedLayer({shared: value(shared, work)})}
    needs = {**whole.dependencies, name: {*whole.dependencies[name], shared}, shared: set()}
    if cut:
        parted = f"{name}-parts"
        layers[parted], needs[parted] = MaterializedLayer(cut), set(whole.dependencies[name])
        needs[name].add(parted)
    return name, HighLevelGraph(layers, needs)


def _sources(
    work: Work, name: str, arrays: Sequence[da.Array], chunks: tuple[tuple[int, ...], ...]
) -> tuple[list[dict[Index, Any]], dict[Any, Any]]:
    """References to the parts of the chunks of each array, and tasks that cut chunks into them."""
    sources = [_references(array, chunks, work.lead) for array in arrays]
    if work.chunks == chunks[-2:]:
        return sources, {}
    inside = [_inside(whole, parts) for whole, parts in zip(chunks[-2:], work.chunks, strict=True)]
    nodes: dict[Any, Any] = {}
    found: list[dict[Index, Any]] = [{} for _ in arrays]
    for number, index in product(range(len(arrays)), indices(chunks)):
        *head, i, j = index
        whole, rows, columns = sources[number][index], inside[0][i], inside[1][j]
        grid = list(product(rows, columns))
        if len(grid) == 1:
            found[number][*head, *grid[0]] = whole
            continue
        every = (f"{name}-all", number, *index)
        nodes[every] = task(every, _cut, whole, tuple(rows.values()), tuple(columns.values()))
        for n, (y, x) in enumerate(grid):
            key = (name, number, *head, y, x)
            nodes[key] = task(key, part_of, reference(every), n)
            found[number][*head, y, x] = reference(key)
    return found, nodes


def _inside(chunks: Sequence[int], parts: Sequence[int]) -> list[dict[int, slice]]:
    """Number of each part of each chunk, and its position in the chunk."""
    found: list[dict[int, slice]] = []
    number = 0
    for size in chunks:
        found.append({})
        start = 0
        while start < size:
            found[-1][number] = slice(start, start + parts[number])
            start += parts[number]
            number += 1
    return found


def _picked(loop: Loop, name: str, blocks: HighLevelGraph, number: int, output: Output) -> da.Array:
    """One of the arrays that the blocks of a layer return."""
    label, lead, chunks = f"{name}-{number}", loop.work.lead, loop.chunks
    middle = () if output.bands is None else (0,)
    bands = () if output.bands is None else ((output.bands,),)
    layer = {}
    for index in indices(chunks):
        key = (label, *index[:lead], *middle, *index[lead:])
        layer[key] = task(key, getitem, reference((name, *index)), number)
    graph = HighLevelGraph({**blocks.layers, label: layer}, {**blocks.dependencies, label: {name}})
    shape = (*chunks[:lead], *bands, *chunks[lead:])
    return da.Array(graph, label, chunks=shape, dtype=output.dtype)


def _references(
    array: da.Array, chunks: tuple[tuple[int, ...], ...], lead: int
) -> dict[Index, Any]:
    """References to the chunks of an array, which is one chunk along dimensions between."""
    name, middle = array.name, (0,) * (array.ndim - lead - 2)
    return {
        index: reference((name, *index[:lead], *middle, *index[lead:])) for index in indices(chunks)
    }


def aligned(array: Any, chunks: tuple[tuple[int, ...], ...], lead: int) -> da.Array:
    """As dask array with the given chunks along lead, y and x, and one along bands."""
    middle = array.shape[lead:-2]
    needed = (*chunks[:lead], *((n,) for n in middle), *chunks[lead:])
    if not is_lazy(array):
        return da.from_array(array, chunks=needed)
    return array if array.chunks == needed else array.rechunk(needed)


# ------------------------------------------------------------------ tasks


def _run(work: Work, i: int, j: int, *parts: Any) -> Any:
    """The task: join the chunks of each array, stack each group, apply the function."""
    scene, queue = parts[: work.scene or 0], iter(parts[work.scene or 0 :])
    grid = [work.pieces(0, i), work.pieces(1, j)]
    groups = [
        [[[next(queue)[..., y, x] for _, x in grid[1]] for _, y in grid[0]] for _ in range(count)]
        for count in work.groups
    ]
    with block_gate():
        return work.call(i, j, work.windows(groups), scene)


def _cut(
    chunk: NDArray[Any], rows: Sequence[slice], columns: Sequence[slice]
) -> list[NDArray[Any]]:
    """Parts of a chunk, each in its own memory, so that each can be released alone."""
    return [chunk[..., y, x].copy() for y in rows for x in columns]


def _gated(function: Function, *arguments: Any) -> Any:
    with block_gate():
        return function(*arguments)


def _combined(combine: Callable[[Sequence[Any]], Any], *parts: Any) -> Any:
    return combine(parts)
