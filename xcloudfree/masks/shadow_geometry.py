"""Cloud shadow by geometry: what lies where the sun throws a cloud, and is dark there.

A cloud seen at one pixel shades the ground away from the sun, at its height over the tangent of
the sun's elevation. Its height is not known, so all plausible ones are tried, as Fmask does (Zhu
and Woodcock 2012, doi:10.1016/j.rse.2011.10.028); but the match is judged in a box around each
pixel and not cloud by cloud, and brightness is compared with the mean around each pixel and not
with a flood-filled image. Both are then functions of a window of known size, so that the result
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

CLOUD, DIM, DARK = 1, 2, 4
"""Bits of the state of a pixel: cloud; darker than around it; so dark that it may be shadow."""

LOWEST, HIGHEST = 200.0, 6000.0
"""Heights in metres between which clouds are looked for; what floats higher is mostly cirrus,
whose shadow is faint."""

FARTHEST = 5000.0
"""Metres on the ground from a cloud to its shadow at most: what a low sun displaces farther is
not looked for, so that the halo stays below a block of 10 m pixels."""

STEP = 150.0
"""Metres on the ground between the displacements that are tried, and half the side of the box in
which they are judged."""

AROUND = 2000.0
"""Half the side in metres of the box whose mean is the brightness of the ground."""

SHARE = 0.5
"""Share of a displaced cloud that must be dark, within the box, for it to be the shadow."""

DARKNESS = 0.85
"""Share of the mean around, in near and short-wave infrared, below which a pixel is dark."""

Offset = tuple[int, int]


def states(
    cloud: NDArray[np.bool_],
    nir: NDArray[np.floating],
    swir: NDArray[np.floating],
    green: NDArray[np.floating],
    radius: int,
) -> NDArray[np.uint8]:
    """Cloud, and what is darker than the clear land around it in near and short-wave infrared.

    Water, which is dark in both, is left out: NDWI above 0 (McFeeters 1996,
    doi:10.1080/01431169608948714) and near infrared below 0.15.

    Parameters
    ----------
    cloud : ndarray of bool
        (y, x).
    nir, swir, green : ndarray
        Reflectance of B08 or B8A, B11 and B03, (y, x); NaN without data.
    radius : int
        Half the side in pixels of the box around each pixel.

    Returns
    -------
    ndarray of uint8
        Bits :data:`CLOUD`, :data:`DIM` and :data:`DARK`, (y, x). A pixel depends on those within
        `radius`.

    Examples
    --------
    >>> nir = np.full((3, 3), 0.3)
    >>> nir[1, 1] = 0.1
    >>> states(np.eye(3, k=2) > 0, nir, nir / 2, np.full((3, 3), 0.05), 2).tolist()
    [[0, 0, 1], [0, 6, 0], [0, 0, 0]]
    """
    out = np.where(cloud, np.uint8(CLOUD), np.uint8(0))
    land = np.isfinite(nir) & np.isfinite(swir) & np.isfinite(green) & ~cloud
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


def displacements(
    sun: tuple[float, float], east: tuple[float, float], north: tuple[float, float]
) -> tuple[Offset, ...]:
    """Pixels from a cloud to its shadow, for all heights that are tried.

    Parameters
    ----------
    sun : tuple of float
        Azimuth (degrees clockwise from north) and elevation (degrees).
    east, north : tuple of float
        Rows and columns to a metre eastwards and northwards.

    Returns
    -------
    tuple of tuple of int
        Rows and columns, the nearest first.

    Examples
    --------
    >>> found = displacements((180.0, 45.0), east=(0.0, 0.1), north=(-0.1, 0.0))
    >>> found[0], found[-1], len(found)
    ((-20, 0), (-500, 0), 33)
    """
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
    """Pixels around a pixel that :func:`shadowed` reads.

    Parameters
    ----------
    offsets : sequence of tuple of int
        From :func:`displacements`.
    radius : int
        Half the side in pixels of the box in which a match is judged.

    Returns
    -------
    int

    Examples
    --------
    >>> reach([(-20, 0), (-500, 3)], 15)
    523
    """
    return radius + _edge(radius) + max((abs(n) for offset in offsets for n in offset), default=0)


def shadowed(
    state: NDArray[np.uint8], offsets: Sequence[Offset], radius: int, core: Area
) -> NDArray[np.bool_]:
    """Pixels in the shadow of a cloud.

    For each displacement the cloud is moved; where at least half of it is dark, in the box around
    a pixel, the pixel lies in its shadow if it is darker than what is around it. Dark pixels
    beside such a shadow are added, up to halfway to the next displacement.

    Parameters
    ----------
    state : ndarray of uint8
        From :func:`states`, (y, x).
    offsets : sequence of tuple of int
        From :func:`displacements`.
    radius : int
        Half the side in pixels of the box in which a match is judged.
    core : tuple of slice
        Rows and columns to return.

    Returns
    -------
    ndarray of bool
        Of the core. A pixel depends on those within :func:`reach`.

    Examples
    --------
    >>> state = np.zeros((5, 5), np.uint8)
    >>> state[3, :2], state[1, :2], state[1, 4] = CLOUD, DIM | DARK, DIM | DARK
    >>> shadowed(state, [(-2, 0)], 1, (slice(0, 3), slice(0, 5))).astype(int).tolist()
    [[0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    """
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
    for offset in offsets:
        moved = free & _moved(cloud, offset, wide)
        match = moved & dark
        if not match.any():
            continue
        both = moved.astype(kind)  # both counts in one number: the box holds few enough pixels
        both += match.astype(kind) << bits
        sums = whole_box_sums(both, radius, inner)
        enough = (sums >> bits) >= SHARE * (sums & ((1 << bits) - 1))
        found |= moved[inner] & dim & enough
    if not found.any():
        return found[here]
    beside = whole_box_sums(found.astype(np.int32), _edge(radius), here) > 0
    return found[here] | (beside & dark[inner][here])


def _edge(radius: int) -> int:
    """Pixels by which a shadow lies between two displacements that are tried."""
    return -(-radius // 2)


def _moved(cloud: NDArray[np.bool_], offset: Offset, area: Area) -> NDArray[np.bool_]:
    """The clouds displaced, in a part of the image; none come from beyond it."""
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
