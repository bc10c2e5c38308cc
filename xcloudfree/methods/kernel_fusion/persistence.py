"""Errors of the regression persist: those of nearby dates correct its prediction.

The regression has the same coefficients everywhere, so where a field grows unlike the others it is
wrong on several dates in a row. The offset of a whole date does not persist and is taken off. For a
target without clear dates within a gap, the errors are those of the regression for a longer gap, on
dates so near that they would not read the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.methods.kernel_fusion.mixing import FAR, FEW, FLOOR, LEAST, STEP, Guess
from xcloudfree.methods.kernel_fusion.settings import GAPS

LONGER: Final = (1, 3, 3)
"""Level of the regression whose errors are read, by the level of the target's gap."""

MEMORY: Final = 10.0
"""Days after which the weight of an error has fallen to 1/e."""

OPEN: Final = 0.95
"""Share of the scene that a date must show clear. The pixels near clouds have errors of their own.
"""

SPARSE: Final = 0.2
"""Weight of an error of zero."""

Error = Callable[[int, int], tuple[Tensor, Tensor] | None]
"""Error of a date at a level, (pixel, band), 0 where unknown, and where it is known, (pixel,)."""


def error(truth: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Error of a regression, clipped."""
    return ((truth - mean) / deviation).clamp(-FAR, FAR) * deviation


def persistent(days: NDArray[np.float64], day: float, level: int, errors: Error) -> Tensor | None:
    """Weighted mean of the errors around a day, shrunk where few are known; None without any."""
    total, weight = None, torch.zeros(())
    for date, near in _around(days, day, level):
        found = errors(date, LONGER[level])
        if found is not None:
            part, known = found[0], found[1][:, None].to(found[0].dtype)
            total = part * near if total is None else total + part * near
            weight = known * near + weight
    return None if total is None else total / (weight + SPARSE)


def _around(days: NDArray[np.float64], day: float, level: int) -> Iterator[tuple[int, float]]:
    """Dates whose errors are read, and their weights."""
    far = np.abs(days - day)
    for date in np.flatnonzero((far > GAPS[level]) & (far <= GAPS[LONGER[level]])).tolist():
        yield date, float(np.exp((GAPS[level] - far[date]) / MEMORY))


def learned(
    days: NDArray[np.float64],
    guesses: Sequence[Sequence[Guess]],
    others: Mapping[int, Sequence[Guess]],
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[list[Guess]]]:
    """Share of these errors to add at each level, their offsets, and the guesses with them.

    `others` are guesses whose errors are read, by level; the sample has `count` pixels. Offsets are
    (level, time, band).
    """
    bands = next((guess.mean.shape[1] for same in guesses for guess in same), 0)
    offsets = np.zeros((len(guesses), len(days), bands))
    found: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for level, same in others.items():
        for guess in (g for g in same if len(g.truth) >= LEAST):
            part, known = torch.zeros(count, bands), torch.zeros(count, dtype=torch.bool)
            left = error(guess.truth, guess.mean, guess.deviation).float()
            middle = left.median(0).values
            part[guess.which], known[guess.which] = left - middle, True
            for date in np.flatnonzero(days == guess.day).tolist():
                found[date, level] = part, known
                offsets[level, date] = middle.numpy()
    shares, better = np.zeros(len(guesses)), [list(targets) for targets in guesses]
    for level in range(len(LONGER)):
        parts = []
        for guess in guesses[level]:
            mean = persistent(days, guess.day, level, lambda *one: found.get(one))
            parts.append(None if mean is None else mean[guess.which].to(guess.mean))
        share = shares[level] = _best(guesses[level], parts)
        better[level] = [
            guess if part is None else guess._replace(mean=guess.mean + share * part)
            for guess, part in zip(guesses[level], parts, strict=True)
        ]
    return shares, offsets, better


def _best(guesses: Sequence[Guess], parts: Sequence[Tensor | None]) -> float:
    """Share with the best mean PSNR of the dates; few dates decide for little."""
    able = torch.arange(0, 1 + STEP / 2, STEP).double()
    total, count = torch.zeros(len(able)).double(), 0
    for guess, part in zip(guesses, parts, strict=True):
        if part is None or len(guess.truth) < LEAST:
            continue
        away = (part / guess.deviation).flatten().double()
        left = (
            (error(guess.truth, guess.mean, guess.deviation) / guess.deviation).flatten().double()
        )
        square, constant = (away @ away) / len(left), (left @ left) / len(left) + FLOOR
        now = constant - 2 * able * ((away @ left) / len(left)) + able**2 * square
        total += now.log()
        total += FEW / len(guesses) * (1 + able**2 * square / constant).log()
        count += 1
    return float(able[total.argmin()]) if count else 0.0
