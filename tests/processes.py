"""Processes that tests start, or kill: forked from one that has imported what takes seconds."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import dask
import pytest

PRELOAD = ["distributed", "rioxarray", "torch", "xcloudfree", "zarr"]


@cache
def _forked() -> Any:
    """Context whose server has the packages; a cluster that is started later uses it too."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    multiprocessing.forkserver.ensure_running()
    return context


def exit_code(function: Callable[..., Any], *arguments: Any) -> int:
    """Call a function in another process, and return how that ends: -9 if it was killed."""
    process = _forked().Process(target=function, args=arguments)
    process.start()
    process.join()
    return int(process.exitcode)


def pool(count: int) -> ProcessPoolExecutor:
    """Other processes that return what functions give."""
    return ProcessPoolExecutor(count, mp_context=_forked())


@contextmanager
def cluster() -> Iterator[Any]:
    """A cluster of two processes with a thread each."""
    distributed = pytest.importorskip("distributed")
    _forked()
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as started,
    ):
        yield started
