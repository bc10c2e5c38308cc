"""A diffusion bridge from the cloudy to the cloud-free image, in one to five steps.

Diffusion models for cloud removal start with Zhao and Jia (2023), Cloud Removal in Remote Sensing
Using Sequential-Based Diffusion Models, Remote Sensing 15(11), 2861, which turns noise into an
image in many steps. A bridge starts from the cloudy image itself, which contains most of the
result, and needs few steps: Liu et al. (2023), I2SB: Image-to-Image Schrödinger Bridge, ICML. With
the clean image x at level 0 and the cloudy image c at level 1, the state at level t is::

    y = x + (c - x) t + noise sqrt(t (1 - t)) n        n standard normal

and the network predicts x from y, c, the backscatter and t, scaled as in Karras et al. (2022),
Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS.

No operation uses the image as a whole, and the noise is a function of the position on the
grid of the scene, so that tiles agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models.config import NetworkConfig, through_convolutions
from xcloudfree.models.parts import logistic, pad_to_multiple

CELL = 2
"""Pixels along each axis that become one cell of the network."""

LOWEST = 0.1
"""Lowest level on which the network is fitted; five steps use levels down to 0.2."""


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig(NetworkConfig):
    """Hyper-parameters of :class:`Diffusion`."""

    # channels and residual blocks
    features: int = 96
    blocks: int = 8
    steps: int = 3  # evaluations of the network per image, 1 to 5; independent of fitting
    noise: float = 0.1  # noise of the bridge: its standard deviation is half of this in the middle
    # typical difference between cloudy and clean image, which sets the scale of the prediction
    spread: float = 0.25
    noise_seed: int = 0  # of the noise while sampling; each seed gives another result
    period: int = 64  # pixels after which that noise repeats

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 5:
            raise ValueError(f"steps is {self.steps} and must be from 1 to 5")
        if self.period < CELL or self.period % CELL:
            raise ValueError(f"period is {self.period} and must be a multiple of {CELL}")
        if self.noise <= 0 or self.spread <= 0:
            raise ValueError(f"noise {self.noise} and spread {self.spread} must be above 0")

    @property
    def stride(self) -> int:
        """Period in pixels: if the input shifts by a multiple of it, so does the output."""
        return self.period

    @property
    def reach(self) -> int:
        """Pixels beyond a stride-aligned output that can influence it."""
        cells = through_convolutions(0, 2 * self.blocks + 2)
        return self.steps * CELL * cells


class LevelBlock(nn.Module):
    """Two 3x3 convolutions, between which the level scales and shifts each channel."""

    def __init__(self, features: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * features)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Refine (n, features, h, w) at the level encoded in (n, embedding)."""
        scale, shift = self.modulate(embedded)[:, :, None, None].chunk(2, 1)
        y = self.first(x * logistic(x)) * (1 + scale) + shift
        return x + self.second(y * logistic(y))


class Diffusion(nn.Module):
    """Sample a cloud-free image on the bridge from the cloudy one."""

    # The prediction of the clean image is ``c + trust k(t) (y - c) + s(t) F``, where k is the best
    # linear estimate if the difference of the ends were white with deviation `spread`, s is the
    # deviation of its residual, and F and trust are learned. Both start at zero, so the
    # untrained network returns the cloudy image.

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        c = self.config = config
        embedding = 2 * c.features
        read = 2 * c.optical_bands + c.sar_bands
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, embedding), nn.SiLU(), nn.Linear(embedding, embedding),
            nn.SiLU(),
        )  # fmt: skip
        self.enter = nn.Conv2d(read * CELL**2, c.features, 3, padding=1)
        self.blocks = nn.ModuleList(LevelBlock(c.features, embedding) for _ in range(c.blocks))
        self.restore = nn.Conv2d(c.features, c.optical_bands * CELL**2, 3, padding=1)
        self.trust = nn.Linear(embedding, c.optical_bands)
        for layer in (self.restore, self.trust):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Reconstruct from (n, bands, h, w) scaled to 0..1, in ``config.steps`` steps."""
        c = self.config
        fields = noise_fields(c, optical)
        level, state = 1.0, optical
        for step in range(c.steps - 1, 0, -1):
            clean = self.denoise(state, level, optical, sar)
            lower = step / c.steps
            # what lies between y at `level` and x at 0 is again a bridge
            deviation = c.noise * (lower * (level - lower) / level) ** 0.5
            state = clean + (state - clean) * (lower / level) + deviation * fields[step - 1]
            level = lower
        return self.denoise(state, level, optical, sar)

    def denoise(self, noisy: Tensor, level: Tensor | float, optical: Tensor, sar: Tensor) -> Tensor:
        """Predict the clean image from a state at one level, or at a level for each image (n,)."""
        c, (height, width) = self.config, optical.shape[-2:]
        t = torch.as_tensor(level, dtype=optical.dtype, device=optical.device).reshape(-1)
        embedded = self.embed(_waves(t))
        difference = noisy - optical
        x = pad_to_multiple(torch.cat([difference / c.spread, optical, sar], 1), CELL)
        x = self.enter(functional.pixel_unshuffle(x, CELL))
        for block in self.blocks:
            x = block(x, embedded)
        correction = functional.pixel_shuffle(self.restore(x), CELL)[..., :height, :width]
        trust, (skip, scale) = self.trust(embedded)[:, :, None, None], preconditioning(c, t)
        return optical + trust * skip * difference + scale * correction

    def training_pair(
        self, target: Tensor, optical: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw states of the bridge between known ends: state and level (n,)."""
        device = None if generator is None else generator.device
        uniform = torch.rand(len(target), generator=generator, device=device)
        level = (LOWEST + (1 - LOWEST) * uniform / 0.75).clamp_max(1).to(target)
        n = torch.randn(target.shape, generator=generator, device=device).to(target)
        t = level[:, None, None, None]
        deviation = self.config.noise * (t * (1 - t)).sqrt()
        return target + (optical - target) * t + deviation * n, level

    def bridge_loss(
        self,
        target: Tensor,
        optical: Tensor,
        sar: Tensor,
        *,
        weights: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Squared error of the clean image predicted at random levels; NaN targets are left out."""
        valid = target.isfinite()
        target = torch.where(valid, target, optical)
        noisy, level = self.training_pair(target, optical, generator)
        error = self.denoise(noisy, level, optical, sar) - target
        _, scale = preconditioning(self.config, level)
        importance = valid.to(target) if weights is None else valid * weights
        total = importance.sum().clamp_min(torch.finfo(target.dtype).tiny)
        return (importance * (self.config.spread * error / scale) ** 2).sum() / total


def preconditioning(config: DiffusionConfig, level: Tensor) -> tuple[Tensor, Tensor]:
    """Slope of the best linear estimate of ``x - c`` from ``y - c``, and its residual deviation."""
    t = level[:, None, None, None]
    total = (1 - t) * config.spread**2 + t * config.noise**2
    return config.spread**2 / total, config.spread * config.noise * (t / total).sqrt()


def noise_fields(config: DiffusionConfig, like: Tensor) -> Tensor:
    """Standard normal noise of each step, (steps - 1, bands, h, w), by position on the grid."""
    side, (height, width) = config.period, like.shape[-2:]
    # RandomState: the one stream that numpy promises never to change
    draw = np.random.RandomState(config.noise_seed).standard_normal
    field = torch.from_numpy(draw((config.steps - 1, config.optical_bands, side, side)))
    repeats = (1, 1, -(-height // side), -(-width // side))
    return field.to(like).repeat(repeats)[..., :height, :width]


_FREQUENCIES = 8


def _waves(level: Tensor) -> Tensor:
    """Sines and cosines of the level, (n,) to (n, 16)."""
    octaves = torch.pi / 2 * 2.0 ** torch.arange(_FREQUENCIES, device=level.device)
    angle = level[:, None] * octaves.to(level)
    return torch.cat([angle.sin(), angle.cos()], 1)
