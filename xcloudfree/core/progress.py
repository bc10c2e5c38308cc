"""Progress of long work: one bar, drawn by tqdm, the same in a terminal and in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from threading import current_thread, main_thread
from types import TracebackType
from typing import Any, Final, Self, TypeVar

Item = TypeVar("Item")

LOOK: Final = (
    "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}, {elapsed}, {remaining} left{postfix}"
)
SECONDS_OF_LOGS: Final = 10.0
"""Seconds between two lines of a bar that was requested where nobody watches."""

_open: ContextVar[bool] = ContextVar("xcloudfree_progress_open", default=False)
"""Whether a bar is drawn, so that loops inside its steps draw none."""


def interactive() -> bool:
    """Whether somebody watches: the error stream is a terminal or a notebook."""
    stream = sys.stderr
    return stream is not None and (
        stream.isatty() or type(stream).__module__.startswith("ipykernel")
    )


class Progress:
    """A bar with the time taken and the time left, from the mean rate so far.

    With ``show=None`` it is drawn only if :func:`interactive`. ``TQDM_DISABLE=1`` hides it.

    >>> with Progress("writing out.zarr", 2, show=False) as bar:
    ...     bar.step()
    >>> bar.count
    1
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        show: bool | None = None,
        done: int = 0,
        brief: bool = False,
    ) -> None:
        self.count = done
        self._bar: Any = None
        if show is False or _open.get() or not (show or interactive()):
            return
        from tqdm import tqdm

        class Bar(tqdm):  # type: ignore[misc]
            monitor_interval = 0  # no thread beside

        told: dict[str, Any] = {"disable": False} if show else {}  # else as the environment says
        self._bar = Bar(
            desc=label,
            total=total,
            initial=done,
            bar_format=LOOK,
            smoothing=0,
            miniters=1,
            mininterval=0.1 if interactive() else SECONDS_OF_LOGS,
            delay=float(brief),
            leave=not brief,
            **told,
        )

    def step(self, note: str = "") -> None:
        """Count one more finished part; `note` is shown with it."""
        self.count += 1
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update()

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Go on with other work, whose rate is its own."""
        self.count = done
        if self._bar is not None:
            self._bar.set_description_str(label, refresh=False)
            self._bar.reset(total)
            self._bar.n = self._bar.last_print_n = self._bar.initial = done

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        self._token = _open.set(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _open.reset(self._token)
        self.close()


def track(items: Sequence[Item], label: str) -> Iterable[Item]:
    """Iterate with a bar that disappears, unless another is open or the loop is in a thread."""
    alone = len(items) < 2 or current_thread() is not main_thread() or not interactive()
    return items if alone else _tracked(items, label)


def _tracked(items: Sequence[Item], label: str) -> Iterator[Item]:
    with Progress(label, len(items), brief=True) as bar:
        for item in items:
            yield item
            bar.step()
