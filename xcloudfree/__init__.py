"""Remove clouds from Sentinel-2 with Sentinel-1, on xarray and dask.

Importing registers ``ds.cloudfree``. Torch, catalogs and plotting are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xcloudfree import accessor, exceptions, models
from xcloudfree._version import __version__
from xcloudfree.core import bands
from xcloudfree.core.versions import show_versions

if TYPE_CHECKING:
    from xcloudfree import datasets, io, methods, plot, stac, train
    from xcloudfree import judge as benchmarking
    from xcloudfree.core.passes import join_passes
    from xcloudfree.judge import benchmark
    from xcloudfree.judge.evaluation import evaluate
    from xcloudfree.reconstruct.remake import remake
    from xcloudfree.stac.series.pairing import pair
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
    "join_passes",
    "methods",
    "models",
    "pair",
    "plot",
    "remake",
    "show_versions",
    "stac",
    "train",
]

_ROOMS = ("datasets", "io", "methods", "plot", "stac", "train")
_CALLS = {
    "benchmark": "judge",
    "evaluate": "judge.evaluation",
    "fit": "train",
    "join_passes": "core.passes",
    "pair": "stac.series.pairing",
    "remake": "reconstruct.remake",
}


def __getattr__(name: str) -> Any:
    if name == "benchmarking":
        return import_module("xcloudfree.judge")
    if name in _ROOMS:
        return import_module(f"xcloudfree.{name}")
    if name in _CALLS:
        return getattr(import_module(f"xcloudfree.{_CALLS[name]}"), name)
    raise AttributeError(f"module 'xcloudfree' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
