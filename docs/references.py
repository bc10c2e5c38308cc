"""For the site's build: notebooks from beside docs/, and links to objects by any of their paths."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from nbclient import NotebookClient
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode


def setup(app: Sphinx) -> None:
    """Register the extension."""
    app.connect("builder-inited", bring_notebooks)
    app.connect("missing-reference", resolve)
    app.connect("source-read", moved)


AT_ONCE = 2
"""Notebooks that run at the same time, each on one core."""


def bring_notebooks(app: Sphinx) -> None:
    """Copy the notebooks of the repository into the site's sources, and run them there."""
    target = Path(app.srcdir) / "examples"
    target.mkdir(exist_ok=True)
    for old in target.glob("*.ipynb"):
        old.unlink()
    notebooks = sorted(Path(app.srcdir).parent.glob("examples/*.ipynb"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, notebook in zip(notebooks, pool.map(executed, notebooks), strict=True):
            nbformat.write(notebook, target / path.name)


def executed(path: Path) -> nbformat.NotebookNode:
    """A notebook with its outputs, run in an empty folder; an exception ends the build."""
    notebook = nbformat.read(path, as_version=4)
    if os.environ.get("XCLOUDFREE_NOTEBOOKS", "force") == "force":
        with tempfile.TemporaryDirectory() as folder:
            where = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=900, resources=where).execute()
    return notebook


def moved(app: Sphinx, name: str, source: list[str]) -> None:
    """Notebooks lie beside docs/ in the repository, and in it on the site."""
    if name.startswith("examples/"):
        source[0] = source[0].replace("](../docs/", "](../")
    else:
        up = "../" * name.count("/")
        source[0] = source[0].replace(f"](../{up}examples/", f"]({up}examples/")


def resolve(app: Sphinx, env: Any, node: Any, content: nodes.Element) -> nodes.Element | None:
    """Where a docstring names an object otherwise than the reference does, link it all the same."""
    if node.get("refdomain") != "py":
        return None
    target, objects = node["reftarget"], env.get_domain("py").objects
    prefixes = ("", f"{node.get('py:module')}.{node.get('py:class')}.", f"{node.get('py:module')}.")
    wanted = [found for prefix in prefixes for found in _imported(prefix + target)]
    same = [n for n in objects if any(a is b for a in _imported(n) for b in wanted)]
    same = same or [n for n in objects if n.split(".")[-1] == target]
    if not same:
        return None
    entry = objects[same[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, same[0])


@cache
def _imported(path: str) -> tuple[Any, ...]:
    """What a dotted path may mean: a package may hold a module and a function of one name."""
    parts = path.split(".")
    out = []
    for cut in range(1, len(parts) + 1):
        try:
            found = import_module(".".join(parts[:cut]))
        except ImportError:
            break
        for part in parts[cut:]:
            found = getattr(found, part, None)
        out += [] if found is None else [found]
    return tuple(out)
