"""What a fit is given beside its model and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xcloudfree.train.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """All that a fit is given beside model and data."""

    # optimiser steps and samples per step
    steps: int
    batch: int
    learning_rate: float  # highest one
    seed: int  # of everything random
    patience: int | None  # validations without improvement after which it stops
    recipe: Recipe  # the rest
    identity: dict[str, Any]  # what a checkpoint must share to be continued
    # folders
    checkpoints: Path | None
    log: Path | None
    progress: bool  # whether to show a line
