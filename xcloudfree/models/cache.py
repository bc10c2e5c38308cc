"""Models by reference: the content of a graph, and one copy per process and device."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from xcloudfree import models
from xcloudfree.core.devices import DeviceGate, device_gate
from xcloudfree.exceptions import ModelError, WeightsError
from xcloudfree.models.model import Model
from xcloudfree.models.shipped import read_spec


@dataclass(frozen=True)
class Reference:
    """The data that a task needs to find a model."""

    source: str  # name or path that :func:`xcloudfree.models.load` takes
    digest: str  # hash of specification and weights


@dataclass
class Slot:
    """A model on a device, and the gate in front of that device."""

    model: Model
    gate: DeviceGate


KEPT = 4
"""Number of models that stay in memory, the latest ones."""

_SLOTS: dict[tuple[str, str], Slot] = {}  # the one mutable state of the library
_GUARD = threading.Lock()


def reference(model: str | Path | Model) -> tuple[Reference, Model]:
    """Refer to a model by name or file; one in memory is written to the user's cache folder."""
    if isinstance(model, (str, Path)):
        source = model if not Path(model).is_file() else Path(model).resolve()
        loaded = models.load(source)
        return Reference(str(source), loaded.digest), loaded
    if not isinstance(model, Model):
        raise ModelError(
            f"model is a {type(model).__name__}",
            fix="give a name of xcloudfree.models.list(), a path, or what "
            "xcloudfree.models.load(...) returns",
            option="see `xcloudfree models list`",
        )
    path = _folder() / f"{model.digest}.safetensors"
    if not _whole(path, model):
        model.save(path)
    return Reference(str(path), model.digest), model


def slot(ref: Reference, device: str) -> Slot:
    """The model on a device, loaded at most once per process."""
    key = (ref.digest, device)
    with _GUARD:
        if key not in _SLOTS:
            model = _as_set_up(ref)
            model.network.to(device)
            _SLOTS[key] = Slot(model, device_gate(device))
            for old in list(_SLOTS)[:-KEPT]:
                del _SLOTS[old]
        return _SLOTS[key]


def _as_set_up(ref: Reference) -> Model:
    """The model of a reference; another call replaces a copy that was lost or damaged."""
    try:
        model, problem = models.load(ref.source), "has changed"
    except WeightsError as error:
        model, problem = None, f"cannot be read any more ({error.problem})"
    if model is None or model.digest != ref.digest:
        raise WeightsError(
            f"{ref.source} {problem} since this reconstruction was set up",
            fix="call reconstruct() again",
            option="repeat the command",
        )
    return model


def _whole(path: Path, model: Model) -> bool:
    """Whether a copy exists and contains the model, bit for bit; a damaged one is replaced."""
    try:
        return read_spec(path) == model.spec and Model.read(path).digest == model.digest
    except (ModelError, WeightsError):
        return False


def _folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "xcloudfree"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="xcloudfree-"))
    return folder
