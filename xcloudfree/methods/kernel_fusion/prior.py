"""The regression on the area's own series: learned from a sample, excluding the date itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.core.progress import track
from xcloudfree.methods.kernel_fusion import gate, mixing, offsets, persistence, ridge
from xcloudfree.methods.kernel_fusion.mixing import Guess
from xcloudfree.methods.kernel_fusion.predictors import (
    Pixels,
    Reader,
    Rows,
    filled_passes,
    optical_width,
)
from xcloudfree.methods.kernel_fusion.products import product
from xcloudfree.methods.kernel_fusion.ridge import Moments
from xcloudfree.methods.kernel_fusion.sample import Sample
from xcloudfree.methods.kernel_fusion.settings import GAPS

NEVER: Final = len(GAPS)
"""Level of a pixel without any other clear date."""

TRIM: Final = 6.0
"""Robust deviations beyond which an example is excluded: it is a missed cloud, or follows one."""

SHOWN: Final = 0.5
"""Share of the sample that a date must show for its offset to count."""

FEWEST: Final = 3
"""Number of examples needed for a regression."""

LEAST, JUDGED = 10, 8
"""Clear pixels of the sample needed to test a date, and number of such dates to test a series."""

Doubles = NDArray[np.float64]


class Targets(NamedTuple):
    """Days to predict: their numbers, and their position in the series or -1, (target,)."""

    days: Doubles
    own: NDArray[np.int64]

    def of(self, which: NDArray[np.bool_]) -> Targets:
        """Some of them."""
        return Targets(self.days[which], self.own[which])


class Statistics(NamedTuple):
    """Statistics of the sample."""

    # (target, class, 1 + predictor, band); the class of a pixel is from classes()
    coefficients: Doubles
    deviation: Doubles  # of the prediction, (target, class, band); NaN where unknown
    # Variation of whole dates around their prior: inverse covariance of their offsets in deviations
    # of the prior, divided by the number of bands, (level, band, band).
    precision: Doubles
    low: Doubles  # range of the scene's clear values, (band,)
    high: Doubles  # range of the scene's clear values, (band,)
    trusted: NDArray[np.bool_]  # dates of the series that are trusted, (time,)
    mix: Doubles  # from mixing.shares, (level, 2, 2)
    # coefficients without examples within the gap, for the levels of persistence.LONGER
    apart: Doubles
    open: NDArray[np.bool_]  # dates whose errors count for others, (time,)
    persistence: Doubles  # from persistence.learned, (level,)
    offsets: Doubles  # from persistence.learned, (level, time, band)


def classes(rows: Rows) -> Tensor:
    """Regression class of each pixel: 2 x level of its gap, + 1 without radar."""
    edges = rows.wait.new_tensor(GAPS)
    level = (torch.searchsorted(edges, rows.wait) - 1).clamp(min=0)
    level = torch.where(torch.isinf(rows.wait), NEVER, level)
    return 2 * level + (~rows.heard).long()


def conclude(sample: Sample, days: Doubles, targets: Targets, usual: Sequence[float]) -> Statistics:
    """Learn the regression of every target from the sample of the scene, without its own date."""
    # A date that deviates from the prediction of the other dates more than ground ever does is a
    # cloud that the mask missed: it is excluded from learning and predicting.
    pixels = _pixels(sample, days)
    bands = pixels.bands
    trusted = np.ones(len(days), bool)
    if not sample.clear.any():
        width, count = optical_width(bands) + 2 * pixels.planes, len(targets.days)
        rule = np.full((count, 2 * NEVER + 2, width, bands), np.nan)
        none = np.full(bands, np.nan)
        precision = np.tile(np.eye(bands), (NEVER, 1, 1))
        mix = np.array([[(0.0, 0.0), (share, 0.0)] for share in usual])
        return Statistics(
            rule, rule[:, :, 0], precision, none, none, trusted, mix, rule, ~trusted,
            np.zeros(NEVER), np.zeros((NEVER, len(days), bands)),
        )  # fmt: skip
    reader = Reader(pixels)
    seen = np.flatnonzero(sample.clear.sum(1) >= LEAST)
    precision, distance, bright = _offsets(reader, Targets(days[seen], seen))
    share = sample.clear[seen].mean(1)
    strays = distance > [gate.limit(float(s), bool(b)) for s, b in zip(share, bright, strict=True)]
    if len(seen) >= JUDGED and strays.mean() < 0.5:
        trusted[seen[strays]] = False
    if not trusted.all():
        clear = pixels.clear & torch.from_numpy(trusted)[:, None]
        shown = clear[..., None] | (torch.arange(pixels.values.shape[2]) >= bands)
        pixels = pixels._replace(clear=clear, values=torch.where(shown, pixels.values, 0.0))
        reader = Reader(pixels)
    rule, spread, apart = _learned(reader, targets)
    own = targets.own >= 0
    open_ = pixels.clear.float().mean(1).numpy() >= persistence.OPEN
    wide = own & open_[targets.own]
    each = [
        _guesses(reader, targets.of(own), (rule[own], spread[own]), level)
        for level in range(NEVER)
    ]  # fmt: skip
    others = {
        level: _guesses(reader, targets.of(wide), (apart[wide], spread[wide]), level)
        for level in set(persistence.LONGER)
    }
    persistent, middle, each = persistence.learned(days, each, others, pixels.clear.shape[1])
    mix = np.stack([
        mixing.shares(pixels, guesses, gap, share)
        for guesses, gap, share in zip(each, GAPS, usual, strict=True)
    ])  # fmt: skip
    shown = pixels.values[..., :bands][pixels.clear]
    few = 1 + len(shown) // 10000
    ends = [shown.kthvalue(k, 0).values.double().numpy() for k in (few, len(shown) + 1 - few)]
    return Statistics(
        rule, spread, precision, ends[0], ends[1], trusted, mix, apart, open_, persistent,
        middle,
    )  # fmt: skip


def _learned(
    reader: Reader, targets: Targets, levels: int = NEVER + 1
) -> tuple[Doubles, Doubles, Doubles]:
    """Coefficients, deviations and coefficients apart of levels; see :class:`Statistics`."""
    pixels = reader.pixels
    width, bands = optical_width(pixels.bands) + 2 * pixels.planes, pixels.bands
    count = len(targets.days)
    coefficients = np.full((count, 2 * NEVER + 2, width, bands), np.nan)
    deviation = np.full((count, 2 * NEVER + 2, bands), np.nan)
    apart = np.full_like(coefficients, np.nan)
    fallback = _persistence(pixels, width)
    found: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for level, gap in track(list(enumerate((*GAPS, 0.0)[:levels])), "fitting"):
        for kind, moments in enumerate(_moments(reader, gap, level)):
            if kind == 0 and not pixels.planes:
                continue
            rule, spread = _rules(moments, targets, level == NEVER)
            if level in persistence.LONGER and levels > NEVER:
                near = np.abs(targets.days[:, None] - pixels.days) <= gap
                apart[:, 2 * level + kind] = _rules(moments, targets, False, near)[0].numpy()
            if level < NEVER:  # too few examples so far away: use those of a shorter gap
                earlier = found.get((level - 1, kind), fallback)
                none = torch.isnan(spread).any(1)
                rule = torch.where(none[:, None, None], earlier[0], rule)
                spread = torch.where(none[:, None], earlier[1], spread)
            found[level, kind] = rule, spread
            coefficients[:, 2 * level + kind] = rule.numpy()
            deviation[:, 2 * level + kind] = spread.numpy()
    return coefficients, deviation, apart


def _offsets(reader: Reader, dates: Targets) -> tuple[Doubles, Doubles, Doubles]:
    """:attr:`Statistics.precision`; by date the squared distance of its offset, and brightness.

    The last two are without any gap.
    """
    bands = reader.pixels.bands
    learned = _learned(reader, dates, NEVER)[:2]
    share = reader.pixels.clear[torch.from_numpy(dates.own)].float().mean(1)
    precision = np.empty((NEVER, bands, bands))
    for level in range(NEVER - 1, -1, -1):
        middle, within = offsets.of_dates(_guesses(reader, dates, learned, level), bands)
        able = (share >= SHOWN) & torch.isfinite(middle).all(1)
        inverse = offsets.inverse_spread(middle[able], within[able])
        precision[level] = inverse.numpy()
    distance = ((middle @ inverse) * middle).sum(1)
    return precision, distance.nan_to_num(0.0).numpy(), (middle.mean(1) > 0).numpy()


def _guesses(
    reader: Reader, dates: Targets, learned: tuple[Doubles, Doubles], level: int
) -> list[Guess]:
    """The clear pixels of each date, predicted at a gap, where that is possible."""
    pixels, bands = reader.pixels, reader.pixels.bands
    found = []
    for k, own in enumerate(dates.own.tolist()):
        # whatever the gap of a pixel, the regression of this level predicts it
        rule, spread = (np.repeat(a[k, None, 2 * level : 2 * level + 2], NEVER, 0) for a in learned)
        rule, spread = (a.reshape(-1, *a.shape[2:]) for a in (rule, spread))
        radar, heard = pixels.values[own, :, bands:], pixels.heard[own]
        rows = reader.rows(float(dates.days[k]), GAPS[level], radar, heard)
        known = torch.isfinite(rows.wait) & pixels.clear[own]
        rows = Rows(*(a[known] for a in rows))
        mean, deviation = _applied(rows, rule, spread)
        able = torch.isfinite(mean / deviation).all(1)
        which = known.nonzero().ravel()[able]
        truth = pixels.values[own, which, :bands]
        line = rows.z[able, 1 : 1 + bands]
        found.append(Guess(float(dates.days[k]), which, line, mean[able], deviation[able], truth))
    return found


def _pixels(sample: Sample, days: Doubles) -> Pixels:
    radar, heard = filled_passes(
        torch.from_numpy(sample.radar), torch.from_numpy(sample.heard), days
    )
    values = torch.cat([torch.from_numpy(sample.values), radar], 2)
    return Pixels(values, torch.from_numpy(sample.clear), heard, days, sample.values.shape[2])


def _moments(reader: Reader, gap: float, level: int) -> tuple[Moments, Moments]:
    """Moments by date of the examples with radar, and of all regardless of radar."""
    pixels = reader.pixels
    times = len(pixels.days)
    dates = pixels.clear.any(1).nonzero().ravel().tolist()
    parts = [_examples(reader, date, gap, level == NEVER) for date in dates]
    z = torch.cat([p[0] for p in parts])
    y = torch.cat([p[1] for p in parts])
    heard = torch.cat([p[2] for p in parts])
    date = torch.cat([torch.full((len(p[1]),), d) for d, p in zip(dates, parts, strict=True)])
    optical = optical_width(pixels.bands)
    bare = z.clone()
    bare[:, optical:] = 0
    kept = _ordinary(bare, y, heard)
    both = heard & kept
    return (
        ridge.summed(z[both], y[both], date[both], times),
        ridge.summed(bare[kept], y[kept], date[kept], times),
    )


def _examples(reader: Reader, date: int, gap: float, never: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Predictors, reflectance, and availability of radar, of the sample's clear pixels."""
    pixels = reader.pixels
    radar, heard = pixels.values[date, :, pixels.bands :], pixels.heard[date]
    rows = reader.rows(float(pixels.days[date]), gap, radar, heard)
    z, known = rows.z, rows.heard
    use = pixels.clear[date]
    if never:  # a constant and the radar of the date
        z, known = z.clone(), heard
        z[:, 1 : optical_width(pixels.bands)] = 0
        z[:, optical_width(pixels.bands) + pixels.planes :] = 0
    else:
        use = use & ~torch.isinf(rows.wait)
    return z[use].double(), pixels.values[date, use, : pixels.bands].double(), known[use]


def _ordinary(z: Tensor, y: Tensor, heard: Tensor) -> Tensor:
    """Examples that are not far outside the spread of a first regression."""
    kept = torch.ones(len(z), dtype=torch.bool)
    for _ in range(2):
        rule = ridge.solved(z[kept].mT @ z[kept], z[kept].mT @ y[kept], 1e-2)
        rest = y - z @ rule
        if not int(kept.sum()):
            break
        centre = rest[kept].median(0).values
        spread = 1.4826 * (rest[kept] - centre).abs().median(0).values
        kept = ((rest - centre).abs() <= TRIM * spread.clamp(min=1e-4)).all(1)
    return kept


def _rules(
    moments: Moments, targets: Targets, never: bool, near: NDArray[np.bool_] | None = None
) -> tuple[Tensor, Tensor]:
    """Coefficients (target, 1 + predictor, band) and deviation (target, band); NaN without rows.

    Each leaves its own date out, or those `near` it, (target, time).
    """
    count, (width, bands) = len(targets.days), moments.zy.shape[1:]
    rule = torch.full((count, width, bands), torch.nan, dtype=torch.float64)
    spread = torch.full((count, bands), torch.nan, dtype=torch.float64)
    whole = moments.total()
    fewest = 1 if never else FEWEST
    if whole.examples < fewest or not count:
        return rule, spread
    penalty, error = ridge.penalised(moments, whole)
    others = []
    for k, own in enumerate(targets.own.tolist()):
        rest = whole
        if near is not None:
            gone = torch.from_numpy(near[k])
            rest = Moments(*(w - a[gone].sum(0) for w, a in zip(whole, moments, strict=True)))
        elif own >= 0:
            rest = Moments(*(w - a[own] for w, a in zip(whole, moments, strict=True)))
        if never and rest.examples < fewest:
            rest = whole  # there is only the date itself
        others.append(rest)
    enough = torch.tensor([o.examples >= fewest for o in others])
    zz, zy = torch.stack([o.zz for o in others]), torch.stack([o.zy for o in others])
    rule[enough] = ridge.solved(zz[enough], zy[enough], penalty)
    spread[enough] = error.sqrt().clamp(min=1e-2 if never else 1e-4)
    return rule, spread


def _persistence(pixels: Pixels, width: int) -> tuple[Tensor, Tensor]:
    """If nothing can be learned: interpolate between the clear dates around."""
    rule = torch.zeros(width, pixels.bands, dtype=torch.float64)
    rule[1 : 1 + pixels.bands] = torch.eye(pixels.bands, dtype=torch.float64)
    shown = pixels.values[..., : pixels.bands][pixels.clear].double()
    return rule, (shown.std(0, correction=0) / 2).clamp(min=1e-3)


def predict(rows: Rows, statistics: Statistics, target: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every pixel, (pixel, band) each; NaN where unknown."""
    return _applied(rows, statistics.coefficients[target], statistics.deviation[target])


def _applied(rows: Rows, coefficients: Doubles, deviation: Doubles) -> tuple[Tensor, Tensor]:
    """For one target: coefficients (class, 1 + predictor, band) and deviation (class, band)."""
    like = rows.z
    rule, spread = (
        torch.as_tensor(a, dtype=like.dtype, device=like.device) for a in (coefficients, deviation)
    )
    kind = classes(rows)
    mean = like.new_full((len(like), rule.shape[-1]), torch.nan)
    present = torch.bincount(kind, minlength=len(rule)).nonzero().ravel().tolist()
    optical = optical_width(rule.shape[-1])
    for k in present:
        # coefficients that a class does not use are 0
        used = torch.where(_read(k, optical, rule[k]), rule[k], 0.0)
        if len(present) == 1:
            return product(like, used), spread[k].expand(len(like), -1)
        use = (kind == k).nonzero().ravel()
        mean[use] = product(like[use], used)
    return mean, spread[kind]


def _read(kind: int, optical: int, rule: Tensor) -> Tensor:
    """Coefficients that a class uses, (1 + predictor, 1)."""
    place = torch.arange(len(rule), device=rule.device)[:, None]
    planes = (len(rule) - optical) // 2
    read = place < (optical if kind % 2 else len(rule))
    if kind // 2 == NEVER:
        read &= (place == 0) | (place >= optical)
        read &= place < optical + planes
    return read


__all__ = ["NEVER", "Statistics", "Targets", "classes", "conclude", "predict"]
