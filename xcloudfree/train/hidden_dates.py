"""Dates of a series with hidden pixels, and what kernel fusion makes of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.core.predictor import PASS
from xcloudfree.methods.leave_out import APART, Place, without
from xcloudfree.models.series_attention import SMALLEST
from xcloudfree.models.series_tokens import Tokens, tokens
from xcloudfree.models.spec import ModelSpec
from xcloudfree.train.series_samples import ENOUGH, USABLE, Skies, hide_twins

PIXELS: Final = 200
"""Hidden pixels of a date that are fitted or judged on, at most."""


class Sample(NamedTuple):
    """Some hidden pixels of a date."""

    tokens: Tokens
    error: Tensor  # truth less estimate (pixel, band)
    size: Tensor  # deviation of the estimate (pixel, band)

    def to(self, device: torch.device) -> Sample:
        """The same on a device."""
        found = Tokens(*(a.to(device) for a in self.tokens))
        return Sample(found, self.error.to(device), self.size.to(device))

    def of(self, which: Tensor) -> Sample:
        """Some of the pixels."""
        return Sample(self.tokens.of(which), self.error[which], self.size[which])


class HiddenDate(NamedTuple):
    """A date that was partly or wholly hidden, as (band, y, x) unless said."""

    truth: NDArray[np.float32]
    mean: NDArray[np.float32]
    size: NDArray[np.float32]  # deviation
    hidden: NDArray[np.bool_]  # (y, x)
    judged: NDArray[np.bool_]  # hidden pixels with a truth (y, x)
    others: NDArray[np.float32]  # (date, band, y, x), ordered by their distance
    shown: NDArray[np.bool_]  # (date, y, x)
    apart: NDArray[np.float64]  # days (date)

    def tensors(self) -> dict[str, Tensor]:
        """The arguments of :func:`~xcloudfree.models.series_tokens.tokens`, but the pixels."""
        known = np.isfinite(self.mean).all(0) & np.isfinite(self.size).all(0)
        plain = {
            "mean": np.where(known, self.mean, 0), "size": np.where(known, self.size, 1),
            "others": np.where(self.shown[:, None], self.others, 0), "shown": self.shown,
            "apart": self.apart, "hidden": self.hidden, "known": known,
        }  # fmt: skip
        found = {k: torch.from_numpy(v) for k, v in plain.items()}
        found["size"] = found["size"].clamp(min=SMALLEST)
        return found

    def sample(self, rng: np.random.Generator) -> Sample | None:
        """Some of the judged pixels; None if no other date shows any of them."""
        places = np.argwhere(self.judged)
        places = places[rng.permutation(len(places))[:PIXELS]]
        given = self.tensors()
        found = tokens(**given, ask=torch.from_numpy(places))
        if found is None:
            return None
        error = torch.from_numpy((self.truth - self.mean)[:, *places.T].T.copy())
        return Sample(found, error, given["size"][:, *torch.from_numpy(places).T].mT)


def hide(
    place: Place,
    usable: NDArray[np.bool_],
    gap: float,
    spec: ModelSpec,
    rng: np.random.Generator,
) -> Iterator[tuple[int, HiddenDate]]:
    """Hide some far dates of a place at once, without all dates within the gap of each."""
    share = place.clear.mean((1, 2))
    skies = Skies(place, share, 0.0, spec.optical_bands, spec.level)
    shows = usable & (share >= min(USABLE, share[usable].max(initial=0))) & (share > 0)
    dates: list[int] = []
    for date in rng.permutation(np.flatnonzero(shows)).tolist():
        if all(abs(place.days[date] - place.days[d]) > APART + 2 * gap for d in dates):
            dates.append(date)
    if not dates:
        return
    hidden = np.stack([skies.over(rng, date, place.clear[date]).hidden for date in dates])
    seen = hide_twins(place, dates, hidden)
    estimates = without(seen, dates, hidden, [gap] * len(dates), ("kernel-fusion",))
    for date, gone, planes in zip(dates, hidden, estimates, strict=True):
        mean, size = np.split(planes, 2)
        apart = place.days - place.days[date]
        order = np.argsort(np.abs(apart), kind="stable")
        order = order[(np.abs(apart[order]) > max(gap, PASS)) & seen.clear[order].any((1, 2))]
        judged = gone & place.clear[date] & np.isfinite(planes).all(0)
        if judged.sum() >= ENOUGH:
            yield date, HiddenDate(
                place.reflectance[date], mean, size, ~seen.clear[date], judged,
                place.reflectance[order], seen.clear[order], apart[order],
            )  # fmt: skip
