"""DSen2-CR, the deep residual network of Meraner et al. (ISPRS Journal 2020).

It consists only of convolutions: the reach is exact and the stride one pixel, which makes it the
easiest network to tile. Inputs are digital numbers over 2000 and backscatter from 0 to 2, the
preset ``dsen2cr-2000``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.exceptions import WeightsError
from xcloudfree.models.config import NetworkConfig, through_convolutions


@dataclass(frozen=True, kw_only=True)
class Dsen2crConfig(NetworkConfig):
    """Hyper-parameters of :class:`Dsen2cr`."""

    features: int = 256  # channels of the trunk
    blocks: int = 16  # residual blocks
    residual_scale: float = 0.1  # factor on the output of a block

    @property
    def reach(self) -> int:
        """One pixel per 3x3 convolution: the first, two per block, the last."""
        return through_convolutions(0, 2 * self.blocks + 2)


class ScaledResidualBlock(nn.Module):
    """Two convolutions whose output is damped before it is added."""

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` of shape (n, features, h, w)."""
        return x + self.scale * self.second(functional.relu(self.first(x)))


class Dsen2cr(nn.Module):
    """Fuse cloudy reflectance with backscatter into cloud-free reflectance."""

    def __init__(self, config: Dsen2crConfig) -> None:
        super().__init__()
        c = self.config = config
        self.enter = nn.Conv2d(c.optical_bands + c.sar_bands, c.features, 3, padding=1)
        self.blocks = nn.ModuleList(
            ScaledResidualBlock(c.features, c.residual_scale) for _ in range(c.blocks)
        )
        self.restore = nn.Conv2d(c.features, c.optical_bands, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Reconstruct reflectance from optical (0..5) and backscatter (0..2), (n, bands, h, w)."""
        x = functional.relu(self.enter(torch.cat([optical, sar], 1)))
        for block in self.blocks:
            x = block(x)
        return self.restore(x) + optical


def published_name(name: str) -> str | None:
    """Our name of an entry of a PyTorch checkpoint; unknown names are returned unchanged."""
    if match := re.fullmatch(r"model\.(\d+)\.conv_block\.([02])\.(\w+)", name):
        block, layer, entry = match.groups()
        return f"blocks.{int(block) - 2}.{'first' if layer == '0' else 'second'}.{entry}"
    if match := re.fullmatch(r"model\.(\d+)\.(\w+)", name):
        return f"{'enter' if match[1] == '0' else 'restore'}.{match[2]}"
    return name


def keras_order(blocks: int) -> list[str]:
    """Our layers in the order of the convolutions in the authors' Keras files."""
    inner = [f"blocks.{block}.{part}" for block in range(blocks) for part in ("first", "second")]
    return ["enter", *inner, "restore"]


def from_keras(kernels: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, Tensor]:
    """State dict from kernels (height, width, in, out) and biases in the order of the layers."""
    order = keras_order((len(kernels) - 2) // 2)
    channels = [kernel.shape[2:] for kernel, _ in kernels]
    fits = (
        len(kernels) == len(order) >= 4
        and all(kernel.shape[:2] == (3, 3) and kernel.ndim == 4 for kernel, _ in kernels)
        and all(bias.shape == kernel.shape[3:] for kernel, bias in kernels)
        and all(before[1] == after[0] for before, after in pairwise(channels))
    )
    if not fits:
        raise WeightsError(
            f"{len(kernels)} layers with kernels {[kernel.shape for kernel, _ in kernels]} are "
            "not DSen2-CR",
            fix="pass all its Conv2D layers in the order of the model, kernels as Keras stores "
            "them: xcloudfree.models.dsen2cr.from_keras([(kernel, bias), ...])",
            option="name the file of the authors' whole model",
        )
    state = {}
    for layer, (kernel, bias) in zip(order, kernels, strict=True):
        weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)
        state[f"{layer}.weight"] = torch.from_numpy(weight)
        state[f"{layer}.bias"] = torch.from_numpy(np.array(bias, np.float32))
    return state
