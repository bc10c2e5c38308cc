"""Fixtures that every test file shares."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import rioxarray  # noqa: F401  registers ds.rio
import xarray as xr

from tests.builders import make_bands
from xcloudfree.core.windows import merged

collect_ignore_glob = [
    "freeze*.py",
    "faults.py",
]  # scripts, which the search for doctests would import

WITHOUT_TORCH = find_spec("torch") is None
"""Masks, classical methods, catalogs and storage need none; they are tested without it too."""

NEEDS_TORCH = (
    "benchmarks",
    "models",
    "train",
    "goldens.py",
    "methods/test_kernel_fusion.py",
    "plugin_example/src/cloudfree_example/network.py",
    "cli/test_cli.py",
    "cli/test_judging.py",
    "reconstruct/test_context.py",
    "reconstruct/test_devices.py",
    "reconstruct/test_exact.py",
    "reconstruct/test_reconstruct.py",
    "reconstruct/test_tiles_dates.py",
    "test_names.py",
    "test_refusals.py",
)
"""Folders and files that import torch; their tests have the marker ``torch``."""


def _needs_torch(path: Path) -> bool:
    here = Path(__file__).parent
    return any(path.is_relative_to(here / name) for name in NEEDS_TORCH)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what imports torch where there is none."""
    return (WITHOUT_TORCH and _needs_torch(collection_path)) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what imports torch, so that ``-m "not torch"`` leaves it out."""
    for item in items:
        if _needs_torch(item.path):
            item.add_marker("torch")


def pytest_collection_finish() -> None:
    """Let no search for garbage go through all modules again; benchmarks make one for each case."""
    gc.collect()
    gc.freeze()


def _skipped_without_torch() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if WITHOUT_TORCH and error.name == "torch":
            pytest.skip("needs torch")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    """Skip a test whose fixture asks for torch where there is none."""
    return (yield from _skipped_without_torch())


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, Any, Any]:
    """Skip a test that asks for torch where there is none."""
    return (yield from _skipped_without_torch())


def _folder(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} does not name a folder with {what}")
    return Path(value)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with real Sentinel data."""
    return _folder("XCLOUDFREE_DATA", "real Sentinel data")


@pytest.fixture(scope="session")
def goldens_root() -> Path:
    """Folder with outputs of reference implementations."""
    return _folder("XCLOUDFREE_GOLDENS", "outputs of reference implementations")


@pytest.fixture(autouse=True, scope="session")
def _disk() -> Iterator[None]:
    """Wait for no disk: tests kill processes, and not the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache folder out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session", autouse=True)
def _chunks_one_by_one() -> Generator[None]:
    """Process small chunks one by one, so that small scenes show what depends on chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xcloudfree.core.blocks.merged", lambda sizes, _: tuple(sizes))
        yield


@pytest.fixture
def chunks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process small chunks together, as users do."""
    monkeypatch.setattr("xcloudfree.core.blocks.merged", merged)


@pytest.fixture
def bands() -> xr.Dataset:
    """Scene as variables per band: 2 dates, 45 x 38 px, bright cloud in one corner."""
    return make_bands()
