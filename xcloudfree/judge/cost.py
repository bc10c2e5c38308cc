"""Cost of a call: CPU time, wall-clock time, peak memory."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """Cost of one call."""

    cpu: float  # CPU-seconds of all threads of the process
    wall: float  # elapsed seconds
    memory: float  # bytes of the highest resident memory above that at the start


def measure(function: Callable[[], Any]) -> tuple[Any, Cost]:
    """Call a function; return its result and cost, with NaN memory if the kernel has no record."""
    # Memory is that of the whole process as recorded by the kernel, because tracemalloc does not
    # see allocations of torch and C libraries. Other threads of the process count too. Memory that
    # the allocator keeps after earlier calls would hide the use of this call, so release it first.
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    known = _forget_peak()
    before = _bytes_of("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    above = max(_bytes_of("VmHWM") - before, 0.0) if known else float("nan")
    return result, Cost(cpu, wall, above)


@contextmanager
def quick_collection() -> Iterator[Callable[[], None]]:
    """Return a function that exempts existing objects from garbage collection, until the end."""
    # each measurement collects garbage: this way in a millisecond, not a tenth of a second
    frozen_by_others = gc.get_freeze_count() > 0

    def exempt() -> None:
        if not frozen_by_others:
            gc.collect()
            gc.freeze()

    try:
        yield exempt
    finally:
        if not frozen_by_others:
            gc.unfreeze()


def _forget_peak() -> bool:
    """Reset the kernel's record of the peak to the resident memory; return whether that worked."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _bytes_of("VmHWM") - _bytes_of("VmRSS") < 2**22


def _bytes_of(key: str) -> float:
    """Bytes in a line of the process's status, NaN if there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return float(found[0]) * 1024 if found else float("nan")
