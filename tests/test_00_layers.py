"""Arrows point down: who may import whom."""

import ast
from pathlib import Path

import pytest

import xcloudfree

ROOT = Path(xcloudfree.__file__).parent
FORBIDDEN = {
    "kernels": ("xarray", "dask", "torch", "xcloudfree.models", "xcloudfree.scene"),
    "models": ("xarray", "dask", "xcloudfree.scene", "xcloudfree.reconstruct"),
    "blocks.py": ("xarray", "torch", "xcloudfree.models", "xcloudfree.scene"),
    "scene.py": ("torch", "dask", "xcloudfree.models", "xcloudfree.masks"),
    "masks.py": ("torch", "dask", "xcloudfree.models", "xcloudfree.reconstruct"),
    "reconstruct.py": ("dask", "xcloudfree.accessor", "xcloudfree.train", "xcloudfree.stac"),
    "train": ("dask", "xcloudfree.accessor", "xcloudfree.reconstruct"),
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_no_arrow_points_up(part):
    place = ROOT / part
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    wrong = {
        (path.name, name)
        for path in files
        for name in imported(path)
        for bad in FORBIDDEN[part]
        if name == bad or name.startswith(bad + ".")
    }
    assert not wrong


def test_only_blocks_and_storage_build_graphs():
    users = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if any(n == "dask" or n.startswith("dask.") for n in imported(path))
    }
    others = {u for u in users if not u.startswith("io/")} - {"blocks.py", "stac/odc_driver.py"}
    assert not others
