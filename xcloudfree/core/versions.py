"""Installed versions, for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import TextIO

from xcloudfree._version import __version__

PACKAGES: dict[str, tuple[str, ...]] = {
    "arrays": ("numpy", "xarray", "dask", "distributed", "scipy", "numba"),
    "grids and files": ("odc-geo", "rioxarray", "rasterio", "pyproj", "zarr"),
    "catalogs": ("pystac", "pystac-client", "odc-stac", "stackstac", "rustac"),
    "networks": ("torch", "safetensors", "lightning", "h5py", "huggingface_hub"),
    "masks": ("s2cloudless", "omnicloudmask"),
    "pictures": ("matplotlib",),
}
"""Distributions in use, by topic."""

_EXTRAS = {
    "numba": "fast",
    "stackstac": "stackstac",
    "rustac": "demo",
    "h5py": "convert",
    "huggingface_hub": "hub",
    "lightning": "train",
    "s2cloudless": "masks",
    "omnicloudmask": "masks",
    "matplotlib": "plot",
}


def versions() -> dict[str, dict[str, str]]:
    """Versions by topic and distribution; for missing ones, the call that installs them."""
    return {topic: {name: _version(name) for name in names} for topic, names in PACKAGES.items()}


def show_versions(file: TextIO | None = None) -> None:
    """Print the versions of xcloudfree, its dependencies, Python and the system.

    Paste the output into bug reports. This does not import torch; ``xcloudfree doctor`` also lists
    the devices that torch sees.

    Parameters
    ----------
    file : text file, optional
        Output stream; standard output by default.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> xcf.show_versions()
    xcloudfree ...
    """
    out = sys.stdout if file is None else file
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    lines = [
        f"xcloudfree {__version__}",
        f"Python {platform.python_version()}, {system}, {os.cpu_count()} processors",
    ]
    for topic, installed in versions().items():
        lines += ["", topic]
        lines += [f"  {name:<16}{version}" for name, version in installed.items()]
    print("\n".join(lines), file=out)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        extra = _EXTRAS.get(name)
        return f"not installed: pip install 'xcloudfree[{extra}]'" if extra else "not installed"
