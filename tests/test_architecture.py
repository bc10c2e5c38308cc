"""Who may import whom: the contracts of pyproject.toml, and where dask graphs are built."""

import ast
from pathlib import Path

import xcloudfree

ROOT = Path(xcloudfree.__file__).parent
BUILDERS = {"core/blocks.py", "core/lazy_blocks.py", "core/graphs.py", "stac/read/odc_driver.py"}
"""Files outside storage that may import dask."""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_only_blocks_and_storage_build_graphs():
    users = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if any(n == "dask" or n.startswith("dask.") for n in imported(path))
    }
    assert {u for u in users if not u.startswith("io/")} <= BUILDERS
