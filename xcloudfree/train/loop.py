"""The training loop as a Lightning module; only fitting imports it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from xcloudfree.core.progress import Progress
from xcloudfree.exceptions import DataError
from xcloudfree.train import checkpoints
from xcloudfree.train.adversary import opponent
from xcloudfree.train.batches import BatchLoader
from xcloudfree.train.journal import Journal
from xcloudfree.train.recipe import Recipe, halving_rate
from xcloudfree.train.samples import Batch, Samples


@dataclass(frozen=True)
class Settings:
    """All arguments of a fit besides model and data."""

    steps: int
    batch: int  # samples per step
    learning_rate: float  # the highest one
    seed: int
    patience: int | None  # validations without improvement after which the fit stops
    recipe: Recipe
    identity: dict[str, Any]  # values that a checkpoint must match to be resumed
    checkpoints: Path | None
    log: Path | None
    progress: bool | None


class Loop(LightningModule):
    """Fit a network step by step; all state that the next step depends on can be saved."""

    def __init__(
        self,
        objective: Any,
        settings: Settings,
        validation: list[Any],
        pictured: Batch | None,
    ) -> None:
        super().__init__()
        # Two optimisers take turns in adversarial fitting, which Lightning leaves to the module.
        self.automatic_optimization = False
        self.objective, self.settings = objective, settings
        self.validation, self.pictured = validation, pictured
        self.network = objective.model.network.train()
        decay = settings.recipe.decay(settings.steps)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
        ).requires_grad_(False)
        self.opponent: nn.Module | None = None
        if objective.loss == "adversarial":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                discriminator = opponent(objective.model.spec.architecture, self.network)
            self.opponent = discriminator.train()
        self.steps_done, self.validations_waited, self.stopped = 0, 0, False
        self.best_error = self.first_error = float("inf")  # the latter of fitted weights to start
        self.best_state: dict[str, Tensor] = {}
        self.restored: checkpoints.Tensors = {}
        if settings.checkpoints is not None:
            self._restore(settings.checkpoints)
        self.journal = Journal(None)
        self.bar = Progress("fit", settings.steps, show=False)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW; for adversarial networks, Adam as published."""
        rate, recipe = self.settings.learning_rate, self.settings.recipe
        optimisers: list[torch.optim.Optimizer]
        if self.opponent is None:
            groups = recipe.groups(self.network)
            optimisers = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))]
        else:
            optimisers = [
                torch.optim.Adam(module.parameters(), lr=rate, betas=(0.5, 0.999))
                for module in (self.network, self.opponent)
            ]
        for number, optimiser in enumerate(optimisers):
            checkpoints.restore_optimiser(f"optimiser{number}", optimiser, self.restored)
        return optimisers

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        """Leave batches as arrays: the objective moves them."""
        return batch

    def on_fit_start(self) -> None:
        """Judge fitted weights before they change, so that the fit returns nothing worse."""
        if self.validation and self.objective.judges_start and not self.steps_done:
            self.first_error = self._validate()

    def training_step(self, item: tuple[int, Batch], index: int) -> None:
        """One step of the optimisers, then the bookkeeping."""
        step, batch = item
        schedule = halving_rate if self.opponent is not None else self.settings.recipe.rate
        rate = self.settings.learning_rate * schedule(step, self.settings.steps)
        optimisers = self._optimisers()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        with self._seeded(step):
            tensors = self.objective.tensors(batch, self.device)
            if self.opponent is None:
                loss = self.objective.value(self.network, tensors)
                self._check_finite(loss, step, batch)
                self._descend(optimisers[0], loss, clip=self.settings.recipe.clip)
            else:
                # the discriminator first, so that the generator meets its current state
                game = self.objective.round(self.network, tensors)
                self._descend(optimisers[1], game.opponent_loss(self.opponent))
                loss = game.generator_loss(self.opponent, self.network)
                self._check_finite(loss, step, batch)
                self._descend(optimisers[0], loss)
        self.average.update_parameters(self.network)
        self.steps_done = step + 1
        self._record(step, loss.item(), rate)

    def fitted(self) -> dict[str, Tensor]:
        """Weights to return: the best ones by validation, or the last; of the moving average."""
        if self.best_state:
            return self.best_state
        return (self.average.module if self.steps_done else self.network).state_dict()

    def _record(self, step: int, loss: float, rate: float) -> None:
        """Show progress; every so often validate, draw pictures and write a checkpoint."""
        settings, values = self.settings, {"loss": loss, "learning_rate": rate}
        text = f"loss {loss:.4f}"
        interval = settings.recipe.interval(settings.steps)
        due = (step + 1) % interval == 0 or step == settings.steps - 1
        if due and self.validation:
            error = self._validate()
            values["validation_error"] = error
            text += f", validation error {error:.4f}"
        self.bar.step(text)
        self.journal.write(step, **values)
        if not due:
            return
        if self.pictured is not None:
            tensors = self.objective.tensors(self.pictured, self.device)
            prediction = self.objective.predict(self.average.module.eval(), tensors)
            images = [self.pictured.cloudy, prediction.cpu().numpy(), self.pictured.target]
            self.journal.picture(step, images, self.objective.model.spec.optical_bands)
        self.journal.flush()
        if settings.checkpoints is not None and self.trainer.is_global_zero:
            self._write(settings.checkpoints)
        if self.stopped:
            self.trainer.should_stop = True

    def _validate(self) -> float:
        """Error of the moving average on the held-out samples."""
        total, count = 0.0, 0
        for batch in self.validation:
            tensors = self.objective.tensors(batch, self.device)
            error_sum, number = self.objective.error(self.average.module.eval(), batch, tensors)
            total, count = total + error_sum, count + number
        if not count:
            raise DataError(
                "the mask hides no valid pixel of the validation samples",
                fix="call fit(..., validation=...) with cloudy data, or simulated=1",
                option="--simulated 1, or cloudy data for validation",
            )
        error = total / count
        if error < self.best_error:
            self.best_error, self.validations_waited = error, 0
            state = self.average.module.state_dict()
            self.best_state = {name: tensor.clone() for name, tensor in state.items()}
        else:
            self.validations_waited += 1
            patience = self.settings.patience
            stop = patience is not None and self.validations_waited >= patience
            self.stopped = self.trainer.strategy.reduce_boolean_decision(stop, all=False)
        return error

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        optimisers = self.optimizers(use_pl_optimizer=False)
        return optimisers if isinstance(optimisers, list) else [optimisers]

    def _descend(
        self, optimiser: torch.optim.Optimizer, loss: Tensor, clip: float | None = None
    ) -> None:
        optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        if clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        optimiser.step()

    def _check_finite(self, loss: Tensor, step: int, batch: Batch) -> None:
        if torch.isfinite(loss):
            return
        raise DataError(
            f"the loss is {loss.item()} at step {step}, of {'; '.join(batch.origins) or 'a batch'}",
            fix="look there for invalid values, or call fit(..., "
            f"learning_rate={self.settings.learning_rate / 10:g})",
            option="look there for invalid values, or lower --learning-rate",
        )

    @contextmanager
    def _seeded(self, step: int) -> Iterator[None]:
        """Make what layers draw depend on the seed and the step alone."""
        key = np.random.SeedSequence([self.settings.seed, step, self.global_rank])
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(key.generate_state(1)[0]))
            yield

    def _saved_modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"network": self.network, "average": self.average}
        return modules if self.opponent is None else {**modules, "opponent": self.opponent}

    def _write(self, folder: Path) -> None:
        tensors = {
            f"{prefix}.{name}": tensor
            for prefix, module in self._saved_modules().items()
            for name, tensor in module.state_dict().items()
        }
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_state.items()}
        for number, optimiser in enumerate(self._optimisers()):
            tensors |= checkpoints.optimiser_tensors(f"optimiser{number}", optimiser)
        state = {
            "identity": self.settings.identity,
            "best": self.best_error if self.best_state else None,
            "first": self.first_error if np.isfinite(self.first_error) else None,
            "step": self.steps_done,
            "waited": self.validations_waited,
            "stopped": self.stopped,
        }
        checkpoints.write(folder, tensors, state)

    def _restore(self, folder: Path) -> None:
        checkpoint = checkpoints.read(folder, self.settings.identity)
        if checkpoint is None:
            return
        self.restored, state = checkpoint
        for prefix, module in self._saved_modules().items():
            module.load_state_dict(checkpoints.chosen(f"{prefix}.", self.restored))
        self.best_state = checkpoints.chosen("best.", self.restored)
        self.best_error, self.first_error = (
            float("inf") if state[name] is None else state[name] for name in ("best", "first")
        )
        self.steps_done, self.stopped = state["step"], state["stopped"]
        self.validations_waited = state["waited"]


def run(loop: Loop, samples: Samples, device: torch.device) -> None:
    """Run the remaining steps under Lightning's trainer."""
    settings, recipe = loop.settings, loop.settings.recipe
    if loop.stopped or loop.steps_done >= settings.steps:
        return
    loop.network.to(memory_format=torch.channels_last)
    several = recipe.devices > 1
    devices: Any = recipe.devices
    if device.type == "cuda" and not several:
        devices = [device.index or 0]
    threads = recipe.threads
    if threads is None:
        threads = 1 if device.type == "cpu" else min(8, os.cpu_count() or 1)
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            trainer = Trainer(
                accelerator="gpu" if device.type == "cuda" else device.type,
                devices=devices,
                strategy="ddp_find_unused_parameters_true" if several else "auto",
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            first, rank = loop.steps_done, trainer.global_rank if several else None
            loader = BatchLoader(
                samples, settings.batch, settings.seed, first, settings.steps, threads, rank
            )
            show = settings.progress if trainer.is_global_zero else False
            bar = Progress("fit", settings.steps, show=show, done=first)
            log = settings.log if trainer.is_global_zero else None
            with Journal(log, first) as loop.journal, bar as loop.bar:
                trainer.fit(loop, loader)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
        finally:
            logger.setLevel(level)
