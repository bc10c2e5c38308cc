"""How far a long task is, in one line."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """One line on the terminal that tells how far a long task is.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Number of parts.
    show : bool
        False keeps silent.
    stream : file, optional
        Where to; standard error by default. Away from a terminal, a line for every tenth.

    Examples
    --------
    >>> bar = Progress("writing out.zarr", 2, stream=sys.stdout)
    >>> bar.step(); bar.step()
    writing out.zarr [##########..........] 1/2, ... s left
    writing out.zarr [####################] 2/2, ... s left
    """

    def __init__(
        self, label: str, total: int, *, show: bool = True, stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.show = label, total, show
        self.stream = sys.stderr if stream is None else stream
        self.count = 0
        self.start = time.monotonic()

    def step(self, note: str = "") -> None:
        """One more part is done; `note` says something about it."""
        self.count += 1
        if not self.show:
            return
        terminal = self.stream.isatty()
        tenth = -(-self.total // 10)
        if not terminal and self.count < self.total and self.count % tenth:
            return
        filled = 20 * self.count // self.total
        elapsed = time.monotonic() - self.start
        left = elapsed / self.count * (self.total - self.count)
        line = (
            f"{self.label} [{'#' * filled}{'.' * (20 - filled)}] {self.count}/{self.total}, "
            f"{elapsed:.0f} s, {left:.0f} s left{note and ', '}{note}"
        )
        end = "\n" if not terminal or self.count == self.total else ""
        self.stream.write(("\r" if terminal else "") + line + end)
        self.stream.flush()
