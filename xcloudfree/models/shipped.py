"""Shipped weights, without importing torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from xcloudfree.exceptions import WeightsError
from xcloudfree.models.spec import ModelSpec

FOLDER = Path(__file__).parent / "weights"
"""Folder of shipped weights."""


def read_spec(path: Path) -> ModelSpec:
    """Specification in a weights file; reads no tensor."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except Exception as error:  # a special error for a broken file, OSError for a missing one
        raise WeightsError(
            f"{path} is no readable weights file ({error})",
            fix="write one with model.save(path)",
            option="install xcloudfree again",
        ) from error
    return ModelSpec.from_json(metadata.get("xcloudfree", ""))


def shipped() -> dict[str, ModelSpec]:
    """Specifications of the shipped weights by name, sorted."""
    return {path.stem: read_spec(path) for path in sorted(FOLDER.glob("*.safetensors"))}
