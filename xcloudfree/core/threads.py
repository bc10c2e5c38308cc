"""The gate through which the work on every block passes: how many threads it has."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController


class BlockGate:
    """Blocks side by side on a CPU, each with its share of threads.

    BLAS has one thread: the matrix products of a block are small, and threads that wait for one
    another would take twice the processor time. OpenMP, with which torch computes, has a share of
    the threads of the caller: blocks that dask computes side by side keep all cores busy with one
    thread each (0.6 of the time of one after the other with two, docs/benchmarks.md), and the last
    one, or an array in memory, gets them all.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._active, self._all = 0, 1
        self._blas: list[tuple[Any, int]] = []
        self._libraries: list[Any] = []
        self._modules = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Compute inside."""
        with self._guard:
            libraries = self._loaded()
            # OpenMP has a number of threads for each calling thread, BLAS one for the process
            openmp = [(lib, lib.num_threads) for lib in libraries if lib.user_api == "openmp"]
            if not self._active:
                self._all = max((number for _, number in openmp), default=1)
                self._blas = [(lib, lib.num_threads) for lib in libraries if lib.user_api == "blas"]
                _limit(self._blas, 1)
            self._active += 1
            _limit(openmp, max(1, self._all // self._active))
        try:
            yield
        finally:
            _restore(openmp)
            with self._guard:
                self._active -= 1
                if not self._active:
                    _restore(self._blas)

    def _loaded(self) -> list[Any]:
        """Libraries of this process, sought again when modules were imported since."""
        if len(sys.modules) != self._modules:
            self._libraries = ThreadpoolController().lib_controllers
            self._modules = len(sys.modules)
        return self._libraries


def _limit(libraries: list[tuple[Any, int]], threads: int) -> None:
    for library, number in libraries:
        if number > threads:
            library.set_num_threads(threads)


def _restore(libraries: list[tuple[Any, int]]) -> None:
    for library, number in libraries:
        if library.num_threads != number:
            library.set_num_threads(number)


block_gate = BlockGate()
"""The gate of this process: how many blocks are worked on is its only state."""
