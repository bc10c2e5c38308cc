"""Area regression: predicts a date from its neighbouring dates and its radar.

The predictors of a date come from the other dates. The training pixels are the clear pixels of
every date. They are predicted from dates that are at least as far away as the clear dates of a
hidden pixel, so there is one regression for each distance (:data:`GAPS`). All coefficients follow
from sums over pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.predictor import PASS
from xcloudfree.core.windows import widened
from xcloudfree.methods.base import Booleans, Doubles, Floats, Method, Prediction, Series
from xcloudfree.methods.interpolation import Sides, clear_sides, linear_time
from xcloudfree.methods.regression import WINDOWS, Moments, local_means, stepped

GAPS: Final = (0.0, 15.0, 30.0, 45.0)
"""Days around a date without clear observations, with one regression for each."""

MEMORIES: Final = (12.0, 40.0)
"""Days after which the weight of a date in the running means falls to 1/e."""

STRIP: Final = 4096
"""Pixels that are processed at once."""

PENALTIES: Final = tuple(float(p) for p in 10.0 ** np.arange(-4, 1.1, 0.5))
"""Candidate ridge penalties on standardised predictors."""

OWN: Final = 8.0
"""Weight of all visible pixels of a date together, relative to all pixels of the other dates.
Chosen, with :data:`ENOUGH`, on every fourth case of three development series. Between 4 and 16
results differed by at most 0.6 dB, and the best value depended on the site."""

ENOUGH: Final = 200.0
"""Number of visible pixels of a date at which they have half of that weight."""

APART: Final = float(np.nextafter(PASS, 0))
"""Days around an example that are excluded, because another image of its pass shows the truth."""

LEARNED: Final = 14
"""Binary digits of reflectance used for learning: gives exact sums of 60 million pixels."""

APPLIED: Final = 19
"""The same for predicting: gives exact sums over the predictors of a pixel."""

FOLDS: Final = 4
"""Spans of time that are left out in turn to choose the penalty."""


class Sums(NamedTuple):
    """Sums over the clear pixels of dates, for each gap: leading axes (time, gap)."""

    # With z = [1, predictors] and y the reflectance: `zz` (..., predictor, predictor), `zy` (...,
    # predictor, band), `yy` (..., band), and `hidden` the number of pixels to predict.

    zz: Doubles
    zy: Doubles
    yy: Doubles
    hidden: Doubles


class Rule(NamedTuple):
    """Coefficients (time, gap, 1 + predictor, band) and standard deviation (time, gap, band)."""

    coefficients: Doubles
    deviation: Doubles


@dataclass(frozen=True)
class AreaRegression(Method):
    """Area regression: ridge regression on the area's own series.

    Its standard deviation is slightly too large: on three hidden dates of two real series each, 76
    to 86 % of the errors lay within one deviation (68 % if normal), at gaps of 0 and 15 days.
    """

    passes: ClassVar[int] = 1

    name: str = "area-regression"
    temporal: bool = True
    reach: int = max(WINDOWS) // 2
    polarisations: tuple[str, ...] = ("VV", "VH")
    deviation: bool = True

    def measure(self, series: Series, statistics: Sequence[Any]) -> Sums:
        """The normal equations of each date and gap."""
        assert series.backscatter is not None
        assert series.days is not None
        # the local means of backscatter read pixels around the core, all else only the core
        area, core = widened(series.core, max(WINDOWS) // 2, series.hidden.shape[-2:])
        radar = local_means(series.backscatter[..., *area])[..., *core]
        inner = series.cut(series.core)
        return sums(inner.reflectance, inner.clear, inner.wanted, radar, series.days)

    def conclude(self, total: Sums, statistics: Sequence[Any]) -> Rule:
        """Coefficients for each date and gap."""
        return learn(total)

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        assert series.backscatter is not None
        assert series.days is not None
        seen = series.reflectance, series.clear, series.wanted, local_means(series.backscatter)
        return Prediction(*predict(*seen, series.days, statistics[0]))


def sums(
    reflectance: Floats,
    clear: Booleans,
    hidden: Booleans,
    radar: Floats,
    days: Doubles,
    least: Sequence[float] | None = None,
) -> Sums:
    """Sums of one block."""
    times, bands = reflectance.shape[:2]
    width, gaps = predictors(bands), len(GAPS)
    zz, zy = np.zeros((times, gaps, width, width)), np.zeros((times, gaps, width, bands))
    yy, count = np.zeros((times, gaps, bands)), np.zeros((times, gaps))
    waiting, coarse = hidden.reshape(times, -1), _bits(bands, LEARNED, LEARNED - 4)
    for part, strip in strips(reflectance, clear, radar, days):
        running = strip.running()
        for date in range(times):
            levels = strip.level(date, _of(least, date))[waiting[date, part]]
            count[date] += np.bincount(levels[levels >= 0], minlength=gaps)
        for k, gap in enumerate(GAPS):
            away = gap or strip.apart
            lines = strip.lines(away, strip.clear)
            for date in np.flatnonzero(strip.clear.any(1)).tolist():
                z = strip.rows(running, lines[date], date, away)
                use = strip.clear[date] & np.isfinite(z).all(0)
                z, y = stepped(z[:, use], coarse), stepped(strip.values[date][:, use], LEARNED)
                zz[date, k] += z @ z.T
                zy[date, k] += z @ y.T
                yy[date, k] += (y * y).sum(1)
    return Sums(zz, zy, yy, count)


def learn(total: Sums, days: Doubles | None = None, least: Sequence[float] | None = None) -> Rule:
    """Coefficients for each date: learned on the other dates, then adapted to the date."""
    # The regression on the other dates is the prior of a second regression on the visible pixels
    # of the date itself, which ends with their mean difference in each band. The penalty is the one
    # with the least error on left-out spans of time, and falls with the number of visible pixels.
    # The variance is that error, or the error on the date itself if enough of it is visible.
    # Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems",
    # Technometrics 12(1), 1970, equation 2.1.
    times, gaps, width, bands = total.zy.shape
    coefficients = np.full((times, gaps, width, bands), np.nan)
    deviation = np.full((times, gaps, bands), np.nan)
    step = -(-times // FOLDS)
    spans = [slice(start, start + step) for start in range(0, times, step)]
    for gap in np.flatnonzero(total.hidden.sum(0)).tolist():
        whole = _moments(total, slice(None), gap)
        if not whole.zz[0, 0]:  # no clear pixel, or no backscatter anywhere
            continue
        penalty, error = _penalty(whole, [_moments(total, span, gap) for span in spans])
        for date in np.flatnonzero(total.hidden[:, gap]).tolist():
            own = _moments(total, slice(date, date + 1), gap)
            seen, others = own.zz[0, 0], whole.plus(_near(total, date, gap, days, least), -1)
            if others.zz[0, 0] <= width:
                continue
            pull = OWN * others.zz[0, 0] / (seen + ENOUGH)
            firmness = penalty * ENOUGH / (ENOUGH + seen)
            pulled = others._replace(zz=others.zz + pull * own.zz, zy=others.zy + pull * own.zy)
            rule = _ridge(pulled, firmness)
            if seen:
                rule[0] += (own.zy[0] - own.zz[0] @ rule) / seen
            coefficients[date, gap] = rule
            total_error = ENOUGH * error + _squared(own, rule)
            deviation[date, gap] = np.sqrt(total_error / (ENOUGH + seen))
    return Rule(coefficients, deviation)


def _near(
    total: Sums, date: int, gap: int, days: Doubles | None, least: Sequence[float] | None
) -> Moments:
    """Sums of a date and of the dates within the gap, which must not be used for it."""
    if days is None or not _of(least, date):
        return _moments(total, slice(date, date + 1), gap)
    near = np.flatnonzero(np.abs(days - days[date]) <= _of(least, date))
    return _moments(total, slice(near[0], near[-1] + 1), gap)


def _of(least: Sequence[float] | None, date: int) -> float:
    return 0.0 if least is None else float(least[date])


def _ridge(sums: Moments, penalty: float) -> Doubles:
    """Coefficients (1 + predictor, band); almost constant predictors are excluded."""
    # A variation that rounding could explain would make the result depend on the chunks.
    count = sums.zz[0, 0]
    mean, level = sums.zz[0, 1:] / count, sums.zy[0] / count
    covariance = sums.zz[1:, 1:] / count - np.outer(mean, mean)
    cross = sums.zy[1:] / count - np.outer(mean, level)
    power, variance = np.diag(sums.zz)[1:] / count, np.diag(covariance)
    scale = np.where(variance > 1e-9 * power, np.sqrt(np.maximum(variance, 1e-300)), np.inf)
    standard = covariance / np.outer(scale, scale) + penalty * np.eye(len(scale))
    slope = np.linalg.solve(standard, cross / scale[:, None]) / scale[:, None]
    return np.concatenate([(level - mean @ slope)[None], slope])


def _moments(total: Sums, dates: slice, gap: int) -> Moments:
    return Moments(*(part[dates, gap].sum(0) for part in (total.zz, total.zy, total.yy)))


def _squared(sums: Moments, rule: Doubles) -> Doubles:
    """Sum of squared errors of each band."""
    error = sums.yy - 2 * (rule * sums.zy).sum(0) + (rule * (sums.zz @ rule)).sum(0)
    # errors that rounding of the sums could explain are zero: a constant band has no error
    return np.asarray(np.where(error > 1e-12 * sums.yy, error, 0))


def _penalty(whole: Moments, folds: Sequence[Moments]) -> tuple[float, Doubles]:
    """The best penalty, and the mean squared error of each band on the left-out spans."""
    pairs = [(fold, whole.plus(fold, -1)) for fold in folds]
    usable = [(f, rest) for f, rest in pairs if rest.zz[0, 0] > len(whole.zz) and f.zz[0, 0] > 0]
    if not usable:  # one span has nearly all examples: use their own error, with a high penalty
        firm = PENALTIES[-1]
        own = [_squared(fold, _ridge(whole, firm)) for fold in folds]
        return firm, np.asarray(np.sum(own, 0) / whole.zz[0, 0])
    count = sum(fold.zz[0, 0] for fold, _ in usable)
    errors = {
        penalty: np.sum([_squared(fold, _ridge(rest, penalty)) for fold, rest in usable], 0) / count
        for penalty in PENALTIES
    }
    best = min(PENALTIES, key=lambda p: float(errors[p].sum()))
    return best, errors[best]


def predict(
    reflectance: Floats,
    clear: Booleans,
    wanted: Booleans,
    radar: Floats,
    days: Doubles,
    rule: Rule,
    least: Sequence[float] | None = None,
) -> tuple[Floats, Floats]:
    """Reflectance and its standard deviation where wanted."""
    times, bands = reflectance.shape[:2]
    # zeros take no memory until they are written, which happens on dates with wanted pixels only
    mean, spread = (np.zeros((times, bands, clear[0].size), np.float32) for _ in range(2))
    some = wanted.any((1, 2))
    mean[some] = spread[some] = np.nan
    asked, fine = wanted.reshape(times, -1), _bits(bands, APPLIED, APPLIED - 6)
    coefficients = stepped(rule.coefficients, 2 * APPLIED - fine)
    for part, strip in strips(reflectance, clear, radar, days):
        if not asked[:, part].any():
            continue
        running = strip.running()
        levels = np.stack([strip.level(date, _of(least, date)) for date in range(times)])
        levels = np.where(asked[:, part], levels, -1)
        for k in np.unique(levels[levels >= 0]):
            lines = strip.lines(GAPS[k], levels == k)
            for date in np.flatnonzero((levels == k).any(1)).tolist():
                use = np.flatnonzero(levels[date] == k)
                z = stepped(strip.rows(running, lines[date], date, GAPS[k])[:, use], fine)
                mean[date, :, part.start + use] = (coefficients[date, k].T @ z).T
                known = np.asarray(np.isfinite(z).all(0))[:, None]
                spread[date, :, part.start + use] = np.where(known, rule.deviation[date, k], np.nan)
    return mean.reshape(reflectance.shape), spread.reshape(reflectance.shape)


def _bits(bands: int, reflectance: int, decibels: int) -> NDArray[np.int64]:
    """Bits behind the point of each predictor, as a column."""
    size = 1 + bands * (1 + len(MEMORIES)), 4 * len(WINDOWS), 4
    return np.repeat([reflectance, decibels, reflectance], size)[:, None]


def predictors(bands: int) -> int:
    """Number of predictors with the constant."""
    return 1 + bands * (1 + len(MEMORIES)) + 4 * len(WINDOWS) + 4


@dataclass(frozen=True)
class Strip:
    """Some pixels of a series, (time, ..., pixel), with running means from both ends."""

    values: Floats
    clear: Booleans
    radar: Floats
    days: Doubles

    def running(self) -> list[tuple[Doubles, Doubles]]:
        """For each memory the weighted sums of [1, values] up to each date and from it on."""
        weighted = np.concatenate([np.ones_like(self.values[:, :1]), self.values], axis=1)
        weighted = np.where(self.clear[:, None], weighted, 0).astype(np.float64)
        found = []
        for memory in MEMORIES:
            fade = np.exp(-np.diff(self.days) / memory)
            past, future = weighted.copy(), weighted.copy()
            for i in range(1, len(fade) + 1):
                past[i] += fade[i - 1] * past[i - 1]
                future[-i - 1] += fade[-i] * future[-i]
            found.append((past, future))
        return found

    def lines(self, gap: float, wanted: Booleans) -> Floats:
        """Values and backscatter of dates on the line between the clear dates around them."""
        return linear_time(self.both, self.clear, self.days, wanted, gap)

    def rows(
        self, running: list[tuple[Doubles, Doubles]], both: Floats, date: int, gap: float
    ) -> Doubles:
        """Predictors of a date, (1 + predictor, pixel); NaN where one is missing."""
        days, day = self.days, self.days[date]
        before = int(np.searchsorted(days, day - gap, "left")) - 1
        after = int(np.searchsorted(days, day + gap, "right"))
        sides = self.sides[gap]
        last, following = sides.before[date], sides.after[date]
        bands = self.values.shape[1]
        line, change = both[:bands], self.radar[date] - both[bands:]
        means = []
        for memory, (past, future) in zip(MEMORIES, running, strict=True):
            total = np.zeros_like(past[0])
            if before >= 0:
                total += np.exp(-(day - days[before]) / memory) * past[before]
            if after < len(days):
                total += np.exp(-(days[after] - day) / memory) * future[after]
            means.append(total[1:] / np.where(total[:1] > 0, total[:1], np.nan))
        none = np.float64(np.inf)
        waits = [
            np.where(last < 0, none, day - days[last]),
            np.where(following < 0, none, days[following] - day),
        ]
        season = 2 * np.pi * day / 365.25
        size = line.shape[-1]
        constants = [np.full((1, size), v) for v in (np.sin(season), np.cos(season))]
        near = [(1 / (1 + w / MEMORIES[0]))[None] for w in waits]
        return np.concatenate(
            [np.ones((1, size)), line, *means, self.radar[date], change, *constants, *near]
        )

    @cached_property
    def both(self) -> Floats:
        """Values and backscatter together."""
        return np.concatenate([self.values, self.radar], axis=1)

    @cached_property
    def sides(self) -> dict[float, Sides]:
        """Clear dates on both sides for each gap."""
        gaps = {*GAPS, self.apart}
        return {gap: clear_sides(self.clear, self.days, gap) for gap in gaps}

    @cached_property
    def apart(self) -> float:
        """Days around an example of the smallest gap; 0 if no pass comes as several images."""
        return APART if (np.diff(self.days) <= APART).any() else 0.0

    def level(self, date: int, least: float = 0.0) -> NDArray[np.int64]:
        """Gap class of a pixel, by position in :data:`GAPS`; -1 without a clear date."""
        # Dates within `least` days, one of these gaps, are treated as missing.
        before, after = (s[date] for s in self.sides[least])
        day = self.days[date]
        waits = np.minimum(
            np.where(before < 0, np.inf, day - self.days[before]),
            np.where(after < 0, np.inf, self.days[after] - day),
        )
        found = np.searchsorted(GAPS, waits, "left") - 1
        return np.where(np.isfinite(waits), np.maximum(found, 0), -1)


def strips(
    reflectance: Floats, clear: Booleans, radar: Floats, days: Doubles
) -> Iterator[tuple[slice, Strip]]:
    """A series in parts of some thousand pixels each, which bounds the memory of its predictors."""
    times, clear = len(days), clear & np.isfinite(radar).all(1)  # its change needs the sides' too
    flat = [a.reshape(times, *a.shape[1:-2], -1) for a in (reflectance, clear, radar)]
    for start in range(0, flat[1].shape[-1], STRIP):
        part = slice(start, start + STRIP)
        cut = [np.ascontiguousarray(a[..., part]) for a in flat]
        yield part, Strip(cut[0], cut[1], cut[2], days)  # type: ignore[arg-type]
