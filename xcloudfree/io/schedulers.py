"""Dask schedulers: which one computes, with how many threads; and computing keys on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask
from dask.base import get_scheduler
from dask.callbacks import Callback
from dask.highlevelgraph import HighLevelGraph
from dask.system import CPU_COUNT
from dask.utils import ensure_dict

from xcloudfree.io.cells import Index


def cluster() -> Any | None:
    """The cluster's client, if a cluster computes."""
    distributed = sys.modules.get("distributed")
    owner = getattr(get_scheduler(), "__self__", None)
    return owner if distributed is not None and isinstance(owner, distributed.Client) else None


def capacity(client: Any | None) -> tuple[int, int]:
    """Number of processes that hold blocks, and total number of their threads."""
    if client is not None:
        threads = client.nthreads()
        return max(1, len(threads)), max(4, sum(threads.values()))
    if get_scheduler() is dask.local.get_sync:
        return 1, 1
    pool = dask.config.get("pool", None)
    declared = getattr(pool, "_max_workers", None) or dask.config.get("num_workers", None)
    return 1, int(declared or CPU_COUNT)


def run(
    graph: HighLevelGraph,
    keys: Mapping[Any, Index],
    finished: Callable[[Index], None],
    client: Any | None,
) -> None:
    """Compute keys and call `finished` here with the cell of each once it is done."""
    if client is not None:
        from distributed import as_completed

        futures = client.get(graph, list(keys), sync=False)
        try:
            for future in as_completed(futures):
                future.result()
                finished(keys[future.key])
        finally:
            for future in futures:
                future.release()
        return
    done: set[Any] = set()

    def record(key: Any, *_: Any) -> None:
        if key in keys and key not in done:
            done.add(key)
            finished(keys[key])

    with Callback(posttask=record):
        _scheduler()(ensure_dict(graph), list(keys))
    for key in keys:  # a user's own scheduler may have no callbacks
        record(key)


def values_of(graph: HighLevelGraph, keys: Sequence[Any], client: Any | None) -> list[Any]:
    """Compute and return the keys of small values."""
    if client is not None:
        return list(client.get(graph, list(keys)))
    return list(_scheduler()(ensure_dict(graph), list(keys)))


def _scheduler() -> Callable[..., Any]:
    return get_scheduler() or dask.threaded.get  # type: ignore[no-any-return]
