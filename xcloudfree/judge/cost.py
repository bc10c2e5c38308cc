"""What a call costs: CPU time, wall-clock time, peak memory."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

_INTERVAL = 0.002


class Cost(NamedTuple):
    """Of one call."""

    cpu: float  # CPU-seconds of all threads of the process
    wall: float  # seconds that passed
    memory: float  # highest resident memory during the call above that at its start, in bytes


def measure(function: Callable[[], Any]) -> tuple[Any, Cost]:
    """Call a function and say what it cost."""
    gc.collect()
    _trim()
    watch = _peak_of_kernel() or _Sampler()
    before = _status("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        result = function()
    finally:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = watch.stop()
    return result, Cost(cpu, wall, max(peak - before, 0.0) if peak == peak else peak)


@contextmanager
def sparing() -> Iterator[Callable[[], None]]:
    """Spare collections of garbage what is there when the function that one gets is called."""
    others = gc.get_freeze_count() > 0

    def spare() -> None:
        if not others:
            gc.collect()
            gc.freeze()

    try:
        yield spare
    finally:
        if not others:
            gc.unfreeze()


class _Kernel:
    """The peak that the kernel keeps."""

    def stop(self) -> float:
        return _status("VmHWM")


class _Sampler:
    """The peak that a thread sees."""

    def __init__(self) -> None:
        self.peak, self.ended = _status("VmRSS"), threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.ended.wait(_INTERVAL):
            self.peak = max(self.peak, _status("VmRSS"))

    def stop(self) -> float:
        self.ended.set()
        self.thread.join()
        return max(self.peak, _status("VmRSS"))


def _peak_of_kernel() -> _Kernel | None:
    """The kernel's record set back, if it lets us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    reset = _status("VmHWM") - _status("VmRSS") < 2**22
    return _Kernel() if reset else None


def _status(key: str) -> float:
    """Bytes of a line of the process's status."""
    try:
        with open(f"/proc/{os.getpid()}/status") as file:
            for line in file:
                if line.startswith(f"{key}:"):
                    return float(line.split()[1]) * 1024
    except OSError:
        pass
    return float("nan")


def _trim() -> None:
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
