"""Checkpoints of a fit: one safetensors file with everything that the next step depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xcloudfree.exceptions import DataError, WeightsError
from xcloudfree.models.weights_file import write_tensors

NAME = "checkpoint.safetensors"
"""File in the user's folder."""

Tensors = dict[str, Tensor]


def write(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Replace the checkpoint in a folder; after a kill it is either the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    for killed in folder.glob("checkpoint.*.partial.safetensors"):
        killed.unlink(missing_ok=True)
    call = f"fit(..., checkpoints={str(folder)!r})"
    return write_tensors(folder / NAME, tensors, {"fit": json.dumps(state)}, call)


def read(folder: Path, identity: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any]] | None:
    """Tensors and state of the checkpoint of the same fit, or None; nothing is unpickled."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["fit"])
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} is no readable checkpoint ({error})",
            fix="remove it, or call fit(..., checkpoints=...) with another folder",
            option="remove it, or use another folder for --checkpoints",
        ) from error
    there = state["identity"]
    differs = [
        f"{name} ({there.get(name)!r} there, {value!r} here)"
        for name, value in json.loads(json.dumps(identity)).items()
        if there.get(name) != value
    ]
    if differs:
        raise DataError(
            f"{path} belongs to another fit, which differs in {', '.join(differs)}",
            fix="continue that one with its own arguments, or call fit(..., "
            "checkpoints=...) with another folder",
            option="repeat it with its own options, or use another folder for --checkpoints",
        )
    return tensors, state


def optimiser_tensors(prefix: str, optimiser: torch.optim.Optimizer) -> Tensors:
    """State of an optimiser as named tensors."""
    states: Mapping[int, Mapping[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{prefix}.{i}.{k}": tensor for i, s in states.items() for k, tensor in s.items()}


def restore_optimiser(prefix: str, optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Undo :func:`optimiser_tensors` for an optimiser of the same parameters."""
    for i, parameter in enumerate(p for g in optimiser.param_groups for p in g["params"]):
        lead = f"{prefix}.{i}."
        for name in [k for k in tensors if k.startswith(lead)]:
            key, value = name.removeprefix(lead), tensors[name]
            if value.shape == parameter.shape:  # in its memory layout: sums keep their order
                value = torch.empty_like(parameter).copy_(value)
            optimiser.state[parameter][key] = value


def chosen(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors below a prefix, named without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
