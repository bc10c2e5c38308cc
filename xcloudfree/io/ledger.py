"""Progress of a long write: the identity of the object, and a list of finished parts."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import xarray as xr
from dask.base import tokenize

from xcloudfree.core.graphs import merged, sources

LEDGER: Final = ".xcloudfree-progress.jsonl"
_SHOWN: Final = 60

Identity = dict[str, dict[str, Any]]


def identity(ds: xr.Dataset, **options: Any) -> Identity:
    """Description that identifies a Dataset and its options, to resume a write.

    Nothing is computed: the name of a lazy array identifies the operations on its input, and a
    fingerprint identifies the input if it is a local Zarr store.

    >>> ds = xr.Dataset({"B02": ("x", [1, 2, 3])})
    >>> identity(ds) == identity(ds.copy()), identity(ds) == identity(ds + 1)
    (True, False)
    """
    arrays = [v.data for v in ds.variables.values() if v.chunks is not None]
    places = {_place(source) for source in sources(merged(arrays))} if arrays else set()
    inputs = {str(place): _digest(place) for place in places if place is not None}
    out: Identity = {"": {"attributes": _attributes(ds.attrs), "inputs": inputs, **options}}
    for name, variable in ds.variables.items():
        out[str(name)] = {
            "dimensions": [str(d) for d in variable.dims],
            "shape": list(variable.shape),
            "dtype": str(variable.dtype),
            "chunks": None if variable.chunks is None else [list(c) for c in variable.chunks],
            "values": tokenize(variable.data if variable.chunks is not None else variable.values),
            "attributes": _attributes(variable.attrs),
        }
    return out


def _attributes(attrs: dict[Any, Any]) -> dict[str, str]:
    """Attributes as short text, or else as their hash."""
    texts = {str(key): repr(value) for key, value in attrs.items()}
    return {
        key: text if len(text) <= _SHOWN else tokenize(attrs.get(key, text))
        for key, text in texts.items()
    }


def _place(source: Any) -> Path | None:
    """Folder or file of a local Zarr array inside the wrappers of xarray and of this library."""
    import zarr

    for _ in range(16):  # xarray wraps an array about six times
        if isinstance(source, zarr.Array):
            return _on_disk(source.store, source.path)
        inner = (getattr(source, name, None) for name in ("array", "_array", "_data"))
        source = next((value for value in inner if value is not None), None)
    return None


def _on_disk(store: Any, array: str) -> Path | None:
    """Folder of an array in a store on this machine, or the whole store if it is one file."""
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    if isinstance(store, LocalStore):
        return Path(store.root, array)
    if isinstance(store, ZipStore):
        return Path(store.path)
    if isinstance(store, FsspecStore):  # xarray.open_zarr("file:///...")
        system = getattr(store.fs, "sync_fs", store.fs)
        return Path(store.path, array) if "file" in system.protocol else None
    return None


def _digest(place: Path) -> str:
    """Hash of the names, sizes and times of all files, without reading them."""
    inside = [Path(root, name) for root, _, names in os.walk(place) for name in names]
    found = hashlib.sha256()
    for file in sorted(inside) or [place]:
        state = file.stat()
        found.update(f"{file.relative_to(place)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return found.hexdigest()


@dataclass
class Ledger:
    """List of finished parts next to the data, one line each."""

    path: Path
    identity: Identity  # of the object that is written
    done: set[str]  # keys of the finished parts

    @classmethod
    def begin(cls, folder: Path, identity: Identity) -> Ledger:
        """New ledger in a folder, with a unique name of this write."""
        started = {**identity, "": {**identity.get("", {}), "run": uuid.uuid4().hex}}
        ledger = cls(folder / LEDGER, started, set())
        fresh = ledger.path.with_name(ledger.path.name + ".new")
        _append(fresh, started, mode="w")
        fresh.replace(ledger.path)  # atomic: never a half-written identity
        return ledger

    @classmethod
    def read(cls, folder: Path) -> Ledger | None:
        """Ledger of a folder; None if there is none, or an unreadable one."""
        path = folder / LEDGER
        try:
            first, *lines = path.read_bytes().split(b"\n")
            ledger = cls(path, json.loads(first), set())
            whole = lines[:-1]  # text after the last line end is incomplete, or empty
            ledger.done = {str(json.loads(line)) for line in whole}
            if lines[-1]:
                os.truncate(path, path.stat().st_size - len(lines[-1]))
        except (OSError, ValueError, IndexError, TypeError):
            return None
        return ledger if isinstance(ledger.identity, dict) else None

    @property
    def run(self) -> str:
        """Name of the write; a resumed write keeps it."""
        return str(self.identity.get("", {}).get("run", ""))

    def add(self, key: str) -> None:
        """Record a part as finished, on disk before this returns."""
        if key not in self.done:
            _append(self.path, key)
            self.done.add(key)

    def differences(self, other: Identity) -> str:
        """Where another identity differs from this one, in words; empty if nowhere.

        >>> ds = xr.Dataset({"a": ("x", [1], {"model": "carf-tiny"})})
        >>> now = xr.Dataset({"a": ("x", [2], {"model": "carf-small"})})
        >>> Ledger(Path("x"), identity(ds), set()).differences(identity(now))
        "a: other values, attributes (model is 'carf-small', was 'carf-tiny')"
        """
        found = []
        for name in sorted(set(self.identity) | set(other)):
            label = name or "Dataset"
            if name not in other:
                found.append(f"{label}: absent now")
            elif name not in self.identity:
                found.append(f"{label}: new")
            elif changes := _changes(self.identity[name], other[name]):
                found.append(f"{label}: other {', '.join(changes)}")
        return "; ".join(found)


def _changes(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Entries of one variable that differ, with names if these help."""
    changes = []
    for key in now:
        if was.get(key) == now[key]:
            continue
        if key not in ("attributes", "inputs"):
            changes.append(key)
            continue
        old, new = was.get(key, {}), now[key]
        names = [n for n in sorted({*old, *new}) if old.get(n) != new.get(n)]
        if key == "attributes":
            names = [f"{n} is {new.get(n, 'absent')}, was {old.get(n, 'absent')}" for n in names]
        changes.append(f"{key} ({', '.join(names)})")
    return sorted(changes, key=lambda change: change.startswith("attributes"))


def current_run(folder: Path) -> str | None:
    """Name of the write that a folder currently belongs to; None if there is none."""
    try:
        with (folder / LEDGER).open("rb") as file:
            return str(json.loads(file.readline())[""].get("run", ""))
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _append(path: Path, line: Any, mode: str = "a") -> None:
    with path.open(mode, encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
