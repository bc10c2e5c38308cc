"""From hidden dates to the value of a loss, for networks that read all dates of a series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.models.model import Model
from xcloudfree.models.series_tokens import Tokens
from xcloudfree.train.hidden_dates import Sample

FLOOR: Final = 0.05
"""Added to the ratio of squared errors."""

SMALL: Final = 0.03
"""Weight of changes."""

WORSE: Final = 1.5
"""Weight of being worse than kernel-fusion, beside that of the ratio."""

DROPPED: Final = 0.3
"""Largest share of the observations that a sample lacks."""

PULL: Final = 0.1
"""Weight of the squared distance of the weights from their start."""

SURE: Final = 0.9
"""Confidence, from the differences between the dates, with which a network gains."""


class Hidden(NamedTuple):
    """Pixels of several hidden dates: a batch."""

    samples: tuple[Sample, ...]
    origins: tuple[str, ...]  # series and date of each


def penalties(change: Tensor, error: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Terms of the loss of a sample: of its error, of being worse, and of the change itself."""
    ratio = (error - size * change).square().mean() / error.square().mean()
    gain = (ratio + FLOOR).log()
    return gain, WORSE * gain.clamp(min=0), SMALL * change.square().mean()


@dataclass(frozen=True)
class SeriesObjective:
    """Value of the loss for hidden dates, and what a network gains over its start."""

    model: Model  # whose network is fitted
    start: Model  # the same before
    judged: Hidden  # what it is judged on

    loss = "ratio"
    judges_start = True
    better = "clearly better"

    def tensors(self, batch: Hidden, device: torch.device) -> Hidden:
        """Move a batch to a device."""
        return batch._replace(samples=tuple(sample.to(device) for sample in batch.samples))

    def value(self, network: Any, given: Hidden) -> Tensor:
        """The loss of a batch."""
        lengths = [len(sample.error) for sample in given.samples]
        found = Tokens(*map(torch.cat, zip(*(s.tokens for s in given.samples), strict=True)))
        dropped = torch.cat([DROPPED * torch.rand(1).expand(count) for count in lengths])
        kept = torch.rand(found.known.shape) >= dropped[:, None]
        known = found.known & kept.to(found.known.device)
        changes = network.correct(found._replace(known=known), bounded=False).split(lengths)
        terms = [
            torch.stack(penalties(change, sample.error, sample.size)).sum()
            for change, sample in zip(changes, given.samples, strict=True)
        ]
        away = [
            (now - before.to(now.device)).square().sum()
            for now, before in zip(
                network.parameters(), self.start.network.parameters(), strict=True
            )
        ]
        return torch.stack(terms).mean() + PULL * torch.stack(away).sum()

    def error(self, network: Any, batch: Hidden, given: Hidden) -> tuple[float, int]:
        """What a network surely gains over its start in dB on the dates, negative."""
        more = gains(network, given) - self._before
        chance = more.std(ddof=1) / len(more) ** 0.5
        return float(chance * scipy.stats.t.ppf(SURE, len(more) - 1) - more.mean()), 1

    def told(self, error: float) -> str:
        """What the fitted network gains, in words."""
        after, before, count = self.figures().values()
        return (
            f"{after:.3f} dB over kernel-fusion on {count} held-out dates, {before:.3f} before the "
            "fit"
        )

    def figures(self) -> dict[str, float]:
        """What the fitted network and its start gain on the dates that they were judged on."""
        after = gains(self.model.network, self.judged)
        return {
            "held-out dates: gain in dB over kernel-fusion": round(float(after.mean()), 4),
            "held-out dates: the same before the fit": round(float(self._before.mean()), 4),
            "held-out dates": len(after),
        }

    @cached_property
    def _before(self) -> NDArray[np.float64]:
        return gains(self.start.network, self.judged)


def gains(network: Any, given: Hidden) -> NDArray[np.float64]:
    """Gain over kernel-fusion in dB on each date, the mean of the ways in which it was hidden."""
    dates: dict[str, list[float]] = {}
    with torch.inference_mode():
        for sample, origin in zip(given.samples, given.origins, strict=True):
            left = sample.error - sample.size * network.change(sample.tokens)
            before, after = (e.square().mean().clamp(min=1e-12) for e in (sample.error, left))
            dates.setdefault(origin, []).append(10 * float((before / after).log10()))
    return np.array([np.mean(found) for found in dates.values()])
