"""The only file that builds dask graphs: one task a block, which reads its halo itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import getitem
from typing import TYPE_CHECKING, Any

import numpy as np
from dask._task_spec import DataNode, Task, TaskRef
from dask.base import is_dask_collection, tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from numpy.typing import NDArray

from xcloudfree.core.windows import ALONE, Plan, Span, pieces

if TYPE_CHECKING:  # imported late: dask.array takes a third of the time of all the rest
    from dask.array import Array as DaskArray

BLOCK = 1024
"""Side of the blocks in which arrays in memory are worked through."""

Function = Callable[..., tuple[NDArray[Any], ...]]
"""``function(*windows, core=(rows, columns))``: windows (*lead, [band,] y, x) in, cores out."""


@dataclass(frozen=True)
class Output:
    """One array that a block returns."""

    dtype: np.dtype[Any]  # type of its values
    # length of the band axis before y and x; None for an array without one
    bands: int | None = None


def map_windows(
    function: Function,
    groups: Sequence[Sequence[Any]],
    outputs: Sequence[Output],
    *,
    lead: int,
    plan: Plan = ALONE,
    resources: Mapping[str, float] | None = None,
) -> tuple[Any, ...]:
    """Apply a function to each block of a scene together with what it needs around it."""
    arrays = [a for group in groups for a in group]
    first = next((a for a in arrays if is_dask_collection(a)), None)
    if first is None:
        return _eager(function, groups, outputs, lead, plan)
    chunks = (*first.chunks[:lead], *first.chunks[-2:])
    groups = [[_aligned(a, chunks, lead) for a in group] for group in groups]
    return _lazy(function, groups, outputs, chunks, lead, plan, resources)


def spread(numbers: NDArray[Any], like: Any) -> Any:
    """Numbers at each pixel of a scene, as views that take no memory."""
    import dask.array as da

    if isinstance(like, np.ndarray):
        return np.broadcast_to(numbers, like.shape)

    chunks = tuple(
        c if n > 1 else 1
        for n, c in zip(numbers.shape, like.chunks[like.ndim - numbers.ndim :], strict=True)
    )
    return da.broadcast_to(da.from_array(numbers, chunks=chunks), like.shape, chunks=like.chunks)


def _lazy(
    function: Function,
    groups: Sequence[Sequence[DaskArray]],
    outputs: Sequence[Output],
    chunks: tuple[tuple[int, ...], ...],
    lead: int,
    plan: Plan,
    resources: Mapping[str, float] | None,
) -> tuple[DaskArray, ...]:
    import dask.array as da

    arrays = [a for group in groups for a in group]
    token = tokenize(function, [a.name for a in arrays], list(outputs), plan)
    name = f"{type(function).__name__.lower()}-{token}"
    rows, columns = (tuple(plan.spans(c)) for c in chunks[-2:])
    work = _Work(function, tuple(map(len, groups)), (rows, columns), chunks[-2:], lead)
    shared = f"{name}-function"
    graph: dict[Any, Any] = {}
    touched = [
        [[n for n, _ in work.pieces(axis, k)] for k in range(len(chunks[axis - 2]))]
        for axis in (0, 1)
    ]
    # each reference is made once and shared, or a large graph would take twice the bytes
    common = TaskRef(shared)
    sources = [_references(a, chunks, lead) for a in arrays]
    made = {index: TaskRef((name, *index)) for index in _indices(chunks)}
    for index, own in made.items():
        *head, i, j = index
        parts = (
            source[*head, m, n] for source in sources for m in touched[0][i] for n in touched[1][j]
        )
        graph[own.key] = Task(own.key, _run, common, i, j, *parts)
    annotations = {"resources": dict(resources)} if resources else None
    whole = HighLevelGraph.from_collections(
        name, MaterializedLayer(graph, annotations=annotations), dependencies=arrays
    )
    layers = {**whole.layers, shared: MaterializedLayer({shared: DataNode(shared, work)})}
    needs = {**whole.dependencies, name: {*whole.dependencies[name], shared}, shared: set()}
    results = []
    for number, output in enumerate(outputs):
        label = f"{name}-{number}"
        middle = () if output.bands is None else (0,)
        layer = {}
        for index, own in made.items():
            key = (label, *index[:lead], *middle, *index[lead:])
            layer[key] = Task(key, getitem, own, number)
        bands = () if output.bands is None else ((output.bands,),)
        results.append(
            da.Array(
                HighLevelGraph({**layers, label: layer}, {**needs, label: {name}}),
                label,
                chunks=(*chunks[:lead], *bands, *chunks[lead:]),
                dtype=output.dtype,
            )
        )
    return tuple(results)


def _indices(chunks: tuple[tuple[int, ...], ...]) -> Iterator[tuple[int, ...]]:
    return product(*(range(len(c)) for c in chunks))


def _references(
    array: DaskArray, chunks: tuple[tuple[int, ...], ...], lead: int
) -> dict[tuple[int, ...], TaskRef]:
    """References to the chunks of an array, which is one chunk along dimensions between."""
    name, middle = array.name, (0,) * (array.ndim - lead - 2)
    return {
        index: TaskRef((name, *index[:lead], *middle, *index[lead:])) for index in _indices(chunks)
    }


@dataclass(frozen=True)
class _Work:
    """What all blocks share, stored once in the graph."""

    function: Function
    groups: tuple[int, ...]
    spans: tuple[tuple[Span, ...], tuple[Span, ...]]
    chunks: tuple[tuple[int, ...], ...]
    lead: int

    def pieces(self, axis: int, block: int) -> list[tuple[int, slice]]:
        """Chunks that the window of a block touches along y (0) or x (1)."""
        s = self.spans[axis][block]
        return pieces(s.read_start, s.read_stop, self.chunks[axis])


def _run(work: _Work, i: int, j: int, *parts: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The task: join the chunks of each array, stack each group, apply the function."""
    grid, queue = [work.pieces(0, i), work.pieces(1, j)], iter(parts)
    windows = []
    for count in work.groups:
        joined = [
            _join([[next(queue) for _ in grid[1]] for _ in grid[0]], grid) for _ in range(count)
        ]
        windows.append(_stack(joined, work.lead))
    return work.function(*windows, core=(work.spans[0][i].core, work.spans[1][j].core))


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


def _eager(
    function: Function,
    groups: Sequence[Sequence[NDArray[Any]]],
    outputs: Sequence[Output],
    lead: int,
    plan: Plan,
) -> tuple[NDArray[Any], ...]:
    head, size = groups[0][0].shape[:lead], groups[0][0].shape[-2:]
    results = tuple(
        np.empty((*head, *(() if o.bands is None else (o.bands,)), *size), o.dtype) for o in outputs
    )
    rows, columns = (plan.spans(_regular(n)) for n in size)
    for place, y, x in product(product(*(range(n) for n in head)), rows, columns):
        image: tuple[Any, ...] = tuple(slice(i, i + 1) for i in place)
        window = (*image, ..., _read(y), _read(x))
        blocks = function(
            *(_stack([a[window] for a in group], lead) for group in groups), core=(y.core, x.core)
        )
        written = (*image, ..., slice(y.start, y.stop), slice(x.start, x.stop))
        for result, block in zip(results, blocks, strict=True):
            result[written] = block
    return results


def _read(s: Span) -> slice:
    return slice(s.read_start, s.read_stop)


def _regular(size: int) -> tuple[int, ...]:
    return tuple(min(BLOCK, size - start) for start in range(0, size, BLOCK))


def _aligned(array: Any, chunks: tuple[tuple[int, ...], ...], lead: int) -> DaskArray:
    """As dask array with the given chunks along lead, y and x, and one along bands."""
    import dask.array as da

    middle = array.shape[lead:-2]
    wanted = (*chunks[:lead], *((n,) for n in middle), *chunks[lead:])
    if not is_dask_collection(array):
        return da.from_array(array, chunks=wanted)
    return array if array.chunks == wanted else array.rechunk(wanted)
