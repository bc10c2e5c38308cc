"""Windows over dates and other leading dimensions as series in order of time, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dates:
    """Which leading dimension of a window is time, and the acquisition days of its images."""

    time: int | None  # which leading dimension is time; None reads all images as one series
    days: tuple[float, ...] | None  # day number of each date, in the order of the data

    def join(self, results: Sequence[NDArray[Any]], head: tuple[int, ...]) -> NDArray[Any]:
        """Results of the series, (time, ...) each, with the leading dimensions `head`."""
        order = self._order()
        if order is not None:
            results = [r[np.argsort(order, kind="stable")] for r in results]
        stacked = results[0][None] if len(results) == 1 else np.stack(results)
        inner = stacked.shape[2:]
        if self.time is None:
            return stacked.reshape(*head, *inner)
        others = tuple(n for i, n in enumerate(head) if i != self.time)
        out = stacked.reshape(*others, head[self.time], *inner)
        return np.moveaxis(out, len(others), self.time)

    def split(self, window: NDArray[Any], lead: int) -> NDArray[Any]:
        """A window (*lead, ...) as (series, time, ...)."""
        inner = window.shape[lead:]
        if self.time is None:
            return window.reshape(1, prod(window.shape[:lead]), *inner)
        moved = np.moveaxis(window, self.time, lead - 1)
        out = moved.reshape(prod(moved.shape[: lead - 1]), moved.shape[lead - 1], *inner)
        order = self._order()
        return out if order is None else out[:, order]

    @property
    def is_ordered(self) -> bool:
        """Whether the dates are in order of time."""
        return self.days is None or list(self.days) == sorted(self.days)

    def _order(self) -> NDArray[np.int64] | None:
        """Positions of the dates in order of time; None if they are in order."""
        return None if self.is_ordered else np.argsort(self.days, kind="stable")  # type: ignore[arg-type]
