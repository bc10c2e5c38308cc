"""Computing the cells of a scene in order, on any dask scheduler, a bounded number at a time."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import dask
import dask.array as da
import xarray as xr
from dask._task_spec import Alias, DataNode, Task, TaskRef, convert_legacy_graph
from dask.base import get_scheduler
from dask.blockwise import fuse_roots, optimize_blockwise
from dask.callbacks import Callback
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.system import CPU_COUNT
from dask.utils import ensure_dict

from xcloudfree.io.cells import Grid, Index, cell_bytes

COLUMNS: Final = 4
"""Columns of blocks in memory, at least: of two that are written, and one on either side."""

GRAPH_CELLS: Final = 256
"""Cells in one graph, at least: enough to keep workers busy, few enough to build in a second."""


@dataclass(frozen=True)
class Piece:
    """A lazy variable as seen from the grid of cells.

    Parameters
    ----------
    name : str
        Of the variable.
    axes : tuple of int
        For each of its dimensions that of the grid, -1 where a cell spans it.
    shape, chunks : tuple of int
        Size of the variable and of its blocks.
    """

    name: str
    axes: Index
    shape: Index
    chunks: Index

    def blocks(self, index: Index) -> list[Index]:
        """Blocks of the variable in a cell; one without a dimension belongs to its first block."""
        if any(i for axis, i in enumerate(index) if axis not in self.axes):
            return []
        ranges = [
            range(-(-n // c)) if axis < 0 else (index[axis],)
            for axis, n, c in zip(self.axes, self.shape, self.chunks, strict=True)
        ]
        return list(product(*ranges))

    def region(self, block: Index) -> tuple[slice, ...]:
        """What a block covers."""
        return tuple(
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(block, self.chunks, self.shape, strict=True)
        )


def pieces(ds: xr.Dataset, grid: Grid) -> tuple[Piece, ...]:
    """The lazy variables of a Dataset, which have blocks of one size per dimension."""
    return tuple(
        Piece(
            str(name),
            tuple(grid.dims.index(d) if d in grid.dims else -1 for d in variable.dims),
            variable.shape,
            tuple(max(1, *c) for c in variable.chunks),
        )
        for name, variable in ds.variables.items()
        if variable.chunks is not None
    )


def stream(
    ds: xr.Dataset,
    grid: Grid,
    store: Callable[..., None],
    *,
    memory: int,
    skip: Callable[[Index], bool],
    finished: Callable[[Index], None],
) -> None:
    """Compute every cell of a Dataset and hand its blocks to a function where they are computed.

    Cells are taken strip by strip (:func:`xcloudfree.io.cells.strips`), each strip in one graph.
    What several cells need is computed once a strip. The work on a cell waits until all cells but
    the last few before it are stored: dask by itself reads far ahead, and would hold most of the
    scene.

    Parameters
    ----------
    ds : xarray.Dataset
        Lazy variables with blocks of one size per dimension.
    grid : Grid
        Its cells.
    store : callable
        ``store(pieces, index, *blocks)``, with the blocks in the order of the pieces and of
        :meth:`Piece.blocks`; picklable.
    memory : int
        Bytes of input that a worker may hold for the sake of neighbours, two rows of a strip.
    skip : callable
        Whether a cell is done already.
    finished : callable
        Told each cell after its blocks are stored, here, in no certain order.
    """
    client = _client()
    workers, threads = _resources(client)
    ahead = threads + threads // 2  # a slow cell must not keep the other threads waiting
    held = max(COLUMNS, memory * workers // (2 * max(1, cell_bytes(ds, grid))))
    parts = pieces(ds, grid)
    if not parts:
        return
    for strip in grid.strips(held, max(GRAPH_CELLS, 4 * ahead)):
        todo = [index for index in strip if not skip(index)]
        if todo:
            graph, keys = _graph(ds, parts, todo, store)
            _run(_throttled(graph, list(keys), ahead), keys, finished, client)


def _graph(
    ds: xr.Dataset, parts: Sequence[Piece], cells: Sequence[Index], store: Callable[..., None]
) -> tuple[HighLevelGraph, dict[Any, Index]]:
    """Graph of the given cells alone, optimised; and the key of each."""
    arrays = {part.name: ds.variables[part.name].data for part in parts}
    token = uuid.uuid4().hex  # a cluster remembers keys, and what is stored must be stored again
    shared, name = f"store-into-{token}", f"store-{token}"
    layer: dict[Any, Any] = {shared: DataNode(shared, tuple(parts))}
    keys = {(name, *index): index for index in cells}
    for key, index in keys.items():
        blocks = (TaskRef((arrays[p.name].name, *b)) for p in parts for b in p.blocks(index))
        layer[key] = Task(key, store, TaskRef(shared), index, *blocks)
    whole = HighLevelGraph.from_collections(name, layer, dependencies=list(arrays.values()))
    fused = fuse_roots(optimize_blockwise(whole, keys=list(keys)), keys=list(keys))
    culled = fused.cull(set(keys))
    asked = _annotations(culled)
    # once more as one layer, for fusion: a culled graph does not know the order of its layers
    dsk = convert_legacy_graph(ensure_dict(da.optimize(ensure_dict(culled), [*keys, *asked])))
    return _layered(dsk, asked), keys


def _annotations(graph: HighLevelGraph) -> dict[Any, dict[str, Any]]:
    """What layers ask of the workers of a cluster, for each task; optimisation forgets it."""
    return {
        key: {kind: value(key) if callable(value) else value for kind, value in asked.items()}
        for layer in graph.layers.values()
        if (asked := layer.annotations)
        for key in layer
    }


def _layered(dsk: dict[Any, Any], asked: dict[Any, dict[str, Any]]) -> HighLevelGraph:
    """The graph with a layer for each kind of request."""
    layers: dict[str, Any] = {}
    requests: dict[str, Any] = {}
    for key, task in dsk.items():
        request = asked.get(key)
        name = "plain" if request is None else f"asking-{sorted(request.items(), key=str)}"
        layers.setdefault(name, {})[key] = task
        requests[name] = request
    made = {n: MaterializedLayer(layer, requests[n]) for n, layer in layers.items()}
    return HighLevelGraph(made, {n: set(made) - {n} for n in made})


def _throttled(graph: HighLevelGraph, keys: list[Any], ahead: int) -> HighLevelGraph:
    """Graph in which the work on a cell waits for the cells before it, `ahead` of them excepted.

    Whether all cells up to one are stored is known to its gate, a task without work. What waits
    for a gate is each task that no earlier cell needs and that needs no such task itself.
    """
    tasks = {key: task for layer in graph.layers.values() for key, task in layer.items()}
    gates = [("gate", *key) for key in keys]
    passed = {
        gate: Task(gate, _nothing, TaskRef(key), *(TaskRef(before) for before in gates[:n][-1:]))
        for n, (gate, key) in enumerate(zip(gates, keys, strict=True))
    }
    seen: set[Any] = set()
    waiting = {}
    for n, key in enumerate(keys):
        own = _reached(key, tasks, seen)
        seen |= own
        working = {k for k in own if isinstance(tasks[k], Task)}
        for here in working if n >= ahead else ():
            task = tasks[here]
            if not any(_aliased(d, tasks) in working for d in task.dependencies):
                waiting[here] = Task(here, _first, task, TaskRef(gates[n - ahead]))
    layers = {
        name: MaterializedLayer(
            {key: waiting.get(key, task) for key, task in layer.items() if key in seen},
            layer.annotations,
        )
        for name, layer in graph.layers.items()
    }
    layers["gates"] = MaterializedLayer(passed)
    return HighLevelGraph(layers, {n: set(layers) - {n} for n in layers})


def _reached(key: Any, tasks: dict[Any, Any], seen: set[Any]) -> set[Any]:
    """A key and all that it needs, without what was seen before."""
    found: set[Any] = set()
    stack = [key]
    while stack:
        here = stack.pop()
        if here not in found and here not in seen and here in tasks:
            found.add(here)
            stack.extend(tasks[here].dependencies)
    return found


def _aliased(key: Any, tasks: dict[Any, Any]) -> Any:
    while isinstance(task := tasks.get(key), Alias):
        key = task.target
    return key


def _run(
    graph: HighLevelGraph,
    keys: dict[Any, Index],
    finished: Callable[[Index], None],
    client: Any | None,
) -> None:
    """Compute the keys and tell each as soon as it is there."""
    if client is not None:
        _run_on(client, graph, keys, finished)
        return
    told: set[Any] = set()

    def tell(key: Any, *_: Any) -> None:
        if key in keys and key not in told:
            told.add(key)
            finished(keys[key])

    scheduler = get_scheduler() or dask.threaded.get
    with Callback(posttask=tell):
        scheduler(ensure_dict(graph), list(keys))
    for key in keys:  # a scheduler of the user's own may know no callbacks
        tell(key)


def _run_on(
    client: Any, graph: HighLevelGraph, keys: dict[Any, Index], finished: Callable[[Index], None]
) -> None:
    from distributed import as_completed

    futures = client.get(graph, list(keys), sync=False)
    try:
        for future in as_completed(futures):
            future.result()
            finished(keys[future.key])
    finally:
        for future in futures:
            future.release()


def _client() -> Any | None:
    """The cluster's client, if a cluster is what computes."""
    distributed = sys.modules.get("distributed")
    owner = getattr(get_scheduler(), "__self__", None)
    return owner if distributed is not None and isinstance(owner, distributed.Client) else None


def _resources(client: Any | None) -> tuple[int, int]:
    """Number of processes that hold blocks, and of threads that work on them in all."""
    if client is not None:
        threads = client.nthreads()
        return max(1, len(threads)), max(4, sum(threads.values()))
    if get_scheduler() is dask.local.get_sync:
        return 1, 1
    pool = dask.config.get("pool", None)
    declared = getattr(pool, "_max_workers", None) or dask.config.get("num_workers", None)
    return 1, int(declared or CPU_COUNT)


def _nothing(*_: Any) -> None:
    """End of a gate."""


def _first(value: Any, *_: Any) -> Any:
    return value
