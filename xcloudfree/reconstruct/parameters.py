"""The parameters of a reconstruction as text, from which the call can be made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

GIVEN: Final = "given"
"""Key of a parameter that was an object, which no text makes again; its value says which."""


def written(parameters: Mapping[str, Any]) -> str:
    """Parameters in JSON.

    >>> written({"model": "median", "dilate": 2, "mask": np.zeros(3)})
    '{"model": "median", "dilate": 2, "mask": {"given": "ndarray"}}'
    """
    return json.dumps({name: _plain(value) for name, value in parameters.items()})


def not_repeatable(parameters: Mapping[str, Any]) -> list[str]:
    """Parameters that were objects.

    >>> not_repeatable({"model": "median", "mask": {"given": "DataArray"}})
    ['mask (a DataArray)']
    """
    given = {n: v[GIVEN] for n, v in parameters.items() if isinstance(v, dict) and GIVEN in v}
    return [f"{name} (a {kind})" for name, kind in given.items()]


def _plain(value: Any) -> Any:
    """A value in types of JSON, or what it was."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        return value.item()
    times = np.asarray(value) if not hasattr(value, "dims") else None
    if times is not None and times.dtype.kind == "M":
        return np.datetime_as_string(np.atleast_1d(times)).tolist()
    if isinstance(value, (list, tuple)):
        plain = [_plain(v) for v in value]
        if not any(isinstance(v, dict) for v in plain):
            return plain
    kind = type(value).__name__
    return {GIVEN: f"{kind} {value.name!r}" if isinstance(getattr(value, "name", 0), str) else kind}
