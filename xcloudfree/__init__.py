"""Cloud-free Sentinel-2 from Sentinel-1 and cloudy Sentinel-2, over xarray and dask.

Importing registers ``ds.cloudfree``. Torch, catalogs and plotting are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xcloudfree import accessor, bands, exceptions, models
from xcloudfree._version import __version__
from xcloudfree.evaluate import evaluate
from xcloudfree.versions import show_versions

if TYPE_CHECKING:
    from xcloudfree import benchmarking, datasets, io, methods, plot, stac, train
    from xcloudfree.benchmarking import benchmark
    from xcloudfree.train import fit

__all__ = [
    "__version__",
    "accessor",
    "bands",
    "benchmark",
    "benchmarking",
    "datasets",
    "evaluate",
    "exceptions",
    "fit",
    "io",
    "methods",
    "models",
    "plot",
    "show_versions",
    "stac",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "fit":
        return import_module("xcloudfree.train").fit
    if name == "benchmark":
        return import_module("xcloudfree.benchmarking").benchmark
    if name in ("benchmarking", "datasets", "io", "methods", "plot", "stac", "train"):
        return import_module(f"xcloudfree.{name}")
    raise AttributeError(f"module 'xcloudfree' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
