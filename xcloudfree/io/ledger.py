"""What of a long write is done: an identity of the object, and a list of finished parts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import xarray as xr
from dask.base import tokenize

LEDGER: Final = ".xcloudfree-progress.json"

Identity = dict[str, dict[str, Any]]


def identity(ds: xr.Dataset) -> Identity:
    """Description of a Dataset by which the same one is known again without computing it.

    Parameters
    ----------
    ds : xarray.Dataset
        Lazy or not.

    Returns
    -------
    dict
        Per variable its dimensions, shape, dtype, chunks, and hashes of values and attributes.
        The hash of a lazy array is that of its task graph's name.

    Examples
    --------
    >>> ds = xr.Dataset({"B02": ("x", [1, 2, 3])})
    >>> identity(ds) == identity(ds.copy()), identity(ds) == identity(ds + 1)
    (True, False)
    """
    out: Identity = {"": {"attributes": tokenize(sorted(ds.attrs.items(), key=str))}}
    for name, variable in ds.variables.items():
        out[str(name)] = {
            "dimensions": [str(d) for d in variable.dims],
            "shape": list(variable.shape),
            "dtype": str(variable.dtype),
            "chunks": None if variable.chunks is None else [list(c) for c in variable.chunks],
            "values": tokenize(variable.data if variable.chunks is not None else variable.values),
            "attributes": tokenize(sorted(variable.attrs.items(), key=str)),
        }
    return out


@dataclass
class Ledger:
    """List of finished parts beside the data they belong to.

    Parameters
    ----------
    path : Path
        The file.
    identity : dict
        What is being written, from :func:`identity`.
    done : list of str
        Keys of the finished parts.
    """

    path: Path
    identity: Identity
    done: list[str]

    @classmethod
    def begin(cls, folder: Path, identity: Identity) -> Ledger:
        """New ledger in a folder."""
        ledger = cls(folder / LEDGER, identity, [])
        ledger._save()
        return ledger

    @classmethod
    def read(cls, folder: Path) -> Ledger | None:
        """Ledger of a folder; None if there is none, or none that can be read."""
        try:
            content = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
            return cls(folder / LEDGER, content["identity"], content["done"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def add(self, key: str) -> None:
        """Record a part as finished, on disk before this returns."""
        self.done.append(key)
        self._save()

    def differences(self, other: Identity) -> str:
        """In words, where another identity differs from this one; empty if nowhere."""
        found = []
        for name in sorted(set(self.identity) | set(other)):
            label = name or "Dataset"
            if name not in other:
                found.append(f"{label}: absent now")
            elif name not in self.identity:
                found.append(f"{label}: new")
            else:
                mine, theirs = self.identity[name], other[name]
                if changed := [key for key in theirs if mine.get(key) != theirs[key]]:
                    found.append(f"{label}: other {', '.join(changed)}")
        return "; ".join(found)

    def _save(self) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"identity": self.identity, "done": self.done}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)  # atomic: never a half-written ledger
