"""Progress of a long task, in one line."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """A progress bar on the terminal; elsewhere, such as in a log, a line for every tenth.

    >>> bar = Progress("writing out.zarr", 2, stream=sys.stdout)
    >>> bar.step()
    writing out.zarr [##########..........] 1/2, ... s left
    """

    def __init__(
        self, label: str, total: int, *, show: bool = True, stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.show = label, total, show
        self.stream = sys.stderr if stream is None else stream
        self.count = 0
        self.start = time.monotonic()

    def step(self, note: str = "") -> None:
        """Count one more finished part; `note` is shown with it."""
        self.count += 1
        last = self.count == self.total
        terminal = self.stream.isatty()
        tenth = -(-self.total // 10)
        if not self.show or not (terminal or last or self.count % tenth == 0):
            return
        filled = 20 * self.count // self.total
        elapsed = time.monotonic() - self.start
        left = elapsed / self.count * (self.total - self.count)
        line = (
            f"{self.label} [{'#' * filled}{'.' * (20 - filled)}] {self.count}/{self.total}, "
            f"{elapsed:.0f} s, {left:.0f} s left{note and ', '}{note}"
        )
        if terminal:
            line = f"\r{line}"  # over the previous line
        self.stream.write(line if terminal and not last else f"{line}\n")
        self.stream.flush()
