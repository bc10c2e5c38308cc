"""The second generator of pix2pix, of residual blocks; see :mod:`xcloudfree.models.pix2pix`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models.parts import pad_to_multiple
from xcloudfree.models.pix2pix import DROPOUT, initialise, normed


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the features also pass unchanged."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = normed(nn.Conv2d(features, features, 3, bias=False))
        self.second = normed(nn.Conv2d(features, features, 3, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Refine (n, features, h, w), at least two cells in each direction."""
        y = functional.relu(self.first(_reflected(x, 1)))
        y = functional.dropout(y, DROPOUT, self.training)
        return x + self.second(_reflected(y, 1))


class Doubling(nn.ConvTranspose2d):
    """Transposed 3x3 convolution of stride 2, computed as a convolution of stride 1."""

    # Row 2i of the answer is cell i times the middle tap; row 2i + 1 is cell i times the last tap
    # and cell i + 1 times the first; columns likewise. The transposed routines of the CPU's library
    # sum in an order that depends on the size of the input, so that tiles would differ by rounding.

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (n, channels, h, w) to (n, channels_out, 2 h, 2 w)."""
        taps = x.new_zeros(2, 2, 3)  # of row 2i + p, from cell i + a, with tap k
        taps[0, 0, 1] = taps[1, 0, 2] = taps[1, 1, 0] = 1
        kernel = torch.einsum("pak,qbl,iokl->opqiab", taps, taps, self.weight).flatten(0, 2)
        return functional.pixel_shuffle(
            functional.conv2d(functional.pad(x, (0, 1, 0, 1)), kernel), 2
        )


class ResNetGenerator(nn.Module):
    """Residual blocks at a quarter of the resolution, which read a bounded neighbourhood."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        features: int = 64,
        blocks: int = 9,
    ) -> None:
        super().__init__()
        f = features
        self.enter = normed(nn.Conv2d(channels_in, f, 7, bias=False))
        self.down = nn.ModuleList(
            normed(nn.Conv2d(n * f, 2 * n * f, 3, 2, 1, bias=False)) for n in (1, 2)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * f) for _ in range(blocks)))
        self.up = nn.ModuleList(
            normed(Doubling(2 * n * f, n * f, 3, 2, 1, output_padding=1, bias=False))
            for n in (2, 1)
        )
        self.leave = nn.Conv2d(f, channels_out, 7)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w), any h and w, to (n, channels_out, h, w)."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, 4)
        # a reflection by one cell at a quarter of the resolution needs two cells
        x = _extend(x, max(0, 8 - x.shape[-2]), max(0, 8 - x.shape[-1]))
        x = functional.relu(self.enter(_reflected(x, 3)))
        for half in self.down:
            x = functional.relu(half(x))
        x = self.blocks(x)
        for half in self.up:
            x = functional.relu(half(x))
        return torch.tanh(self.leave(_reflected(x, 3)))[..., :height, :width]


def through_resnet(low: int, high: int, blocks: int) -> tuple[int, int]:
    """First and last input pixel that decide an interval of output pixels."""
    low, high = low - 3, high + 3  # 7x7
    for _ in range(2):  # transposed: pixel 2i comes from cell i, pixel 2i + 1 from i and i + 1
        low, high = low // 2, -(-high // 2)
    low, high = low - 2 * blocks, high + 2 * blocks  # two 3x3 each
    for _ in range(2):  # cell i of a convolution of stride 2 reads pixels 2i - 1 to 2i + 1
        low, high = 2 * low - 1, 2 * high + 1
    return low - 3, high + 3


def _reflected(x: Tensor, cells: int) -> Tensor:
    return functional.pad(x, (cells,) * 4, mode="reflect")


def _extend(x: Tensor, below: int, right: int) -> Tensor:
    return functional.pad(x, (0, right, 0, below), mode="replicate") if below or right else x
