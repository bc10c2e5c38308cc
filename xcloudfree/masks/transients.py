"""The series mask on arrays: evidence of cloud and shade per pixel, combined with its surroundings.

Pixels that are certain, alone or together with their neighbours, grow into pixels that change in
the same direction. Then the series is tested again without the pixels found so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.box_sums import whole_box_sums
from xcloudfree.core.predictor import Booleans, Doubles, Floats
from xcloudfree.masks.matched_filter import (
    SURE,
    THIN,
    Evidence,
    Spread,
    evidence,
    least_shade,
)

PASSES: Final = 3
"""Number of passes over a series, each without what the previous ones found."""

TRUSTED: Final = 1
"""Pixels around detections that the next pass does not trust."""

GROWN: Final = 3
"""Pixels by which a detection may grow into pixels that change in the same direction."""

CASTING: Final = 40, 0.005
"""Pixels from cloud within which shade is accepted, and its weighted number of pixels per pixel of
shade."""

COVER: Final = 16, 0.8, 0.3
"""Pixels around a pixel, and the hidden share of these above which it is not trusted; the last one
if it is as dark as shade."""

FINE, WIDE = 1, 3
"""Half the sides in pixels of the boxes in which evidence is averaged."""

VOTERS: Final = 3
"""Half the side in pixels of the box of dark pixels, most of which must be lasting if one is."""

LIGHT: Final = 0.05
"""Reflectance above the lower quartile of its dates from which a pixel is not trusted at first,
in the band of the shortest wavelength, if there is no other mask to start from."""

STEPS: Final = 1e4
"""Steps per unit in which evidence is averaged: whole numbers add up without rounding."""

STRIP: Final = 1 << 14
"""Pixels that are tested at once."""

SUMMED: Final = 1 << 18
"""Pixels whose sums are computed at once, always whole dates: few enough for the caches."""


def reach() -> int:
    """Pixels around a pixel that influence its mask."""
    judged = VOTERS + WIDE + GROWN
    return (PASSES - 1) * (judged + TRUSTED) + judged + CASTING[0] + COVER[0]


def occluded(
    values: Floats,
    given: Booleans,
    doubtful: Booleans,
    days: Doubles,
    bands: Sequence[str],
    spread: Spread,
) -> Booleans:
    """Mask of a series, (time, y, x): the starting mask, and what the series adds to it."""
    # `given` pixels are certainly hidden; `doubtful` ones count as clear only if the series agrees
    valid: Booleans = np.asarray(np.isfinite(values).all(1))
    certain: Booleans = np.asarray(valid & given)
    asked, doubtful = valid & ~given, valid & doubtful & ~given
    flat = values.reshape(*values.shape[:2], -1)
    hidden: Any = certain.copy()
    for number in range(PASSES):
        trusted = valid & ~doubtful & ~(hidden if number == 0 else _dilated(hidden, TRUSTED))
        found = _evidence(flat, valid, asked, trusted, days, bands, spread)
        cloud = _cloud(found, certain, doubtful)
        shade = _shade(found, certain, doubtful, least_shade(bands))
        cast = _cast(shade, cloud | certain) if number == PASSES - 1 else shade
        found_now = ((cloud | cast) & found.judged) | (doubtful & ~found.judged)
        hidden = certain | found_now
    radius, most, dark = COVER
    for part in _parts(hidden):
        share, whole = _around(hidden[part], radius), _around(valid[part], radius)
        limit = np.where(shade[part], dark, most)
        hidden[part] |= valid[part] & (share > limit * whole)
    return np.asarray(hidden | given)


def doubtful_at_first(values: Floats) -> Booleans:
    """Pixels brighter than their darker dates, (time, y, x), if nothing else is known."""
    shortest = values[:, 0]
    known = np.where(np.isfinite(shortest), shortest, np.float32(np.inf))
    rank = (len(known) - 1) // 4
    usual = np.partition(known, rank, axis=0)[rank]
    return np.asarray(np.isfinite(shortest) & (shortest > usual + np.float32(LIGHT)))


def _evidence(
    flat: Floats,
    valid: Booleans,
    asked: Booleans,
    trusted: Booleans,
    days: Doubles,
    bands: Sequence[str],
    spread: Spread,
) -> Evidence:
    """Evidence (time, y, x), strip by strip, of which one is in memory at a time."""
    times, pixels = len(days), flat.shape[-1]
    floats, flags = np.empty((4, times, pixels), np.float32), np.empty((2, times, pixels), bool)
    found = Evidence(*floats, *flags)
    for start in range(0, pixels, STRIP):
        part = slice(start, start + STRIP)
        there, judge, known = (a.reshape(times, -1)[:, part] for a in (valid, asked, trusted))
        values = np.where(there[:, None], flat[..., part], np.float32(0))
        for whole, piece in zip(
            found, evidence(values, judge, known, days, bands, spread), strict=True
        ):
            whole[:, part] = piece
    shape = asked.shape
    return Evidence(*floats.reshape(4, *shape), *flags.reshape(2, *shape))


def _cloud(found: Evidence, given: Booleans, doubtful: Booleans) -> Booleans:
    """Cloud: certain alone or with its surroundings, and neighbours that change that way."""
    share, sure = found.cloud, found.cloud_sure
    alone = (share > 0.10) & (sure > 4)
    together = _both_above(share, sure, found.judged, FINE, (0.06, 3))
    together |= _both_above(share, sure, found.judged, WIDE, (THIN, SURE))
    strong = alone | (together & (share > THIN / 2))
    weak = (share > THIN) & (sure > SURE)
    return _grown(strong, weak, given) | (doubtful & (share > 0.7 * THIN))


def _shade(found: Evidence, given: Booleans, doubtful: Booleans, least: float) -> Booleans:
    """The same for shade, which is never certain alone: water and wet soil are dark too."""
    dark = (found.shade > least) & (found.shade_sure > found.cloud_sure)
    lasting = dark & _most(found.lasting, dark)
    share, sure = (np.where(lasting, np.minimum(p, 0), p) for p in (found.shade, found.shade_sure))
    together = _both_above(share, sure, found.judged, FINE, (0.25, 4))
    together |= _both_above(share, sure, found.judged, WIDE, (least + 0.05, 3))
    strong = (together | (doubtful & (sure > 1.5))) & (share > least)
    return _grown(strong, (share > least) & (sure > 2.5), given)


def _cast(shade: Booleans, cloud: Booleans) -> Booleans:
    """Shade with enough cloud nearby: soil that is wet on one date is dark too."""
    radius, least = CASTING
    out = np.zeros_like(shade)
    for part in _parts(shade):
        near = _around(cloud[part], radius) > least * _around(shade[part], radius)
        out[part] = shade[part] & near
    return out


def _grown(strong: Booleans, weak: Booleans, given: Booleans) -> Booleans:
    """Strong pixels, and weak ones within some steps of them or of the starting mask."""
    out = strong | given
    for _ in range(GROWN):
        out |= weak & _dilated(out, 1)
    return np.asarray(out & ~given)


def _both_above(
    share: Floats, sure: Floats, judged: Booleans, radius: int, limits: tuple[float, float]
) -> Booleans:
    """Where the means over the tested pixels of a box exceed both limits."""
    out = np.ones(judged.shape, bool)
    for part in _parts(judged):
        count = _sums(judged[part], radius)
        for numbers, limit in zip((share, sure), limits, strict=True):
            steps = np.rint(np.where(judged[part], numbers[part], 0) * STEPS).astype(np.int64)
            out[part] &= np.asarray(whole_box_sums(steps, radius)) > limit * STEPS * count
    return out


def _most(chosen: Booleans, voters: Booleans) -> Booleans:
    """Where most of the voters around are chosen."""
    out = np.zeros_like(voters)
    for part in _parts(voters):
        some = _sums(chosen[part] & voters[part], VOTERS)
        out[part] = 2 * some > _sums(voters[part], VOTERS)
    return out


def _parts(masks: Booleans) -> list[slice]:
    """Dates whose sums are computed at once."""
    step = max(1, SUMMED // max(1, masks[0].size))
    return [slice(date, date + step) for date in range(0, len(masks), step)]


def _sums(masks: Booleans, radius: int) -> NDArray[Any]:
    return np.asarray(whole_box_sums(masks.astype(np.int64), radius))


def _around(masks: Booleans, radius: int) -> NDArray[Any]:
    """Weighted number of pixels up to a radius; near ones weigh most, so no box shows."""
    first = radius // 2
    return np.asarray(whole_box_sums(_sums(masks, first), radius - first))


def _dilated(masks: Booleans, pixels: int) -> Booleans:
    """Grown by squares, date by date."""
    size = 2 * pixels + 1
    return np.asarray(scipy.ndimage.maximum_filter(masks, (1, size, size)))
