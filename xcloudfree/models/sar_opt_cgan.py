"""SAR-Opt-cGAN: a conditional adversarial network on stacked backscatter and cloudy reflectance.

Grohnfeldt, Schmitt and Zhu (2018), A Conditional Generative Adversarial Network to Fuse SAR and
Multispectral Optical Data for Cloud Removal from Sentinel-2 Images, IGARSS. Its code is not public;
it is pix2pix with the inputs stacked, and so is this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xcloudfree.models.config import NetworkConfig
from xcloudfree.models.pix2pix import PatchDiscriminator, UNet, published_unet_name


@dataclass(frozen=True, kw_only=True)
class SarOptCganConfig(NetworkConfig):
    """Hyper-parameters of :class:`SarOptCgan`."""

    # see :class:`~xcloudfree.models.pix2pix.UNet`. With 8 levels, the bottleneck of a tile of 256
    # px is one cell
    features: int = 64
    levels: int = 8


class SarOptCgan(nn.Module):
    """Generator of SAR-Opt-cGAN."""

    def __init__(self, config: SarOptCganConfig) -> None:
        super().__init__()
        c = self.config = config
        self.generator = UNet(c.sar_bands + c.optical_bands, c.optical_bands, c.levels, c.features)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Reconstruct from tensors (n, bands, h, w) scaled to -1..1."""
        return self.generator(torch.cat([sar, optical], 1))


def discriminator(config: SarOptCganConfig) -> PatchDiscriminator:
    """Build the discriminator, which reads the generator's input and the image."""
    return PatchDiscriminator(config.sar_bands + 2 * config.optical_bands, config.features)


def published_name(name: str) -> str | None:
    """Our name of an entry of a pix2pix checkpoint; None for counters of batch normalisation."""
    if name.endswith("num_batches_tracked"):
        return None
    return f"generator.{published_unet_name(name)}"
