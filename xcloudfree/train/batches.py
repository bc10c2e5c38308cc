"""Batches of the data of a fit: pairs, series, or both, each drawn equally often."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xcloudfree.masks.resolve import Mask
from xcloudfree.models.spec import ModelSpec
from xcloudfree.train.inputs import Given
from xcloudfree.train.recipe import Recipe
from xcloudfree.train.samples import Array, Batch, PatchSamples, Samples
from xcloudfree.train.series_samples import SeriesSamples

HELD_OUT = 2**32
"""Step numbers from here on belong to the validation."""


@dataclass(frozen=True)
class Sampling:
    """How to make samples, see :func:`xcloudfree.fit` and :class:`Recipe`."""

    crop: int
    simulated: float
    mask: Mask
    seed: int
    recipe: Recipe
    cache: Path | None = None


class MixedSamples:
    """Samples of several kinds or series, each drawn equally often."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        self.parts = parts

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch, one sample at a time."""
        singles = [self.parts[int(rng.integers(len(self.parts)))].draw(rng, 1) for _ in range(size)]
        names = ("cloudy", "target", "sar", "mask")
        arrays = {name: np.concatenate([getattr(one, name) for one in singles]) for name in names}
        contexts = [one.context for one in singles if one.context is not None]
        context = np.concatenate(contexts) if len(contexts) == len(singles) else None
        origins = tuple(origin for one in singles for origin in one.origins)
        return Batch(**arrays, context=context, origins=origins)

    def mean_spectrum(self) -> Array:
        """Mean of the parts' means."""
        return np.mean([p.mean_spectrum() for p in self.parts], axis=0, dtype=np.float32)


def samples_of(given: Sequence[Given], spec: ModelSpec, how: Sampling) -> Samples:
    """Samples of scenes with truths and of series."""
    pairs = [(scene, truth) for scene, truth in given if truth is not None]
    series = [scene for scene, truth in given if truth is None]
    shared: dict[str, Any] = {
        "spec": spec, "crop": how.crop, "simulated": how.simulated, "mask": how.mask,
    }  # fmt: skip
    parts: list[Samples] = []
    if pairs:
        targets = how.recipe.cloudy_targets
        parts.append(PatchSamples(pairs, cache=how.cache, cloudy_targets=targets, **shared))
    if series:
        views = None if how.cache is None else how.cache / "series"
        gaps, seed = how.recipe.gaps, how.seed
        parts.append(SeriesSamples(series, seed=seed, gaps=gaps, cache=views, **shared))
    return parts[0] if len(parts) == 1 else MixedSamples(parts)


def fingerprint(samples: Samples, seed: int) -> str:
    """Hash by which a checkpoint recognises its data: the mean and the first sample."""
    batch = samples.draw(np.random.default_rng([seed, 0]), 1)
    sha = hashlib.blake2b(digest_size=8)
    for array in (samples.mean_spectrum(), batch.cloudy, batch.target, batch.sar, batch.mask):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


class BatchLoader:
    """The batch of each step; its content depends only on the seed and the step."""

    def __init__(
        self,
        samples: Samples,
        size: int,
        seed: int,
        first: int,
        last: int,
        threads: int = 0,
        rank: int | None = None,
    ) -> None:
        self.samples, self.size, self.seed = samples, size, seed
        self.first, self.last, self.threads, self.rank = first, last, threads, rank

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        if not self.threads:
            yield from ((step, self.draw(step)) for step in range(self.first, self.last))
            return
        with ThreadPoolExecutor(self.threads, "samples") as pool:
            # submitted for the steps ahead, one more than there are threads
            ahead: deque[Future[Batch]] = deque()
            submitted = self.first
            try:
                for step in range(self.first, self.last):
                    while submitted < min(step + self.threads + 1, self.last):
                        ahead.append(pool.submit(self.draw, submitted))
                        submitted += 1
                    yield step, ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def draw(self, step: int) -> Batch:
        """The batch of one step."""
        key = [self.seed, step] if self.rank is None else [self.seed, step, self.rank]
        return self.samples.draw(np.random.default_rng(key), self.size)


def held_out(samples: Samples, size: int, seed: int, batches: int) -> list[Batch]:
    """Batches for validation: always the same ones."""
    loader = BatchLoader(samples, size, seed, 0, 0)
    return [loader.draw(HELD_OUT + number) for number in range(batches)]
