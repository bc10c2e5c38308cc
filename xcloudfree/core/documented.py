"""Help on a method that is a signature and one call: what the function behind it says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

_HEAD = re.compile(r"\n(?=(\w[\w ]*)\n-{3,}\n)")
_KEPT = ("Parameters", "Returns", "Raises", "Warns", "Notes")
_FIRST = re.compile(r"(?<=-\n)\w+ :.*\n?(?: +.*\n?|\n(?= ))*")

Method = TypeVar("Method", bound=Callable[..., Any])


def documented_by(function: Callable[..., Any]) -> Callable[[Method], Method]:
    """Put the description and the sections of a function into the docstring of a method.

    The method keeps its summary and its example; the first parameter, the object itself, is left
    out.

    Parameters
    ----------
    function : callable
        What the method calls.

    Returns
    -------
    callable
        Decorator.

    Examples
    --------
    >>> def double(obj, times=2):
    ...     '''Multiply.
    ...
    ...     Parameters
    ...     ----------
    ...     obj : float
    ...         What to multiply.
    ...     times : int
    ...         By what.
    ...     '''
    >>> @documented_by(double)
    ... def method(self, times=2):
    ...     '''Multiply it.'''
    >>> method.__doc__.splitlines()
    ['Multiply it.', '', 'Parameters', '----------', 'times : int', '    By what.']
    """

    def add(method: Method) -> Method:
        if not method.__doc__ or not function.__doc__:  # python -OO
            return method
        summary, *own = _HEAD.sub("\0", inspect.cleandoc(method.__doc__)).split("\0")
        text, *sections = _HEAD.sub("\0", inspect.cleandoc(function.__doc__)).split("\0")
        described = text.partition("\n\n")[2].strip()
        told = [_FIRST.sub("", s, count=1) if s.startswith("Parameters") else s for s in sections]
        kept = [s for s in told if s.split("\n")[0] in _KEPT and not s.rstrip().endswith("---")]
        parts = [summary, described, *kept, *own]
        method.__doc__ = "\n\n".join(part.strip() for part in parts if part.strip())
        return method

    return add
