"""Compute the cells of a scene in order, on any dask scheduler, a bounded number at a time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any, Final

import xarray as xr

from xcloudfree.core.graphs import (
    ALL_DATES,
    SCENE_SUM,
    Tasks,
    is_annotated,
    merged,
    reference,
    task,
    tasks_of,
    throttled,
    value,
    with_layer,
    with_values,
    work_is_shared,
)
from xcloudfree.io.cells import Grid, Index, Piece, grid_of, pieces, strips
from xcloudfree.io.scene_sums import SceneSums
from xcloudfree.io.schedulers import capacity, cluster, run

COLUMNS: Final = 4
"""Least number of columns of blocks in memory: two that are written, and one on either side."""

GRAPH_CELLS: Final = 256
"""Least number of cells in one graph: enough to keep workers busy, few enough to build quickly."""

GRAPH_PLACES: Final = 64
"""Least number of places in one graph if the dates of a place are computed together: graphs share
no input, so it is read twice at their border; a strip of four columns is cut every 16 rows."""


def stream(
    ds: xr.Dataset,
    grid: Grid,
    store: Callable[..., None],
    *,
    memory: int,
    skip: Callable[[Index], bool],
    finished: Callable[[Index], None],
    summing: Callable[[int], Callable[[], None]],
) -> None:
    """Compute every cell, strip by strip; call ``store(pieces, index, *blocks)`` where it is."""
    # Each strip is one graph. The work on a cell waits until all but the last few before it are
    # stored, because dask itself reads far ahead and would hold most of the scene.
    parts = pieces(ds, grid)
    if not parts or all(skip(index) for index in product(*map(range, grid.counts))):
        return
    client = cluster()
    workers, threads = capacity(client)
    ahead = threads + threads // 2  # a slow cell must not keep the other threads waiting
    names = {part.name: ds.variables[part.name].data.name for part in parts}
    whole = merged(ds.variables[part.name].data for part in parts)

    def blocks(index: Index, some: Sequence[Piece] = parts) -> list[Any]:
        return [(names[part.name], *block) for part in some for block in part.blocks(index)]

    late = [p for p in parts if is_annotated(ds.variables[p.name].data.dask, ALL_DATES)]
    others = [p for p in parts if p not in late] if late else []
    together = grid.dates if is_annotated(whole, ALL_DATES) else ()
    dates = prod(grid.counts[axis] for axis in together)
    size_of_place = max(1, dates * sum(part.nbytes for part in parts))
    columns = max(COLUMNS, memory * workers // (2 * size_of_place))
    least = GRAPH_CELLS if dates == 1 else max(GRAPH_CELLS // dates, GRAPH_PLACES)
    size = max(least, 4 * ahead)
    order = list(strips(grid.places, columns, size))

    for head in grid.heads(together):
        todo = [
            [[i for i in grid.cells(head, place, together) if not skip(i)] for place in strip]
            for strip in order
        ]
        if any(map(any, todo)) and is_annotated(whole, SCENE_SUM):
            # the first and the last place need all sums that any place needs
            corners = [order[0][0], order[-1][-1]]
            cells = [index for place in corners for index in grid.cells(head, place, together)]
            ends = {key for index in cells for key in blocks(index)}
            sums = SceneSums(whole, ends)
            count = len(sums.passes) * len(order)
            step = summing(count) if count else _nothing
            whole = with_values(whole, sums.compute(order, ahead, client, step), SCENE_SUM)
        for strip in todo:
            token = uuid.uuid4().hex  # a cluster remembers keys, but all must be stored again
            shared, name = f"store-into-{token}", f"store-{token}"
            first, before = f"store-first-into-{token}", f"store-first-{token}"
            layer: Tasks = {shared: value(shared, late or parts), first: value(first, others)}
            cell_of: dict[Any, Index] = {(name, *i): i for place in strip for i in place}
            groups = [[(name, *index) for index in place] for place in strip if place]
            for key, index in cell_of.items():
                made = list(map(reference, blocks(index, late or parts)))
                if others:  # what stays as it is need not wait in memory for the other dates
                    own = (before, *index)
                    plain = map(reference, blocks(index, others))
                    layer[own] = task(own, store, reference(first), index, *plain)
                    made.append(reference(own))
                layer[key] = task(key, store, reference(shared), index, *made)
            if groups:
                ready = with_layer(whole, name, layer, set(names.values()))
                early = [(before, *index) for index in cell_of.values()] if others else ()
                run(throttled(ready, groups, ahead, set(early)), cell_of, finished, client)


def _nothing() -> None:
    """Step function without sums."""


def blocks_share_work(ds: xr.Dataset) -> bool:
    """Whether a cell shares most of its work with its neighbour, which would repeat it.

    >>> import numpy as np
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.arange(16.0).reshape(4, 4))}).chunk(y=2, x=2)
    >>> blocks_share_work(ds + 1), blocks_share_work(ds - ds.B02.rolling(y=2).mean())
    (False, True)
    """
    grid = grid_of(ds)
    parts = pieces(ds, grid)
    whole = merged(ds.variables[part.name].data for part in parts) if parts else None

    def blocks(index: Index) -> set[Any]:
        return {(ds.variables[p.name].data.name, *b) for p in parts for b in p.blocks(index)}

    first = (0,) * len(grid.counts)
    for axis in (axis for axis, count in enumerate(grid.counts) if count > 1):
        beside = (*first[:axis], 1, *first[axis + 1 :])
        tasks = tasks_of(whole.cull(blocks(first) | blocks(beside)))  # type: ignore[union-attr]
        if work_is_shared(blocks(first), blocks(beside), tasks):
            return True
    return False
