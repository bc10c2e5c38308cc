"""The loop as a module of Lightning, which only fitting imports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from xcloudfree.core.progress import Progress
from xcloudfree.exceptions import DataError
from xcloudfree.train import checkpoints
from xcloudfree.train.adversary import opponent
from xcloudfree.train.journal import Journal
from xcloudfree.train.objective import Objective, masked_error
from xcloudfree.train.plan import Plan
from xcloudfree.train.recipe import halving_rate
from xcloudfree.train.samples import Batch


class Loop(LightningModule):
    """Fit a network step by step; everything that the next step depends on can be written down."""

    def __init__(
        self, objective: Objective, plan: Plan, held_out: list[Batch], shown: Batch | None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.objective, self.plan, self.held_out, self.shown = objective, plan, held_out, shown
        self.network = objective.model.network.train()
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.recipe.decay(plan.steps)),
        ).requires_grad_(False)
        self.opponent: nn.Module | None = None
        if objective.loss == "adversarial":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(plan.seed)
                built = opponent(objective.model.spec.architecture, self.network)
            self.opponent = built.train()
        self.done, self.best, self.waited = 0, float("inf"), 0
        self.best_state: dict[str, Tensor] = {}
        self.restored: checkpoints.Tensors = {}
        self.stopped = False
        if plan.checkpoints is not None:
            self._restore(plan.checkpoints)
        self.journal = Journal(None)
        self.bar = Progress("fit", plan.steps, show=plan.progress)
        self.bar.count = self.done

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW; for adversaries Adam as published."""
        rate, recipe = self.plan.learning_rate, self.plan.recipe
        made: list[torch.optim.Optimizer]
        if self.opponent is None:
            made = [torch.optim.AdamW(recipe.groups(self.network), lr=rate, betas=(0.9, 0.99))]
        else:
            made = [
                torch.optim.Adam(m.parameters(), lr=rate, betas=(0.5, 0.999))
                for m in (self.network, self.opponent)
            ]
        for number, optimiser in enumerate(made):
            checkpoints.restore_optimiser(f"optimiser{number}", optimiser, self.restored)
        return made

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        """Batches are arrays, which the objective moves."""
        return batch

    def training_step(self, item: tuple[int, Batch], index: int) -> None:
        """One step."""
        step, batch = item
        share = halving_rate if self.opponent is not None else self.plan.recipe.rate
        rate = self.plan.learning_rate * share(step, self.plan.steps)
        optimisers = self._optimisers()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        with self._seeded(step):
            given = self.objective.tensors(batch, self.device)
            if self.opponent is None:
                value = self.objective.value(self.network, given)
                self._finite(value, step, batch)
                self._descend(optimisers[0], value, clip=self.plan.recipe.clip)
            else:
                met = self.objective.round(self.network, given)
                judging = met.opponent_loss(self.opponent)  # type: ignore[arg-type]
                self._descend(optimisers[1], judging)
                value = met.generator_loss(self.opponent, self.network)  # type: ignore[arg-type]
                self._finite(value, step, batch)
                self._descend(optimisers[0], value)
        self.average.update_parameters(self.network)
        self.done = step + 1
        self._note(step, value.item(), rate)

    def fitted(self) -> dict[str, Tensor]:
        """Weights to return: the best ones by validation, or the last; of the moving average."""
        if self.best_state:
            return self.best_state
        if not self.done:
            return self.network.state_dict()
        return self.average.module.state_dict()

    def _note(self, step: int, value: float, rate: float) -> None:
        """Tell, validate, write down."""
        values = {"loss": value, "learning_rate": rate}
        text = f"loss {value:.4f}"
        interval, last = self.plan.recipe.interval(self.plan.steps), self.plan.steps - 1
        due = (step + 1) % interval == 0 or step == last
        if due and self.held_out:
            error = self._validate()
            values["validation_error"] = error
            text += f", validation error {error:.4f}"
        self.bar.step(text)
        self.journal.write(step, **values)
        if not due:
            return
        if self.shown is not None:
            self._show(step, self.shown)
        self.journal.flush()
        if self.plan.checkpoints is not None and self.trainer.is_global_zero:
            self._write(self.plan.checkpoints)
        if self.stopped:
            self.trainer.should_stop = True

    def _validate(self) -> float:
        """Mean absolute error of the moving average under the masks of the held-out samples."""
        network, total, count = self.average.module.eval(), 0.0, 0
        for batch in self.held_out:
            given = self.objective.tensors(batch, self.device)
            truth = torch.from_numpy(np.clip(batch.target, 0, 1)).to(self.device)  # never shrunk
            made = self.objective.predict(network, given)
            error, number = masked_error(made, truth, given.mask)
            total, count = total + error, count + number
        if not count:
            raise DataError(
                "the mask hides no valid pixel of the validation samples; call "
                "fit(..., validation=...) with cloudy data, or simulated=1"
            )
        error = total / count
        if error < self.best:
            self.best, self.waited = error, 0
            self.best_state = {k: v.clone() for k, v in network.state_dict().items()}
        else:
            self.waited += 1
            stop = self.plan.patience is not None and self.waited >= self.plan.patience
            self.stopped = self.trainer.strategy.reduce_boolean_decision(stop, all=False)
        return error

    def _show(self, step: int, batch: Batch) -> None:
        given = self.objective.tensors(batch, self.device)
        made = self.objective.predict(self.average.module.eval(), given)
        columns = [batch.cloudy, made.cpu().numpy(), batch.target]
        self.journal.picture(step, columns, self.objective.model.spec.optical_bands)

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        found = self.optimizers(use_pl_optimizer=False)
        return found if isinstance(found, list) else [found]

    def _descend(
        self, optimiser: torch.optim.Optimizer, value: Tensor, clip: float | None = None
    ) -> None:
        optimiser.zero_grad(set_to_none=True)
        self.manual_backward(value)
        if clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        optimiser.step()

    def _finite(self, value: Tensor, step: int, batch: Batch) -> None:
        if torch.isfinite(value):
            return
        raise DataError(
            f"the loss is {value.item()} at step {step}, of {'; '.join(batch.origins) or 'a batch'}"
            "; look there for values without meaning, or call "
            f"fit(..., learning_rate={self.plan.learning_rate / 10:g})"
        )

    @contextmanager
    def _seeded(self, step: int) -> Iterator[None]:
        """What layers draw depends on the seed and the step alone, and leaves no trace."""
        key = np.random.SeedSequence([self.plan.seed, step, self.global_rank])
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(key.generate_state(1)[0]))
            yield

    def _write(self, folder: Path) -> None:
        parts = {"network": self.network, "average": self.average}
        if self.opponent is not None:
            parts["opponent"] = self.opponent
        tensors = {f"{p}.{k}": v for p, m in parts.items() for k, v in m.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_state.items()}
        for number, optimiser in enumerate(self._optimisers()):
            tensors |= checkpoints.optimiser_tensors(f"optimiser{number}", optimiser)
        state = {"step": self.done, "waited": self.waited, "stopped": self.stopped}
        best = self.best if self.best_state else None
        checkpoints.write(folder, tensors, {"identity": self.plan.identity, "best": best, **state})

    def _restore(self, folder: Path) -> None:
        found = checkpoints.read(folder, self.plan.identity)
        if found is None:
            return
        self.restored, about = found
        self.network.load_state_dict(checkpoints.chosen("network.", self.restored))
        self.average.load_state_dict(checkpoints.chosen("average.", self.restored))
        if self.opponent is not None:
            self.opponent.load_state_dict(checkpoints.chosen("opponent.", self.restored))
        self.best_state = checkpoints.chosen("best.", self.restored)
        self.done, self.waited, self.stopped = about["step"], about["waited"], about["stopped"]
        self.best = float("inf") if about["best"] is None else about["best"]
