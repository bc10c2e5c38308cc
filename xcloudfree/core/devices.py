"""Where blocks are computed: torch devices, and the number of threads of each block."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from xcloudfree.exceptions import DeviceMemoryError, ModelError

# ------------------------------------------------------------------ devices of torch


def chosen(device: Any) -> str:
    """Name of an available device, or ``"auto"``."""
    if device in (None, "auto"):
        return "auto"
    import torch

    try:
        place = torch.device(device)
        if place.type == "cuda":  # checked without claiming its memory in this process
            there = (place.index or 0) < torch.cuda.device_count()
        else:
            there = torch.empty(0, device=place).device.type != "meta"
    except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
        raise ModelError(
            f"{device!r} is not a device of this torch",
            fix="call reconstruct(device='cpu')",
            option="--device cpu",
        ) from error
    if not there:
        raise ModelError(
            f"there is no device {device!s} here",
            fix="call reconstruct(device='cpu')",
            option="--device cpu",
        )
    return str(place)


def resolved(device: str) -> str:
    """The device where this process computes."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def device_gate(device: str) -> DeviceGate:
    """The gate of a device, one per process, shared by all code that computes on it."""
    import torch

    return DeviceGate(device, torch.get_num_threads, torch.set_num_threads)


@contextmanager
def computing(device: str) -> Iterator[None]:
    """Gate for computations other than networks: alone on an accelerator, one thread on a CPU."""
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if torch.device(device).type != "cpu":
            stack.enter_context(device_gate(device)())
        elif (before := torch.get_num_threads()) > 1:  # a number of the calling thread
            torch.set_num_threads(1)
            stack.callback(torch.set_num_threads, before)
        yield


def memory_error(what: str, device: str) -> DeviceMemoryError:
    """The error for a block that does not fit into the memory of a device."""
    return DeviceMemoryError(
        f"{what} do not fit into the memory of {device}",
        fix="use smaller chunks, ds.chunk(y=512, x=512), or call reconstruct(device='cpu')",
        option="--device cpu",
    )


# ------------------------------------------------------------------ gates before the work


class BlockGate:
    """Gate that every block passes; inside, BLAS has one thread, since its products are small."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._active = self._modules = 0
        self._libraries: list[Any] = []
        self._before: list[tuple[Any, int]] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Compute inside."""
        with self._guard:
            if not self._active:  # the number belongs to the process: the first block sets it
                self._before = [(lib, lib.num_threads) for lib in self._loaded()]
                for library, threads in self._before:
                    if threads > 1:
                        library.set_num_threads(1)
            self._active += 1
        try:
            yield
        finally:
            with self._guard:
                self._active -= 1
                if not self._active:  # and the last restores it
                    for library, threads in self._before:
                        if threads > 1:
                            library.set_num_threads(threads)

    def _loaded(self) -> list[Any]:
        """BLAS libraries of this process, searched again after new modules were imported."""
        if len(sys.modules) != self._modules:
            found = ThreadpoolController().lib_controllers
            self._libraries = [library for library in found if library.user_api == "blas"]
            self._modules = len(sys.modules)
        return self._libraries


block_gate = BlockGate()
"""The gate of this process; its only state is the number of active blocks."""


def trim() -> None:
    """Return freed memory to the system.

    glibc keeps it for each thread that has allocated some; chunks that other threads read and
    blocks release leave gigabytes there. Other systems return it by themselves.
    """
    if (function := _malloc_trim()) is not None:
        function(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; Windows
        return None


class DeviceGate:
    """Gate in front of a device: one forward pass at a time, or shares of the threads of a CPU."""

    # Two blocks at a time with one thread each took 0.6 of the time of one after the other with
    # two (docs/benchmarks.md).

    def __init__(
        self, device: str, threads: Callable[[], int], limit: Callable[[int], None]
    ) -> None:
        self._alone = device.partition(":")[0] != "cpu"
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._threads, self._limit = threads, limit
        self._active, self._all = 0, 1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Compute inside."""
        if self._alone:
            with self._turn:
                yield
            return
        own = self._threads()
        with self._guard:
            if not self._active:
                self._all = own
            self._active += 1
            share = max(1, self._all // self._active)
        if share != own:
            self._limit(share)
        try:
            yield
        finally:
            if share != own:
                self._limit(own)
            with self._guard:
                self._active -= 1
