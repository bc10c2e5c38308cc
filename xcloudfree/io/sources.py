"""Fingerprints of the Zarr stores that lazy data reads: whether one was changed in between."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import xarray as xr

from xcloudfree.core.graphs import merged, sources

_DEPTH = 16  # of the objects that xarray wraps around an array


def fingerprints(ds: xr.Dataset) -> dict[str, str]:
    """Folders of local Zarr arrays that the lazy variables read, with a hash of their files."""
    arrays = [v.data for v in ds.variables.values() if v.chunks is not None]
    folders = {_folder(source) for source in sources(merged(arrays))} if arrays else set()
    return {str(folder): _digest(folder) for folder in folders - {None} if folder}


def _folder(source: Any) -> Path | None:
    """Folder of a Zarr array inside the wrappers of xarray and of our own."""
    import zarr
    from zarr.storage import LocalStore

    for _ in range(_DEPTH):
        if isinstance(source, zarr.Array):
            store = source.store
            return Path(store.root, source.path) if isinstance(store, LocalStore) else None
        inner = (getattr(source, name, None) for name in ("array", "_array", "_data"))
        source = next((value for value in inner if value is not None), None)
    return None


def _digest(folder: Path) -> str:
    """Hash of the names, sizes and times of all files, which takes no reading."""
    files = sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)
    found = hashlib.sha256()
    for file in files:
        state = file.stat()
        found.update(f"{file.relative_to(folder)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return found.hexdigest()
