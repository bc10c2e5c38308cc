"""Sums of a whole scene: computed strip by strip before its cells, and held as a few numbers."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
from dask._task_spec import DataNode, Task, TaskRef
from dask.sizeof import sizeof

from xcloudfree.io.graphs import Tasks, reached, simplified, throttled
from xcloudfree.io.schedulers import values_of
from xcloudfree.io.sharing import paths

LARGEST: Final = 16 << 20
"""Bytes of one value that may be held; larger ones are computed again by those that need them."""

Place = tuple[int, ...]


def survey(
    tasks: Tasks,
    requests: Mapping[Any, Any],
    sums: Collection[Any],
    cell: int,
    strips: Sequence[Sequence[Place]],
    ahead: int,
    client: Any | None,
    step: Callable[[], None],
) -> dict[Any, Any]:
    """Values of tasks that sum up a scene, in the memory of a strip.

    The parts of which a sum is made, each of about as much input as a cell has, are computed strip
    by strip, each strip in one graph, and what can be summed up of them at once; of a strip no
    more is held than partial sums.

    Parameters
    ----------
    tasks : dict
        Nodes that the sums need.
    requests : mapping
        What tasks ask of workers.
    sums : collection of keys
        From :func:`xcloudfree.io.sharing.scene_wide`.
    cell : int
        Ways down from a cell to its input, see :func:`xcloudfree.io.sharing.paths`.
    strips : sequence of sequences of (row, column)
        All places, in the order of writing.
    ahead : int
        Parts that are worked on at once.
    client : distributed.Client or None
        Cluster that computes.
    step : callable
        Told after each strip.

    Returns
    -------
    dict
        Value of each sum; empty if one of them, or what it is made of, is not small.
    """
    ways = paths(sums, tasks)
    most = max(cell, 2 * max(ways[key] for key in sums) // sum(map(len, strips)))
    upper = {key for key, count in ways.items() if count > most}
    needed = {d for key in upper for d in tasks[key].dependencies} | set(sums)
    parts = {key for key in needed - upper if not isinstance(tasks.get(key), DataNode | None)}
    own = upper | parts
    above: dict[Any, list[Any]] = defaultdict(list)
    missing: dict[Any, int] = {}
    for key in upper:
        below = [d for d in tasks[key].dependencies if d in own]
        missing[key] = len(below)
        for d in below:
            above[d].append(key)
    parts |= {key for key, count in missing.items() if not count}

    def held(key: Any) -> bool:
        return key in sums or any(missing[k] for k in above[key])

    values: dict[Any, Any] = {}
    for ready in _by_strip(parts, strips):
        new, stack = list(ready), list(ready)
        while stack:
            for key in above[stack.pop()]:
                missing[key] -= 1
                if not missing[key]:
                    new.append(key)
                    stack.append(key)
        found = _computed(
            tasks, requests, values, ready, list(filter(held, new)), own, ahead, client
        )
        if found is None:
            return {}
        values = {key: value for key, value in (values | found).items() if held(key)}
        step()
    return values


def _computed(
    tasks: Tasks,
    requests: Mapping[Any, Any],
    values: Mapping[Any, Any],
    parts: Sequence[Any],
    wanted: Sequence[Any],
    own: Collection[Any],
    ahead: int,
    client: Any | None,
) -> dict[Any, Any] | None:
    """Values of some keys, those in `own` under names of their own; None if one is large."""
    if not wanted:
        return {}
    needed = reached(wanted, tasks, values)
    token = uuid.uuid4().hex  # a cluster may still know of a key how it was computed before
    made = [*values, *(key for key in needed if key in own)]
    names = {key: (f"part-{token}", number) for number, key in enumerate(made)}
    nodes = {names[key]: DataNode(names[key], value) for key, value in values.items()}
    for key in needed:
        name = names.get(key, key)
        nodes[name] = tasks[key].substitute(names, key=name)
    last = [(f"sum-{token}", number) for number in range(len(wanted))]
    for out, key in zip(last, wanted, strict=True):
        nodes[out] = Task(out, _if_small, TaskRef(names[key]))
    asked = {names.get(key, key): request for key, request in requests.items()}
    first = [names[part] for part in parts]
    graph = throttled(simplified(nodes, [*last, *first], asked), [[key] for key in first], ahead)
    results = values_of(graph, last, client)
    if not all(results):
        return None
    return {key: value for key, (value,) in zip(wanted, results, strict=True)}


def _by_strip(parts: Collection[Any], strips: Sequence[Sequence[Place]]) -> list[list[Any]]:
    """The parts of each strip in order, for which the last two numbers of a key are its place."""
    places = {key: _tail(key) for key in parts}
    most: dict[Any, Place] = {}
    for key, (i, j) in places.items():
        top = most.get(key[0], (0, 0))
        most[key[0]] = max(top[0], i), max(top[1], j)
    rows, columns = (max(p[axis] for strip in strips for p in strip) + 1 for axis in (0, 1))
    at: dict[Place, list[Any]] = defaultdict(list)
    for key in sorted(parts, key=str):
        (i, j), (bottom, right) = places[key], most[key[0]]
        at[i * rows // (bottom + 1), j * columns // (right + 1)].append(key)
    groups = [[key for place in strip for key in at[place]] for strip in strips]
    return [group for group in groups if group]


def _tail(key: Any) -> Place:
    if isinstance(key, tuple) and len(key) > 2 and all(isinstance(n, int) for n in key[-2:]):
        return key[-2], key[-1]
    return 0, 0


def _if_small(value: Any) -> tuple[Any, ...]:
    """The value in a tuple, with memory of its own; an empty tuple if it is large."""
    return (_own(value),) if _size(value) <= LARGEST else ()


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, dict | list | tuple):
        return sum(map(_size, value.values() if isinstance(value, dict) else value))
    return int(sizeof(value))


def _own(value: Any) -> Any:
    return value.copy() if type(value) is np.ndarray else value
