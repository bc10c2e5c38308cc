"""Computing the cells of a scene in order, on any dask scheduler, a bounded number at a time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

import xarray as xr
from dask._task_spec import DataNode, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph

from xcloudfree.io.cells import Grid, Index, cell_bytes, grid_of, strips
from xcloudfree.io.graphs import Tasks, merged, tasks_of, throttled, with_layer, with_values
from xcloudfree.io.schedulers import capacity, cluster, run
from xcloudfree.io.sharing import paths, scene_wide, share_work, without
from xcloudfree.io.survey import survey

COLUMNS: Final = 4
"""Columns of blocks in memory, at least: of two that are written, and one on either side."""

GRAPH_CELLS: Final = 256
"""Cells in one graph, at least: enough to keep workers busy, few enough to build in a second."""

GRAPH_PLACES: Final = 64
"""Places in one graph, at least, where the dates of a place are computed together: what two graphs
both read is read twice, and a strip of four columns is cut every 16 rows."""


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
    surveying: Callable[[int], Callable[[], None]] | None = None,
) -> None:
    """Compute every cell of a Dataset and hand its blocks to a function where they are computed.

    Cells are taken strip by strip (:func:`xcloudfree.io.cells.strips`), each strip in one graph.
    What several cells need is computed once a strip. The work on a cell waits until all cells but
    the last few before it are stored: dask by itself reads far ahead, and would hold most of the
    scene.

    Where cells of several dates at one place share most of their work, as those of a temporal
    method do, a place with all its dates takes the part of a cell. Sums over the whole scene that
    cells need are computed once, before them (:mod:`xcloudfree.io.survey`). Both is read from the
    task graph, whatever made it.

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
    surveying : callable, optional
        Told the number of parts before sums over the whole scene are computed; returns what is
        called after each.
    """
    parts = pieces(ds, grid)
    if not parts or all(skip(index) for index in product(*map(range, grid.counts))):
        return
    client = cluster()
    workers, threads = capacity(client)
    ahead = threads + threads // 2  # a slow cell must not keep the other threads waiting
    scene = _Scene(ds, grid, parts, ahead, client)
    together, sums = scene.shared()
    dates = prod(grid.counts[k] for k in together)
    held = max(COLUMNS, memory * workers // (2 * max(1, dates * cell_bytes(ds, grid))))
    least = GRAPH_CELLS if dates == 1 else max(GRAPH_CELLS // dates, GRAPH_PLACES)
    size = max(least, 4 * ahead)
    before = None
    for head, strip in grid.strips(held, size, together):
        places = [[index for index in place if not skip(index)] for place in strip]
        todo = [place for place in places if place]
        if not todo:
            continue
        if sums and head != before:
            sums = scene.survey(head, list(strips(grid.places, held, size)), surveying)
            before = head
        graph, keys = scene.graph([index for place in todo for index in place], store)
        key_of = {index: key for key, index in keys.items()}
        groups = [[key_of[index] for index in place] for place in todo]
        run(throttled(graph, groups, ahead), keys, finished, client)


def blocks_share_work(ds: xr.Dataset) -> bool:
    """Whether blocks share most of their work with others, as the task graph tells.

    Parameters
    ----------
    ds : xarray.Dataset
        Lazy or not, with blocks of one size per dimension.

    Returns
    -------
    bool
        False for what is only read, block by block.

    Examples
    --------
    >>> import numpy as np
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.arange(16.0).reshape(4, 4))}).chunk(y=2, x=2)
    >>> blocks_share_work(ds + 1), blocks_share_work(ds - ds.B02.rolling(y=2).mean())
    (False, True)
    """
    grid = grid_of(ds)
    parts = pieces(ds, grid)
    return bool(parts) and _Scene(ds, grid, parts, 1, None).any_shared()


@dataclass
class _Scene:
    """The graph of a Dataset, with the sums over the scene that are known."""

    ds: xr.Dataset
    grid: Grid
    parts: Sequence[Piece]
    ahead: int
    client: Any | None

    def __post_init__(self) -> None:
        self.names = {part.name: self.ds.variables[part.name].data.name for part in self.parts}
        self.whole = merged(self.ds.variables[part.name].data for part in self.parts)

    def blocks(self, index: Index) -> list[Any]:
        """Keys of the blocks of a cell."""
        return [(self.names[p.name], *b) for p in self.parts for b in p.blocks(index)]

    def graph(
        self, cells: Sequence[Index], store: Callable[..., None]
    ) -> tuple[HighLevelGraph, dict[Any, Index]]:
        """Graph of the given cells alone, optimised; and the key of each."""
        token = uuid.uuid4().hex  # a cluster remembers keys, and all must be stored again
        shared, name = f"store-into-{token}", f"store-{token}"
        layer: Tasks = {shared: DataNode(shared, tuple(self.parts))}
        keys = {(name, *index): index for index in cells}
        for key, index in keys.items():
            layer[key] = Task(key, store, TaskRef(shared), index, *map(TaskRef, self.blocks(index)))
        return with_layer(self.whole, name, layer, set(self.names.values())), keys

    def shared(self) -> tuple[tuple[int, ...], bool]:
        """Leading dimensions along which cells share work, and whether there are sums."""
        counts = self.grid.counts
        head = (0,) * self.grid.lead
        ends = self._ends(head)
        beside = {
            k: self.blocks(self.grid.cell((*head[:k], 1, *head[k + 1 :]), 0, 0))
            for k in range(self.grid.lead)
            if counts[k] > 1
        }
        tasks, _ = tasks_of(self.whole, set().union(*ends, *beside.values()))
        levels = scene_wide(*ends, tasks, prod(self.grid.places))
        known = set().union(*levels)
        together = [k for k, other in beside.items() if share_work(ends[0], other, tasks, known)]
        return tuple(together), bool(levels)

    def any_shared(self) -> bool:
        """Whether the first cell shares work with one beside it, or needs sums over the scene."""
        together, sums = self.shared()
        rows, columns = self.grid.places
        head = (0,) * self.grid.lead
        first = self.blocks(self.grid.cell(head, 0, 0))
        beside = [(i, j) for i, j in ((0, 1), (1, 0)) if i < rows and j < columns]
        near = [self.blocks(self.grid.cell(head, *place)) for place in beside]
        tasks, _ = tasks_of(self.whole, set(first).union(*near))
        return sums or bool(together) or any(share_work(first, n, tasks, ()) for n in near)

    def survey(
        self,
        head: Index,
        order: Sequence[Sequence[Index]],
        surveying: Callable[[int], Callable[[], None]] | None,
    ) -> bool:
        """Compute the sums over the scene that cells need, and put them into the graph.

        False if they are too large.
        """
        ends = self._ends(head)
        tasks, requests = tasks_of(self.whole, set().union(*ends))
        levels = scene_wide(*ends, tasks, prod(self.grid.places))
        hollow = without(tasks, set().union(*levels))
        cell = sum(paths(ends[0], hollow)[key] for key in ends[0])
        step = surveying(len(levels) * len(order)) if surveying else _nothing
        for sums in levels:
            found = survey(tasks, requests, sums, cell, order, self.ahead, self.client, step)
            if not found:
                return False
            tasks |= {key: DataNode(key, value) for key, value in found.items()}
            self.whole = with_values(self.whole, found)
        return True

    def _ends(self, head: Index) -> tuple[Collection[Any], Collection[Any]]:
        """Blocks of the first and of the last cell."""
        rows, columns = self.grid.places
        last = self.grid.cell(head, rows - 1, columns - 1)
        return self.blocks(self.grid.cell(head, 0, 0)), self.blocks(last)


def _nothing() -> None:
    """Nobody is told."""
