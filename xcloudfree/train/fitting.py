"""Fit a model: the public function."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xcloudfree import models
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.masks.resolve import Mask
from xcloudfree.train.inputs import Target, datasets, recognised, spec_to_fit
from xcloudfree.train.recipe import Recipe

if TYPE_CHECKING:
    from xcloudfree.models.model import Model

_USUAL = Recipe()

HELD_OUT = 0.2
"""Share of the dates that is held out if fitted weights for series are fitted further."""


def fit(
    data: xr.Dataset | Sequence[xr.Dataset],
    model: str | Path | Model = "carf-small",
    *,
    target: Target = None,
    steps: int = 2000,
    batch: int = 8,
    crop: int = 128,
    learning_rate: float = 2e-4,
    loss: str | None = None,
    alpha: float = 0.8,
    simulated: float = 0.5,
    shrinkage: float = 0.0,
    mask: Mask | None = None,
    validation: float | xr.Dataset | Sequence[xr.Dataset] | None = None,
    patience: int | None = None,
    checkpoints: str | Path | None = None,
    log: str | Path | None = None,
    cache: str | Path | None = None,
    recipe: Recipe = _USUAL,
    seed: int = 0,
    device: str | None = None,
    progress: bool | None = None,
) -> Model:
    """Fit a model on paired patches, or on the clear pixels of a series.

    The fit uses AdamW with warm-up, cosine decay, clipped gradients and a moving average of the
    weights, on random crops with random symmetries. Two runs with one seed on one CPU give the same
    weights, and so does a run that was killed and called again with the same `checkpoints`.

    A network that reads all dates of a series, such as ``"carf-series"``, is fitted on clear pixels
    of its dates, hidden under the clouds of other dates. A fifth of the dates is held out, and if
    it does not gain on these over its start with a confidence of 90 %, the start is returned with a
    warning. It takes no `target`, `crop`, `loss`, `alpha`, `simulated`, `shrinkage` or `cache`.

    It runs on Lightning: ``pip install "xcloudfree[train]"``.

    Parameters
    ----------
    data : Dataset or sequence of Dataset
        Cloudy Sentinel-2 with Sentinel-1 in any accepted form, lazy or in memory; for example the
        output of :func:`xcloudfree.datasets.sen12mscr` or :func:`xcloudfree.stac.load`. If there
        are several, each is drawn equally often.
    model : str, Path or Model
        A name of :func:`xcloudfree.models.list`, a file, or a model from
        :func:`xcloudfree.models.create` or an earlier fit, which does not change. For a name
        without weights, the network gets those of its bands that the data has.
    target : str, Dataset or sequence of Dataset, optional
        Cloud-free reflectance: the name of a variable of `data`, or a Dataset for each of `data`,
        on the same grid and dates. A clear scene can be its own target and then gets simulated
        clouds. Default: the variable ``"target"``; a series with ``time`` but without this variable
        is fitted on its own clear pixels.
    steps, batch, crop : int
        Optimiser steps, samples per step, side of a crop in pixels.
    learning_rate : float
        Highest learning rate.
    loss : str, optional
        ``"paper"``: eq. 18 as printed. ``"reference-code"``: that of the paper's published code.
        ``"carl"``: that of DSen2-CR. ``"l1-ssim"``: absolute error + 0.1 (1 - SSIM), and
        ``"error"``: squared error + 0.01 (1 - SSIM), both with the weights of eq. 17. ``"l1"``,
        ``"mse"``: plain, and ``"l1-cloud"``: absolute error with the weights of eq. 17. ``"nll"``:
        Gaussian likelihood, for networks with variance. ``"adversarial"``: with a discriminator,
        for adversarial networks. ``"bridge"``: for ``diffusion``. By default that of the
        network's publication. With another loss than ``"nll"``, a network's variance is fitted to
        the remaining error.
    alpha : float
        Weight of cloudy pixels in eq. 17.
    simulated : float
        Share of samples with simulated clouds over the target, 0 to 1. With 0, pairs keep their own
        clouds, and the dates of a series get the real clouds of its other dates; only crops of
        pairs with almost no cloud still get simulated ones.
    shrinkage : float
        For data from few regions: how far to move the mean of each target under its mask towards
        the mean spectrum of all, 0 to 1.
    mask : {"score", "reference-code", "l2a", "scl", "simulated"}, optional
        Mask method for eq. 17 and for networks that read the mask, by default ``"score"``. A
        network that reads all dates takes any mask of ``reconstruct``, by default ``"auto"``.
        ``"score"`` and ``"reference-code"`` need B10, which Level-2A lacks, and, like ``"l2a"``,
        B01. ``"scl"``, the scene classification, is for series only: it cannot mask simulated
        clouds over a pair.
        ``"simulated"``: the pixels hidden by simulated clouds over pairs and their shadow, with
        ``simulated=1``; reads no band.
    validation : float, Dataset or sequence of Dataset, optional
        Share of regions, of datasets or of the latest dates to hold out, or separate data on other
        ground. The fit returns the weights with the least mean absolute error under its masks. If
        it starts from fitted weights for series, it holds out a fifth by default, and returns
        these weights with a warning if no step is better. For a network that reads all dates, the
        share of the dates of each series, evenly spread over it.
    patience : int, optional
        Validations without improvement after which to stop.
    checkpoints : str or Path, optional
        Folder to save the state; a repeated call with the same folder resumes.
    log : str or Path, optional
        Folder for ``metrics.csv``, a TensorBoard file if that is installed, and pictures of
        samples.
    cache : str or Path, optional
        Folder for a copy of the decoded patches, in chunks of about a crop: for slow or large data.
    recipe : Recipe
        Rarely used settings, see :class:`xcloudfree.train.Recipe`.
    seed : int
        Seed of samples, clouds and random layers.
    device : str, optional
        Torch device; by default CUDA if there is one, else the CPU.
    progress : bool, optional
        Whether to show a progress bar with the loss; by default in a terminal or notebook only.

    Returns
    -------
    Model
        Fitted copy; its specification records level, quantity and this recipe.

    Raises
    ------
    DataError
        If the target is missing or under cloud, patches are smaller than the crop, the level is
        undeclared, a number is out of range, training and validation share ground, a checkpoint
        belongs to another fit, or the loss is not finite.
    CloudFreeError
        If Lightning is not installed.
    ModelError
        If the loss or model is unknown, or they do not fit together.
    MissingBandError, UnitsError
        If the data lacks a band that the model or the mask needs, or units are undeclared.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 17-18.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudfree as xcf
    >>> dims = ("patch", "band", "y", "x")
    >>> s2 = xr.DataArray(np.full((1, 13, 32, 32), 0.1, "float32"), dims=dims)
    >>> s2 = s2.assign_coords(band=list(xcf.bands.S2_BANDS)).assign_attrs(processing_level="TOA")
    >>> s1 = xr.DataArray(np.full((1, 2, 32, 32), -12.0, "float32"), attrs={"units": "dB"},
    ...     dims=("patch", "polarisation", "y", "x"), coords={"polarisation": ["VV", "VH"]})
    >>> patches = xr.Dataset({"s2": s2, "s1": s1, "target": s2})
    >>> model = xcf.fit(patches, "carf-tiny", steps=1, batch=1, crop=32, progress=False)
    >>> model.spec.trained
    True
    """
    _check_numbers(
        counts={"steps": steps, "batch": batch, "crop": crop, "patience": patience},
        shares={"alpha": alpha, "simulated": simulated, "shrinkage": shrinkage},
        learning_rate=learning_rate,
    )
    several = datasets(data)
    _check_data(several, target, model)
    try:
        import torch

        from xcloudfree.models.model import Model
        from xcloudfree.train.batches import Sampling
        from xcloudfree.train.loop import Loop, Settings, run
        from xcloudfree.train.series_fitting import series_task
        from xcloudfree.train.tasks import crops_task
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lightning":
            raise
        raise CloudFreeError(
            "Fitting needs Lightning", fix="install it with pip install 'xcloudfree[train]'"
        ) from error
    if not isinstance(recipe, Recipe):
        raise DataError(
            f"recipe is a {type(recipe).__name__}",
            fix="call fit(..., recipe=Recipe(average=0.99)) with xcloudfree.train.Recipe",
        )
    start = model if isinstance(model, Model) else models.load(model)
    config: Any = start.network.config
    if validation is None and (config.reads_series or (start.spec.trained and start.spec.context)):
        validation = HELD_OUT
    if patience is not None and validation is None:
        raise DataError(
            "patience needs validation data",
            fix="call fit(..., validation=0.1)",
            option="--validation 0.1",
        )
    if mask is None:
        mask = "auto" if config.reads_series else "score"
    how = Sampling(crop, simulated, mask, seed, recipe, None if cache is None else Path(cache))
    if config.reads_series:
        given = {
            "target": target, "crop": crop, "loss": loss, "alpha": alpha, "simulated": simulated,
            "shrinkage": shrinkage, "cache": cache,
        }  # fmt: skip
        _check_unused(start.spec.name, given, recipe)
        task = series_task(start, several, validation, how, progress)
    else:
        task = crops_task(
            start, model, several, target, validation, how, loss, alpha, shrinkage, batch,
            log is not None,
        )  # fmt: skip
    objective = task.objective
    identity = {
        "model": task.start,
        "data": task.data,
        "steps": steps,
        "batch": batch,
        "crop": crop,
        "learning_rate": learning_rate,
        "loss": objective.loss,
        "alpha": alpha,
        "simulated": simulated,
        "shrinkage": shrinkage,
        "mask": mask if isinstance(mask, str) else "given",
        "patience": patience,
        "seed": seed,
        "recipe": {k: v for k, v in asdict(recipe).items() if k != "threads"},
    }
    if task.held_out:
        identity["validation"] = task.judged
    state, journal = (None if f is None else Path(f) for f in (checkpoints, log))
    settings = Settings(
        steps, batch, learning_rate, seed, patience, recipe, identity, state, journal, progress
    )
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    loop = Loop(objective, settings, task.held_out, task.pictured)
    run(loop, task.samples, place)

    weights = {name: tensor.detach().cpu().clone() for name, tensor in loop.fitted().items()}
    network = objective.model.network.to("cpu", memory_format=torch.contiguous_format)
    network.load_state_dict(weights)
    what = "hidden dates" if config.reads_series else f"x {crop} px"
    note = f"{loop.steps_done} steps of {batch} {what}, learning rate {learning_rate:g}, "
    if not config.reads_series:
        note += (
            f"loss {objective.loss!r}, alpha {alpha:g}, simulated {simulated:g}, "
            f"shrinkage {shrinkage:g}, "
        )
    note += f"seed {seed}, {place}"
    spec, changed = objective.model.spec, True
    if task.held_out:
        told = objective.told(loop.best_error)
        note += f"; best of the validations, {told}"
        changed = loop.best_error < loop.first_error
        if not changed:
            note += ", which is that of the weights it started from: they are unchanged"
            warnings.warn(
                f"no step of the fit was {objective.better} than its start, {start.spec.name!r}, "
                f"on the held-out data ({told}), so fit() returns its weights",
                stacklevel=2,
            )
        elif config.reads_series:
            spec = spec.replace(metrics=objective.figures())
    return Model(spec.replace(note=note, trained=spec.trained or changed), network)


def _check_data(data: list[xr.Dataset], target: Target, model: Any) -> None:
    """Raise an error for what can be refused before torch is imported, which takes seconds."""
    named = isinstance(model, (str, Path))
    if not (models.known(model) if named else hasattr(model, "spec")):
        models.load(model)  # raises the error
    spec = models.declared(model)
    if spec is None:  # only the network itself can say what it reads
        return
    if target is None:
        scenes = [scene for scene, _ in recognised(data, None)]
    else:
        name = [target] if isinstance(target, str) else []
        scenes = [read(ds.drop_vars(name, errors="ignore")) for ds in data]
    if not spec.trained:  # can be made for other data
        return
    for scene in scenes:
        scene.need_optical(spec.optical_bands, f"fitting {spec.name!r}")
        scene.need_sar(spec.polarisations, f"fitting {spec.name!r}")
    spec_to_fit(spec, scenes)


def _check_unused(name: str, given: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise an error for what has no effect on a network that reads all dates of a series."""
    usual = {**(fit.__kwdefaults__ or {}), "devices": 1}
    given = {**given, "devices": recipe.devices}
    unused = [k for k in given if given[k] is not usual[k] and given[k] != usual[k]]
    if unused:
        first = unused[0]
        call = f"{first}={usual[first]!r}" if first != "devices" else "recipe=Recipe()"
        raise DataError(
            f"{name!r} is fitted on hidden pixels of series, on one device and with a loss of its "
            f"own, so {first} has no effect",
            fix=f"call fit(..., {call}), which is the default",
            option=f"leave out --{first}",
        )


def _check_numbers(
    counts: Mapping[str, int | None], shares: Mapping[str, float], learning_rate: float
) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise DataError(
                f"{name} is {count}",
                fix=f"call fit(..., {name}=8) or another number above 0",
                option=f"--{name} 8, or another number above 0",
            )
    if not 0 < learning_rate < inf:
        raise DataError(
            f"learning_rate is {learning_rate}",
            fix="call fit(..., learning_rate=2e-4) or another number above 0",
            option="--learning-rate 2e-4, or another number above 0",
        )
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise DataError(
                f"{name} is {share}",
                fix=f"call fit(..., {name}=0.5) or another from 0 to 1",
                option=f"--{name} 0.5, or another share from 0 to 1",
            )
