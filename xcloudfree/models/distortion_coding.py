"""Distortion coding: a generator that codes how far cloud distorts each pixel, and restores there.

Zhou, Luo, Rong and Xu (2022), Cloud Removal for Optical Remote Sensing Imagery Using Distortion
Coding Network Combined with Compound Loss Functions, Remote Sensing 14(14), 3452. We build what its
abstract says: an adversarial generator with distortion coding and feature refinement. The layout of
the units, their number and the input of backscatter are ours; the publication has images of three
bands and no radar.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models.config import NetworkConfig, through_convolutions
from xcloudfree.models.parts import logistic, pad_to_multiple
from xcloudfree.models.pix2pix import PatchDiscriminator, initialise


@dataclass(frozen=True, kw_only=True)
class DistortionCodingConfig(NetworkConfig):
    """Hyper-parameters of :class:`DistortionCoding`."""

    features: int = 64  # channels of a unit
    units: int = 8  # distortion coding units
    scale: int = 2  # pixels of the side of a cell, in which the units work

    @property
    def stride(self) -> int:
        """Period in pixels: if the input shifts by a multiple of it, so does the output."""
        return self.scale

    @property
    def reach(self) -> int:
        """In cells: the first convolution, a path of two per unit, the refinement, the last."""
        return self.scale * through_convolutions(0, 2 * self.units + 3)


class DistortionUnit(nn.Module):
    """Code the distortion of each cell from 0 to 1, and restore the features as far as it says."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(features + 1, features, 3, padding=1)
        self.code = nn.Conv2d(features, 1, 3, padding=1)
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Refine (n, features, h, w) and the code (n, 1, h, w) of the unit before."""
        seen = functional.leaky_relu(self.look(torch.cat([x, code], 1)), 0.2)
        code = logistic(self.code(seen))
        restored = self.second(functional.leaky_relu(self.first(x), 0.2))
        return x + code * restored, code


class DistortionCoding(nn.Module):
    """Replace each pixel by a restored one as far as it is coded as distorted."""

    def __init__(self, config: DistortionCodingConfig) -> None:
        super().__init__()
        c = self.config = config
        cell = c.scale**2
        self.enter = nn.Conv2d((c.sar_bands + c.optical_bands) * cell, c.features, 3, padding=1)
        self.units = nn.ModuleList(DistortionUnit(c.features) for _ in range(c.units))
        self.join = nn.Conv2d(c.units * c.features, c.features, 1)
        self.refine = nn.Conv2d(c.features, c.features, 3, padding=1)
        self.leave = nn.Conv2d(c.features, (c.optical_bands + 1) * cell, 3, padding=1)
        initialise(self)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Reconstruct from tensors (n, bands, h, w) scaled to -1..1."""
        scale = self.config.scale
        cells = functional.pixel_unshuffle(
            pad_to_multiple(torch.cat([sar, optical], 1), scale), scale
        )
        x = first = functional.leaky_relu(self.enter(cells), 0.2)
        code, found = torch.zeros_like(x[:, :1]), []
        for unit in self.units:
            x, code = unit(x, code)
            found.append(x)
        x = first + self.refine(functional.leaky_relu(self.join(torch.cat(found, 1)), 0.2))
        planes = functional.pixel_shuffle(self.leave(x), scale)
        planes = planes[..., : optical.shape[-2], : optical.shape[-1]]
        code = logistic(planes[:, :1])
        return optical + code * (torch.tanh(planes[:, 1:]) - optical)


def discriminator(config: DistortionCodingConfig) -> PatchDiscriminator:
    """Build the discriminator, which reads the generator's input and the image."""
    return PatchDiscriminator(config.sar_bands + 2 * config.optical_bands, config.features)
