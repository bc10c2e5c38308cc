"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xcloudfree import models
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.kernels.normalisation import PRESETS
from xcloudfree.models.diffusion import Diffusion
from xcloudfree.models.model import Model
from xcloudfree.models.simulation_fusion import SimulationFusion
from xcloudfree.progress import Progress
from xcloudfree.scene import Scene
from xcloudfree.train.losses import (
    LOSSES,
    Loss,
    cloud_weights,
    gaussian_nll,
    shrink_means,
    simulation_loss,
)
from xcloudfree.train.samples import Batch, PatchSamples, pair


def fit(
    data: xr.Dataset | Sequence[xr.Dataset],
    model: str | Path | Model = "carf-small",
    *,
    target: str | xr.Dataset | Sequence[xr.Dataset] = "target",
    steps: int = 2000,
    batch: int = 8,
    crop: int = 128,
    learning_rate: float = 2e-4,
    loss: str = "paper",
    alpha: float = 0.8,
    simulated: float = 0.5,
    shrinkage: float = 0.0,
    mask: str = "score",
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> Model:
    """Fit a model on paired patches.

    AdamW with warm-up, cosine decay, clipped gradients and an exponential moving average of the
    weights, on random crops turned and mirrored at random. Two runs with one seed on one CPU give
    the same weights.

    Some networks need more than a loss of their output: variances are fitted to the error that is
    left (Gaussian likelihood), the first generator of ``simulation-fusion-gan`` to the target, and
    ``diffusion`` by its bridge instead of `loss`. The adversarial networks are fitted without their
    adversary.

    Parameters
    ----------
    data : Dataset or sequence of Dataset
        Cloudy Sentinel-2 with Sentinel-1 in any accepted form, lazy or in memory; for example what
        :func:`xcloudfree.datasets.sen12mscr` or :func:`xcloudfree.stac.load` return. Of several,
        each is drawn equally often.
    model : str, Path or Model
        A name of :func:`xcloudfree.models.list`, a file, or a model from
        :func:`xcloudfree.models.create` or an earlier fit, which is left unchanged.
    target : str, Dataset or sequence of Dataset
        Cloud-free reflectance: the variable of `data` that holds it, or a Dataset for each of
        `data`, on the same grid and dates. A clear scene may be its own target: it gets simulated
        clouds.
    steps, batch, crop : int
        Optimiser steps, samples per step, side of a crop in pixels.
    learning_rate : float
        Highest learning rate.
    loss : {"paper", "l1-ssim", "error"}
        Eq. 18 as printed; absolute error + 0.1 (1 - SSIM); or squared error + 0.01 (1 - SSIM); all
        with the weights of eq. 17.
    alpha : float
        Weight of cloudy pixels in eq. 17.
    simulated : float
        Share of samples with simulated clouds over the target, 0 to 1.
    shrinkage : float
        For data from few regions: how far to move the mean of each target under its mask towards
        the mean spectrum of all, 0 to 1.
    mask : {"score", "reference-code", "l2a"}
        Mask method for eq. 17 and for networks that read the mask.
    seed : int
        Of samples and clouds.
    device : str, optional
        Torch device; by default CUDA if there is one, else the CPU.
    progress : bool
        Whether to show a line with the loss while fitting.

    Returns
    -------
    Model
        Fitted copy; its specification tells level, quantity and this recipe.

    Raises
    ------
    DataError
        If the target is missing, patches are smaller than the crop, the level is undeclared, a
        number is out of range, or the loss is not finite.
    ModelError
        If the loss or model is unknown.
    MissingBandError, UnitsError
        If the model or the mask needs what the data lacks, or units are undeclared.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 17-18.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudfree as xcf
    >>> dims = ("patch", "band", "y", "x")
    >>> s2 = xr.DataArray(np.full((1, 13, 32, 32), 0.2, "float32"), dims=dims)
    >>> s2 = s2.assign_coords(band=list(xcf.bands.S2_BANDS)).assign_attrs(processing_level="TOA")
    >>> s1 = xr.DataArray(np.full((1, 2, 32, 32), -12.0, "float32"), attrs={"units": "dB"},
    ...     dims=("patch", "polarisation", "y", "x"), coords={"polarisation": ["VV", "VH"]})
    >>> patches = xr.Dataset({"s2": s2, "s1": s1, "target": s2})
    >>> model = xcf.fit(patches, "carf-tiny", steps=1, batch=1, crop=32, progress=False)
    >>> model.spec.trained
    True
    """
    if loss not in LOSSES:
        raise ModelError(
            f"unknown loss {loss!r}, known are {sorted(LOSSES)}; "
            "for eq. 18 call fit(..., loss='paper')"
        )
    _check_numbers(steps, batch, crop, alpha, simulated, shrinkage)
    pairs = _pairs(data, target)
    start = model if isinstance(model, Model) else models.load(model)
    if start.spec.dates > 1:
        raise ModelError(
            f"{start.spec.name} reads {start.spec.dates} dates and fit() makes samples of one; "
            'fit a network of one date, such as fit(..., model="uncrtaints")'
        )
    fitted = _copy(start, [scene for scene, _ in pairs])
    samples = PatchSamples(pairs, spec=fitted.spec, crop=crop, simulated=simulated, mask=mask)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = fitted.network.train().to(place, memory_format=torch.channels_last)
    spectrum = torch.from_numpy(samples.mean_spectrum()).clamp(0, 1)
    prior = getattr(network, "prior", None)
    if prior is not None and not fitted.spec.trained:
        with torch.no_grad():
            prior.spectrum.bias.copy_(spectrum)
    objective = _Objective(fitted, LOSSES[loss], alpha, shrinkage, spectrum.to(place))
    optimiser = torch.optim.AdamW(_groups(network), lr=learning_rate, betas=(0.9, 0.99))
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_decay(steps))
    )
    bar = Progress("fit", steps, show=progress)
    for step in range(steps):
        drawn = samples.draw(np.random.default_rng([seed, step]), batch)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * _schedule(step, steps)
        value = objective(network, drawn, place)
        if not torch.isfinite(value):
            raise DataError(
                f"the loss is {value.item()} at step {step}; look for values without meaning in "
                f"the data, or call fit(..., learning_rate={learning_rate / 10:g})"
            )
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        bar.step(f"loss {value.item():.4f}")
    with torch.no_grad():  # the running statistics of the network itself stay
        for own, mean in zip(network.parameters(), average.module.parameters(), strict=True):
            own.copy_(mean)
    recipe = (
        f"{steps} steps of {batch} x {crop} px, learning rate {learning_rate:g}, loss {loss!r}, "
        f"alpha {alpha:g}, simulated {simulated:g}, shrinkage {shrinkage:g}, seed {seed}, {place}"
    )
    spec = fitted.spec.replace(trained=True, note=recipe)
    return Model(spec, network.to("cpu", memory_format=torch.contiguous_format))


def _check_numbers(
    steps: int, batch: int, crop: int, alpha: float, simulated: float, shrinkage: float
) -> None:
    for name, whole in (("steps", steps), ("batch", batch), ("crop", crop)):
        if whole < 1:
            raise DataError(f"{name} is {whole}; call fit(..., {name}=8) or another number above 0")
    shares = {"alpha": alpha, "simulated": simulated, "shrinkage": shrinkage}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise DataError(f"{name} is {share}; call fit(..., {name}=0.5) or another from 0 to 1")


def _pairs(
    data: xr.Dataset | Sequence[xr.Dataset], target: str | xr.Dataset | Sequence[xr.Dataset]
) -> list[tuple[Scene, Scene]]:
    datasets = [data] if isinstance(data, xr.Dataset) else list(data)
    if not datasets:
        raise DataError("there is no data to fit on; call fit(dataset, ...)")
    if isinstance(target, str):
        return [pair(ds, target) for ds in datasets]
    truths = [target] if isinstance(target, xr.Dataset) else list(target)
    if len(truths) != len(datasets):
        raise DataError(
            f"there are {len(datasets)} datasets and {len(truths)} targets; "
            "call fit(..., target=[one for each])"
        )
    return [pair(ds, truth) for ds, truth in zip(datasets, truths, strict=True)]


def _copy(model: Model, scenes: Sequence[Scene]) -> Model:
    """Copy to fit, with the level and the quantity that the data declares."""
    levels = {s.level for s in scenes}
    if len(levels) > 1 or None in levels:
        raise DataError(
            f"the data mixes levels or does not declare them ({levels}); declare what it is with "
            'ds.cloudfree.calibrate(level="TOA"), or fit on one level'
        )
    changes: dict[str, Any] = {"level": levels.pop()}
    quantities = {s.quantity for s in scenes} - {None}
    if len(quantities) == 1:
        changes["sar_quantity"] = quantities.pop()
    if model.spec.trained:
        changes.pop("sar_quantity", None)
        if changes.pop("level", model.spec.level) != model.spec.level:
            raise ModelError(
                f"{model.spec.name} was fitted on {model.spec.level} and the data is not; "
                "start from an untrained model with xcloudfree.models.create(...)"
            )
    return Model(model.spec.replace(**changes), deepcopy(model.network))


@dataclass(frozen=True)
class _Objective:
    """Value of the loss for a batch."""

    model: Model
    loss: Loss
    alpha: float
    shrinkage: float
    spectrum: Tensor

    def __call__(self, network: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        optical, sar = self.model.normalise(batch.cloudy, batch.sar, device)
        target = torch.from_numpy(np.clip(batch.target, 0, 1)).to(device)
        mask = torch.from_numpy(batch.mask.astype(np.float32)).to(device)
        if self.shrinkage:
            target = shrink_means(target, mask, self.spectrum, self.shrinkage)
        extra: dict[str, Any] = {"mask": mask} if self.model.spec.needs_mask else {}
        optical = optical.contiguous(memory_format=torch.channels_last)
        preset, weights = PRESETS[self.model.spec.normalisation], cloud_weights(mask, self.alpha)
        scaled = preset.to_scale(target)
        beside: Tensor | float = 0.0
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            if isinstance(network, Diffusion):
                return network.bridge_loss(scaled, optical, sar, weights=weights)
            if not self.model.spec.variance:
                prediction = network(optical, sar, **extra)
            else:
                prediction, variance = network(optical, sar, variance=True, **extra)
                beside = gaussian_nll(prediction.detach(), variance, scaled, weights)
            if isinstance(network, SimulationFusion):
                beside = simulation_loss(network.simulate(sar), scaled, weights)
        reflectance = preset.to_reflectance(prediction.float())
        return self.loss(reflectance, target, mask, self.alpha) + beside


def _groups(network: nn.Module) -> Iterator[dict[str, Any]]:
    """Weight decay for matrices and kernels only."""
    named = list(network.named_parameters())
    heavy = [p for n, p in named if p.ndim > 1 and "relative_bias" not in n]
    light = [p for n, p in named if p.ndim <= 1 or "relative_bias" in n]
    yield {"params": heavy, "weight_decay": 1e-4}
    yield {"params": light, "weight_decay": 0.0}


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to 1/200."""
    warm = min(500, max(1, steps // 10))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * done))


def _decay(steps: int) -> float:
    """Moving average over about a tenth of the run, at most 1000 steps."""
    return min(0.999, 1 - 10 / max(steps, 20))
