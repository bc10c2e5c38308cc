"""A network as another package would bring it: one convolution, and nothing else."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from xcloudfree.models.config import NetworkConfig
from xcloudfree.models.networks import Architecture


@dataclass(frozen=True, kw_only=True)
class ExampleConfig(NetworkConfig):
    """Side of the kernel."""

    kernel: int = 3

    @property
    def reach(self) -> int | None:
        return self.kernel // 2


class Example(nn.Module):
    """Reflectance plus a convolution of radar."""

    def __init__(self, config: ExampleConfig) -> None:
        super().__init__()
        self.config = config
        self.radar = nn.Conv2d(
            config.sar_bands, config.optical_bands, config.kernel, padding=config.kernel // 2
        )

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        return optical + torch.tanh(self.radar(sar))


ARCHITECTURE = Architecture(ExampleConfig, Example, "an example")
WEIGHTS = Path(os.environ.get("CLOUDFREE_EXAMPLE_WEIGHTS", "example.safetensors"))
