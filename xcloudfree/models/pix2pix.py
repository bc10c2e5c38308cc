"""Generators and discriminator of pix2pix, the basis of both adversarial networks.

Isola et al. (2017), Image-to-Image Translation with Conditional Adversarial Networks, CVPR. All of
them read and return values from -1 to 1.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models.parts import pad_to_multiple

DROPOUT = 0.5
"""Share of the values that generators drop during fitting, in the layers with dropout."""

SMALLEST = 24
"""Side in pixels of the smallest image for a :class:`PatchDiscriminator`."""


class Level(nn.Module):
    """One step down and the step back up that mirrors it."""

    def __init__(
        self, above: int, width: int, below: int, back: int, *, outer: bool, inner: bool, norm: bool
    ) -> None:
        super().__init__()
        plain = outer or inner or not norm
        self.down = nn.Conv2d(above, width, 4, 2, 1, bias=False)
        self.down_norm = nn.Identity() if plain else nn.BatchNorm2d(width)
        self.up = nn.ConvTranspose2d(below, back, 4, 2, 1, bias=outer)
        self.up_norm = nn.Identity() if outer or not norm else nn.BatchNorm2d(back)

    def descend(self, x: Tensor) -> Tensor:
        """Halve (n, above, h, w)."""
        return self.down_norm(self.down(x))

    def ascend(self, x: Tensor) -> Tensor:
        """Double (n, below, h, w)."""
        return self.up_norm(self.up(functional.relu(x)))


class UNet(nn.Module):
    """Halve the resolution at each level down to the bottleneck and come back, with skips."""

    # While fitting, :data:`DROPOUT` of the values are dropped in the decoder levels of the full
    # width other than the bottleneck.

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        levels: int,
        features: int = 64,
        *,
        norm: bool = True,
    ) -> None:
        super().__init__()
        widths = [min(2**depth, 8) * features for depth in range(levels)]
        last = levels - 1
        self.levels = nn.ModuleList(
            Level(
                widths[depth - 1] if depth else channels_in,
                width,
                width if depth == last else 2 * width,
                widths[depth - 1] if depth else channels_out,
                outer=depth == 0,
                inner=depth == last,
                norm=norm,
            )
            for depth, width in enumerate(widths)
        )
        self.dropped = range(4, last)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w), any h and w, to (n, channels_out, h, w)."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, 2 ** len(self.levels))
        levels: list[Level] = list(self.levels)  # type: ignore[arg-type]
        skips: list[Tensor] = []
        for depth, level in enumerate(levels):
            x = level.descend(functional.leaky_relu(x, 0.2) if depth else x)
            skips.append(x)
        x = skips.pop()
        for depth, level in reversed(list(enumerate(levels))):
            x = level.ascend(x)
            if depth in self.dropped:
                x = functional.dropout(x, DROPOUT, self.training)
            x = torch.cat([skips.pop(), x], 1) if skips else x
        return torch.tanh(x)[..., :height, :width]


class PatchDiscriminator(nn.Module):
    """Classify overlapping patches of 70 px as real or not, given a condition."""

    def __init__(self, channels: int, features: int = 64) -> None:
        super().__init__()
        f = features
        self.enter = nn.Conv2d(channels, f, 4, 2, 1)
        self.stages = nn.ModuleList(
            normed(nn.Conv2d(n * f, 2 * n * f, 4, 1 if n == 4 else 2, 1, bias=False))
            for n in (1, 2, 4)
        )
        self.leave = nn.Conv2d(8 * f, 1, 4, 1, 1)
        initialise(self)

    def forward(self, condition: Tensor, image: Tensor) -> Tensor:
        """Probability that each patch is real, (n, 1, h / 8 - 2, w / 8 - 2)."""
        return torch.sigmoid(self.logits(condition, image))

    def logits(self, condition: Tensor, image: Tensor) -> Tensor:
        """Logits of :meth:`forward`, for a numerically stable loss."""
        return self.leave(self.seen(condition, image))

    def seen(self, condition: Tensor, image: Tensor) -> Tensor:
        """Features of the last layer but one, (n, 8 features, h / 8 - 1, w / 8 - 1)."""
        if min(image.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"the discriminator cannot read {image.shape[-2]} x {image.shape[-1]} pixels; "
                f"call it with images of at least {SMALLEST} x {SMALLEST}"
            )
        x = functional.leaky_relu(self.enter(torch.cat([condition, image], 1)), 0.2)
        for stage in self.stages:
            x = functional.leaky_relu(stage(x), 0.2)
        return x


def normed(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """A convolution and batch normalisation."""
    layers = nn.Sequential()
    layers.add_module("conv", conv)
    layers.add_module("norm", nn.BatchNorm2d(conv.out_channels))
    return layers


def initialise(network: nn.Module) -> None:
    """Initial weights of the publication: normal with a standard deviation of 0.02."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
            nn.init.zeros_(module.bias)


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
    """First and last input pixel that affect an interval of output pixels."""
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


def published_unet_name(name: str) -> str:
    """Our name of an entry of the nested U-Net; unknown names are returned unchanged."""
    match = re.fullmatch(r"model\.model((?:\.[123]\.model)*)\.(\d)\.(\w+)", name)
    if match is None:
        return name
    path, position, entry = match.groups()
    depth = path.count("model")
    # Within a level: [activation, down, norm, (next level), activation, up, norm]. Without norm
    # all moves up by one, so that 4 is the innermost norm in one layout and any "up" in the other.
    inside = {
        "1": "down", "2": "down_norm", "3": "up", "5": "up", "6": "up_norm",
        "4": "up_norm" if ".3.model" in path else "up",
    }  # fmt: skip
    part = (inside if depth else {"0": "down", "3": "up"}).get(position)
    return name if part is None else f"levels.{depth}.{part}.{entry}"


def published_resnet_name(name: str) -> str:
    """Our name of an entry of the residual generator; unknown names are returned unchanged."""
    layers = {
        "1": "enter.conv", "2": "enter.norm", "4": "down.0.conv", "5": "down.0.norm",
        "7": "down.1.conv", "8": "down.1.norm", "19": "up.0.conv", "20": "up.0.norm",
        "22": "up.1.conv", "23": "up.1.norm", "26": "leave",
    }  # fmt: skip
    inside = {"1": "first.conv", "2": "first.norm", "6": "second.conv", "7": "second.norm"}
    match = re.fullmatch(r"model\.(\d+)(?:\.conv_block\.([1267]))?\.(\w+)", name)
    if match is None:
        return name
    position, half, entry = match.groups()
    if half:
        return f"blocks.{int(position) - 10}.{inside[half]}.{entry}"
    return f"{layers[position]}.{entry}" if position in layers else name
