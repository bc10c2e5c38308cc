"""Figures of finished pairs of method and case: a small file each, in a folder."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

_FORM = 2


@dataclass(frozen=True)
class Record:
    """What is known of one method on one case."""

    # metrics and counts by selection of pixels; empty if it failed
    rows: list[list[float]] = field(default_factory=list)
    cpu: float = float("nan")  # seconds, seconds, bytes, and CPU-seconds of the fit before
    wall: float = float("nan")  # seconds, seconds, bytes, and CPU-seconds of the fit before
    memory: float = float("nan")  # seconds, seconds, bytes, and CPU-seconds of the fit before
    fit_cpu: float = float("nan")  # seconds, seconds, bytes, and CPU-seconds of the fit before
    failure: str = ""  # message of the error; empty if there was none


@dataclass(frozen=True)
class Store:
    """A folder of records; several processes may use it at once."""

    folder: Path | None  # none keeps nothing

    def path(self, method: str, case: str, *identity: str) -> Path | None:
        """File of a pair: names for people, a hash of all that decides the figures for us."""
        if self.folder is None:
            return None
        digest = blake2b("\n".join((str(_FORM), *identity)).encode(), digest_size=8).hexdigest()
        return self.folder / _slug(method) / f"{_slug(case)}-{digest}.json"

    def read(self, path: Path | None) -> Record | None:
        """What was written, if anything."""
        if path is None:
            return None
        try:
            return Record(**json.loads(path.read_text())["record"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, path: Path | None, record: Record, **about: str) -> None:
        """Write a record so that it is there whole or not at all."""
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
        partial.write_text(json.dumps({**about, "record": asdict(record)}, indent=1))
        os.replace(partial, path)


def _slug(name: str) -> str:
    """Name of a file; unlike names may share one, their hashes differ."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("._")[:60] or "_"
