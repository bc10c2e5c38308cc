"""Cloud and shadow in a series: changes towards cloud or shade that only one date shows.

Each pixel is compared with the median of the trusted dates around. A matched filter measures how
far the difference goes in the direction of a cloud, or of shade, in standard deviations of the
ground's own changes from date to date; harvest, rain and growth go in other directions. A change
that other dates of the same weeks show too lasts, and does not count.

References
----------
Matched filter: Manolakis and Shaw, "Detection algorithms for hyperspectral imaging applications",
IEEE Signal Processing Magazine 19(1), 2002. Multi-temporal cloud detection: Hagolle et al. 2010,
doi:10.1016/j.rse.2010.03.002; Zhu and Woodcock 2014, doi:10.1016/j.rse.2014.06.012.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.predictor import PASS, Booleans, Doubles, Floats

CLOUD: Final = {
    "B01": 0.75, "B02": 0.72, "B03": 0.70, "B04": 0.70, "B05": 0.70, "B06": 0.70, "B07": 0.70,
    "B08": 0.70, "B8A": 0.70, "B11": 0.50, "B12": 0.40,
}  # fmt: skip
"""Reflectance of thick cloud by band, for the bands that separate ground from cloud."""

DIRECT: Final = {
    "B01": 0.3, "B02": 0.4, "B03": 0.55, "B04": 0.7, "B05": 0.8, "B06": 0.85, "B07": 0.9,
    "B08": 0.9, "B8A": 0.95, "B11": 1.0, "B12": 1.0,
}  # fmt: skip
"""Share of the light of each band that comes directly from the sun and is missing in full shade;
the blue sky gives the rest."""

AROUND: Final = 7
"""Number of dates whose median a pixel is compared with."""

FEWEST: Final = 3
"""Number of trusted dates needed to test another one."""

GAPS: Final = (8.0, 20.0, 40.0)
"""Days to the nearest trusted date that divide the classes of the ground's own changes."""

LASTING: Final = 40.0
"""Days within which other dates show a lasting change."""

BESIDE: Final = 3
"""Number of dates on each side that are compared, hidden or not."""

TWINS, TWIN = 2, 1.2
"""How many of them must look the same for a brighter pixel to be ground, and their largest mean
squared distance in deviations, by band: clouds of three dates are hardly ever that alike."""

RUN, RUNNING = 3, 1.6
"""The same for a darker pixel, like that of a flood, on dates that follow each other. Shades of two
dates are often alike, so the surroundings have a say too."""

FEW_BANDS: Final = 4
"""Number of bands up to which cloud and shade are not fitted together: they explain any change."""

EXPLAINED, UNLIKE = 0.5, 3.0
"""A change is neither cloud nor shade if they explain less than this share of its squared distance
and leave more than this number for each band."""

STRONG: Final = 0.3
"""Share of cloud above which no change of the ground looks similar."""

TRIM: Final = 6.0
"""Squared distance, in medians of it, of differences that are excluded from the ground's spread."""

ROUNDS: Final = 5
"""Concentration steps towards the half of the differences that lies closest together."""

EXAMPLES: Final = 200
"""Number of differences of a class below which all classes together give its spread."""

CLEANING: Final = 3
"""Rounds in which cloud is removed from the sample that measures the changes of the ground."""

THIN, SURE = 0.04, 2.0
"""Share of cloud and deviations of the ground from which a pixel counts as cloud, or as shade."""

DIM, DIM_FEW = 0.10, 0.15
"""Share of missing light from which a pixel counts as shade; with few bands wet soil looks like
shade."""

WET: Final = -0.015
"""Change in short-wave infrared below which only ice is cloud: rain darkens the soil there."""

ICE, ICY = 0.1, 10.0
"""Brightening in the shortest wavelength that rain cannot explain, and its least certainty, in
deviations."""


class Spread(NamedTuple):
    """Changes of the ground from the median of its other dates: whitening (class, band, band)."""

    whitening: Doubles  # lower triangular; NaN if there are too few differences


class Evidence(NamedTuple):
    """Evidence for cloud and for shade, (time, pixel) each; 0 where there is none."""

    cloud: Floats  # share of cloud that explains the difference
    cloud_sure: Floats  # the same in deviations of the ground
    shade: Floats  # share of the light that is missing
    shade_sure: Floats
    judged: Booleans
    lasting: Booleans  # looks like shade, but other dates show it too


def nearest(
    trusted: Booleans, days: Doubles, date: int, count: int, side: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int8], Floats]:
    """The trusted dates nearest to one, (count, pixel); their number; days to the first of them.

    With `side` -1 only earlier ones, with 1 only later ones; never those of the same pass.
    """
    away = days - days[date]
    able = np.abs(away) > PASS if side == 0 else away * side > PASS
    order = np.argsort(np.abs(away), kind="stable")
    pixels = trusted.shape[1]
    chosen, found = np.zeros((count, pixels), np.int64), np.zeros(pixels, np.int8)
    wait = np.full(pixels, np.inf, np.float32)
    for other in order[able[order]]:
        use = trusted[other] & (found < count)
        if not use.any():
            continue
        place = np.flatnonzero(use)
        rank = found[place]
        chosen[rank, place] = other
        wait[place[rank == 0]] = abs(away[other])
        found[place] += 1
        if found.min() == count:
            break
    return chosen, found, wait


def median_of(
    values: Floats,
    where: NDArray[np.int64],
    chosen: NDArray[np.int64],
    found: NDArray[np.int8],
) -> Floats:
    """Lower median over the dates chosen for each pixel of values (time, band, pixel); or 0."""
    count, pixels = chosen.shape
    middle = count // 2
    lows = middle - (np.maximum(found, 1).astype(np.int64) - 1) // 2
    table = np.empty((count, pixels), np.float32)
    out = np.empty((values.shape[1], pixels), np.float32)
    rank = np.arange(count)[:, None]
    missing, low = rank >= found, rank < found + lows
    ends = np.where(low, np.float32(-np.inf), np.float32(np.inf))
    for band in range(values.shape[1]):
        np.copyto(table, values[:, band][chosen, where])
        table[missing] = ends[missing]
        for last in range(count - 1, middle - 1, -1):  # the largest to the end, one by one
            for k in range(last):
                low_one = np.minimum(table[k], table[k + 1])
                np.maximum(table[k], table[k + 1], out=table[k + 1])
                table[k] = low_one
        out[band] = table[middle]
    out[:, found == 0] = 0
    return out


def least_shade(bands: Sequence[str]) -> float:
    """Share of missing light from which a pixel counts as shade."""
    return DIM if len(bands) > FEW_BANDS else DIM_FEW


def spread_of(values: Floats, trusted: Booleans, days: Doubles, bands: Sequence[str]) -> Spread:
    """Measure how the ground of sampled pixels differs from the median of its other dates.

    Takes values (time, band, pixel) and where they are trusted, (time, pixel). Cloud among
    these is found and removed, round by round.
    """
    spread = _spread(values, trusted, days)
    for _ in range(CLEANING):
        if not np.isfinite(spread.whitening).all():
            break
        found = evidence(values, trusted, trusted, days, bands, spread)
        cloud = (found.cloud > THIN) & (found.cloud_sure > SURE)
        shade = (found.shade > least_shade(bands)) & (found.shade_sure > SURE)
        trusted = trusted & ~cloud & ~shade
        spread = _spread(values, trusted, days)
    return spread


def _spread(values: Floats, trusted: Booleans, days: Doubles) -> Spread:
    rows, kinds = [], []
    for date in range(len(days)):
        pixels = np.flatnonzero(trusted[date])
        if not len(pixels):
            continue
        chosen, found, wait = nearest(trusted[:, pixels], days, date, AROUND)
        able = found >= FEWEST
        middle = median_of(values, pixels, chosen, found)
        rows.append((values[date][:, pixels] - middle)[:, able].T.astype(np.float64))
        kinds.append(np.digitize(wait[able], GAPS))
    bands = values.shape[1]
    whitening = np.full((len(GAPS) + 1, bands, bands), np.nan)
    every = np.concatenate(rows) if rows else np.empty((0, bands))
    kind = np.concatenate(kinds) if kinds else np.empty(0, int)
    if len(every) <= 2 * bands:
        return Spread(whitening)
    for number in range(len(GAPS) + 1):
        own = every[kind == number]
        covariance = _covariance(own if len(own) >= EXAMPLES else every)
        whitening[number] = np.linalg.inv(np.linalg.cholesky(covariance))
    return Spread(whitening)


def _covariance(rows: Doubles) -> Doubles:
    """Covariance of differences around zero, of which up to half may be cloud and shade.

    Concentration steps find the smallest half (Rousseeuw and Van Driessen 1999,
    doi:10.1080/00401706.1999.10485670); then differences not far outside of it are added.
    """
    floor: Doubles = 1e-5 * np.eye(rows.shape[1])
    covariance = floor
    scale = np.median(np.abs(rows), axis=0) + 1e-3
    distance = ((rows / scale) ** 2).sum(1)
    for step in range(ROUNDS + 1):
        limit = np.median(distance) * (1.0 if step < ROUNDS else TRIM)
        kept = rows[distance <= limit]
        covariance = kept.T @ kept / len(kept) + floor
        distance = (np.linalg.solve(covariance, rows.T) * rows.T).sum(0)
    return covariance


def evidence(
    values: Floats,
    asked: Booleans,
    trusted: Booleans,
    days: Doubles,
    bands: Sequence[str],
    spread: Spread,
) -> Evidence:
    """Evidence for cloud and shade in the requested pixels of a series (time, band, pixel)."""
    times, pixels = asked.shape
    names = ("cloud", "cloud_sure", "shade", "shade_sure")
    planes = {name: np.zeros((times, pixels), np.float32) for name in names}
    judged, lasting = np.zeros((2, times, pixels), bool)
    white = np.array([CLOUD[b] for b in bands])
    direct = np.array([[DIRECT[b]] for b in bands], np.float32)
    near = [k for k, b in enumerate(bands) if b in ("B07", "B08", "B8A")]
    infrared = [k for k, b in enumerate(bands) if b in ("B11", "B12")]
    if not np.isfinite(spread.whitening).all():
        return Evidence(**planes, judged=judged, lasting=lasting)
    for date in range(times):
        place = np.flatnonzero(asked[date])
        if not len(place):
            continue
        known = trusted[:, place]
        chosen, found, wait = nearest(known, days, date, AROUND)
        middle, seen = median_of(values, place, chosen, found), values[date][:, place]
        able = found >= FEWEST
        kind = np.digitize(wait, GAPS)
        difference = seen - middle
        # in deviations of the ground: the difference, towards cloud, and towards darkness
        far = _whitened(difference, kind, spread.whitening)
        base = _whitened(middle, kind, spread.whitening)
        dark = _whitened(middle * direct, kind, spread.whitening)
        peak = np.einsum("kcb,b->kc", spread.whitening, white).astype(np.float32)[kind].T
        cloud, cloud_sure, shade, shade_sure, other = _shares(far, peak - base, -dark)
        twins, run = _alike(
            values,
            place,
            asked[:, place],
            days,
            date,
            kind,
            spread,
            (cloud > 0.02) | (shade > DIM) | (difference[0] > ICE),
        )
        lasts = (twins >= TWINS) & (shade_sure <= cloud_sure)
        if infrared:
            # rain darkens the short-wave infrared; so does ice, which only cloud removes again
            wet = difference[infrared].max(0) <= WET
            ice = wet & (difference[0] > ICE) & ~lasts
            share = np.where(ice, difference[0] / np.maximum(white[0] - middle[0], ICE), 0)
            cloud = np.where(wet, np.minimum(cloud, 0), cloud) + share
            cloud_sure = np.where(wet, np.minimum(cloud_sure, 0), cloud_sure)
            cloud_sure = np.where(ice, ICY, cloud_sure)
        similar = (cloud < STRONG) & (shade < 0.5)
        able_change = lasts & similar
        if near and infrared:  # cloud brightens both and shade darkens both, but not a harvest
            able_change |= other & (difference[near].max(0) < 0) & (difference[infrared].min(0) > 0)
        measured = zip(names, (cloud, cloud_sure, shade, shade_sure), strict=True)
        for name, numbers in measured:
            numbers = np.where(able_change, np.minimum(numbers, 0), numbers)
            planes[name][date, place] = np.where(able, numbers, 0)
        judged[date, place] = able
        lasting[date, place] = able & similar & (run >= RUN) & (shade_sure > cloud_sure)
    return Evidence(**planes, judged=judged, lasting=lasting)


def _shares(
    far: Floats, white: Floats, dark: Floats
) -> tuple[Floats, Floats, Floats, Floats, Booleans]:
    """Shares of cloud and of missing light in differences (band, pixel), and their certainty.

    Each is fitted alone. Where both together explain the difference with positive shares, as where
    thin cloud lies in the shade of another, these count if they are certain. The last array shows
    where they explain too little.
    """
    whites, darks, across = (white * white).sum(0), (dark * dark).sum(0), (white * dark).sum(0)
    whites, darks = np.maximum(whites, 1e-6), np.maximum(darks, 1e-6)
    to_white, to_dark = (white * far).sum(0), (dark * far).sum(0)
    cloud, shade = to_white / whites, to_dark / darks
    sure, sure_shade = to_white / np.sqrt(whites), to_dark / np.sqrt(darks)
    own = np.maximum(whites * darks - across * across, 1e-3 * whites * darks)
    joint = (to_white * darks - to_dark * across) / own
    joint_shade = (to_dark * whites - to_white * across) / own
    positive = (joint > 0) & (joint_shade > 0)
    # squared distance that cloud, shade or both explain, and what is left of the whole
    explained = np.maximum(np.maximum(sure, 0) ** 2, np.maximum(sure_shade, 0) ** 2)
    both = np.where(positive, joint * to_white + joint_shade * to_dark, 0)
    explained = np.maximum(explained, both)
    total = (far * far).sum(0)
    other = (explained < EXPLAINED * total) & (total - explained > UNLIKE * len(far))
    if len(far) <= FEW_BANDS:
        return cloud, sure, shade, sure_shade, other
    certain, certain_shade = joint * np.sqrt(own / darks), joint_shade * np.sqrt(own / whites)
    for where, *changes in (
        (positive & (certain > SURE), (cloud, joint), (sure, certain)),
        (positive & (certain_shade > SURE), (shade, joint_shade), (sure_shade, certain_shade)),
    ):
        for numbers, others in changes:
            np.maximum(numbers, others, out=numbers, where=where)
    return cloud, sure, shade, sure_shade, other


def _whitened(numbers: Floats, kind: NDArray[np.int64], whitening: Doubles) -> Floats:
    """In deviations of the ground, (band, pixel), summed in the same order at every pixel."""
    table = whitening.astype(np.float32)
    out = np.zeros_like(numbers)
    for row in range(len(numbers)):
        for column in range(row + 1):
            out[row] += table[:, row, column][kind] * numbers[column]
    return out


def _alike(
    values: Floats,
    where: NDArray[np.int64],
    asked: Booleans,
    days: Doubles,
    date: int,
    kind: NDArray[np.int64],
    spread: Spread,
    suspicious: Booleans,
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """How many dates around look the same as the date; how many, by another limit, in a row."""
    twins, run = np.zeros((2, len(suspicious)), np.int8)
    place = np.flatnonzero(suspicious)
    if not len(place):
        return twins, run
    where = where[place]
    seen, by_date = values[date][:, where], values.transpose(1, 0, 2)
    for side in (-1, 1):
        chosen, found, _ = nearest(asked[:, place], days, date, BESIDE, side)
        unbroken = np.ones(len(place), bool)
        for rank, other in enumerate(chosen):
            apart = _whitened(seen - by_date[:, other, where], kind[place], spread.whitening)
            near = (found > rank) & (np.abs(days[other] - days[date]) < LASTING)
            distance = (apart * apart).mean(0)
            twins[place] += near & (distance < TWIN)
            unbroken &= near & (distance < RUNNING)
            run[place] += unbroken
    return twins, run
