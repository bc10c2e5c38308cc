"""Parts that the residual dense fusion networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FILTERED_AT_ONCE = 4
"""Channels for which the dynamic filter holds kernels in memory, which are 25 times as many."""


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

    # Dynamic filter generation of GLF-CR (Xu et al. 2022), section 3.2.

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
        evidence = self.evidence(optical, sar)
        half = self.size // 2
        # contiguous planes, because a shift then moves whole rows
        padded = functional.pad(sar.contiguous(), (half, half, half, half), mode="replicate")
        filtered = []
        for start in range(0, sar.shape[1], FILTERED_AT_ONCE):
            channels = slice(start, start + FILTERED_AT_ONCE)
            filtered.append(apply_kernels(padded[:, channels], self.kernels(evidence, channels)))
        format_ = torch.channels_last if _channels_last(sar) else torch.contiguous_format
        return torch.cat(filtered, 1).contiguous(memory_format=format_)

    def evidence(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Features (n, features, h, w) from which the kernels follow pixel by pixel."""
        x = functional.leaky_relu(self.enter(torch.cat([optical, sar], 1)), 0.1)
        for block in self.blocks:
            x = x + block(x)
        return x

    def kernels(self, evidence: Tensor, channels: slice) -> Tensor:
        """Kernels of some channels, (n, channels * size**2, h, w), by channel, row, column."""
        # A matrix product instead of the convolution, because it writes planes from features in any
        # memory layout.
        taps = slice(channels.start * self.size**2, channels.stop * self.size**2)
        weight, bias = self.kernel.weight[taps, :, 0, 0], self.kernel.bias
        assert bias is not None
        flat = evidence.flatten(2)
        kernels = torch.baddbmm(bias[taps, None], weight.expand(len(flat), -1, -1), flat)
        return functional.leaky_relu_(kernels, 0.1).unflatten(2, evidence.shape[2:])


def apply_kernels(padded: Tensor, kernels: Tensor) -> Tensor:
    """Weighted sum over the neighbourhood of each pixel, with its own weights per channel."""
    # One shift after the other, in the same order for every pixel: no copy of ``k * k`` times the
    # features, and the same rounding wherever in a map a pixel lies, which a reduction over the
    # taps does not give.
    size = padded.shape[2] - kernels.shape[2] + 1
    height, width = kernels.shape[2:]
    taps = kernels.unflatten(1, (-1, size**2))
    out = taps[:, :, 0] * padded[..., :height, :width]
    for tap in range(1, size**2):
        dy, dx = divmod(tap, size)
        out = torch.addcmul(out, taps[:, :, tap], padded[..., dy : dy + height, dx : dx + width])
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
        optical = optical + logistic(self.to_optical(difference)) * difference
        difference = optical - source
        return optical, sar + logistic(self.to_sar(difference)) * difference


def logistic(x: Tensor) -> Tensor:
    """Sigmoid that rounds each value in the same way wherever it stands."""
    # ``torch.sigmoid`` on a CPU rounds the last values of a segment otherwise than those before,
    # and where segments end depends on the size; tiles would differ from the whole in their last
    # bit.
    return 0.5 * torch.tanh(0.5 * x) + 0.5


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Continue right and bottom to a multiple: by reflection, on tiny inputs by the edge."""
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not (below or right):
        return x
    mode = "reflect" if below < height and right < width else "replicate"
    return functional.pad(x, (0, right, 0, below), mode=mode)


def _channels_last(x: Tensor) -> bool:
    """Whether the channels of a map lie next to each other in memory."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
