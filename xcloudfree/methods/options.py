"""Settings of a classical method: what each may be, and how a name tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Option(NamedTuple):
    """A setting of a method."""

    allowed: str  # what it may be, in words
    accepts: Callable[[Any], bool]  # whether a value is that


def labelled(name: str, options: Mapping[str, Any]) -> str:
    """Name of a method with settings."""
    plain = (bool, int, float, str)
    listed = (f"{k}={v}" if isinstance(v, plain) else k for k, v in options.items())
    return f"{name}({', '.join(listed)})" if options else name


def positive(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and bool(np.isfinite(value)) and value > 0


def whole(low: int, high: int, *, odd: bool = False) -> Option:
    """An option that is a whole number."""

    def accepts(value: Any) -> bool:
        number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return number and low <= value <= high and (value % 2 == 1 or not odd)

    return Option(f"{'an odd' if odd else 'a'} whole number from {low} to {high}", accepts)
