"""From a batch of physical arrays to the value of a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xcloudfree.core.normalisation import PRESETS
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.models.diffusion import Diffusion
from xcloudfree.models.model import Model
from xcloudfree.models.pix2pix import SMALLEST
from xcloudfree.models.simulation_fusion import SimulationFusion
from xcloudfree.models.spec import ModelSpec
from xcloudfree.train.adversary import GAMES, Round
from xcloudfree.train.losses import (
    LOSSES,
    cloud_weights,
    gaussian_nll,
    shrink_means,
    simulation_loss,
)
from xcloudfree.train.samples import Batch

PUBLISHED = {
    "carf": "paper",
    "carf-bandwise": "l1-cloud",
    "glfcr": "l1",
    "dsen2cr": "carl",
    "uncrtaints": "nll",
    "sar-opt-cgan": "adversarial",
    "simulation-fusion-gan": "adversarial",
    "distortion-coding": "adversarial",
    "diffusion": "bridge",
}
"""Loss of the publication of each architecture."""

NAMES = (*LOSSES, "nll", "adversarial", "bridge")
"""Losses by their names in :func:`xcloudfree.fit`."""


def choose_loss(name: str | None, spec: ModelSpec, crop: int) -> str:
    """The loss of a fit, by default that of the network's publication."""
    if name is None:
        name = PUBLISHED.get(spec.architecture, "paper")
        name = "mse" if name == "nll" and not spec.variance else name
    if name not in NAMES:
        raise ModelError(
            f"unknown loss {name!r}{did_you_mean(name, NAMES)}",
            fix=f"call fit(..., loss='paper') for eq. 18, or with another of {sorted(NAMES)}",
            option=f"--loss with one of {', '.join(sorted(NAMES))}",
        )
    fits = {
        "nll": (spec.variance, "estimates no variance"),
        "adversarial": (spec.architecture in GAMES, "has no discriminator"),
        "bridge": (spec.architecture == "diffusion", "is not a diffusion bridge"),
    }
    good, why = fits.get(name, (spec.architecture != "diffusion", "is fitted only by its bridge"))
    if not good:
        raise ModelError(
            f"{spec.name} {why}, so loss={name!r} does not fit it",
            fix="call fit(...) without loss for that of its publication",
            option="leave out --loss",
        )
    if name == "adversarial" and crop < SMALLEST:
        raise DataError(
            f"the discriminator of {spec.name} cannot read crops of {crop} px",
            fix=f"call fit(..., crop={SMALLEST}) or more",
            option=f"--crop {SMALLEST}",
        )
    return name


@dataclass(frozen=True)
class Tensors:
    """A batch on its device."""

    # cloudy reflectance, backscatter and target in the scaling of the network
    optical: Tensor
    sar: Tensor
    scaled: Tensor
    # reflectance, (n, bands, h, w); NaN is no data
    cloudy: Tensor
    target: Tensor
    mask: Tensor  # 1 where occluded, (n, 1, h, w)
    extra: dict[str, Any]  # further inputs of the network


@dataclass(frozen=True)
class Objective:
    """Value of the loss for a batch."""

    model: Model  # whose network is fitted
    loss: str  # one of :data:`NAMES`
    # see :func:`xcloudfree.fit`
    alpha: float
    shrinkage: float
    spectrum: Tensor  # mean of the targets, (bands,)
    precision: str = "auto"  # see :class:`~xcloudfree.train.recipe.Recipe`

    better = "better"

    @property
    def judges_start(self) -> bool:
        """Whether the start is worth returning, so that it is judged too."""
        return self.model.spec.trained

    def tensors(self, batch: Batch, device: torch.device) -> Tensors:
        """Move a batch to a device and scale it."""
        spec = self.model.spec
        optical, sar = self.model.normalise(batch.cloudy, batch.sar, device)
        cloudy, target = (
            torch.from_numpy(np.clip(a, 0, 1)).to(device) for a in (batch.cloudy, batch.target)
        )
        mask = torch.from_numpy(batch.mask.astype(np.float32)).to(device)
        if self.shrinkage:
            spectrum = self.spectrum.to(device)
            target = shrink_means(target, mask, spectrum, self.shrinkage)
        extra: dict[str, Any] = {"mask": mask} if spec.needs_mask else {}
        if spec.context:
            if batch.context is None:
                raise ModelError(
                    f"{spec.name} reads other dates but these samples have none",
                    fix="fit it on a series, with fit(series, ..., target=None)",
                    option="give a series",
                )
            extra["context"] = self.model.scale_context(batch.context, device)
        optical = optical.contiguous(memory_format=torch.channels_last)
        scaled = PRESETS[spec.normalisation].to_scale(target)
        return Tensors(optical, sar, scaled, cloudy, target, mask, extra)

    def value(self, network: nn.Module, given: Tensors) -> Tensor:
        """The loss of a batch, except for adversarial fitting."""
        weights = cloud_weights(given.mask, self.alpha)
        beside: Tensor | float = 0.0
        optical, sar, target = given.optical, given.sar, given.scaled
        with self._autocast(optical.device):
            if isinstance(network, Diffusion):
                return network.bridge_loss(target, optical, sar, weights=weights)
            if not self.model.spec.variance:
                prediction = network(optical, sar, **given.extra)
            else:
                prediction, variance = network(optical, sar, variance=True, **given.extra)
                if self.loss == "nll":
                    everywhere = torch.ones_like(given.mask)
                    return gaussian_nll(prediction.float(), variance, target, everywhere)
                # the variance learns the remaining error, and does not weight that error
                beside = gaussian_nll(prediction.detach(), variance, target, weights)
            if isinstance(network, SimulationFusion):
                beside = simulation_loss(network.simulate(sar), target, weights)
        reflectance = self._reflectance(prediction)
        loss = LOSSES[self.loss]
        return loss(reflectance, given.target, given.mask, self.alpha, given.cloudy) + beside

    def round(self, network: nn.Module, given: Tensors) -> Round:
        """One round of adversarial fitting."""
        with self._autocast(given.optical.device):
            prediction = network(given.optical, given.sar, **given.extra)
        game = GAMES[self.model.spec.architecture]
        return Round(game, prediction.float(), given.scaled, given.optical, given.sar, given.mask)

    def predict(self, network: nn.Module, given: Tensors) -> Tensor:
        """Reflectance that a network in evaluation mode predicts for a batch."""
        with torch.inference_mode(), self._autocast(given.optical.device):
            return self._reflectance(network(given.optical, given.sar, **given.extra))

    def error(self, network: nn.Module, batch: Batch, given: Tensors) -> tuple[float, int]:
        """Sum of absolute errors under the mask, and the number of values."""
        truth = torch.from_numpy(np.clip(batch.target, 0, 1)).to(given.mask.device)  # never shrunk
        return masked_error(self.predict(network, given), truth, given.mask)

    def told(self, error: float) -> str:
        """The error in words."""
        return f"mean absolute error under the mask {error:.4f}"

    def _reflectance(self, prediction: Tensor) -> Tensor:
        return PRESETS[self.model.spec.normalisation].to_reflectance(prediction.float())

    def _autocast(self, device: torch.device) -> torch.autocast:
        half = self.precision == "bfloat16" or (self.precision == "auto" and device.type == "cuda")
        return torch.autocast(device.type, torch.bfloat16, enabled=half)


def masked_error(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[float, int]:
    """Sum of absolute errors under the mask, and the number of values."""
    counted = torch.isfinite(target) & (mask > 0)
    error = torch.where(counted, target - prediction, 0).abs()
    return float(error.double().sum()), int(counted.sum())
