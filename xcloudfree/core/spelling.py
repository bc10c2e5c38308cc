"""What a mistyped name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """The name that is nearest to one that is not known, as words for an error.

    Parameters
    ----------
    name : object
        As the user gave it.
    names : iterable of str
        Those that there are.

    Returns
    -------
    str
        Goes right behind the name; empty where none is near.

    Examples
    --------
    >>> f"there is no model 'carf-smal'{did_you_mean('carf-smal', ['carf-small', 'glfcr'])}"
    "there is no model 'carf-smal' (did you mean 'carf-small'?)"
    >>> did_you_mean("Kriging", ["idw", "kriging"]), did_you_mean("best", ["idw", "kriging"])
    (" (did you mean 'kriging'?)", '')
    """
    spelt = {known.lower(): known for known in names}
    near = difflib.get_close_matches(str(name).lower(), spelt, n=1)
    return f" (did you mean {spelt[near[0]]!r}?)" if near else ""
