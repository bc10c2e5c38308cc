"""U-Net and discriminator of pix2pix, on which both adversarial networks are built.

Isola et al. (2017), Image-to-Image Translation with Conditional Adversarial Networks, CVPR. All of
them read and return values from -1 to 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models.parts import pad_to_multiple

DROPOUT = 0.5
"""Share of the values that generators drop while they are fitted, in the layers that do."""

SMALLEST = 24
"""Side in pixels of the smallest image that a :class:`PatchDiscriminator` can judge."""


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
    """Judge for overlapping patches of 70 px whether an image is real, given a condition."""

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
        if min(image.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"the discriminator cannot judge {image.shape[-2]} x {image.shape[-1]} pixels; "
                f"call it with images of at least {SMALLEST} x {SMALLEST}"
            )
        x = functional.leaky_relu(self.enter(torch.cat([condition, image], 1)), 0.2)
        for stage in self.stages:
            x = functional.leaky_relu(stage(x), 0.2)
        return self.leave(x)


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
