"""Measuring side by side: ways take turns, so that a busy moment meets all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.report import ROOT

QUICK = os.environ.get("BENCH") == "quick"
"""Small and few: shows that a benchmark runs, and writes no table."""

ROUNDS = 2 if QUICK else 5


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of all threads of the process."""

    wall: float
    cpu: float


def rounds(
    ways: Mapping[str, Callable[[], Any]], count: int = ROUNDS, warm: int = 1
) -> dict[str, list[Cost]]:
    """Costs of every way in each round, after rounds that only warm up.

    Every other round goes through the ways backwards.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(-warm, count):
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        for name in order:
            wall, cpu = time.perf_counter(), time.process_time()
            ways[name]()
            cost = Cost(time.perf_counter() - wall, time.process_time() - cpu)
            if number >= 0:
                costs[name].append(cost)
    return costs


@dataclass(frozen=True)
class Use:
    """What a call took: bytes beyond what its process held before, and in all; seconds."""

    above: int
    peak: int
    wall: float
    cpu: float


def used(code: str, *words: str) -> Use:
    """What a call needs, in a process of its own whose memory is read every 5 ms.

    Parameters
    ----------
    code : str
        Of Python; defines ``prepare()``, which loads all that is loaded once, and ``work()``.
    *words : str
        Its ``sys.argv[1:]``.
    """
    done = subprocess.run(
        [sys.executable, "-c", code + WATCH, *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    above, peak, wall, cpu = done.stdout.split()[-4:]
    return Use(int(above), int(peak), float(wall), float(cpu))


WATCH = """
import threading, time
import psutil

prepare()
process, peak, stop = psutil.Process(), [0], threading.Event()
start = process.memory_info().rss

def watch():
    while not stop.is_set():
        peak[0] = max(peak[0], process.memory_info().rss)
        time.sleep(0.005)

watcher = threading.Thread(target=watch, daemon=True)  # an error of work() must end the process
watcher.start()
wall, cpu = time.perf_counter(), time.process_time()
work()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
stop.set()
watcher.join()
print(peak[0] - start, peak[0], wall, cpu)
"""
