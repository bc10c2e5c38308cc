"""CARF, the Cloud-Attentive Reconstruction Framework, as we read the paper.

Equation numbers are those of "Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space
Missions". The paper gives no equation that moves backscatter into the optical branch; here the
gates of :class:`CrossGate` do it, and ``cross="none"`` follows the text literally.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.core.spelling import did_you_mean
from xcloudfree.methods.temporal_context import ESTIMATES, NAMES, SIDES, STEADY, scaled_planes
from xcloudfree.models.config import (
    NetworkConfig,
    through_convolutions,
    through_window,
    window_shift,
)
from xcloudfree.models.other_dates import WIDTHS, around, estimate, visible
from xcloudfree.models.parts import CrossGate, WindowAttention, feed_forward, pad_to_multiple


@dataclass(frozen=True, kw_only=True)
class CarfConfig(NetworkConfig):
    """Hyper-parameters of :class:`Carf`.

    Parameters
    ----------
    optical_bands, sar_bands : int
        Channels of the two inputs.
    scale : int
        Reformat factor s of eq. 1-2.
    features, growth, layers : int
        Channels of a branch, channels added per convolution of a residual dense block, and its
        number of convolutions.
    blocks, stages : int
        Residual dense blocks per stage (J) and stages (N).
    heads, window, mlp_ratio : int
        Parameters of the window attention; `heads` must divide `features`.
    cross : {"gate", "gate+dfg", "none"}
        Exchange between the branches after each stage: gates; gates on backscatter filtered by a
        predicted 5x5 kernel per pixel; or none, which uses no backscatter at all (for ablation).
    base : {"input", "prior", "context", "regression", "kernel-fusion"}
        Base that the residual is added to. ``"input"``: the input (eq. 12). ``"prior"``: the input
        where clear and, under the mask, a learned map from backscatter that starts from a constant
        spectrum. ``"context"``: everywhere the straight line in time between the last clear
        observation and the next, or the only one of them. ``"regression"`` and
        ``"kernel-fusion"``: everywhere the estimate of ``area-regression`` or of that method, and
        without one as ``"context"``. If neither exists, the last three equal ``"prior"``.
    context : tuple of str
        Inputs from other dates: ``"before"`` and ``"after"``, the last and the next
        clear observation and their ages; ``"regression"`` and ``"kernel-fusion"``, these
        estimates and their deviations; ``"median"``, that of the clear dates within 30 days.
        Inputs that the base needs are added. Ages are encoded as 1 / (1 + age / 30 days); a missing
        side is 0 in all planes, and a separate plane marks it.
    mask_input : bool
        Whether the network reads the mask as an additional channel. With a base from other dates it
        always does, and reads the input only where it is clear, as difference from the base. That
        difference, its means over the visible pixels nearby, and the residual are in units of the
        deviation of that estimate, or of a tenth if there is none.
    single_residual : bool
        Eq. 6 as printed, see :class:`SwinBlock`.
    """

    scale: int = 2
    features: int = 48
    growth: int = 24
    layers: int = 3
    blocks: int = 2
    stages: int = 3
    heads: int = 4
    window: int = 8
    mlp_ratio: int = 2
    cross: Literal["gate", "gate+dfg", "none"] = "gate"
    base: Literal["input", "prior", "context", "regression", "kernel-fusion"] = "input"
    context: tuple[str, ...] = ()
    mask_input: bool = False
    single_residual: bool = False

    def __post_init__(self) -> None:
        choices = {
            "cross": ("gate", "gate+dfg", "none"),
            "base": ("input", "prior", "context", *ESTIMATES),
        }
        for field, values in choices.items():
            given = getattr(self, field)
            if given not in values:
                near = did_you_mean(given, values)
                raise ValueError(f"{field} is {given!r}{near} and not one of {values}")
        if wrong := [name for name in self.context if name not in NAMES]:
            raise ValueError(
                f"there is no context {wrong[0]!r}{did_you_mean(wrong[0], NAMES)}; "
                f"give context=(...) with some of {NAMES}"
            )
        needed = {"context": () if set(self.context) & set(SIDES) else SIDES}
        chosen = {*self.context, *needed.get(self.base, ())} | ({self.base} & set(NAMES))
        object.__setattr__(self, "context", tuple(n for n in NAMES if n in chosen))
        counts = ("scale", "features", "growth", "layers", "blocks", "stages", "heads", "window")
        for field in counts:
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}; give 1 or more")

    @property
    def stride(self) -> int:
        """Period in pixels: if the input shifts by a multiple of it, so does the output."""
        return self.scale * self.window

    @property
    def reach(self) -> int:
        """Pixels beyond a stride-aligned output that can influence it."""
        # Follows one side of the output back to the input, in cells of ``scale`` pixels: a 3x3
        # convolution adds one cell, a window attention extends to the window's border.
        cells = 3  # last convolution (one pixel, so one cell), reconstruction, global fusion
        for _ in range(self.stages):
            cells += {"gate": 0, "none": 0, "gate+dfg": 5}[self.cross]
            for block in range(self.blocks, 0, -1):
                if block < self.blocks:
                    cells = through_window(cells, self.window, window_shift(block, self.window))
                cells = through_convolutions(cells, self.layers)
        return self.scale * through_convolutions(cells, 2) + (around() if self.filled else 0)

    @property
    def needs_mask(self) -> bool:
        """Whether ``forward`` reads ``mask=``."""
        return self.mask_input or self.base != "input"

    @property
    def filled(self) -> bool:
        """Whether the base comes from other dates, so that hidden input pixels are not read."""
        return self.base in ("context", *ESTIMATES)

    @property
    def channels(self) -> int:
        """Planes of the optical branch."""
        image = self.optical_bands + (self.mask_input or self.filled)
        visible = self.filled * (self.optical_bands + len(WIDTHS) * (self.optical_bands + 1))
        return image + visible + scaled_planes(self.context, self.optical_bands)

    @property
    def outputs(self) -> int:
        """Output planes of the last convolution."""
        return self.optical_bands


class DenseBlock(nn.Module):
    """Residual dense block: each convolution reads all features before it."""

    def __init__(self, features: int, growth: int, layers: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(features + i * growth, growth, 3, padding=1) for i in range(layers)
        )
        self.fuse = nn.Conv2d(features + layers * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` of shape (n, features, h, w)."""
        seen = [x]
        for conv in self.convs:
            seen.append(functional.relu(conv(torch.cat(seen, 1))))
        return x + self.fuse(torch.cat(seen, 1))


class SwinBlock(nn.Module):
    """Transformer block of eq. 6: window attention, then a feed-forward network, both on LN(x)."""

    def __init__(
        self, features: int, heads: int, window: int, shift: int, ratio: int, single_residual: bool
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.attention = WindowAttention(features, heads, window, shift)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = feed_forward(features, ratio)
        self.single_residual = single_residual

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``x`` of shape (n, features, h, w)."""
        x = x.permute(0, 2, 3, 1)
        attended = x + self.attention(self.norm1(x))
        out = (x if self.single_residual else attended) + self.mlp(self.norm2(attended))
        return out.permute(0, 3, 1, 2)


class Branch(nn.Module):
    """One modality in one stage: dense and transformer blocks in turn, joined (eq. 6-8)."""

    def __init__(self, config: CarfConfig) -> None:
        super().__init__()
        c = config
        self.dense = nn.ModuleList(
            DenseBlock(c.features, c.growth, c.layers) for _ in range(c.blocks)
        )
        shifts = [window_shift(block, c.window) for block in range(1, c.blocks)]
        self.swin = nn.ModuleList(
            SwinBlock(c.features, c.heads, c.window, shift, c.mlp_ratio, c.single_residual)
            for shift in shifts
        )
        self.join = nn.Conv2d(c.blocks * c.features, c.features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` of shape (n, features, h, w)."""
        outputs, z = [], x
        for dense, swin in zip(self.dense, self.swin, strict=False):
            z = swin(dense(z))
            outputs.append(z)
        outputs.append(self.dense[-1](z))
        return x + self.join(torch.cat(outputs, 1))


class Prior(nn.Module):
    """Reflectance predicted from the backscatter of the same pixel; starts from one spectrum."""

    def __init__(self, sar_bands: int, optical_bands: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(sar_bands, 32, 1)
        self.spectrum = nn.Conv2d(32, optical_bands, 1)
        nn.init.zeros_(self.spectrum.weight)
        nn.init.constant_(self.spectrum.bias, 0.1)  # type: ignore[arg-type]

    def forward(self, sar: Tensor) -> Tensor:
        """Map (n, sar_bands, h, w) to (n, optical_bands, h, w)."""
        return self.spectrum(functional.gelu(self.hidden(sar)))


class Carf(nn.Module):
    """Fuse cloudy reflectance with backscatter into cloud-free reflectance."""

    # The last convolution starts at zero, so the untrained network returns its base, such as the
    # input (``base="input"``) or the estimate of the area's regression (``base="regression"``).

    def __init__(self, config: CarfConfig) -> None:
        super().__init__()
        c = self.config = config
        if c.features % c.heads:
            raise ValueError(
                f"{c.heads} heads do not divide {c.features} features; choose heads that do, e.g. "
                f"CarfConfig(features={c.features}, heads=1)"
            )
        backed = c.base != "input" and c.sar_bands > 0
        self.prior = Prior(c.sar_bands, c.optical_bands) if backed else None
        self.encode_optical = _encoder(c.channels * c.scale**2, c.features)
        self.optical = nn.ModuleList(Branch(c) for _ in range(c.stages))
        self.fused = c.cross != "none"
        if self.fused:
            self.encode_sar = _encoder(c.sar_bands * c.scale**2, c.features)
            self.sar = nn.ModuleList(Branch(c) for _ in range(c.stages))
            self.cross = nn.ModuleList(
                CrossGate(c.features, c.cross == "gate+dfg") for _ in range(c.stages)
            )
        self.fuse = nn.Sequential(
            nn.Conv2d(c.stages * c.features, c.features, 1),
            nn.Conv2d(c.features, c.features, 3, padding=1),
        )
        self.expand = nn.Conv2d(c.features, 64 * c.scale**2, 3, padding=1)
        self.restore = nn.Conv2d(64, c.outputs, 3, padding=1)
        if c.filled:  # how much visible differences nearby apply to hidden pixels; initially zero
            self.nearby = nn.Parameter(torch.zeros(len(WIDTHS), c.optical_bands))
        nn.init.zeros_(self.restore.weight)
        nn.init.zeros_(self.restore.bias)  # type: ignore[arg-type]

    def forward(
        self,
        optical: Tensor,
        sar: Tensor,
        *,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Reconstruct from normalised tensors (n, bands, h, w); mask is 1 where occluded."""
        c = self.config
        if mask is None and c.needs_mask:
            raise ValueError("this network reads the mask; call network(optical, sar, mask=mask)")
        if (context is None) == bool(c.context):
            raise ValueError(f"call network(..., context=) for a context of {c.context or 'none'}")
        if not self.fused:
            sar = torch.zeros_like(sar)
        base, size, beside = optical, None, torch.zeros(())
        if self.prior is not None and mask is not None:
            base = torch.where(mask > 0.5, self.prior(sar), optical)
        if c.filled and context is not None:
            base, size = estimate(context, c.context, c.base, base)
        seen = [base]
        if size is not None and mask is not None:
            anomaly, nearby = visible(optical, base, size, mask)
            seen += [anomaly, *(plane for pair in nearby for plane in pair)]
            share = torch.stack([mean for mean, _ in nearby])
            beside = (STEADY * self.nearby[:, None, :, None, None] * share).sum(0)
        if mask is not None and (c.mask_input or c.filled):
            seen.append(mask)
        if context is not None:
            seen.append(context)
        planes = torch.cat(seen, 1)
        out = self._residual(planes, sar)
        out = out[..., : optical.shape[-2], : optical.shape[-1]]
        return out + base if size is None else (out + beside) * size + base

    def _residual(self, optical: Tensor, sar: Tensor) -> Tensor:
        c = self.config
        optical = pad_to_multiple(optical, c.scale)
        x = r = first = self.encode_optical(functional.pixel_unshuffle(optical, c.scale))
        if self.fused:
            sar = pad_to_multiple(sar, c.scale)
            r = self.encode_sar(functional.pixel_unshuffle(sar, c.scale))
        stages = []
        for i, branch in enumerate(self.optical):
            x = branch(x)
            if self.fused:
                x, r = self.cross[i](x, self.sar[i](r))
            stages.append(x)
        x = self.fuse(torch.cat(stages, 1)) + first
        return self.restore(functional.pixel_shuffle(self.expand(x), c.scale))


def _encoder(channels: int, features: int) -> nn.Sequential:
    """Low-level feature encoder of eq. 3-5."""
    return nn.Sequential(
        nn.Conv2d(channels, features, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(features, features, 3, padding=1),
        nn.ReLU(),
    )
