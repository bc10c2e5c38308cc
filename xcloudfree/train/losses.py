"""Losses of the cloud-aware model update (eq. 17-18) and close relatives, on torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor, float, Tensor], Tensor]
"""``loss(prediction, target, mask, alpha, cloudy)``; NaN in the target is ignored."""


def cloud_weights(mask: Tensor, alpha: float) -> Tensor:
    """Weights of eq. 17: `alpha` under the mask, ``1 - alpha`` elsewhere."""
    return alpha * mask + (1 - alpha) * (1 - mask)


def cloud_aware_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    alpha: float = 0.8,
    *,
    pixel: float = 0.5,
    structure: float = 0.5,
    error: Literal["mse", "l1"] = "mse",
) -> Tensor:
    """Loss of eq. 18: weighted error and structural dissimilarity, pixel by pixel."""
    valid = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(valid, target, prediction.detach())
    difference = prediction - target
    each = difference**2 if error == "mse" else difference.abs()
    each = pixel * each + structure * (1 - ssim_map(prediction, target))
    weights = cloud_weights(mask, alpha) * valid
    return (weights * each).sum() / (valid.sum() * each.shape[1]).clamp(min=1)


def reference_code_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """``2 mean(M |e|) + 0.5 mean |e| + 0.5 (1 - mean SSIM)``, the authors' code, not eq. 18."""
    valid = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(valid, target, prediction.detach())
    error = (prediction - target).abs()
    structure = 1 - ssim_map(prediction, target)
    each = (2 * mask + 0.5) * error + 0.5 * structure
    return _valid_mean(each, valid)


def carl(prediction: Tensor, target: Tensor, mask: Tensor, cloudy: Tensor) -> Tensor:
    """``mean |M (p - y) + (1 - M) (p - x)| + mean |p - y|``, the loss of DSen2-CR."""
    # Clear input pixels should not change, so that the network does not learn the season of the
    # target's date there.
    # Meraner et al. (2020), ISPRS Journal of Photogrammetry and Remote Sensing 166, eq. 5.
    valid = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(valid, target, prediction.detach())
    cloudy = torch.where(torch.isfinite(cloudy), cloudy, target)
    goal = mask * target + (1 - mask) * cloudy
    each = (prediction - goal).abs() + (prediction - target).abs()
    return _valid_mean(each, valid)


def gaussian_nll(mean: Tensor, variance: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Negative log-likelihood of independent Gaussians, without its constant."""
    # Ebel et al. (2023), UnCRtainTS, CVPR Workshops.
    valid = torch.isfinite(target)
    error = torch.where(valid, target - mean, 0).float()
    each = 0.5 * (variance.float().log() + error**2 / variance.float())
    return _weighted_mean(each, weights * valid)


def simulation_loss(simulated: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Absolute error of the optical image simulated from backscatter alone."""
    # Gao et al. (2020), Remote Sensing 12(1), 191.
    valid = torch.isfinite(target)
    error = torch.where(valid, target - simulated, 0).float()
    return _weighted_mean(error.abs(), weights * valid)


def shrink_means(target: Tensor, mask: Tensor, spectrum: Tensor, amount: float) -> Tensor:
    """Move the mean of each image under its mask towards one spectrum, by a share of 0 to 1."""
    # With few regions a network memorises their brightness. Shrinking the target means
    # keeps the texture inside an image and reduces the difference between
    # images.
    valid = mask * torch.isfinite(target).all(1, keepdim=True)
    count = valid.sum((2, 3), keepdim=True)
    mean = (target.nan_to_num() * valid).sum((2, 3), keepdim=True) / count.clamp(min=1)
    return target - amount * (mean - spectrum[:, None, None]) * (count > 0)


def _plain(prediction: Tensor, target: Tensor, power: int) -> Tensor:
    valid = torch.isfinite(target).all(1, keepdim=True)
    error = torch.where(valid, target - prediction, 0)
    return _valid_mean(error.abs() ** power, valid)


LOSSES: dict[str, Loss] = {
    "paper": lambda p, y, m, a, x: cloud_aware_loss(p, y, m, a),
    "reference-code": lambda p, y, m, a, x: reference_code_loss(p, y, m),
    "carl": lambda p, y, m, a, x: carl(p, y, m, x),
    "l1-ssim": lambda p, y, m, a, x: cloud_aware_loss(
        p, y, m, a, pixel=1.0, structure=0.1, error="l1"
    ),
    "error": lambda p, y, m, a, x: cloud_aware_loss(p, y, m, a, pixel=1.0, structure=0.01),
    "l1-cloud": lambda p, y, m, a, x: cloud_aware_loss(
        p, y, m, a, pixel=1.0, structure=0.0, error="l1"
    ),
    "l1": lambda p, y, m, a, x: _plain(p, y, 1),
    "mse": lambda p, y, m, a, x: _plain(p, y, 2),
}
"""Losses by their names in :func:`xcloudfree.fit`."""


def _valid_mean(each: Tensor, valid: Tensor) -> Tensor:
    return (each * valid).sum() / (valid.sum() * each.shape[1]).clamp(min=1)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum().clamp(min=1e-12)


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
