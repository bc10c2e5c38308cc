"""The block of UnCRtainTS: an inverted bottleneck with squeeze-excitation."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

Norm = Callable[[int], nn.Module]
"""Makes a normalisation layer for a number of channels."""


class InvertedBottleneck(nn.Module):
    """MBConv: widen, filter each channel, weigh the channels by their means, narrow, add."""

    def __init__(self, features: int, expansion: int, norm: Norm) -> None:
        super().__init__()
        hidden = features * expansion
        self.norm = norm(features)
        self.widen = nn.Conv2d(features, hidden, 1, bias=False)
        self.widen_norm = norm(hidden)
        self.depthwise = nn.Conv2d(
            hidden, hidden, 3, padding=1, padding_mode="reflect", groups=hidden, bias=False
        )
        self.depthwise_norm = norm(hidden)
        self.squeeze = nn.Linear(hidden, features // 4, bias=False)
        self.excite = nn.Linear(features // 4, hidden, bias=False)
        self.narrow = nn.Conv2d(hidden, features, 1, bias=False)
        self.narrow_norm = norm(features)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` of shape (n, features, h, w), h and w above 1."""
        inner = functional.gelu(self.widen_norm(self.widen(self.norm(x))))
        inner = functional.gelu(self.depthwise_norm(self.depthwise(inner)))
        gate = self.excite(functional.gelu(self.squeeze(inner.mean((-2, -1))))).sigmoid()
        return x + self.narrow_norm(self.narrow(inner * gate[..., None, None]))
