"""Conditions on the properties of items: asked of the server, and applied again here."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from xcloudfree.exceptions import DataError

Conditions = Mapping[str, Mapping[str, Any]]


def _text(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: test(str(value), str(wanted))


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, wanted: value in wanted,
    "startsWith": _text(str.startswith),
    "endsWith": _text(str.endswith),
    "contains": _text(str.__contains__),
}
_CQL2 = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
"""Operators that every server understands, as CQL2 writes them."""


def checked_conditions(name: str, query: Any) -> dict[str, dict[str, Any]]:
    """Conditions as the user wrote them, checked.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    query : mapping or None
        ``{"eo:cloud_cover": {"lt": 20}}``; a bare value means equal.

    Returns
    -------
    dict
        Operators and values by property.

    Raises
    ------
    DataError
        It is no such mapping, or an operator is unknown.

    Examples
    --------
    >>> checked_conditions("query", {"eo:cloud_cover": {"lt": 20}, "platform": "sentinel-2a"})
    {'eo:cloud_cover': {'lt': 20}, 'platform': {'eq': 'sentinel-2a'}}
    """
    example = f'load(..., {name}={{"eo:cloud_cover": {{"lt": 20}}}}).'
    if query is None:
        return {}
    if not isinstance(query, Mapping):
        raise DataError(f"{name}={query!r} is no mapping of properties to conditions: {example}")
    out = {}
    for key, condition in query.items():
        if not isinstance(condition, Mapping):
            condition = {"eq": condition}
        unknown = [name for name in condition if name not in _TESTS]
        if unknown or not condition:
            raise DataError(
                f"{name}: {key!r} has the operators {list(condition)}; known are "
                f"{', '.join(_TESTS)}: {example}"
            )
        out[str(key)] = dict(condition)
    return out


def portable(conditions: Conditions) -> dict[str, dict[str, Any]]:
    """The conditions that every server understands; the others are only applied on this side.

    Parameters
    ----------
    conditions : mapping
        See :func:`checked_conditions`.

    Returns
    -------
    dict

    Examples
    --------
    >>> portable({"a": {"gt": 1, "in": [2, 3]}, "b": {"contains": "x"}})
    {'a': {'gt': 1}}
    """
    kept = {
        key: {name: value for name, value in condition.items() if name in _CQL2}
        for key, condition in conditions.items()
    }
    return {key: condition for key, condition in kept.items() if condition}


def cql2(conditions: Conditions) -> dict[str, Any]:
    """The conditions in CQL2 JSON, all of which have to hold.

    Parameters
    ----------
    conditions : mapping
        From :func:`portable`; at least one.

    Returns
    -------
    dict

    Examples
    --------
    >>> cql2({"eo:cloud_cover": {"lt": 20}})
    {'op': '<', 'args': [{'property': 'eo:cloud_cover'}, 20]}
    """
    terms: list[dict[str, Any]] = [
        {"op": _CQL2[name], "args": [{"property": key}, value]}
        for key, condition in conditions.items()
        for name, value in condition.items()
    ]
    return terms[0] if len(terms) == 1 else {"op": "and", "args": terms}


def holds(properties: Mapping[str, Any], conditions: Conditions) -> bool:
    """Whether an item meets all conditions; one that lacks a property does not.

    Parameters
    ----------
    properties : mapping
        Properties of an item.
    conditions : mapping
        See :func:`checked_conditions`.

    Returns
    -------
    bool

    Examples
    --------
    >>> holds({"eo:cloud_cover": 12.5}, {"eo:cloud_cover": {"lt": 20, "gte": 10}})
    True
    """
    return all(
        key in properties and properties[key] is not None and _meets(properties[key], condition)
        for key, condition in conditions.items()
    )


def _meets(value: Any, condition: Mapping[str, Any]) -> bool:
    try:
        return all(_TESTS[name](value, wanted) for name, wanted in condition.items())
    except TypeError:  # a number compared with a word
        return False
