"""Sums over a whole scene: computed strip by strip before its cells."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from dask.highlevelgraph import HighLevelGraph

from xcloudfree.core.graphs import (
    SCENE_SUM,
    Tasks,
    annotated_keys,
    is_task,
    reached,
    renamed,
    requests,
    simplified,
    tasks_of,
    throttled,
    value,
)
from xcloudfree.io.cells import Index
from xcloudfree.io.schedulers import values_of


class SceneSums:
    """The sums that some keys need, from the annotations of layers."""

    def __init__(self, graph: HighLevelGraph, keys: Collection[Any]) -> None:
        culled = graph.cull(set(keys))
        self.marked = annotated_keys(culled, SCENE_SUM)
        self.tasks = tasks_of(culled) if self.marked else {}
        self.requests = requests(culled)
        self.passes = self._passes(keys)

    def _passes(self, keys: Collection[Any]) -> list[set[Any]]:
        """Sums that other tasks need, in sets that each depend only on earlier sets."""
        taken = {key for key in keys if key in self.marked}
        for key, node in self.tasks.items():
            if key not in self.marked:
                taken |= self.marked & node.dependencies
        taken = {key for key in taken if is_task(self.tasks[key])}
        needs = {key: (reached([key], self.tasks) & taken) - {key} for key in taken}
        order: list[set[Any]] = []
        done: set[Any] = set()
        while done != taken:
            order.append({key for key in taken - done if needs[key] <= done})
            done |= order[-1]
        return order

    def compute(
        self,
        strips: Sequence[Sequence[Index]],
        ahead: int,
        client: Any | None,
        step: Callable[[], None],
    ) -> dict[Any, Any]:
        """Value of each sum, with the parts of one strip in memory; `step` follows each strip."""
        known: dict[Any, Any] = {}
        for sums in self.passes:
            inside = reached(sums, self.tasks, known) & self.marked
            above: dict[Any, list[Any]] = defaultdict(list)
            missing = {}
            for key in inside:
                below = [d for d in self.tasks[key].dependencies if d in inside]
                missing[key] = len(below)
                for d in below:
                    above[d].append(key)
            parts = {key for key in inside if not missing[key]}
            values: dict[Any, Any] = {}
            for ready in by_strip(parts, strips):
                # sums that can be computed now, and those of them that are still needed afterwards
                new, stack = list(ready), list(ready)
                while stack:
                    for key in above[stack.pop()]:
                        missing[key] -= 1
                        if not missing[key]:
                            new.append(key)
                            stack.append(key)
                held = {k for k in [*values, *new] if k in sums or any(map(missing.get, above[k]))}
                wanted = [key for key in new if key in held]
                found = self._compute(ready, wanted, values | known, inside, ahead, client)
                values = {key: v for key, v in (values | found).items() if key in held}
                step()
            known |= values
        return known

    def _compute(
        self,
        parts: Sequence[Any],
        wanted: Sequence[Any],
        values: Mapping[Any, Any],
        inside: Collection[Any],
        ahead: int,
        client: Any | None,
    ) -> dict[Any, Any]:
        """Values of some keys of a strip, in one graph."""
        needed = reached(wanted, self.tasks, values)
        token = uuid.uuid4().hex  # a cluster may remember how an earlier key was computed
        own = [*values, *(key for key in needed if key in inside)]
        names = {key: (f"sum-{token}", number) for number, key in enumerate(own)}
        nodes: Tasks = {names[key]: value(names[key], known) for key, known in values.items()}
        for key in needed:
            name = names.get(key, key)
            nodes[name] = renamed(self.tasks[key], name, names)
        first = [names[part] for part in parts]
        last = [names[key] for key in wanted]
        graph = simplified(nodes, {*last, *first}, self.requests)
        held = throttled(graph, [[key] for key in first], ahead)
        found = values_of(held, last, client)
        return {key: _own(part) for key, part in zip(wanted, found, strict=True)}


def by_strip(parts: Collection[Any], strips: Sequence[Sequence[Index]]) -> list[list[Any]]:
    """The parts of each strip in order; the last two numbers of a key are its position."""
    places = {key: _place(key) for key in parts}
    most: dict[Any, Index] = {}
    for key, (i, j) in places.items():
        top = most.get(key[0], (0, 0))
        most[key[0]] = max(top[0], i), max(top[1], j)
    # blocks of a method may be smaller than those that are written
    rows, columns = (max(p[axis] for strip in strips for p in strip) + 1 for axis in (0, 1))
    at: dict[Index, list[Any]] = defaultdict(list)
    for key in sorted(parts, key=str):
        (i, j), (bottom, right) = places[key], most[key[0]]
        at[i * rows // (bottom + 1), j * columns // (right + 1)].append(key)
    groups = [[key for place in strip for key in at[place]] for strip in strips]
    return [group for group in groups if group]


def _place(key: Any) -> Index:
    if isinstance(key, tuple) and len(key) > 2 and all(isinstance(n, int) for n in key[-2:]):
        return key[-2], key[-1]
    return 0, 0


def _own(part: Any) -> Any:
    """The value in its own memory: a view would keep the block."""
    if isinstance(part, tuple):
        fields = map(_own, part)
        return type(part)(*fields) if hasattr(part, "_fields") else tuple(fields)
    return part.copy() if type(part) is np.ndarray else part
