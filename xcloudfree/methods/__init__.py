"""Classical methods by name: what a network must beat, and what serves where none fits.

Each module of methods lists its own in a tuple ``METHODS``, and is listed here in ``_MODULES``.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from xcloudfree.exceptions import ModelError
from xcloudfree.methods import area, fusion, spatial, temporal
from xcloudfree.methods.method import Method, Prediction, Series

__all__ = ["Method", "Prediction", "Series", "get", "known", "names"]

_MODULES = (temporal, area, spatial, fusion)

_WINDOWED = re.compile(r"(?P<base>(geo)?median)-(?P<days>[1-9]\d*)d(?P<rest>(\+offset)?)")

_LISTS: tuple[tuple[Method, ...], ...] = tuple(module.METHODS for module in _MODULES)

_METHODS = MappingProxyType({method.name: method for methods in _LISTS for method in methods})


def names() -> list[str]:
    """Names that ``reconstruct(model=...)`` takes for a classical method.

    Returns
    -------
    list of str
    """
    return list(_METHODS)


def known(name: str) -> bool:
    """Whether a name is that of a method.

    Parameters
    ----------
    name : str
        As for :func:`get`.

    Returns
    -------
    bool

    Examples
    --------
    >>> known("median-45d+offset"), known("carf-small")
    (True, False)
    """
    return _plain(name) in _METHODS


def get(name: str) -> Method:
    """A method by its name.

    Parameters
    ----------
    name : str
        One of :func:`names`. The medians take values of 30 days before and after a date; another
        number stands in the name: ``median-45d``, ``geomedian-60d+offset``.

    Returns
    -------
    Method

    Raises
    ------
    ModelError
        If there is none.

    Examples
    --------
    >>> get("median-45d+offset").name
    'median-45d+offset'
    """
    plain = _plain(name)
    if plain not in _METHODS:
        raise ModelError(f"unknown method {name!r}; call methods.get() with one of {names()}")
    found = _WINDOWED.fullmatch(name)
    if found is None:
        return _METHODS[name]
    return temporal.with_window(_METHODS[plain], float(found["days"]))


def _plain(name: str) -> str:
    """The name without the window."""
    found = _WINDOWED.fullmatch(name)
    return name if found is None else found["base"] + found["rest"]
