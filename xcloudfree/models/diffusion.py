"""A diffusion bridge from the cloudy to the cloud-free image, in one to five steps.

Diffusion models for cloud removal begin with Zhao and Jia (2023), Cloud Removal in Remote Sensing
Using Sequential-Based Diffusion Models, Remote Sensing 15(11), 2861, which turns noise into an
image in many steps. A bridge starts at the cloudy image itself, where most of the answer is, and
needs few: Liu et al. (2023), I2SB: Image-to-Image Schrödinger Bridge, ICML. With the clean image x
at level 0 and the cloudy image c at level 1, the state at level t is::

    y = x + (c - x) t + noise sqrt(t (1 - t)) n        n standard normal

and the network predicts x from y, c, the backscatter and t, scaled as in Karras et al. (2022),
Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS.

Nothing here looks at the image as a whole, and the noise is a function of the position on the
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
"""Lowest level on which the network is fitted; five steps ask for levels down to 0.2."""


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig(NetworkConfig):
    """Hyper-parameters of :class:`Diffusion`.

    Parameters
    ----------
    optical_bands, sar_bands : int
        Channels of the two inputs.
    features, blocks : int
        Channels and residual blocks.
    steps : int
        Evaluations of the network per image, 1 to 5. Fitting does not depend on it.
    noise : float
        Noise of the bridge: its standard deviation is half of this in the middle.
    spread : float
        Typical difference between cloudy and clean image, which sets the scale of the prediction.
    noise_seed : int
        Of the noise while sampling; each seed gives another answer.
    period : int
        Pixels after which that noise repeats.

    Examples
    --------
    >>> config = DiffusionConfig(steps=3)
    >>> config.stride, config.reach
    (64, 108)
    """

    features: int = 96
    blocks: int = 8
    steps: int = 3
    noise: float = 0.1
    spread: float = 0.25
    noise_seed: int = 0
    period: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 5:
            raise ValueError(f"steps is {self.steps} and must be from 1 to 5")
        if self.period < CELL or self.period % CELL:
            raise ValueError(f"period is {self.period} and must be a multiple of {CELL}")
        if self.noise <= 0 or self.spread <= 0:
            raise ValueError(f"noise {self.noise} and spread {self.spread} must be above 0")

    @property
    def stride(self) -> int:
        """Pixels by which the input may be shifted and the answer shifts with it."""
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
        """Refine (n, features, h, w) at the level that (n, embedding) tells."""
        scale, shift = self.modulate(embedded)[:, :, None, None].chunk(2, 1)
        y = self.first(x * logistic(x)) * (1 + scale) + shift
        return x + self.second(y * logistic(y))


class Diffusion(nn.Module):
    """Sample a cloud-free image on the bridge from the cloudy one.

    Parameters
    ----------
    config : DiffusionConfig
        Hyper-parameters.

    Notes
    -----
    The prediction of the clean image is ``c + trust k(t) (y - c) + s(t) F``, where k is the best
    linear estimate if the difference of the ends were white with deviation `spread`, s the
    deviation of what it leaves, and F and trust what is learned. Both start at zero, so the
    untrained network returns the cloudy image.
    """

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
        """Reconstruct, in ``config.steps`` steps from the cloudy image.

        Parameters
        ----------
        optical : Tensor
            Cloudy reflectance from 0 to 1, (n, optical_bands, h, w), any h and w.
        sar : Tensor
            Backscatter from 0 to 1, (n, sar_bands, h, w).

        Returns
        -------
        Tensor
            Cloud-free reflectance, shaped as `optical`.
        """
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
        """Predict the clean image from a state of the bridge: one evaluation.

        Parameters
        ----------
        noisy : Tensor
            State of the bridge, (n, optical_bands, h, w).
        level : Tensor or float
            Where on the bridge, above 0 (clean) to 1 (cloudy); of each image, (n,), or of all.
        optical, sar : Tensor
            See :meth:`forward`.

        Returns
        -------
        Tensor
            Clean reflectance, shaped as `optical`.
        """
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
        """Draw states of the bridge between known ends.

        Parameters
        ----------
        target, optical : Tensor
            Clean and cloudy reflectance, (n, optical_bands, h, w).
        generator : torch.Generator, optional
            Of levels and noise; torch's own by default.

        Returns
        -------
        tuple of Tensor
            State, shaped as `target`, and level, (n,). A quarter of the levels are 1, where
            sampling starts; the others are uniform above :data:`LOWEST`.
        """
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
        """Objective of fitting: squared error of the clean image predicted at random levels.

        Parameters
        ----------
        target, optical, sar : Tensor
            Clean and cloudy reflectance and backscatter as in :meth:`forward`; a NaN in the target
            counts for nothing.
        weights : Tensor, optional
            Weight of each pixel, (n, 1, h, w), such as those of eq. 17.
        generator : torch.Generator, optional
            See :meth:`training_pair`.

        Returns
        -------
        Tensor
            Scalar. Each level weighs as the inverse of the error that the best linear estimate
            leaves there, so that all are learned alike.
        """
        known = target.isfinite()
        target = torch.where(known, target, optical)
        noisy, level = self.training_pair(target, optical, generator)
        error = self.denoise(noisy, level, optical, sar) - target
        _, scale = preconditioning(self.config, level)
        importance = known.to(target) if weights is None else known * weights
        total = importance.sum().clamp_min(torch.finfo(target.dtype).tiny)
        return (importance * (self.config.spread * error / scale) ** 2).sum() / total


def preconditioning(config: DiffusionConfig, level: Tensor) -> tuple[Tensor, Tensor]:
    """Best linear estimate of ``x - c`` from ``y - c``, and the deviation of what it leaves.

    Parameters
    ----------
    config : DiffusionConfig
        For `noise` and `spread`.
    level : Tensor
        Levels t above 0, (n,).

    Returns
    -------
    tuple of Tensor
        Slope k and deviation s, (n, 1, 1, 1).

    Examples
    --------
    >>> k, s = preconditioning(DiffusionConfig(noise=0.2, spread=0.2), torch.tensor([0.25]))
    >>> round(k.item(), 6), round(s.item(), 6)
    (1.0, 0.1)
    """
    t = level[:, None, None, None]
    total = (1 - t) * config.spread**2 + t * config.noise**2
    return config.spread**2 / total, config.spread * config.noise * (t / total).sqrt()


def noise_fields(config: DiffusionConfig, like: Tensor) -> Tensor:
    """Noise of each step, a function of the position on the grid of the scene.

    Parameters
    ----------
    config : DiffusionConfig
        For `steps`, `noise_seed` and `period`.
    like : Tensor
        Image (n, optical_bands, h, w) whose first pixel lies on the grid of `period` pixels.

    Returns
    -------
    Tensor
        Standard normal, (steps - 1, optical_bands, h, w).
    """
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
