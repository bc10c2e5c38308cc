"""What a fit is given beside its model and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xcloudfree.train.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """All that a fit is given beside model and data.

    Parameters
    ----------
    steps, batch : int
        Optimiser steps and samples per step.
    learning_rate : float
        Highest one.
    seed : int
        Of everything random.
    patience : int or None
        Validations without improvement after which it stops.
    recipe : Recipe
        The rest.
    identity : dict
        What a checkpoint must share to be continued.
    checkpoints, log : Path or None
        Folders.
    progress : bool
        Whether to show a line.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int
    patience: int | None
    recipe: Recipe
    identity: dict[str, Any]
    checkpoints: Path | None
    log: Path | None
    progress: bool
