"""The discriminators of the adversarial networks, and the losses of their generators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models import distortion_coding, sar_opt_cgan, simulation_fusion
from xcloudfree.models.pix2pix import PatchDiscriminator
from xcloudfree.models.simulation_fusion import SimulationFusion


@dataclass(frozen=True)
class Game:
    """Weights of a generator's losses, all on values from -1 to 1."""

    # whether the discriminator reads backscatter and cloudy image, or only backscatter
    sees_clouds: bool
    # weights of the discriminator's score, the absolute error, and that under the mask
    deceive: float
    pixel: float
    hidden: float = 0.0
    # weights of the absolute error where the input is distorted, and of the difference between the
    # discriminator's features of prediction and target
    local: float = 0.0
    coherent: float = 0.0


GAMES = {
    "sar-opt-cgan": Game(sees_clouds=True, deceive=1.0, pixel=100.0),
    "simulation-fusion-gan": Game(sees_clouds=False, deceive=1e-4, pixel=10.0, hidden=10.0),
    "distortion-coding": Game(sees_clouds=True, deceive=1.0, pixel=50.0, local=50.0, coherent=10.0),
}
"""By architecture. The VGG-16 features of Gao et al., weight 0.8, need three bands and weights
fitted on photographs, and are omitted. The two factors of Zhou et al. are named in their abstract;
their form and all weights are ours."""

_BUILD: dict[str, Callable[[Any], PatchDiscriminator]] = {
    "sar-opt-cgan": sar_opt_cgan.discriminator,
    "simulation-fusion-gan": simulation_fusion.discriminator,
    "distortion-coding": distortion_coding.discriminator,
}


def opponent(architecture: str, network: nn.Module) -> PatchDiscriminator:
    """Build the discriminator of a network."""
    return _BUILD[architecture](network.config)


@dataclass(frozen=True)
class Round:
    """One round of a generator and its discriminator."""

    # Isola et al. (2017), CVPR; Grohnfeldt et al. (2018), IGARSS; Gao et al. (2020), Remote Sensing
    # 12(1), 191; Zhou et al. (2022), Remote Sensing 14(14), 3452.

    game: Game  # weights of the losses
    # scaled to -1 to 1, (n, bands, h, w); NaN in `target` is ignored
    prediction: Tensor
    target: Tensor
    optical: Tensor
    sar: Tensor
    mask: Tensor  # 1 where cloudy, (n, 1, h, w)

    def generator_loss(self, opponent: PatchDiscriminator, network: nn.Module) -> Tensor:
        """Loss of the generator, or of both generators."""
        valid = torch.isfinite(self.target)
        error = torch.where(valid, self.target - self.prediction, 0).abs()
        total = valid.sum().clamp(min=1)
        features = opponent.seen(self._condition(), self.prediction)
        judged = opponent.leave(features)
        value = self.game.deceive * _judgement(judged, real=True)
        value = value + self.game.pixel * error.sum() / total
        value = value + self.game.hidden * (self.mask * error).sum() / total
        if self.game.local:
            value = value + self.game.local * (self._distortion(valid) * error).sum() / total
        if self.game.coherent:
            with torch.no_grad():
                real = torch.where(valid, self.target, self.prediction)
                wanted = opponent.seen(self._condition(), real)
            value = value + self.game.coherent * (features - wanted).abs().mean()
        if isinstance(network, SimulationFusion):
            guess = network.simulate(self.sar)
            value = value + torch.where(valid, self.target - guess, 0).abs().sum() / total
        return value

    def opponent_loss(self, opponent: PatchDiscriminator) -> Tensor:
        """Mean loss of the discriminator on real and on generated images."""
        made = self.prediction.detach()
        real = torch.where(torch.isfinite(self.target), self.target, made)
        judged = (opponent.logits(self._condition(), image) for image in (real, made))
        return 0.5 * sum(  # type: ignore[return-value]
            _judgement(j, real=r) for j, r in zip(judged, (True, False), strict=True)
        )

    def _distortion(self, valid: Tensor) -> Tensor:
        """How far the cloudy input is from the target, over its mean in each image."""
        distortion = torch.where(valid, self.target - self.optical, 0).abs()
        mean = distortion.sum((1, 2, 3), keepdim=True) / valid.sum((1, 2, 3), keepdim=True).clamp(1)
        return distortion / mean.clamp(min=1e-6)

    def _condition(self) -> Tensor:
        return torch.cat([self.sar, self.optical], 1) if self.game.sees_clouds else self.sar


def _judgement(logits: Tensor, *, real: bool) -> Tensor:
    labels = torch.full_like(logits, float(real))
    return functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
