"""Structural similarity as a loss needs it: differentiable, of each pixel."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


def ssim_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity per pixel and band; Gaussian window of 11 px, zero padding."""
    # Wang et al. (2004), Image quality assessment, IEEE TIP 13(4), with C1=1e-4 and C2=9e-4.
    count = prediction.shape[1]
    moments = torch.cat(
        [prediction, target, prediction**2, target**2, prediction * target], 1
    ).float()
    a, b, aa, bb, ab = _blur(moments).split(count, 1)
    variance_a, variance_b, covariance = aa - a * a, bb - b * b, ab - a * b
    top = (2 * a * b + 1e-4) * (2 * covariance + 9e-4)
    return top / ((a * a + b * b + 1e-4) * (variance_a + variance_b + 9e-4))


@lru_cache(maxsize=8)
def _window(device: torch.device) -> Tensor:
    offset = torch.arange(11, dtype=torch.float32, device=device) - 5
    weights = torch.exp(-(offset**2) / (2 * 1.5**2))
    return weights / weights.sum()


def _blur(x: Tensor) -> Tensor:
    """Gaussian mean of each channel with zeros outside, in two passes."""
    window, channels = _window(x.device), x.shape[1]
    rows = window.reshape(1, 1, 11, 1).expand(channels, 1, 11, 1)
    x = functional.conv2d(x, rows, padding=(5, 0), groups=channels)
    return functional.conv2d(x, rows.transpose(2, 3), padding=(0, 5), groups=channels)
