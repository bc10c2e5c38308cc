"""Samples of what a fit is given: pairs, series, or both, each drawn equally often."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xcloudfree.models.spec import ModelSpec
from xcloudfree.train.inputs import Given
from xcloudfree.train.recipe import Recipe
from xcloudfree.train.samples import Array, Batch, PatchSamples, Samples


@dataclass(frozen=True)
class Sampling:
    """How samples are made, see :func:`xcloudfree.fit` and :class:`Recipe`."""

    crop: int
    simulated: float
    mask: str
    seed: int
    recipe: Recipe
    cache: Path | None = None


class Several:
    """Samples of several kinds or series, each drawn equally often."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        self.parts = parts

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch, a sample at a time."""
        drawn = [self.parts[int(rng.integers(len(self.parts)))].draw(rng, 1) for _ in range(size)]
        names = ("cloudy", "target", "sar", "mask")
        arrays = {n: np.concatenate([getattr(b, n) for b in drawn]) for n in names}
        contexts = [b.context for b in drawn]
        known = [c for c in contexts if c is not None]
        context = np.concatenate(known) if len(known) == len(drawn) else None
        origins = tuple(o for b in drawn for o in b.origins)
        return Batch(**arrays, context=context, origins=origins)

    def mean_spectrum(self) -> Array:
        """Mean of the parts' means."""
        return np.mean([p.mean_spectrum() for p in self.parts], axis=0, dtype=np.float32)


def samples_of(given: Sequence[Given], spec: ModelSpec, how: Sampling) -> Samples:
    """Samples of scenes with truths and of series."""
    pairs = [(scene, truth) for scene, truth in given if truth is not None]
    parts: list[Samples] = []
    if pairs:
        parts.append(
            PatchSamples(
                pairs,
                spec=spec,
                crop=how.crop,
                simulated=how.simulated,
                mask=how.mask,
                cache=how.cache,
                cloudy_targets=how.recipe.cloudy_targets,
            )
        )
    series = [scene for scene, truth in given if truth is None]
    if series:
        from xcloudfree.train.series_samples import SeriesSamples

        parts.append(
            SeriesSamples(
                series,
                spec=spec,
                crop=how.crop,
                mask=how.mask,
                seed=how.seed,
                simulated=how.simulated,
                gaps=how.recipe.gaps,
                cache=None if how.cache is None else how.cache / "series",
            )
        )
    return parts[0] if len(parts) == 1 else Several(parts)


def fingerprint(samples: Samples, seed: int) -> str:
    """Hash by which a checkpoint recognises its data: the mean and the first sample."""
    batch = samples.draw(np.random.default_rng([seed, 0]), 1)
    sha = hashlib.blake2b(digest_size=8)
    for array in (samples.mean_spectrum(), batch.cloudy, batch.target, batch.sar, batch.mask):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
