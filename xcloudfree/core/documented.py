"""Methods of accessors with the signature and the help of the function that they call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

_FIRST_PARAMETER = re.compile(r"(?<=-\n)\w+ :.*\n?(?: +.*\n?|\n(?= ))*")

Options = ParamSpec("Options")
Made = TypeVar("Made")


def like(
    function: Callable[Concatenate[Any, Options], Made],
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, Options], Made]]:
    """Give a method the signature and the help of a function of its object.

    >>> def double(obj, times=2):
    ...     '''Multiply.
    ...
    ...     Parameters
    ...     ----------
    ...     obj : float
    ...         What to multiply.
    ...     times : int
    ...     '''
    >>> @like(double)
    ... def method(self, **options): ...
    >>> str(inspect.signature(method)), method.__doc__.splitlines()
    ('(self, times=2)', ['Multiply.', '', 'Parameters', '----------', 'times : int'])
    """
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    declared = inspect.signature(function)
    _, *others = declared.parameters.values()

    def give(method: Callable[..., Any]) -> Callable[Concatenate[Any, Options], Made]:
        given: Any = wraps(function)(method)
        given.__signature__ = declared.replace(parameters=[first, *others])
        text = inspect.cleandoc(function.__doc__ or "")  # python -OO has none
        start = text.find("Parameters\n---")
        given.__doc__ = text[:start] + _FIRST_PARAMETER.sub("", text[start:], count=1)
        return given  # type: ignore[no-any-return]

    return give


def method_of(
    function: Callable[Concatenate[Any, Options], Made],
) -> Callable[Concatenate[Any, Options], Made]:
    """A function of a scene as a method of its accessor."""
    return like(function)(lambda self, *args, **options: function(self._obj, *args, **options))
