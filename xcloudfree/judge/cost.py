"""What a call costs: CPU time, wall-clock time, peak memory."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What one call cost."""

    cpu: float  # CPU-seconds of all threads of the process
    wall: float  # seconds that passed
    memory: float  # bytes of the highest resident memory above that at the start


def measure(function: Callable[[], Any]) -> tuple[Any, Cost]:
    """Call a function; its result and its cost, with NaN memory where the kernel does not tell."""
    # Memory is that of the whole process as the kernel records it, because tracemalloc does not see
    # what torch and libraries in C allocate. Other threads of the process count too. Memory that
    # the allocator keeps after earlier calls would hide what this one takes: give it back first.
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
    """A function that exempts what exists by then from garbage collection, until the end."""
    # each measurement collects garbage: that takes a millisecond and not a tenth of a second
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
    """Set the kernel's record of the peak back to what is resident now; whether that worked."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _bytes_of("VmHWM") - _bytes_of("VmRSS") < 2**22


def _bytes_of(key: str) -> float:
    """Bytes of a line of the process's status, NaN where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return float(found[0]) * 1024 if found else float("nan")
