"""What a fit consists of: a loss, samples to fit on and others to judge on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from xcloudfree import models
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError
from xcloudfree.models.model import Model
from xcloudfree.train.batches import BatchLoader, Sampling, fingerprint, held_out, samples_of
from xcloudfree.train.inputs import Target, copy_to_fit, held_out_data, recognised
from xcloudfree.train.objective import Objective, choose_loss
from xcloudfree.train.samples import Batch, PatchSamples


@dataclass(frozen=True)
class Task:
    """What is fitted on what."""

    objective: Any  # an Objective or a SeriesObjective
    samples: Any  # with `draw`
    held_out: list[Any]  # batches to judge on
    # by which a checkpoint recognises model and data
    start: str
    data: str
    judged: str | None
    pictured: Batch | None = None


def crops_task(
    model: Model,
    source: str | Path | Model,
    data: list[xr.Dataset],
    target: Target,
    validation: float | xr.Dataset | Sequence[xr.Dataset] | None,
    how: Sampling,
    loss: str | None,
    alpha: float,
    shrinkage: float,
    batch: int,
    pictures: bool,
) -> Task:
    """Crops of pairs and of single dates, for a model that was loaded from a source."""
    outside = None
    if validation is not None:
        data, outside = held_out_data(data, validation, how.seed)
        if target is not None and not isinstance(target, str):
            raise DataError(
                "with validation the target is a variable of the data",
                fix="call fit(ds.assign(target=...), validation=...)",
            )
    scenes = recognised(data, target)
    judged = [] if outside is None else recognised(outside, target)
    recognised_scenes = [scene for scene, _ in (*scenes, *judged)]

    # the network, and a suitable loss
    start = model if source is model else _with_bands(model, source, recognised_scenes)
    loss = choose_loss(loss, start.spec, how.crop)
    if how.recipe.devices > 1 and loss == "adversarial":
        raise DataError("adversarial fitting uses one device", fix="call fit(..., recipe=Recipe())")
    fitted = copy_to_fit(start, recognised_scenes)

    samples = samples_of(scenes, fitted.spec, how)
    if isinstance(samples, PatchSamples) and batch > samples.crops:
        raise DataError(
            f"a batch of {batch} is larger than the data, which has {samples.crops} different "
            f"crops of {how.crop} px, turned and mirrored",
            fix=f"call fit(..., batch={samples.crops}) or with a smaller crop",
            option=f"--batch {samples.crops}, or a smaller --crop",
        )
    held_out_batches, held_out_print = [], None
    if judged:
        held_out_samples = samples_of(judged, fitted.spec, replace(how, cache=None))
        held_out_batches = held_out(held_out_samples, batch, how.seed, how.recipe.held_out)
        held_out_print = fingerprint(held_out_samples, how.seed)
    pictured = None
    if pictures:
        few = BatchLoader(samples, min(batch, 4), how.seed, 0, 0)
        pictured = held_out_batches[0] if held_out_batches else few.draw(0)

    # a network that predicts from backscatter starts from the mean of the targets
    spectrum = torch.from_numpy(samples.mean_spectrum()).clamp(0, 1)
    prior = getattr(fitted.network, "prior", None)
    if prior is not None and not fitted.spec.trained:
        with torch.no_grad():
            prior.spectrum.bias.copy_(PRESETS[fitted.spec.normalisation].to_scale(spectrum))
    objective = Objective(fitted, loss, alpha, shrinkage, spectrum, how.recipe.precision)
    data_print = fingerprint(samples, how.seed)
    return Task(
        objective, samples, held_out_batches, start.digest, data_print, held_out_print, pictured
    )


def shared_bands(scenes: Sequence[Scene]) -> list[str]:
    """The bands that all scenes have."""
    names = [() if scene.optical is None else scene.optical.names for scene in scenes]
    return [b for b in S2_BANDS if all(b in have for have in names)]


def _with_bands(start: Model, source: Any, scenes: Sequence[Scene]) -> Model:
    """The model with those of its bands that the scenes have, unless its weights belong to them."""
    have = shared_bands(scenes)
    config: Any = start.network.config
    if config.any_bands:
        return start.for_bands(have)
    shared = [b for b in start.spec.optical_bands if b in have]
    if models.has_weights(source) or len(shared) in (0, len(start.spec.optical_bands)):
        return start
    return models.load(source, optical_bands=shared)
