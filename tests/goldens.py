"""Cases computed by the authors' own networks with weights from a frozen random stream."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Golden:
    """One case: weights in the authors' naming, inputs, outputs, tolerances."""

    folder: Path
    about: dict[str, Any]

    def state(self) -> dict[str, Tensor]:
        """The authors' state dict, filled in its order from the stream; buffers left out."""
        stream = np.random.RandomState(self.about["seed"])
        state = {}
        for entry in self.about["state_dict"]:
            if entry["fill"] == "buffer":
                continue
            values = stream.standard_normal(entry["shape"]) * entry["scale"]
            if entry["fill"] == "ones_plus":
                values = 1 + values
            state[entry["name"]] = torch.from_numpy(np.asarray(values, np.float32))
        return state

    def inputs(self) -> dict[str, Tensor]:
        """Inputs by name, stored or from their own stream."""
        stored = np.load(self.folder / "io.npz")
        return {
            name: torch.from_numpy(
                stored[f"in_{name}"] if how["stored"] else _generated(how["generate"])
            )
            for name, how in self.about["inputs"].items()
        }

    def check(self, name: str, got: Tensor) -> None:
        """Compare an output with the stored part, and with the mean and spread of the whole."""
        about = self.about["outputs"][name]
        tolerance = self.about["tolerance"][name]["max_abs"]
        assert list(got.shape) == about["shape"]
        values = got.detach().double()
        assert abs(float(values.mean()) - about["mean"]) <= tolerance
        assert abs(float(values.std(correction=0)) - about["std"]) <= tolerance
        if "crop" in about:
            top, bottom, left, right = about["crop"]
            values = values[..., top:bottom, left:right]
        if "channel_slice" in about:
            values = values[:, slice(*about["channel_slice"])]
        expected = np.load(self.folder / "io.npz")[f"out_{name}"]
        assert np.abs(values.numpy() - expected).max() <= tolerance


def golden(case: str) -> Golden:
    """Find a case, or skip the test where the folder is absent."""
    root = os.environ.get("XCLOUDFREE_GOLDENS")
    if root is None:
        pytest.skip("XCLOUDFREE_GOLDENS is not set")
    folder = Path(root) / case
    return Golden(folder, json.loads((folder / "case.json").read_text()))


def renamed(state: dict[str, Tensor], published: Any) -> dict[str, Tensor]:
    """The state in our names, as :class:`xcloudfree.models.networks.Architecture` maps them."""
    names = {name: published(name) for name in state}
    return {ours: state[theirs] for theirs, ours in names.items() if ours is not None}


def _generated(how: dict[str, Any]) -> np.ndarray:
    unit = np.random.RandomState(how["seed"]).random_sample(how["shape"])
    return np.asarray(how["low"] + unit * (how["high"] - how["low"]), np.float32)
