"""Task graphs of a few cells: optimised, with values in place of tasks, with work held back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import dask.array as da
from dask._task_spec import Alias, DataNode, Task, TaskRef, convert_legacy_graph
from dask.blockwise import fuse_roots, optimize_blockwise
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.utils import ensure_dict

Tasks = dict[Any, Any]
"""Nodes of a graph by key."""


def merged(arrays: Iterable[Any]) -> HighLevelGraph:
    """One graph of several dask arrays."""
    return HighLevelGraph.merge(*(array.dask for array in arrays))


def with_values(graph: HighLevelGraph, values: Mapping[Any, Any]) -> HighLevelGraph:
    """The graph with values in the place of the tasks that make them.

    Parameters
    ----------
    graph : HighLevelGraph
        From :func:`merged`.
    values : mapping
        By key.

    Returns
    -------
    HighLevelGraph
    """
    layers, needs = dict(graph.layers), dict(graph.dependencies)
    found: dict[str, dict[Any, Any]] = {}
    for key, value in values.items():
        name = key[0] if isinstance(key, tuple) else key
        if name not in layers or key not in layers[name].get_output_keys():
            name = next(n for n, layer in layers.items() if key in layer.get_output_keys())
        found.setdefault(name, {})[key] = DataNode(key, value)
    for name, nodes in found.items():
        others = layers[name].get_output_keys() - nodes.keys()
        kept = dict(layers[name]) if others else {}
        layers[name] = MaterializedLayer({**kept, **nodes}, layers[name].annotations)
        needs[name] = needs[name] if others else set()
    return HighLevelGraph(layers, needs)


def tasks_of(graph: HighLevelGraph, keys: Collection[Any]) -> tuple[Tasks, dict[Any, Any]]:
    """All that the given keys need, as it stands in the graph; and what it asks of workers.

    Parameters
    ----------
    graph : HighLevelGraph
        From :func:`merged`.
    keys : collection of keys
        Of blocks.

    Returns
    -------
    tuple of dict
        Nodes, and the request of each that has one.
    """
    culled = graph.cull(set(keys))
    return convert_legacy_graph(ensure_dict(culled)), _requests(culled)


def with_layer(
    graph: HighLevelGraph, name: str, layer: Tasks, needs: Collection[str]
) -> HighLevelGraph:
    """Graph of the tasks of one more layer alone, optimised.

    Parameters
    ----------
    graph : HighLevelGraph
        From :func:`merged`.
    name : str
        Of the layer.
    layer : dict
        Tasks; all of them remain.
    needs : collection of str
        Layers of what the tasks take: no others, or less is fused.

    Returns
    -------
    HighLevelGraph
    """
    layers = {**graph.layers, name: MaterializedLayer(layer)}
    whole = HighLevelGraph(layers, {**graph.dependencies, name: set(needs)})
    keys = [key for key, task in layer.items() if isinstance(task, Task)]
    fused = fuse_roots(optimize_blockwise(whole, keys=keys), keys=keys)
    culled = fused.cull(set(keys))
    # once more as one layer, for fusion: a culled graph does not know the order of its layers
    return simplified(ensure_dict(culled), keys, _requests(culled))


def simplified(tasks: Tasks, keys: Iterable[Any], requests: Mapping[Any, Any]) -> HighLevelGraph:
    """Graph of the given keys alone in which chains are fused, with a layer for each request.

    Parameters
    ----------
    tasks : dict
        Nodes.
    keys : iterable of keys
        What remains.
    requests : mapping
        What tasks ask of workers; these remain too.

    Returns
    -------
    HighLevelGraph
    """
    asked = {key: request for key, request in requests.items() if key in tasks}
    dsk = convert_legacy_graph(ensure_dict(da.optimize(tasks, [*keys, *asked])))
    layers: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for key, task in dsk.items():
        request = asked.get(key)
        name = "plain" if request is None else f"asking-{sorted(request.items(), key=str)}"
        layers.setdefault(name, {})[key] = task
        said[name] = request
    return _joined({n: MaterializedLayer(layer, said[n]) for n, layer in layers.items()})


def throttled(graph: HighLevelGraph, groups: Sequence[Sequence[Any]], ahead: int) -> HighLevelGraph:
    """Graph in which the work on some keys waits for the keys before, `ahead` groups excepted.

    Whether all groups up to one are there is known to its gate, a task without work. What waits
    for a gate is each task that no earlier group needs and that needs no such task itself.

    Parameters
    ----------
    graph : HighLevelGraph
        From :func:`simplified`.
    groups : sequence of sequences of keys
        In order.
    ahead : int
        Groups that are worked on at once.

    Returns
    -------
    HighLevelGraph
    """
    tasks = {key: task for layer in graph.layers.values() for key, task in layer.items()}
    gates = [("gate", group[0]) for group in groups]
    passed = {
        gate: Task(gate, _nothing, *map(TaskRef, [*group, *gates[:n][-1:]]))
        for n, (gate, group) in enumerate(zip(gates, groups, strict=True))
    }
    seen: set[Any] = set()
    waiting = {}
    for n, group in enumerate(groups):
        own = reached(group, tasks, seen)
        seen |= own
        working = {k for k in own if isinstance(tasks[k], Task)}
        for here in working if n >= ahead else ():
            task = tasks[here]
            if not any(_aliased(d, tasks) in working for d in task.dependencies):
                waiting[here] = Task(here, _first, task, TaskRef(gates[n - ahead]))
    layers = {
        name: MaterializedLayer(
            {key: waiting.get(key, task) for key, task in layer.items()}, layer.annotations
        )
        for name, layer in graph.layers.items()
    }
    layers["gates"] = MaterializedLayer(passed)
    return _joined(layers)


def reached(
    keys: Iterable[Any], tasks: Mapping[Any, Any], without: Collection[Any] = ()
) -> set[Any]:
    """Some keys and all that they need, without certain keys and what these need alone.

    Parameters
    ----------
    keys : iterable of keys
        Where to begin.
    tasks : mapping
        Nodes.
    without : collection of keys
        Where to stop.

    Returns
    -------
    set of keys

    Examples
    --------
    >>> tasks = convert_legacy_graph({"a": 1, "b": (abs, "a"), "c": (abs, "b")})
    >>> sorted(reached("c", tasks)), sorted(reached("c", tasks, {"b"}))
    (['a', 'b', 'c'], ['c'])
    """
    found: set[Any] = set()
    stack = list(keys)
    while stack:
        here = stack.pop()
        if here not in found and here not in without and here in tasks:
            found.add(here)
            stack.extend(tasks[here].dependencies)
    return found


def _requests(graph: HighLevelGraph) -> dict[Any, dict[str, Any]]:
    """What layers ask of the workers of a cluster, for each task; optimisation forgets it."""
    return {
        key: {kind: value(key) if callable(value) else value for kind, value in asked.items()}
        for layer in graph.layers.values()
        if (asked := layer.annotations)
        for key in layer
    }


def _joined(layers: dict[str, Any]) -> HighLevelGraph:
    return HighLevelGraph(layers, {n: set(layers) - {n} for n in layers})


def _aliased(key: Any, tasks: Mapping[Any, Any]) -> Any:
    while isinstance(task := tasks.get(key), Alias):
        key = task.target
    return key


def _nothing(*_: Any) -> None:
    """End of a gate."""


def _first(value: Any, *_: Any) -> Any:
    return value
