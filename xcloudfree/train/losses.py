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
    """Weights of eq. 17: `alpha` under the mask, ``1 - alpha`` elsewhere.

    Parameters
    ----------
    mask : Tensor
        1 where cloudy.
    alpha : float
        Weight of cloudy pixels.

    Returns
    -------
    Tensor
        Shaped as `mask`.

    Examples
    --------
    >>> [round(float(w), 3) for w in cloud_weights(torch.tensor([1.0, 0.0]), 0.8)]
    [0.8, 0.2]
    """
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
    """Loss of eq. 18: weighted squared error and structural dissimilarity, pixel by pixel.

    Parameters
    ----------
    prediction, target : Tensor
        Reflectance, (n, bands, h, w); NaN in `target` is left out.
    mask : Tensor
        1 where cloudy, (n, 1, h, w).
    alpha : float
        Weight of cloudy pixels (0.8 in the paper).
    pixel, structure : float
        Lambda 1 and lambda 2 of eq. 18.
    error : {"mse", "l1"}
        Squared error as in the paper, or absolute error.

    Returns
    -------
    Tensor
        Scalar.

    Examples
    --------
    >>> y = torch.zeros(1, 1, 16, 16)
    >>> float(cloud_aware_loss(y, y, torch.ones(1, 1, 16, 16)))
    0.0
    """
    known = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(known, target, prediction.detach())
    difference = prediction - target
    each = difference**2 if error == "mse" else difference.abs()
    each = pixel * each + structure * (1 - ssim_map(prediction, target))
    weights = cloud_weights(mask, alpha) * known
    return (weights * each).sum() / (known.sum() * each.shape[1]).clamp(min=1)


def reference_code_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Loss of the authors' published code, which is not eq. 18.

    Parameters
    ----------
    prediction, target : Tensor
        Reflectance, (n, bands, h, w); NaN in `target` is left out.
    mask : Tensor
        1 where cloudy, (n, 1, h, w).

    Returns
    -------
    Tensor
        ``2 mean(M |e|) + 0.5 mean |e| + 0.5 (1 - mean SSIM)``, all means over all pixels, so that
        cloudy pixels weigh 2.5 and clear ones 0.5.

    Examples
    --------
    >>> y = torch.full((1, 1, 32, 32), 0.25)
    >>> round(float(reference_code_loss(y, y, torch.ones(1, 1, 32, 32))), 6)
    0.0
    """
    known = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(known, target, prediction.detach())
    error = (prediction - target).abs()
    structure = 1 - ssim_map(prediction, target)
    each = (2 * mask + 0.5) * error + 0.5 * structure
    return _known_mean(each, known)


def carl(prediction: Tensor, target: Tensor, mask: Tensor, cloudy: Tensor) -> Tensor:
    """Cloud-adaptive regularised loss of DSen2-CR.

    What is clear in the input shall stay as it is, so that the season of the target's date is not
    learned there.

    Parameters
    ----------
    prediction, target, cloudy : Tensor
        Reflectance, (n, bands, h, w); NaN in `target` is left out, NaN in `cloudy` is the target's.
    mask : Tensor
        1 where clouds or shadows are, (n, 1, h, w).

    Returns
    -------
    Tensor
        ``mean |M (p - y) + (1 - M) (p - x)| + mean |p - y|``: lambda is 1, as published.

    References
    ----------
    Meraner et al. (2020), ISPRS Journal of Photogrammetry and Remote Sensing 166, eq. 5.

    Examples
    --------
    >>> p, y, x = (torch.full((1, 1, 1, 2), v) for v in (0.0, 0.1, 0.4))
    >>> round(float(carl(p, y, torch.tensor([[[[1.0, 0.0]]]]), x)), 3)
    0.35
    """
    known = torch.isfinite(target).all(1, keepdim=True)
    target = torch.where(known, target, prediction.detach())
    cloudy = torch.where(torch.isfinite(cloudy), cloudy, target)
    wanted = mask * target + (1 - mask) * cloudy
    each = (prediction - wanted).abs() + (prediction - target).abs()
    return _known_mean(each, known)


def gaussian_nll(mean: Tensor, variance: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Negative log-likelihood of independent Gaussians, without its constant.

    Parameters
    ----------
    mean, variance, target : Tensor
        (n, bands, h, w); NaN in `target` is left out.
    weights : Tensor
        Weight of each pixel, (n, 1, h, w).

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    Ebel et al. (2023), UnCRtainTS, CVPR Workshops.

    Examples
    --------
    >>> y, one = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    >>> float(gaussian_nll(y + 2, one, y, one))
    2.0
    """
    known = torch.isfinite(target)
    error = torch.where(known, target - mean, 0).float()
    each = 0.5 * (variance.float().log() + error**2 / variance.float())
    return _weighted_mean(each, weights * known)


def simulation_loss(simulated: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Absolute error of the optical image that a generator makes of backscatter alone.

    Parameters
    ----------
    simulated, target : Tensor
        (n, bands, h, w); NaN in `target` is left out.
    weights : Tensor
        Weight of each pixel, (n, 1, h, w).

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    Gao et al. (2020), Remote Sensing 12(1), 191.

    Examples
    --------
    >>> y = torch.zeros(1, 1, 2, 2)
    >>> float(simulation_loss(y + 0.5, y, torch.ones(1, 1, 2, 2)))
    0.5
    """
    known = torch.isfinite(target)
    error = torch.where(known, target - simulated, 0).float()
    return _weighted_mean(error.abs(), weights * known)


def shrink_means(target: Tensor, mask: Tensor, spectrum: Tensor, amount: float) -> Tensor:
    """Move the mean of each image under its mask towards one spectrum.

    With few regions a network learns their brightness by heart. Shrinking what it is asked for
    leaves the texture inside an image as it is and asks for less of the difference between images.

    Parameters
    ----------
    target : Tensor
        Reflectance, (n, bands, h, w).
    mask : Tensor
        1 where cloudy, (n, 1, h, w).
    spectrum : Tensor
        Reflectance, (bands,).
    amount : float
        0 leaves the target as it is, 1 gives all images the mean `spectrum`.

    Returns
    -------
    Tensor
        Shaped as `target`.

    Examples
    --------
    >>> y, m = torch.tensor([[[[0.2, 0.4]]]]), torch.ones(1, 1, 1, 2)
    >>> [round(float(v), 3) for v in shrink_means(y, m, torch.tensor([0.1]), 0.5).flatten()]
    [0.1, 0.3]
    """
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
