"""Who computes on a device at a time, and with how many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Admission:
    """Gate in front of a device.

    An accelerator takes one forward pass at a time. A CPU takes as many as there are callers, each
    with its share of torch's threads: the blocks of a scene that dask computes side by side keep
    all cores busy with one thread each, and the last one, or an array in memory, gets them all.

    Parameters
    ----------
    device : str
        Torch device.

    Notes
    -----
    The number of threads is set for the calling thread and restored afterwards. Two blocks at a
    time with one thread each took 0.6 of the time of one after the other with two
    (docs/benchmarks.md).
    """

    def __init__(self, device: str) -> None:
        self._alone = torch.device(device).type != "cpu"
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._active = 0
        self._threads = torch.get_num_threads()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Compute inside."""
        if self._alone:
            with self._turn:
                yield
            return
        own = torch.get_num_threads()
        with self._guard:
            if not self._active:
                self._threads = own
            self._active += 1
            share = max(1, self._threads // self._active)
        if share != own:
            torch.set_num_threads(share)
        try:
            yield
        finally:
            if share != own:
                torch.set_num_threads(own)
            with self._guard:
                self._active -= 1
