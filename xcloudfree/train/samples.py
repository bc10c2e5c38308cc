"""Samples for fitting: crops of paired patches, under their own clouds or simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.scene import Scene
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.datasets.clouds import simulate_clouds
from xcloudfree.exceptions import DataError
from xcloudfree.masks.scores import METHODS
from xcloudfree.methods.leave_out import Place, without
from xcloudfree.models.spec import ModelSpec
from xcloudfree.train.inputs import paired_arrays, sample_names
from xcloudfree.train.reading import LeastRecentlyUsed, Planes, cached, planes

Array = NDArray[np.float32]

ENOUGH_CLOUD = 0.1
"""Share of a crop that must be occluded for its own clouds to be useful."""

SIMULATED = "simulated"
"""Mask method that uses the known pixels hidden by simulated clouds."""

SEEN = 0.1
"""Opacity or shadow of simulated clouds from which the ground counts as hidden."""

ONE_DATE = ("kernel-fusion",)
"""Context that one date has too."""

RADAR = ("VV", "VH")
"""Polarisations that kernel fusion reads, in its order."""

LOOKED_AT = 256
"""Samples of a dataset, evenly spaced, used to find its mean and its faults."""


@dataclass(frozen=True)
class Batch:
    """Physical arrays of one step."""

    # reflectance (n, band, y, x); NaN is no data
    cloudy: Array
    target: Array
    sar: Array  # backscatter in dB, (n, polarisation, y, x)
    mask: NDArray[np.bool_]  # true where occluded, (n, 1, y, x)
    # context from other dates, (n, planes, y, x), for networks that read it
    context: Array | None = None
    origins: tuple[str, ...] = ()  # origin of each sample, for messages


class Samples(Protocol):
    """Source of batches for the loop; all randomness comes from the given generator."""

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch of `size` samples."""

    def mean_spectrum(self) -> Array:
        """Mean reflectance of the target in each band that the network reads."""


@dataclass(frozen=True)
class PairedArrays:
    """Arrays of one dataset, each (sample, band, y, x), and the names of its samples."""

    cloudy: Planes
    target: Planes
    sar: Planes
    names: tuple[str, ...]


class PatchSamples:
    """Random crops of paired patches."""

    # Each dataset is drawn equally often, so one dataset per region gives regions equal weight. A
    # crop with almost no cloud gets simulated ones: the few pixels that a mask finds there are
    # bright ground, and would teach that hidden ground is bright. A pixel without backscatter asks
    # for nothing.

    def __init__(
        self,
        data: Sequence[tuple[Scene, Scene]],
        *,
        spec: ModelSpec,
        crop: int,
        simulated: float,
        mask: str,
        cache: Path | None = None,
        cloudy_targets: Literal["refuse", "omit", "keep"] = "refuse",
    ) -> None:
        usable = [n for n, method in METHODS.items() if method.bands != ("SCL",)] + [SIMULATED]
        if not isinstance(mask, str) or mask not in usable:
            given = repr(mask) if isinstance(mask, str) else f"a {type(mask).__name__}"
            raise DataError(
                f"fitting masks simulated clouds too, so it cannot use {given}"
                f"{did_you_mean(mask, usable)}",
                fix="call fit(..., mask='score'), or 'l2a' for Level-2A",
                option="--mask score, or l2a for Level-2A",
            )
        if mask == SIMULATED and simulated < 1:
            raise DataError(
                "pixels hidden by real clouds are unknown without a mask method",
                fix=f"call fit(..., mask={SIMULATED!r}, simulated=1.0), or mask='l2a'",
                option=f"--mask {SIMULATED} --simulated 1, or --mask l2a",
            )
        self.spec, self.crop, self.simulated = spec, crop, simulated
        self.method = METHODS.get(mask)
        read = self.method.bands if self.method else ()
        self.bands = tuple(dict.fromkeys((*spec.optical_bands, *read)))
        self.omit, kept = cloudy_targets == "omit", LeastRecentlyUsed()
        self.sources = []
        for number, (scene, truth) in enumerate(data):
            arrays = paired_arrays(scene, truth, spec, self.bands, mask)
            height, width = arrays[0].shape[-2:]
            if min(height, width) < crop:
                raise DataError(
                    f"patches of {height}x{width} px are smaller than the crop",
                    fix=f"call fit(..., crop={min(height, width)})",
                    option=f"--crop {min(height, width)}",
                )
            names = sample_names(scene, arrays[0].shape[0])
            if cache is None:
                cloudy, target, sar = (planes(a, kept) for a in arrays)
            else:
                cloudy, target, sar = cached(cache / str(number), arrays, names, crop)
            self.sources.append(PairedArrays(cloudy, target, sar, names))
        for number, source in enumerate(self.sources):
            self._examine(number, source, refuse=cloudy_targets == "refuse")

    @property
    def crops(self) -> int:
        """Number of distinct crops, each in eight symmetries."""
        sizes = [s.cloudy.shape for s in self.sources]
        return 8 * sum(n * (h - self.crop + 1) * (w - self.crop + 1) for n, _, h, w in sizes)

    def mean_spectrum(self) -> Array:
        """Mean of the target in each band, with equal weights of datasets: the best constant."""
        count, means = len(self.spec.optical_bands), []
        for source in self.sources:
            total, valid = np.zeros(count), np.zeros(count)
            for sample in _looked_at(source):
                target = np.asarray(source.target[sample, :count, :, :], np.float64)
                total += np.nansum(target, (1, 2))
                valid += np.isfinite(target).sum((1, 2))
            with np.errstate(invalid="ignore"):
                means.append(total / valid)
        spectrum = np.mean(means, axis=0)
        if not np.isfinite(spectrum).all():
            raise DataError(
                "a dataset has no valid target pixel in some band",
                fix="leave it out, as in fit([ds for ds in data if ...])",
                option="leave it out",
            )
        return spectrum.astype(np.float32)

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch; the generator determines everything."""
        samples = [self._one(rng) for _ in range(size)]
        *arrays, origins = zip(*samples, strict=True)
        cloudy, target, sar, mask, *context = (np.stack(parts) for parts in arrays)
        return Batch(cloudy, target, sar, mask, context[0] if context else None, origins)

    def _one(self, rng: np.random.Generator) -> tuple[NDArray[Any] | str, ...]:
        number = int(rng.integers(len(self.sources)))
        source = self.sources[number]
        sample = int(rng.integers(source.cloudy.shape[0]))
        height, width = source.cloudy.shape[-2:]
        y, x = (int(rng.integers(n - self.crop + 1)) for n in (height, width))
        rows, columns = slice(y, y + self.crop), slice(x, x + self.crop)
        window = (sample, slice(None), rows, columns)
        cloudy, target, sar = source.cloudy[window], source.target[window], source.sar[window]
        if self.omit:
            target = np.where(self._mask(target), np.float32(np.nan), target)
        mask = self._mask(cloudy)
        if rng.random() < self.simulated or mask.mean() < ENOUGH_CLOUD:
            cover = rng.uniform(0.2, 0.9)
            surface = self.spec.level == "BOA"
            sky = simulate_clouds(target, rng=rng, cover=cover, bands=self.bands, surface=surface)
            cloudy, mask = sky.cloudy, self._mask(sky.cloudy)
            if self.method is None:
                mask = (sky.opacity > SEEN) | (sky.shadow > SEEN)
        count = len(self.spec.optical_bands)
        has_backscatter = np.isfinite(sar).all(0)
        if not has_backscatter.all():
            target = np.where(has_backscatter, target, np.float32(np.nan))
        flip, turns = bool(rng.integers(2)), int(rng.integers(4))
        hidden = mask | ~np.isfinite(cloudy[:count]).all(0)
        images = [cloudy[:count], target[:count], sar, hidden[None]]
        if self.spec.context == ONE_DATE:
            context = self._estimated(cloudy[:count], hidden, sar)
            known = np.isfinite(context).all(0) | ~hidden
            images[1] = np.where(known, images[1], np.float32(np.nan))
            images.append(context)
        where = f"rows {y}:{rows.stop}, columns {x}:{columns.stop}"
        origin = f"dataset {number}, {source.names[sample]}, {where}"
        return (*(symmetry(a, flip, turns) for a in images), origin)

    def _estimated(self, cloudy: Array, hidden: NDArray[np.bool_], sar: Array) -> Array:
        """Mean and deviation of kernel fusion from the crop alone, NaN where it has none."""
        radar = sar[None] if self.spec.polarisations == RADAR else None
        place = Place(cloudy[None], ~hidden[None], sar[None], radar, np.zeros(1))
        return without(place, [0], hidden[None], [0.0], ONE_DATE)[0]

    def _mask(self, cloudy: Array) -> NDArray[np.bool_]:
        if self.method is None:
            return np.zeros(cloudy.shape[-2:], np.bool_)
        bands = dict(zip(self.bands, cloudy, strict=True))
        return self.method.kernel(bands, Calibration(), self.method.threshold)

    def _examine(self, number: int, source: PairedArrays, *, refuse: bool) -> None:
        """Raise an error for data that is useless for learning."""
        hidden, has_backscatter = [], False
        for sample in _looked_at(source):
            whole = (sample, slice(None), slice(None), slice(None))
            has_backscatter = has_backscatter or bool(np.isfinite(source.sar[whole]).all(0).any())
            if refuse and self._mask(source.target[whole]).mean() > 0.5:
                hidden.append(source.names[sample])
        if not has_backscatter:
            raise DataError(
                f"dataset {number} has no valid backscatter",
                fix="load the passes nearest in time, as xcloudfree.stac.load(...) does, or "
                "leave it out",
                option="load the passes nearest in time, or leave it out",
            )
        if hidden:
            raise DataError(
                f"of dataset {number} {len(hidden)} targets lie mostly under cloud by the mask: "
                f"{', '.join(hidden[:8])}",
                fix="leave them out, or where the ground is that bright call fit(..., "
                "recipe=Recipe(cloudy_targets='keep'))",
                option="leave them out",
            )


def _looked_at(source: PairedArrays) -> range:
    """Samples that represent the dataset: all, or evenly spaced ones of many."""
    count = source.cloudy.shape[0]
    return range(0, count, -(-count // LOOKED_AT))


def symmetry(array: NDArray[Any], flip: bool, turns: int) -> NDArray[Any]:
    """One of the eight symmetries of the square; reflectance is physical and never changed."""
    array = array[..., ::-1] if flip else array
    return np.ascontiguousarray(np.rot90(array, turns, axes=(-2, -1)))
