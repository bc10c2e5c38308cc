"""GLF-CR, the global-local fusion network for cloud removal, and the published code of CARF.

Xu, Shi, Ebel, Yu, Xia, Yang, Zhu: "GLF-CR: SAR-enhanced cloud removal with global-local fusion",
ISPRS Journal of Photogrammetry and Remote Sensing 192 (2022). The authors of CARF published code
that is this network with one difference, ``mask_sar=False``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models.config import (
    NetworkConfig,
    through_convolutions,
    through_window,
    window_shift,
)
from xcloudfree.models.joint_attention import JointWindowAttention, both
from xcloudfree.models.parts import CrossGate, feed_forward, pad_to_multiple


@dataclass(frozen=True, kw_only=True)
class GlfcrConfig(NetworkConfig):
    """Hyper-parameters of :class:`Glfcr`."""

    scale: int = 2  # factor of the pixel-unshuffle at the entrance
    # channels of a branch, channels that a layer of a dense block adds, layers of a block
    features: int = 96
    growth: int = 48
    layers: int = 5
    stages: int = 6  # dense blocks, each followed by the exchange between the branches
    # of the window attention on the channels that a layer adds; `heads` must divide `growth`
    heads: int = 8
    window: int = 8
    mlp_ratio: int = 2
    # chance with which the last layer is skipped for an image while training; it rises linearly
    # from 0 at the first layer
    drop_path: float = 0.2
    # True is GLF-CR. False is the code that the authors of CARF published, where backscatter
    # features of opposite image borders attend to each other, so the network has no reach
    mask_sar: bool = True

    def __post_init__(self) -> None:
        if self.growth % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide a growth of {self.growth}; choose heads that "
                f"do, e.g. heads=1"
            )
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path is {self.drop_path}; choose it in [0, 1), e.g. 0.2")

    @property
    def stride(self) -> int:
        """Period in pixels: if the input shifts by a multiple of it, so does the output."""
        return self.scale * self.window

    @property
    def reach(self) -> int | None:
        """Pixels beyond a stride-aligned output that can influence it; None if borders join."""
        # Follows one side of the output back to the input, in cells of ``scale`` pixels.
        if not self.mask_sar:
            return None
        cells = 3  # last convolution (one pixel, so one cell), expansion, fusion of the stages
        for _ in range(self.stages):
            cells = through_convolutions(cells, 5)  # dynamic filter: its evidence reaches furthest
            cells = through_convolutions(cells, 1)  # fusion of the dense block
            for layer in range(self.layers, 0, -1):
                cells = through_window(cells, self.window, window_shift(layer, self.window))
                cells = through_convolutions(cells, 1)
        cells = through_convolutions(cells, 1)
        return self.scale * through_convolutions(cells, 1, kernel=5)


class JointLayer(nn.Module):
    """One layer of a dense block in both branches: convolution, then a transformer block."""

    def __init__(self, channels: int, config: GlfcrConfig, shift: int, drop: float) -> None:
        super().__init__()
        c, new = config, config.growth
        self.drop = drop
        self.conv = both(*(nn.Conv2d(channels, new, 3, padding=1) for _ in range(2)))
        self.attention = JointWindowAttention(new, c.heads, c.window, shift, c.mask_sar)
        self.norm = both(nn.LayerNorm(new), nn.LayerNorm(new))
        self.feed = both(*(feed_forward(new, c.mlp_ratio) for _ in range(2)))

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """Return only the new features, (n, growth, h, w), for inputs (n, channels, h, w)."""
        x = functional.relu(self.conv["optical"](optical)).permute(0, 2, 3, 1)
        r = functional.relu(self.conv["sar"](sar)).permute(0, 2, 3, 1)
        attended_x, attended_r = self.attention(x, r)
        x, r = self._finish("optical", x, attended_x), self._finish("sar", r, attended_r)
        return x.permute(0, 3, 1, 2), r.permute(0, 3, 1, 2)

    def _finish(self, branch: str, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self._dropped(attended)
        return x + self._dropped(self.feed[branch](self.norm[branch](x)))

    def _dropped(self, x: Tensor) -> Tensor:
        """Skip the residual of some images while training (stochastic depth)."""
        if not (self.training and self.drop):
            return x
        keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
        return x * keep / (1 - self.drop)


class JointDenseBlock(nn.Module):
    """Residual dense block of both branches: each layer reads all features before it."""

    def __init__(self, config: GlfcrConfig, stage: int = 0) -> None:
        super().__init__()
        c = config
        last = max(c.stages * c.layers - 1, 1)
        self.layers = nn.ModuleList(
            JointLayer(
                c.features + i * c.growth,
                c,
                window_shift(i + 1, c.window),
                c.drop_path * (stage * c.layers + i) / last,
            )
            for i in range(c.layers)
        )
        seen = c.features + c.layers * c.growth
        self.fuse = both(*(nn.Conv2d(seen, c.features, 3, padding=1) for _ in range(2)))

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """Refine both branches, (n, features, h, w)."""
        x, r = optical, sar
        for layer in self.layers:
            new_x, new_r = layer(x, r)
            x, r = torch.cat([x, new_x], 1), torch.cat([r, new_r], 1)
        return optical + self.fuse["optical"](x), sar + self.fuse["sar"](r)


class Glfcr(nn.Module):
    """Fuse cloudy reflectance with backscatter, globally in attention and locally by filters."""

    # The last convolution starts at zero, so the untrained network returns its input. The gate
    # ``cross.<last>.to_sar`` has no effect: nothing follows it in the published network either.

    def __init__(self, config: GlfcrConfig) -> None:
        super().__init__()
        c = self.config = config
        channels = (c.optical_bands * c.scale**2, c.sar_bands * c.scale**2)
        self.enter = both(*(nn.Conv2d(n, c.features, 5, padding=2) for n in channels))
        self.refine = both(*(nn.Conv2d(c.features, c.features, 3, padding=1) for _ in range(2)))
        self.dense = nn.ModuleList(JointDenseBlock(c, i) for i in range(c.stages))
        self.cross = nn.ModuleList(CrossGate(c.features, filtered=True) for _ in range(c.stages))
        self.fuse = nn.Sequential(
            nn.Conv2d(c.stages * c.features, c.features, 1),
            nn.Conv2d(c.features, c.features, 3, padding=1),
        )
        self.expand = nn.Conv2d(c.features, 64 * c.scale**2, 3, padding=1)
        self.restore = nn.Conv2d(64, c.optical_bands, 3, padding=1)
        nn.init.zeros_(self.restore.weight)
        nn.init.zeros_(self.restore.bias)  # type: ignore[arg-type]

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Reconstruct from normalised tensors (n, bands, h, w)."""
        scale = self.config.scale
        first = self.enter["optical"](_unshuffled(optical, scale))
        x = self.refine["optical"](first)
        r = self.refine["sar"](self.enter["sar"](_unshuffled(sar, scale)))
        stages = []
        for dense, cross in zip(self.dense, self.cross, strict=True):
            x, r = cross(*dense(x, r))
            stages.append(x)
        x = self.fuse(torch.cat(stages, 1)) + first
        out = self.restore(functional.pixel_shuffle(self.expand(x), scale))
        return out[..., : optical.shape[-2], : optical.shape[-1]] + optical


def published_name(name: str) -> str | None:
    """Our name of an entry of the authors' checkpoint; None for masks and indices."""
    for pattern, ours in _PUBLISHED.items():
        match = re.fullmatch(pattern, name)
        if match:
            parts = match.groupdict(default="")
            branch = "sar" if parts.pop("sar", "") else "optical"
            return ours and ours.format(**parts, branch=branch)
    return name


_LAYER = r"RDBs\.(?P<i>\d+)\.convs\.(?P<j>\d+)\."
_SAR = "(?P<sar>_SAR)?"
_END = r"\.(?P<leaf>weight|bias)"
_PUBLISHED: dict[str, str | None] = {
    rf"SFENet1{_SAR}{_END}": "enter.{branch}.{leaf}",
    rf"SFENet2{_SAR}{_END}": "refine.{branch}.{leaf}",
    rf"{_LAYER}conv{_SAR}\.0{_END}": "dense.{i}.layers.{j}.conv.{branch}.{leaf}",
    rf"{_LAYER}attn\.(?P<what>qkv|proj){_SAR}{_END}": (
        "dense.{i}.layers.{j}.attention.{what}.{branch}.{leaf}"
    ),
    rf"{_LAYER}attn\.attn_fuse_1x1conv{_END}": "dense.{i}.layers.{j}.attention.gate.{leaf}",
    rf"{_LAYER}attn\.relative_position_bias_table": "dense.{i}.layers.{j}.attention.relative_bias",
    rf"{_LAYER}norm2{_SAR}{_END}": "dense.{i}.layers.{j}.norm.{branch}.{leaf}",
    rf"{_LAYER}mlp{_SAR}\.fc1{_END}": "dense.{i}.layers.{j}.feed.{branch}.0.{leaf}",
    rf"{_LAYER}mlp{_SAR}\.fc2{_END}": "dense.{i}.layers.{j}.feed.{branch}.2.{leaf}",
    rf"{_LAYER}(?:attn_mask|attn\.relative_position_index)": None,
    rf"RDBs\.(?P<i>\d+)\.LFF{_SAR}{_END}": "dense.{i}.fuse.{branch}.{leaf}",
    rf"DF\.(?P<i>\d+)\.fac_warp\.0\.0{_END}": "cross.{i}.filter.enter.{leaf}",
    rf"DF\.(?P<i>\d+)\.fac_warp\.1\.stem\.(?P<k>\d){_END}": "cross.{i}.filter.blocks.0.{k}.{leaf}",
    rf"DF\.(?P<i>\d+)\.fac_warp\.2\.stem\.(?P<k>\d){_END}": "cross.{i}.filter.blocks.1.{k}.{leaf}",
    rf"DF\.(?P<i>\d+)\.fac_warp\.3\.0{_END}": "cross.{i}.filter.kernel.{leaf}",
    rf"sar_fuse_1x1conv\.(?P<i>\d+){_END}": "cross.{i}.to_optical.{leaf}",
    rf"opt_distribute_1x1conv\.(?P<i>\d+){_END}": "cross.{i}.to_sar.{leaf}",
    rf"GFF\.(?P<i>\d){_END}": "fuse.{i}.{leaf}",
    rf"UPNet\.0{_END}": "expand.{leaf}",
    rf"UPNet\.2{_END}": "restore.{leaf}",
}


def _unshuffled(x: Tensor, scale: int) -> Tensor:
    """Features at the network's resolution, channels last: attention then costs no transposes."""
    x = functional.pixel_unshuffle(pad_to_multiple(x, scale), scale)
    return x.contiguous(memory_format=torch.channels_last)
