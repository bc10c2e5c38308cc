"""Simulation-Fusion GAN: optical from backscatter first, then fused with the cloudy image.

Gao, Yuan, Li, Zhang and Su (2020), Cloud Removal with Fusion of High Resolution Optical and SAR
Images Using Generative Adversarial Networks, Remote Sensing 12(1), 191.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from xcloudfree.core.spelling import did_you_mean
from xcloudfree.models.config import NetworkConfig
from xcloudfree.models.pix2pix import (
    PatchDiscriminator,
    ResNetGenerator,
    UNet,
    published_resnet_name,
    published_unet_name,
    through_resnet,
)


@dataclass(frozen=True, kw_only=True)
class SimulationFusionConfig(NetworkConfig):
    """Hyper-parameters of :class:`SimulationFusion`."""

    # kind of both generators. The U-Net reads all of its tile; the residual one reads a bounded
    # neighbourhood, so that tiles of a scene agree exactly
    generator: Literal["unet", "resnet"] = "unet"
    features: int = 64  # channels of the generators' first convolution
    blocks: int = 9  # residual blocks of ``generator="resnet"``
    levels: int = 7  # levels of ``generator="unet"``
    norm: bool = True  # whether ``generator="unet"`` has batch normalisation

    def __post_init__(self) -> None:
        if self.generator not in ("resnet", "unet"):
            near = did_you_mean(self.generator, ("resnet", "unet"))
            raise ValueError(f"generator is {self.generator!r}{near}; give 'resnet' or 'unet'")
        if self.generator == "resnet" and not self.norm:
            raise ValueError("norm=False is for generator='unet'; the residual one has no biases")

    @property
    def stride(self) -> int:
        """Period in pixels: if the input shifts by a multiple of it, so does the output."""
        return 4 if self.generator == "resnet" else 1

    @property
    def reach(self) -> int | None:
        """Pixels beyond a stride-aligned output that can influence it: through both generators."""
        if self.generator == "unet":
            return None
        low, high = 0, self.stride - 1
        for _ in ("fusion", "simulation"):
            low, high = through_resnet(low, high, self.blocks)
        return max(-low, high - (self.stride - 1))


class SimulationFusion(nn.Module):
    """Two generators: backscatter to reflectance, then all of it to cloud-free reflectance."""

    # During fitting, the second generator reads the simulation with random changes of brightness,
    # contrast and band order, so that it learns to take texture from it and not colour,
    # and its loss does not reach the first generator: fit that one with the absolute error of
    # :meth:`simulate`.

    def __init__(self, config: SimulationFusionConfig) -> None:
        super().__init__()
        c = self.config = config
        self.simulation = _generator(c, c.sar_bands)
        self.fusion = _generator(c, c.sar_bands + 2 * c.optical_bands)

    def simulate(self, sar: Tensor) -> Tensor:
        """Predict reflectance from backscatter alone, scaled to -1..1."""
        return self.simulation(sar)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Reconstruct from tensors (n, bands, h, w) scaled to -1..1."""
        simulated = self.simulate(sar)
        if self.training:
            simulated = randomised(simulated.detach())
        return self.fusion(torch.cat([sar, optical, simulated], 1))


def randomised(image: Tensor) -> Tensor:
    """Change brightness, contrast and band order at random, separately for each image."""
    deviation, mean = torch.std_mean(image, dim=(-2, -1), correction=0, keepdim=True)
    contrast, brightness = torch.randn_like(mean), torch.randn_like(mean)
    standard = (image - mean) / deviation.clamp_min(1e-6)
    changed = standard * (deviation + contrast) + brightness
    order = torch.rand(image.shape[:2], device=image.device).argsort(1)
    return changed.gather(1, order[:, :, None, None].expand_as(changed))


def discriminator(config: SimulationFusionConfig) -> PatchDiscriminator:
    """Build the discriminator, which reads the backscatter and the image."""
    return PatchDiscriminator(config.sar_bands + config.optical_bands, config.features)


def published_name(name: str) -> str | None:
    """Our name of an entry of the authors' checkpoints; ``G1.`` simulates, ``G2.`` fuses."""
    if name.endswith("num_batches_tracked"):
        return None
    which, _, rest = name.partition(".")
    ours = published_unet_name if rest.startswith("model.model.") else published_resnet_name
    part = {"G1": "simulation", "G2": "fusion"}.get(which)
    return name if part is None else f"{part}.{ours(rest)}"


def _generator(config: SimulationFusionConfig, channels: int) -> UNet | ResNetGenerator:
    c = config
    if c.generator == "resnet":
        return ResNetGenerator(channels, c.optical_bands, c.features, c.blocks)
    return UNet(channels, c.optical_bands, c.levels, c.features, norm=c.norm)
