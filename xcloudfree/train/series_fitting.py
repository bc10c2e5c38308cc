"""What a fit of a network that reads all dates of a series consists of."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.passes import same_pass
from xcloudfree.core.progress import Progress
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError
from xcloudfree.masks.resolve import Mask
from xcloudfree.models.model import Model
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.dates import dates_of
from xcloudfree.train.batches import Sampling
from xcloudfree.train.hidden_dates import hide
from xcloudfree.train.inputs import copy_to_fit, held_out_data
from xcloudfree.train.series_objective import Hidden, SeriesObjective
from xcloudfree.train.series_places import SeriesPlaces
from xcloudfree.train.series_samples import check_gaps
from xcloudfree.train.tasks import Task, shared_bands

SIDE: Final = 64
"""Rows and columns of the places of a scene whose dates are hidden."""

ROUNDS: Final = 16
"""Times that dates are hidden to fit on, over all series; half as often to judge."""

AT_ONCE: Final = 64
"""Pixels of a hidden date that one step reads."""


class Part(NamedTuple):
    """A series, and which of its dates may be hidden."""

    places: SeriesPlaces
    usable: NDArray[np.bool_]


class HiddenDates:
    """Hidden dates of some series, each series drawn equally often."""

    def __init__(self, each: Sequence[Hidden]) -> None:
        self.each = each

    def draw(self, rng: np.random.Generator, size: int) -> Hidden:
        """Some pixels of some dates."""
        found = []
        for _ in range(size):
            of = self.each[int(rng.integers(len(self.each)))]
            n = int(rng.integers(len(of.samples)))
            which = rng.integers(len(of.samples[n].error), size=AT_ONCE)
            found.append((of.samples[n].of(torch.from_numpy(which)), of.origins[n]))
        samples, origins = zip(*found, strict=True)
        return Hidden(samples, origins)

    def whole(self) -> Hidden:
        """All of them."""
        samples = tuple(sample for of in self.each for sample in of.samples)
        return Hidden(samples, tuple(origin for of in self.each for origin in of.origins))

    def fingerprint(self) -> str:
        """Hash of the observations and their errors."""
        sha = hashlib.blake2b(digest_size=8)
        for sample in self.whole().samples:
            for tensor in (sample.tokens.different, sample.error, sample.size):
                sha.update(tensor.contiguous().numpy().tobytes())
        return sha.hexdigest()


def series_task(
    model: Model,
    data: list[xr.Dataset],
    validation: Any,
    how: Sampling,
    progress: bool | None,
) -> Task:
    """Hide dates of series to fit on, and others to judge on."""
    gaps, outside = how.recipe.gaps, list[xr.Dataset]()
    if not isinstance(validation, (int, float)):
        data, outside = held_out_data(data, validation, how.seed)
    scenes, others = ([read(ds) for ds in some] for some in (data, outside))
    start = copy_to_fit(model.for_bands(shared_bands(scenes + others)), scenes + others)
    spec = start.spec
    check_gaps(gaps, spec)
    series, judged = (
        [_places(scene, spec, how.mask) for scene in some] for some in (scenes, others)
    )
    if judged:
        to_fit, to_judge = ([Part(s, np.ones(len(s.days), bool)) for s in some]
                            for some in (series, judged))  # fmt: skip
    else:
        to_fit, to_judge = (
            list(some) for some in zip(*(_parted(s, validation) for s in series), strict=True)
        )
    turns = [max(len(gaps), count // len(some))
             for count, some in ((ROUNDS, to_fit), (ROUNDS // 2, to_judge))]  # fmt: skip
    total = turns[0] * len(to_fit) + turns[1] * len(to_judge)
    with Progress("hiding dates", total, show=progress) as bar:
        fitted_on, judged_on = (
            HiddenDates([
                _hidden(part, f"series {n}", spec, gaps, count, how.seed + k, bar)
                for n, part in enumerate(some)
            ])
            for k, (some, count) in enumerate(zip((to_fit, to_judge), turns, strict=True))
        )  # fmt: skip
    whole = judged_on.whole()
    if (count := len(set(whole.origins))) < 2:
        raise DataError(
            f"{count} of the held-out dates can be hidden and estimated, and 2 are needed",
            fix="call fit(..., validation=0.4), or load a longer series",
            option="--validation 0.4, or a longer series",
        )
    objective = SeriesObjective(Model(spec, deepcopy(start.network)), start, whole)
    prints = fitted_on.fingerprint(), judged_on.fingerprint()
    return Task(objective, fitted_on, [whole], model.digest, *prints)


def _places(scene: Scene, spec: ModelSpec, mask: Mask) -> SeriesPlaces:
    """A series whose dates can be hidden."""
    dates_of(scene, f"fitting {spec.name!r}", "fit(..., model='carf-small', target=...)")
    return SeriesPlaces.read(scene, spec, mask, SIDE, 1)


def _parted(series: SeriesPlaces, share: float) -> tuple[Part, Part]:
    """The series without some of its passes, evenly spread, and the series to hide these in."""
    passes = np.unique([np.argmax(same_pass(series.days, n)) for n in range(len(series.days))])
    count = max(2, round(share * len(passes)))
    if not 0 < share < 1 or len(passes) - count < 2:
        raise DataError(
            f"validation={share} of {len(passes)} dates leaves a part with less than two",
            fix="call fit(..., validation=0.2), or load a longer series",
            option="--validation 0.2, or a longer series",
        )
    chosen = passes[((np.arange(count) + 0.5) * len(passes) / count).astype(int)]
    held_out = np.zeros(len(series.days), bool)
    for first in chosen.tolist():
        held_out |= same_pass(series.days, first)
    rest = replace(
        series, times=series.times[~held_out], order=series.order[~held_out],
        days=series.days[~held_out], kept=OrderedDict(), barren={},
    )  # fmt: skip
    return Part(rest, np.ones(len(rest.days), bool)), Part(series, held_out)


def _hidden(
    part: Part,
    name: str,
    spec: ModelSpec,
    gaps: Sequence[float],
    turns: int,
    seed: int,
    bar: Progress,
) -> Hidden:
    """Hidden dates of a series, each turn at another place and gap."""
    places, usable = part
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(places.windows))
    found = []
    for turn in range(turns):
        place = places.place(order[(turn + turn // len(gaps)) % len(order)])
        for date, hidden in hide(place, usable, float(gaps[turn % len(gaps)]), spec, rng):
            sample = hidden.sample(rng)
            if sample is not None:
                day = places.times[date].astype("datetime64[D]")
                found.append((sample, f"{name}, {day}"))
        bar.step()
    if not found:
        raise DataError(
            f"of {name} no date shows ground that can be hidden and estimated from the others",
            fix="look at ds.cloudfree.mask(...), choose another with fit(..., mask=...), or load a "
            "longer series",
            option="choose another with --mask, or load a longer series",
        )
    samples, origins = zip(*found, strict=True)
    return Hidden(samples, origins)
