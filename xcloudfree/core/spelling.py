"""Suggest the intended name for a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """The nearest known name as words to append to the unknown one; empty if none is near.

    >>> did_you_mean("Kriging", ["idw", "kriging"]), did_you_mean("best", ["idw", "kriging"])
    (" (did you mean 'kriging'?)", '')
    """
    spelt = {known.lower(): known for known in names}
    near = difflib.get_close_matches(str(name).lower(), spelt, n=1)
    return f" (did you mean {spelt[near[0]]!r}?)" if near else ""
