"""Lightning's trainer around the loop: device, processes, and what it says."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import torch
from lightning.pytorch import Trainer

from xcloudfree.train.drawn import Drawn
from xcloudfree.train.journal import Journal
from xcloudfree.train.loop import Loop
from xcloudfree.train.plan import Plan
from xcloudfree.train.samples import Samples


def run(loop: Loop, samples: Samples, device: torch.device) -> None:
    """Run the remaining steps under Lightning's trainer."""
    plan = loop.plan
    if loop.stopped or loop.done >= plan.steps:
        return
    loop.network.to(memory_format=torch.channels_last)
    several = plan.recipe.devices > 1
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    which: Any = plan.recipe.devices
    if device.type == "cuda" and not several:
        which = [device.index or 0]
    quiet = logging.getLogger("lightning.pytorch")
    level, filters = quiet.level, warnings.catch_warnings()
    quiet.setLevel(logging.ERROR)
    with filters:
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            trainer = Trainer(
                accelerator=accelerator,
                devices=which,
                strategy="ddp_find_unused_parameters_true" if several else "auto",
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            rank = trainer.global_rank if several else None
            loop.bar.show = loop.bar.show and trainer.is_global_zero
            drawn = Drawn(
                samples, plan.batch, plan.seed, loop.done, plan.steps, _threads(plan, device), rank
            )
            with Journal(plan.log if trainer.is_global_zero else None, loop.done) as loop.journal:
                trainer.fit(loop, drawn)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
        finally:
            quiet.setLevel(level)


def _threads(plan: Plan, device: torch.device) -> int:
    if plan.recipe.threads is not None:
        return plan.recipe.threads
    return 1 if device.type == "cpu" else min(8, os.cpu_count() or 1)
