"""Losses of the cloud-aware model update (eq. 17-18) and close relatives, on torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from xcloudfree.train.structure import ssim_map

Loss = Callable[[Tensor, Tensor, Tensor, float, Tensor], Tensor]
"""``loss(prediction, target, mask, alpha, cloudy)``; a NaN in the target counts for nothing."""


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
    known = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(known, target, prediction.detach())
    difference = prediction - target
    each = difference**2 if error == "mse" else difference.abs()
    each = pixel * each + structure * (1 - ssim_map(prediction, target))
    weights = cloud_weights(mask, alpha) * known
    return (weights * each).sum() / (known.sum() * each.shape[1]).clamp(min=1)


def reference_code_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """``2 mean(M |e|) + 0.5 mean |e| + 0.5 (1 - mean SSIM)``, the authors' code, not eq. 18."""
    known = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(known, target, prediction.detach())
    error = (prediction - target).abs()
    structure = 1 - ssim_map(prediction, target)
    each = (2 * mask + 0.5) * error + 0.5 * structure
    return _known_mean(each, known)


def carl(prediction: Tensor, target: Tensor, mask: Tensor, cloudy: Tensor) -> Tensor:
    """``mean |M (p - y) + (1 - M) (p - x)| + mean |p - y|``, the loss of DSen2-CR."""
    # What is clear in the input shall stay as it is, so that the season of the target's date is not
    # learned there.
    # Meraner et al. (2020), ISPRS Journal of Photogrammetry and Remote Sensing 166, eq. 5.
    known = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(known, target, prediction.detach())
    cloudy = torch.where(torch.isfinite(cloudy), cloudy, target)
    wanted = mask * target + (1 - mask) * cloudy
    each = (prediction - wanted).abs() + (prediction - target).abs()
    return _known_mean(each, known)


def gaussian_nll(mean: Tensor, variance: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Negative log-likelihood of independent Gaussians, without its constant."""
    # Ebel et al. (2023), UnCRtainTS, CVPR Workshops.
    known = torch.isfinite(target)
    error = torch.where(known, target - mean, 0).float()
    each = 0.5 * (variance.float().log() + error**2 / variance.float())
    return _weighted_mean(each, weights * known)


def simulation_loss(simulated: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Absolute error of the optical image simulated from backscatter alone."""
    # Gao et al. (2020), Remote Sensing 12(1), 191.
    known = torch.isfinite(target)
    error = torch.where(known, target - simulated, 0).float()
    return _weighted_mean(error.abs(), weights * known)


def shrink_means(target: Tensor, mask: Tensor, spectrum: Tensor, amount: float) -> Tensor:
    """Move the mean of each image under its mask towards one spectrum, by a share of 0 to 1."""
    # With few regions a network learns their brightness by heart. Shrinking what it is asked for
    # leaves the texture inside an image as it is and asks for less of the difference between
    # images.
    known = mask * torch.isfinite(target).all(1, keepdim=True)
    count = known.sum((2, 3), keepdim=True)
    mean = (target.nan_to_num() * known).sum((2, 3), keepdim=True) / count.clamp(min=1)
    return target - amount * (mean - spectrum[:, None, None]) * (count > 0)


def _plain(prediction: Tensor, target: Tensor, power: int) -> Tensor:
    known = torch.isfinite(target).all(1, keepdim=True)
    error = torch.where(known, target - prediction, 0)
    return _known_mean(error.abs() ** power, known)


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
"""Losses by the name that :func:`xcloudfree.fit` takes."""


def _known_mean(each: Tensor, known: Tensor) -> Tensor:
    return (each * known).sum() / (known.sum() * each.shape[1]).clamp(min=1)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum().clamp(min=1e-12)
