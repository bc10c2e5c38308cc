"""Docstrings of methods that only call one function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

_HEADING = re.compile(r"\n(?=(\w[\w ]*)\n-{3,}\n)")
_TAKEN = ("Parameters", "Other Parameters", "Returns", "Raises", "Warns", "Notes")
_FIRST_PARAMETER = re.compile(r"(?<=-\n)\w+ :.*\n?(?: +.*\n?|\n(?= ))*")

Method = TypeVar("Method", bound=Callable[..., Any])


def without_first_parameter(text: str | None) -> str:
    """A docstring without the parameter for the object that a method already has."""
    cleaned = inspect.cleandoc(text or "")  # python -OO has none
    start = cleaned.find("Parameters\n---")
    return cleaned[:start] + _FIRST_PARAMETER.sub("", cleaned[start:], count=1)


def documented_by(function: Callable[..., Any]) -> Callable[[Method], Method]:
    """Add description and sections of a function to the docstring of a method that calls it.

    The method keeps its summary and example; the first parameter, the object itself, is omitted.

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
        summary, *own = _HEADING.sub("\0", inspect.cleandoc(method.__doc__)).split("\0")
        text, *sections = _HEADING.sub("\0", inspect.cleandoc(function.__doc__)).split("\0")
        description = text.partition("\n\n")[2]
        taken = []
        for section in sections:
            if section.startswith("Parameters"):
                section = without_first_parameter(section)
            if section.split("\n")[0] in _TAKEN and not section.rstrip().endswith("---"):
                taken.append(section)
        parts = [part.strip() for part in (summary, description, *taken, *own)]
        method.__doc__ = "\n\n".join(filter(None, parts))
        return method

    return add
