"""Cloud shadow by geometry: dark pixels that lie where the sun casts the shadow of a cloud.

A cloud seen at one pixel shades the ground away from the sun, at a distance of its height over the
tangent of the sun's elevation. The height is unknown, so all plausible ones are tried, as in Fmask
(Zhu and Woodcock 2012, doi:10.1016/j.rse.2011.10.028). Unlike Fmask, the match is tested in a box
around each pixel and not cloud by cloud, and brightness is compared with the mean around each pixel
and not with a flood-filled image. Both are then functions of a window of known size, so the result
does not depend on the chunks. All sums are of integers, so that they are exact in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.box_sums import whole_box_sums
from xcloudfree.core.windows import Area, widened
from xcloudfree.masks.matched_filter import AROUND as DATES
from xcloudfree.masks.matched_filter import nearest

CLOUD, DIM, DARK = 1, 2, 4
"""Bits of the state of a pixel: cloud; darker than around it; so dark that it may be shadow."""

LOWEST, HIGHEST = 200.0, 6000.0
"""Range of cloud heights in metres; higher clouds are mostly cirrus, whose shadow is faint."""

FARTHEST = 5000.0
"""Largest distance in metres on the ground from a cloud to its shadow. Longer shadows of a low sun
are ignored, so that the halo stays below a block of 10 m pixels."""

STEP = 150.0
"""Metres on the ground between the displacements to try, and half the side of the box in which they
are tested."""

AROUND = 2000.0
"""Half the side in metres of the box whose mean is the brightness of the ground."""

SHARE = 0.5
"""Share of a displaced cloud that must be dark, within the box, to count as its shadow."""

DARKNESS = 0.85
"""Share of the mean around, in near and short-wave infrared, below which a pixel is dark."""

BRIGHTER = 0.9
"""Share of its brightest date around, in near and short-wave infrared, below which a pixel of a
series is darker than usual. Chosen on simulated skies of seeds 3 to 9."""

Offset = tuple[int, int]


def states(
    cloud: NDArray[np.bool_],
    nir: NDArray[np.floating],
    swir: NDArray[np.floating],
    green: NDArray[np.floating],
    radius: int,
) -> NDArray[np.uint8]:
    """Bits of each pixel: cloud, and darker than the clear land within `radius` pixels."""
    out = np.where(cloud, np.uint8(CLOUD), np.uint8(0))
    land = np.isfinite(nir) & np.isfinite(swir) & np.isfinite(green) & ~cloud
    # water is dark in both: NDWI above 0 (McFeeters 1996, doi:10.1080/01431169608948714)
    land &= ~((green > nir) & (nir < 0.15))
    if not land.any():
        return out
    kind: np.dtype[Any] = np.dtype("u4" if 20000 * (2 * radius + 1) ** 2 < 2**32 else "u8")
    count = whole_box_sums(land.astype(kind), radius)
    dim, dark = land.copy(), land.copy()
    for plane in (nir, swir):
        number = np.rint(np.where(land, np.clip(plane, 0, 2) * 1e4, 0)).astype(kind)
        total = whole_box_sums(number, radius)
        number *= count
        dim &= number < total
        dark &= number < total * np.float64(DARKNESS)
    out[dim] |= DIM
    out[dark] |= DARK
    return out


def compared(
    state: NDArray[np.uint8], infrared: NDArray[np.float32], days: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """States (time, y, x) of which those that are as dark on their other dates are not dark.

    A forest is dark on every date, and a shadow moves. `infrared` is (time, band, y, x).
    """
    out = state.copy()
    flat, values = state.reshape(len(state), -1), infrared.reshape(*infrared.shape[:2], -1)
    shown = ((flat & CLOUD) == 0) & np.isfinite(values).all(1)
    for date, (before, after) in enumerate(zip(flat, out.reshape(flat.shape), strict=True)):
        (where,) = ((before & DARK) > 0).nonzero()
        chosen, found, _ = nearest(shown[:, where], days, date, DATES)
        others = values.transpose(1, 0, 2)[:, chosen, where]
        others[:, np.arange(len(chosen))[:, None] >= found] = -np.inf
        alike = (values[date][:, where] >= BRIGHTER * others.max(1)).any(0)
        after[where[alike & (found > 0)]] &= ~np.uint8(DARK)
    return out


def displacements(
    sun: tuple[float, float], east: tuple[float, float], north: tuple[float, float]
) -> tuple[Offset, ...]:
    """Rows and columns from a cloud to its shadow, for all heights to try."""
    azimuth, elevation = (math.radians(angle) for angle in sun)
    slope = math.tan(elevation)
    near, far = (min(height / slope, FARTHEST) for height in (LOWEST, HIGHEST))
    steps = max(1, math.ceil((far - near) / STEP))
    found = []
    for k in range(steps + 1):
        metres = near + (far - near) * k / steps
        to_east, to_north = -metres * math.sin(azimuth), -metres * math.cos(azimuth)
        pair = zip(east, north, strict=True)
        found.append(tuple(round(to_east * e + to_north * n) for e, n in pair))
    return tuple(dict.fromkeys(found))  # type: ignore[arg-type]


def reach(offsets: Sequence[Offset], radius: int) -> int:
    """Pixels around a pixel that :func:`shadowed` reads."""
    return radius + _edge(radius) + max((abs(n) for offset in offsets for n in offset), default=0)


def shadowed(
    state: NDArray[np.uint8], offsets: Sequence[Offset], radius: int, core: Area
) -> NDArray[np.bool_]:
    """Pixels of the core in the shadow of a cloud; they depend on pixels within :func:`reach`."""
    near, here = widened(core, _edge(radius), state.shape)
    wide, inner = widened(near, radius, state.shape)
    part = state[wide]
    cloud, dark, free = (state & CLOUD) > 0, (part & DARK) > 0, (part & CLOUD) == 0
    dim = (part[inner] & DIM) > 0
    found = np.zeros(dim.shape, bool)
    if not cloud.any() or not dark.any():
        return found[here]
    small = (2 * radius + 1) ** 2 < 2**15
    kind, bits = (np.int32, 16) if small else (np.int64, 32)
    # a pixel is in shadow if half of the moved cloud around it is dark, and it is dim itself
    for offset in offsets:
        moved = free & _moved(cloud, offset, wide)
        match = moved & dark
        if not match.any():
            continue
        both = moved.astype(kind)  # both counts in one number: the box has few enough pixels
        both += match.astype(kind) << bits
        sums = whole_box_sums(both, radius, inner)
        enough = (sums >> bits) >= SHARE * (sums & ((1 << bits) - 1))
        found |= moved[inner] & dim & enough
    if not found.any():
        return found[here]
    # dark pixels next to it count too, up to halfway to the next displacement
    beside = whole_box_sums(found.astype(np.int32), _edge(radius), here) > 0
    return found[here] | (beside & dark[inner][here])


def _edge(radius: int) -> int:
    """Pixels by which a shadow may lie between two displacements."""
    return -(-radius // 2)


def _moved(cloud: NDArray[np.bool_], offset: Offset, area: Area) -> NDArray[np.bool_]:
    """The displaced clouds in a part of the image; clouds outside the image are ignored."""
    out = np.zeros([s.stop - s.start for s in area], bool)
    sources, targets = [], []
    for part, shift, size in zip(area, offset, cloud.shape, strict=True):
        low, high = max(part.start - shift, 0), min(part.stop - shift, size)
        if low >= high:
            return out
        sources.append(slice(low, high))
        targets.append(slice(low + shift - part.start, high + shift - part.start))
    out[tuple(targets)] = cloud[tuple(sources)]
    return out
