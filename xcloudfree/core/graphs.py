"""The only file that uses dask's private task classes, to make, read and order graphs.

Code that makes a graph passes hints to storage by annotations of its layers:
:data:`SCENE_SUM` and :data:`ALL_DATES`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dask._task_spec import Alias, DataNode, Task, TaskRef, convert_legacy_graph
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.utils import ensure_dict

SCENE_SUM: Final = "xcloudfree_scene_sum"
"""Annotation of small values that are summed over a scene: the part of each block, with a key
that ends in its row and column, partial sums, and the final value. Computed before the blocks."""

ALL_DATES: Final = "xcloudfree_all_dates"
"""Annotation of blocks that need all dates of a place, which are then written together."""

Tasks = dict[Any, Any]
"""Nodes of a graph by key."""


# ------------------------------------------------------------------ nodes


def task(key: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Node that calls a function; arguments from :func:`reference` are results of other nodes."""
    return Task(key, function, *arguments)


def reference(key: Any) -> Any:
    """Argument of :func:`task` that stands for the result of another node."""
    return TaskRef(key)


def value(key: Any, content: Any) -> Any:
    """Node that holds a value."""
    return DataNode(key, content)


def part_of(parts: Sequence[Any], number: int) -> Any:
    """Work of a task that takes one of the results of another, see :func:`throttled`."""
    return parts[number]


def is_task(node: Any) -> bool:
    """Whether a node does work: it is neither a value nor an alias."""
    return isinstance(node, Task) and not isinstance(node, Alias)


def renamed(node: Any, key: Any, names: Mapping[Any, Any]) -> Any:
    """The node under another key, with renamed dependencies."""
    return node.substitute(names, key=key)


def reached(
    keys: Iterable[Any], tasks: Mapping[Any, Any], without: Collection[Any] = ()
) -> set[Any]:
    """Some keys and all their dependencies, without certain keys and what only these need.

    >>> tasks = {"a": value("a", 1), "b": task("b", abs, reference("a"))}
    >>> tasks["c"] = task("c", abs, reference("b"))
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


def work_is_shared(one: Collection[Any], other: Collection[Any], tasks: Tasks) -> bool:
    """Whether at least half of the work on some keys is also part of the work on others.

    >>> tasks = {k: task(k, abs, reference("read")) for k in "ab"} | {"read": task("read", abs, 1)}
    >>> work_is_shared("a", "b", tasks)
    True
    """
    first, second = (
        {key for key in reached(keys, tasks) if is_task(tasks[key])} for keys in (one, other)
    )
    both = len(first & second)
    return both > 0 and 2 * both >= len(first)


# ------------------------------------------------------------------ graphs


def is_annotated(graph: HighLevelGraph, name: str) -> bool:
    """Whether any layer carries an annotation."""
    return any(name in (layer.annotations or ()) for layer in graph.layers.values())


def annotated_keys(graph: HighLevelGraph, name: str) -> set[Any]:
    """Keys of the layers that carry an annotation."""
    return {
        key
        for layer in graph.layers.values()
        if name in (layer.annotations or ())
        for key in layer.get_output_keys()
    }


def requests(graph: HighLevelGraph) -> dict[Any, dict[str, Any]]:
    """Resources that each task requests from a cluster's workers; optimisation drops them."""
    found = {}
    for layer in graph.layers.values():
        asked = {k: v for k, v in (layer.annotations or {}).items() if not _is_ours(k)}
        for key in layer if asked else ():
            found[key] = {k: v(key) if callable(v) else v for k, v in asked.items()}
    return found


def merged(arrays: Iterable[Any]) -> HighLevelGraph:
    """One graph of several dask arrays."""
    return HighLevelGraph.merge(*(array.dask for array in arrays))


def sources(graph: HighLevelGraph) -> Iterator[Any]:
    """Values of layers without dependencies, such as the file that other layers read."""
    for layer in graph.layers.values():
        if isinstance(layer, MaterializedLayer) and len(layer) == 1:
            (node,) = layer.values()
            yield node.value if isinstance(node, DataNode) else node


def tasks_of(graph: HighLevelGraph) -> Tasks:
    """Nodes of all layers, unoptimised."""
    return convert_legacy_graph(ensure_dict(graph))  # type: ignore[no-any-return]


def with_values(graph: HighLevelGraph, values: Mapping[Any, Any], name: str) -> HighLevelGraph:
    """The graph with values instead of the tasks of some keys of the annotated layers."""
    layers, needs = dict(graph.layers), dict(graph.dependencies)
    for label, layer in graph.layers.items():
        keys = layer.get_output_keys() if name in (layer.annotations or ()) else set()
        known = keys & values.keys()
        if not known:
            continue
        others = dict(layer) if known != keys else {}  # without them nothing below is needed
        nodes = {key: DataNode(key, values[key]) for key in known}
        layers[label] = MaterializedLayer({**others, **nodes}, layer.annotations)
        needs[label] = needs[label] if others else set()
    return HighLevelGraph(layers, needs)


def with_layer(
    graph: HighLevelGraph, name: str, layer: Tasks, needs: Collection[str]
) -> HighLevelGraph:
    """Optimised graph of one more layer, which needs the given ones, and nothing else."""
    from dask.blockwise import fuse_roots, optimize_blockwise

    layers = {**graph.layers, name: MaterializedLayer(layer)}
    whole = HighLevelGraph(layers, {**graph.dependencies, name: set(needs)})
    keys = [key for key, node in layer.items() if isinstance(node, Task)]
    fused = fuse_roots(optimize_blockwise(whole, keys=keys), keys=keys)
    culled = fused.cull(set(keys))
    # again as one layer, for fusion: a culled graph does not know the order of its layers
    return simplified(ensure_dict(culled), keys, requests(culled))


def simplified(
    tasks: Mapping[Any, Any], keys: Iterable[Any], asked: Mapping[Any, Any]
) -> HighLevelGraph:
    """Graph of the given keys alone with fused chains, and a layer for each request of workers."""
    import dask.array as da  # late, because it takes a third of the import time

    asked = {key: request for key, request in asked.items() if key in tasks}
    nodes = convert_legacy_graph(ensure_dict(da.optimize(tasks, [*keys, *asked])))
    layers: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for key, node in nodes.items():
        request = asked.get(key)
        name = "plain" if request is None else f"asking-{sorted(request.items(), key=str)}"
        layers.setdefault(name, {})[key] = node
        said[name] = request
    return _joined({n: MaterializedLayer(layer, said[n]) for n, layer in layers.items()})


def throttled(
    graph: HighLevelGraph, groups: Sequence[Sequence[Any]], ahead: int, early: Collection[Any] = ()
) -> HighLevelGraph:
    """Graph in which work on a group of keys waits until all but `ahead` groups before are done."""
    # A gate, a task without work, completes when all groups up to one are done. The tasks that wait
    # for it are those that no earlier group needs and that depend on no such task. The keys of
    # `early`, and parts of results, do not wait if an earlier group needs what they depend on: it
    # would be kept for them.
    tasks = {key: node for layer in graph.layers.values() for key, node in layer.items()}
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
            node = tasks[here]
            needs = {_target(d, tasks) for d in node.dependencies}
            made = any(isinstance(tasks.get(d), Task) for d in needs - own)
            if made and (here in early or node.func is part_of):
                continue
            if not needs & working:
                waiting[here] = Task(here, _first, node, TaskRef(gates[n - ahead]))
    layers = {
        name: MaterializedLayer(
            {key: waiting.get(key, node) for key, node in layer.items()}, layer.annotations
        )
        for name, layer in graph.layers.items()
    }
    layers["gates"] = MaterializedLayer(passed)
    return _joined(layers)


def _joined(layers: dict[str, Any]) -> HighLevelGraph:
    """Graph of layers that may all depend on one another."""
    return HighLevelGraph(layers, {n: set(layers) - {n} for n in layers})


def _target(key: Any, tasks: Mapping[Any, Any]) -> Any:
    """The key that another key is an alias of."""
    while isinstance(node := tasks.get(key), Alias):
        key = node.target
    return key


def _is_ours(annotation: str) -> bool:
    return annotation.startswith("xcloudfree_")


def _nothing(*_: Any) -> None:
    """Work of a gate."""


def _first(result: Any, *_: Any) -> Any:
    return result
