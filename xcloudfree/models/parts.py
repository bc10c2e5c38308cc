"""Parts that the residual dense fusion networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DenseBlock(nn.Module):
    """Residual dense block: each convolution sees all features before it."""

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


class DynamicFilter(nn.Module):
    """A 5x5 kernel per pixel and channel, predicted from both branches, applied to one of them."""

    def __init__(self, features: int, size: int = 5) -> None:
        super().__init__()
        self.size = size
        self.enter = nn.Conv2d(2 * features, features, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features, features, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(features, features, 3, padding=1),
            )
            for _ in range(2)
        )
        self.kernel = nn.Conv2d(features, features * size * size, 1)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Filter ``sar``; all of shape (n, features, h, w)."""
        x = functional.leaky_relu(self.enter(torch.cat([optical, sar], 1)), 0.1)
        for block in self.blocks:
            x = x + block(x)
        kernels = functional.leaky_relu(self.kernel(x), 0.1).unflatten(1, (-1, self.size**2))
        half = self.size // 2
        padded = functional.pad(sar, (half, half, half, half), mode="replicate")
        height, width = sar.shape[-2:]
        out = torch.zeros_like(sar)
        for tap in range(self.size**2):  # shifted slices: no copy of 25 times the features
            dy, dx = divmod(tap, self.size)
            out = out + kernels[:, :, tap] * padded[..., dy : dy + height, dx : dx + width]
        return out


class CrossGate(nn.Module):
    """Exchange between the branches: each takes from the other what a sigmoid gate lets through."""

    def __init__(self, features: int, filtered: bool) -> None:
        super().__init__()
        self.to_optical = nn.Conv2d(features, features, 1)
        self.to_sar = nn.Conv2d(features, features, 1)
        self.filter = DynamicFilter(features) if filtered else None

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new optical and backscatter features, both (n, features, h, w)."""
        source = sar if self.filter is None else self.filter(optical, sar)
        difference = source - optical
        optical = optical + torch.sigmoid(self.to_optical(difference)) * difference
        difference = optical - source
        return optical, sar + torch.sigmoid(self.to_sar(difference)) * difference


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Continue right and bottom to a multiple: by reflection, on tiny inputs by the edge."""
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not (below or right):
        return x
    mode = "reflect" if below < height and right < width else "replicate"
    return functional.pad(x, (0, right, 0, below), mode=mode)
