"""dask's private task classes do what core/graphs.py promises: a new dask breaks here first."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

import xcloudfree
from xcloudfree.core import graphs
from xcloudfree.core.graphs import reference, task, value

ROOT = Path(xcloudfree.__file__).parent


def test_no_other_file_uses_private_modules_of_dask() -> None:
    users = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(n.startswith("dask.") and "._" in n for n in names):
                users.add(str(path.relative_to(ROOT)))
    assert users == {"core/graphs.py"}


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_a_graph_of_nodes_computes(scheduler: str) -> None:
    nodes = {
        "a": value("a", [1, 2]),
        "b": task("b", sum, reference("a")),
        "c": task("c", divmod, reference("b"), 2),
    }
    assert dask.base.get_scheduler(scheduler=scheduler)(nodes, ["c", "a"]) == ((1, 1), [1, 2])
    assert nodes["c"].dependencies == {"b"}
    assert [graphs.is_task(nodes[k]) for k in "abc"] == [False, True, True]


def test_other_names_are_no_tasks_and_are_followed() -> None:
    nodes = graphs.tasks_of(HighLevelGraph.from_collections("x", {"x": "y", "y": (abs, -1)}))
    assert not graphs.is_task(nodes["x"])
    assert graphs.reached(["x"], nodes) == {"x", "y"}
    assert dask.get(nodes, "x") == 1


def test_a_renamed_node_needs_the_renamed_one() -> None:
    node = graphs.renamed(task("b", abs, reference("a")), "other", {"a": "c"})
    assert node.key == "other"
    assert dask.get({"c": value("c", -3), "other": node}, "other") == 3


def test_annotations_reach_layers_and_survive_culling_but_are_no_requests() -> None:
    source = da.ones((4, 4), chunks=2) + 1
    with dask.annotate(**{graphs.SCENE_SUM: True}):
        total = source.sum(keepdims=True)
    with dask.annotate(resources={"GPU": 1}):
        asking = source.map_blocks(np.negative)
    graph = graphs.merged([source - total, asking])
    assert graphs.is_annotated(graph, graphs.SCENE_SUM)
    assert not graphs.is_annotated(graph, graphs.ALL_DATES)
    culled = graph.cull({total.__dask_keys__()[0][0], (asking.name, 0, 0)})
    marked = graphs.annotated_keys(culled, graphs.SCENE_SUM)
    assert (total.name, 0, 0) in marked
    assert (source.name, 0, 0) not in marked
    assert graphs.requests(culled) == {(asking.name, 0, 0): {"resources": {"GPU": 1}}}


def test_the_source_of_an_array_is_found() -> None:
    class File:
        shape, dtype, ndim = (4,), np.dtype("f4"), 1

        def __getitem__(self, index: Any) -> np.ndarray:
            return np.asarray(np.zeros(4, "f4")[index])

    file = File()
    array = da.from_array(file, chunks=2, name="file", meta=np.zeros(0, "f4")) + 1
    assert file in list(graphs.sources(graphs.merged([array])))


def test_values_take_the_place_of_what_makes_them() -> None:
    source = da.from_delayed(dask.delayed(pytest.fail)("computed"), (2,), float)
    with dask.annotate(**{graphs.SCENE_SUM: True}):
        total = source.sum(keepdims=True)
    ones = da.ones(2, chunks=1) + total
    values = {(total.name, 0): np.array([4.0])}
    graph = graphs.with_values(graphs.merged([ones]), values, graphs.SCENE_SUM)
    end = task("end", np.ndarray.item, reference((ones.name, 0)))
    ready = graphs.with_layer(graph, "end", {"end": end}, {ones.name})
    assert dask.get(ready.to_dict(), "end") == 5


def test_chains_are_fused_and_requests_stay() -> None:
    source = da.ones(4, chunks=2)
    with dask.annotate(resources={"GPU": 1}):
        asking = (source + 1).map_blocks(np.negative)
    last = asking + 1
    layer = {("end", i): task(("end", i), np.sum, reference((last.name, i))) for i in range(2)}
    ready = graphs.with_layer(graphs.merged([last]), "end", layer, {last.name})
    assert sorted(dask.get(ready.to_dict(), list(layer))) == [-2, -2]
    asked = [x.annotations for x in ready.layers.values() if x.annotations]
    assert asked == [{"resources": {"GPU": 1}}]


@pytest.mark.parametrize("ahead", [1, 2])
def test_gates_hold_work_back(ahead: int) -> None:
    order: list[str] = []

    def read(name: str) -> str:
        order.append(f"read {name}")
        return name

    def write(name: str) -> None:
        order.append(f"write {name}")

    nodes: dict[Any, Any] = {}
    for name in "abcd":
        nodes[f"read {name}"] = task(f"read {name}", read, name)
        nodes[f"write {name}"] = task(f"write {name}", write, reference(f"read {name}"))
    graph = HighLevelGraph({"plain": MaterializedLayer(nodes)}, {"plain": set()})
    writes = [[f"write {name}"] for name in "abcd"]
    held = graphs.throttled(graph, writes, ahead)
    dask.get(held.to_dict(), [w for [w] in writes])
    for n, name in enumerate("abcd"):
        done = order[: order.index(f"read {name}")]
        assert all(f"write {k}" in done for k in "abcd"[: max(0, n - ahead + 1)])


def test_parts_and_early_work_do_not_wait_for_what_is_there() -> None:
    nodes = {"read": task("read", list, ("a", "b"))}
    for n, name in enumerate("abcd"):
        part, made = f"part {name}", f"made {name}"
        nodes[part] = task(part, graphs.part_of, reference("read"), n % 2)
        nodes[made] = task(made, str, reference("read"))
        nodes[f"write {name}"] = task(f"write {name}", max, reference(part), reference(made))
    nodes["other"] = task("other", list, "xy")
    nodes["part d"] = task("part d", graphs.part_of, reference("other"), 0)
    graph = HighLevelGraph({"plain": MaterializedLayer(nodes)}, {"plain": set()})
    writes = [[f"write {name}"] for name in "abcd"]
    held = graphs.throttled(graph, writes, 1, {"made b"}).to_dict()
    waiting = {k for k, n in held.items() if any(d[0] == "gate" for d in n.dependencies)}
    assert waiting - {key for key in held if key[0] == "gate"} == {"made c", "made d", "other"}
    dask.get(held, [w for [w] in writes])
