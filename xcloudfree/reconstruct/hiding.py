"""Hide clear pixels of a piece of a scene again, predict them, and record the errors.

Numpy alone. A piece is treated like a scene of its own: statistics are measured on the piece,
without the hidden pixels and without all dates within the gap, so that no truth leaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.passes import one_each_pass, same_pass
from xcloudfree.core.predictor import (
    Booleans,
    Doubles,
    Nearest,
    Prediction,
    Predictor,
    Series,
)
from xcloudfree.core.windows import ranks
from xcloudfree.methods import leave_out
from xcloudfree.methods.interpolation import waits
from xcloudfree.reconstruct.compose import SIGHT, feather, misfit_of
from xcloudfree.reconstruct.conformal import FEWEST, GAPS, Scores, distances_of
from xcloudfree.reconstruct.dates import nearest_dates

CLEAN: Final = 0.98
"""Share of a piece that a date shows whose ground is hidden, if there are :data:`FEW` such dates;
else the clearest dates are taken. What a mask missed would count as an error."""

FEW: Final = 8
"""See :data:`CLEAN`."""

SHOWN: Final = 0.3
"""Share of a piece that a date must show for its ground to be hidden."""

CLOUD: Final = (0.2, 0.9)
"""Share of a piece that is hidden on dates whose clouds are used."""

DATES: Final = 18
"""Dates hidden in part for each gap, over all pieces."""

WHOLE: Final = 6
"""Dates hidden wholly for each gap, over all pieces."""

APART: Final = 30.0
"""Days, besides both gaps, between dates that are hidden at once."""

BLOTCHES: Final = (15, 45)
"""Pixels over which chance is averaged where no date has clouds to hide ground under."""

SAMPLE: Final = 400
"""Pixels of each hidden image that are kept."""

WHITE: Final = np.float32(0.9)
"""Reflectance of cloud that no date shows."""


class Case(NamedTuple):
    """A date and the pixels to hide under what another one shows, or under white."""

    date: int
    hidden: Booleans
    donor: int | None
    group: float  # what the scores count as: the day, or the attempt on a date by itself


class Part(NamedTuple):
    """Which of how many pieces: each hides other dates."""

    number: int
    pieces: int


WHOLE_SCENE: Final = Part(0, 1)


def levels_of(clear: Booleans, days: Doubles) -> NDArray[np.uint8]:
    """Class of the gap of each pixel and date; without another clear date that of the longest."""
    found = np.searchsorted(GAPS, np.minimum(*waits(clear, days)), "left") - 1
    return np.clip(found, 0, len(GAPS) - 1).astype(np.uint8)


def reads_dates(predictor: Predictor) -> bool:
    """Whether a prediction depends on how long ago a pixel was seen."""
    spec: Any = getattr(predictor, "spec", None)
    return predictor.temporal or (spec is not None and bool(spec.context or spec.dates > 1))


def scores(
    series: Series,
    when: Doubles,
    predictor: Predictor,
    blend: bool,
    levels: Sequence[int],
    part: Part = WHOLE_SCENE,
) -> Scores:
    """Hide clear ground of a piece, predict it, and compare; `when` is the day of each image."""
    found: list[Scores] = []
    waiting, done = sorted(levels), set()
    while waiting:
        level = waiting.pop()
        done.add(level)
        new = [
            one
            for cases in _rounds(series.clear, when, level, part)
            for one in _compared(series, when, predictor, blend, level, cases)
        ]
        found += new
        dates = {float(d) for one in new for d in one.date}
        if len(dates) < FEWEST and level and level - 1 not in done | set(waiting):
            waiting.append(level - 1)
    if not found:
        none = np.zeros(0, np.uint8)
        empty = np.zeros((0, series.reflectance.shape[1]), np.float32)
        return Scores(none.astype(np.uint64), none.astype(float), none, none, empty, empty, empty)
    fields = [np.concatenate(same) for same in zip(*found, strict=True)]
    order = np.lexsort((fields[2], fields[1], fields[0]))
    return Scores(*(field[order] for field in fields))


def _rounds(clear: Booleans, when: Doubles, level: int, part: Part) -> Iterator[list[Case]]:
    """Cases of a gap, in groups that can be hidden at once."""
    ever = clear.any(0)
    if not ever.any():
        return
    if len(clear) == 1:
        for attempt in range(FEW if clear.mean() >= SHOWN else 0):
            hidden = _blotches(clear[0], attempt)
            yield [Case(0, hidden, None, float(attempt))]
        return
    shown = clear[:, ever].mean(1)
    least = max(SHOWN, min(CLEAN, np.sort(shown)[-FEW:][0]))
    able = one_each_pass(np.flatnonzero(shown >= least), when)
    if not len(able):
        return
    rng = np.random.default_rng((level, part.number))
    cloudy = np.flatnonzero((shown < 1 - CLOUD[0]) & (shown > 1 - CLOUD[1]))
    cases = []
    for total, whole in ((DATES, False), (WHOLE, True)):
        share = min(-(-total // part.pieces), -(-len(able) // part.pieces))
        place = (np.arange(share) + (part.number + 0.5) / part.pieces) * len(able) / share
        for date in able[np.unique(place.astype(int))].tolist():
            others = cloudy[~same_pass(when, date)[cloudy]]
            donor = int(rng.choice(others)) if len(others) and not whole else None
            if whole:
                hidden = clear[date]
            elif donor is None:
                hidden = _blotches(clear[date], date)
            else:
                hidden = ~clear[donor] & clear[date]
            if hidden.any():
                cases.append(Case(date, hidden, donor, float(when[date])))
    cases.sort(key=lambda case: case.date)
    apart = APART + 2 * GAPS[level]
    while cases:
        chosen: list[Case] = []
        later: list[Case] = []
        for case in cases:
            near = chosen and when[case.date] - when[chosen[-1].date] <= apart
            (later if near else chosen).append(case)
        cases = later
        yield chosen


def _blotches(clear: Booleans, seed: int) -> Booleans:
    """About half of the clear pixels, in patches that chance draws."""
    noise = np.random.default_rng(seed).random(clear.shape)
    field = scipy.ndimage.uniform_filter(noise, BLOTCHES[seed % len(BLOTCHES)])
    return np.asarray(clear & (field > np.median(field[clear])))


def _compared(
    series: Series,
    when: Doubles,
    predictor: Predictor,
    blend: bool,
    level: int,
    cases: Sequence[Case],
) -> Iterator[Scores]:
    """Hide some dates at once, predict them, and compare."""
    dates = [case.date for case in cases]
    away = np.zeros(len(when), bool)
    for date in dates:
        away |= same_pass(when, date) | (np.abs(when - when[date]) <= GAPS[level])
    away[dates] = False
    kept = np.flatnonzero(~away)
    at = np.searchsorted(kept, dates).tolist()
    clear, reflectance = series.clear[kept], series.reflectance[kept]
    wanted = np.zeros_like(clear)
    for place, case in zip(at, cases, strict=True):
        clear[place] &= ~case.hidden
        cloud = np.full(reflectance.shape[1:], WHITE)
        if case.donor is not None:
            seen = series.reflectance[case.donor]
            cloud = np.where(np.isfinite(seen), seen, cloud)
        reflectance[place] = np.where(case.hidden, cloud, reflectance[place])
        wanted[place] = scipy.ndimage.maximum_filter(case.hidden, 2 * SIGHT + 1) if blend else True
    wanted &= np.isfinite(reflectance).all(1)
    days = when[kept]
    hidden = replace(
        series,
        reflectance=reflectance,
        hidden=~clear,
        wanted=wanted,
        backscatter=None if series.backscatter is None else series.backscatter[kept],
        coarse=None if series.coarse is None else series.coarse[kept],
        days=None if series.days is None else days,
        asked=np.asarray(wanted.any((1, 2))),
    )
    if predictor.temporal:
        answer, rows = _predicted(predictor, hidden), at
    else:
        images = _images(predictor, hidden, days, at, GAPS[level])
        if images is None:
            return
        answer, rows = _predicted(predictor, images), list(range(len(at)))
    rank = ranks(series.origin, clear.shape[1:])
    gap_levels = np.zeros(clear.shape, np.uint8)
    if reads_dates(predictor) and len(when) > 1:
        gap_levels = levels_of(clear, days)
    for place, row, case in zip(at, rows, cases, strict=True):
        mean = answer.mean[row]
        known = np.asarray(np.isfinite(mean).all(0))
        misfit = misfit_of(mean, reflectance[place], clear[place] & known)
        if blend:
            filled = np.where(known, mean, np.float32(0))
            mean = feather(filled, reflectance[place], clear[place] & known)
        found = np.flatnonzero((case.hidden & known & (gap_levels[place] == level)).ravel())
        found = found[np.argsort(rank.ravel()[found])[:SAMPLE]]
        pick = np.unravel_index(found, case.hidden.shape)
        error = np.abs(mean[:, *pick] - series.reflectance[case.date][:, *pick]).T
        deviation = np.ones_like(error)
        if answer.deviation is not None:
            deviation = answer.deviation[row][:, *pick].T
        near = distances_of(clear[place])[pick]
        group = np.full(len(found), case.group)
        beside = np.moveaxis(misfit, 0, -1)[pick]
        yield Scores(rank[pick], group, gap_levels[place][pick], near, error, deviation, beside)


def _images(
    predictor: Predictor, series: Series, days: Doubles, at: list[int], gap: float
) -> Series | None:
    """The hidden images by themselves, with what a network reads of the other dates."""
    names = ("reflectance", "hidden", "wanted", "backscatter", "coarse", "asked")
    planes = {name: getattr(series, name) for name in names}
    cut: dict[str, Any] = {k: None if v is None else v[at] for k, v in planes.items()}
    spec: Any = getattr(predictor, "spec", None)
    if spec is not None and spec.context:
        radar = series.backscatter
        sar = np.zeros((len(days), 0, *series.hidden.shape[1:]), np.float32)
        place = leave_out.Place(
            series.reflectance, series.clear, sar if radar is None else radar, radar, days
        )
        cut["context"] = leave_out.without(
            place, at, series.hidden[at], [gap] * len(at), spec.context
        )
    if spec is not None and spec.dates > 1:
        if len(days) < spec.dates or series.backscatter is None:
            return None
        chosen = nearest_dates(days, spec.dates)[at]
        others = chosen[:, 1:]
        cut["nearest"] = Nearest(
            series.reflectance[others], series.backscatter[others], days[chosen].astype(np.float32)
        )
    return replace(series, days=None, **cut)


def _predicted(predictor: Predictor, series: Series) -> Prediction:
    """All stages on a piece as a scene of its own."""
    statistics: list[Any] = []
    for _ in range(predictor.passes):
        total = predictor.combine([predictor.measure(series, statistics)])
        statistics.append(predictor.conclude(total, statistics))
    return predictor.predict(series, statistics)
