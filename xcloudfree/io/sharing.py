"""What cells of a scene share, as their task graph tells: work of all dates, sums of the scene."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dask._task_spec import DataNode, Task

from xcloudfree.io.graphs import reached


def share_work(
    one: Collection[Any], other: Collection[Any], tasks: Mapping[Any, Any], known: Collection[Any]
) -> bool:
    """Whether at least half of the work on a cell is the work on another one too.

    Parameters
    ----------
    one, other : collection of keys
        Blocks of two cells.
    tasks : mapping
        Nodes that both need.
    known : collection of keys
        What does not count, with what it needs alone: see :func:`scene_wide`.

    Returns
    -------
    bool

    Examples
    --------
    >>> from dask._task_spec import convert_legacy_graph
    >>> tasks = convert_legacy_graph({"read": (abs, 1), "a": (abs, "read"), "b": (abs, "read")})
    >>> share_work("a", "b", tasks, ()), share_work("a", "b", tasks, {"read"})
    (True, False)
    """
    first, second = (
        {key for key in reached(keys, tasks, known) if isinstance(tasks[key], Task)}
        for keys in (one, other)
    )
    both = len(first & second)
    return both > 0 and 2 * both >= len(first)


def scene_wide(
    one: Collection[Any], other: Collection[Any], tasks: Mapping[Any, Any], places: int
) -> list[set[Any]]:
    """Tasks that sum up a whole scene, as seen from two cells that are far apart.

    Both cells take the result of such a task in work of their own, and it needs some of what
    only the one reads besides, and some of what only the other does; and there are few of its
    kind: in a scene of so few blocks that everything is near everything, blocks look like sums
    otherwise. What needs the result of another one comes after it.

    Parameters
    ----------
    one, other : collection of keys
        Blocks of two cells, the first and the last of a scene.
    tasks : mapping
        Nodes that both need.
    places : int
        Cells of one date; of the results of a kind there are at most half as many, told apart by
        the last two numbers of a key.

    Returns
    -------
    list of set of keys
        Those of each set need none but those of the sets before.

    Examples
    --------
    >>> from dask._task_spec import convert_legacy_graph
    >>> tasks = convert_legacy_graph(
    ...     {"a": (abs, 1), "b": (abs, 2), "sum": (sum, ["a", "b"]), "scaled": (abs, "sum"),
    ...      "out a": (max, "a", "scaled"), "out b": (max, "b", "scaled")})
    >>> scene_wide(["out a"], ["out b"], tasks, places=2)
    [{'scaled'}]
    """
    kinds: dict[Any, set[Any]] = defaultdict(set)
    for key in tasks:
        kinds[_kind(key)].add(key[-2:] if isinstance(key, tuple) else key)
    found: set[Any] = set()
    while True:
        cells = [reached(keys, tasks, found) for keys in (one, other)]
        both = cells[0] & cells[1]
        taken = [
            {d for key in cell - both for d in tasks[key].dependencies if d in both}
            for cell in cells
        ]
        candidates = {
            key
            for key in taken[0] & taken[1]
            if isinstance(tasks[key], Task) and 2 * len(kinds[_kind(key)]) <= places
        }
        near = [reached(keys, tasks, found | candidates) for keys in (one, other)]
        ends = near[0] - near[1], near[1] - near[0]
        new = set()
        for key in candidates:
            needs = reached([key], tasks, found)
            if not any(needs.isdisjoint(end) for end in ends):
                new.add(key)
        if not new:
            return _in_order(found, tasks)
        found |= new


def paths(keys: Iterable[Any], tasks: Mapping[Any, Any]) -> dict[Any, int]:
    """For each node that some keys need, the number of ways down to those that need nothing.

    Parameters
    ----------
    keys : iterable of keys
        Where to begin.
    tasks : mapping
        Nodes.

    Returns
    -------
    dict

    Examples
    --------
    >>> from dask._task_spec import convert_legacy_graph
    >>> tasks = convert_legacy_graph({"a": (abs, 1), "b": (max, "a", "a"), "c": (max, "a", "b")})
    >>> sorted(paths(["c"], tasks).items())
    [('a', 1), ('b', 1), ('c', 2)]
    """
    counts: dict[Any, int] = {}
    stack = [key for key in keys if key in tasks]
    while stack:
        here = stack[-1]
        needs = [d for d in tasks[here].dependencies if d in tasks]
        left = [d for d in needs if d not in counts]
        if here in counts or not left:
            counts[here] = sum(counts[d] for d in needs) or 1
            stack.pop()
        else:
            stack += left
    return counts


def without(tasks: Mapping[Any, Any], known: Iterable[Any]) -> dict[Any, Any]:
    """The nodes, with nothing in the place of some of them."""
    return {**tasks, **{key: DataNode(key, None) for key in known}}


def _kind(key: Any) -> Any:
    return key[0] if isinstance(key, tuple) else key


def _in_order(found: set[Any], tasks: Mapping[Any, Any]) -> list[set[Any]]:
    """Those that need none of the others first, then those that need these, and so on."""
    needs = {key: (reached([key], tasks) & found) - {key} for key in found}
    order: list[set[Any]] = []
    done: set[Any] = set()
    while done != found:
        order.append({key for key in found - done if needs[key] <= done})
        done |= order[-1]
    return order
