"""Settings of a classical method: what each may be, and how a name tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Option(NamedTuple):
    """A setting of a method.

    Parameters
    ----------
    allowed : str
        What it may be, in words.
    accepts : callable
        Whether a value is that.
    """

    allowed: str
    accepts: Callable[[Any], bool]


def labelled(name: str, options: Mapping[str, Any]) -> str:
    """Name of a method with settings.

    Parameters
    ----------
    name : str
        Without them.
    options : mapping
        The settings; values that are no numbers or words are left out.

    Returns
    -------
    str

    Examples
    --------
    >>> labelled("kriging", {"neighbours": 16})
    'kriging(neighbours=16)'
    """
    plain = (bool, int, float, str)
    listed = (f"{k}={v}" if isinstance(v, plain) else k for k, v in options.items())
    return f"{name}({', '.join(listed)})" if options else name


def positive(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and bool(np.isfinite(value)) and value > 0


def whole(low: int, high: int, *, odd: bool = False) -> Option:
    """An option that is a whole number.

    Parameters
    ----------
    low, high : int
        Its limits.
    odd : bool
        Whether it must be odd.

    Returns
    -------
    Option
    """

    def accepts(value: Any) -> bool:
        number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return number and low <= value <= high and (value % 2 == 1 or not odd)

    return Option(f"{'an odd' if odd else 'a'} whole number from {low} to {high}", accepts)
