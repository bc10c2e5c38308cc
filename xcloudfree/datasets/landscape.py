"""Geometry of a simulated landscape: positions of land cover, with straight field borders."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.datasets.fields import Field, power_law_noise

LANDCOVER: tuple[str, ...] = (
    "bare", "cereal", "rapeseed", "maize", "beet", "meadow",
    "deciduous", "conifer", "lake", "river", "gravel", "road",
    "garden", "tiles", "dark_roof", "bright_roof", "pavement",
)  # fmt: skip
"""Land cover classes; the number of a class is its position."""

CODE: dict[str, int] = {name: code for code, name in enumerate(LANDCOVER)}

_CROPS = ("cereal", "rapeseed", "maize", "beet", "meadow", "bare")
_CROP_SHARES = (0.36, 0.08, 0.22, 0.12, 0.17, 0.05)


class Landscape(NamedTuple):
    """Properties that do not change between dates."""

    cover: NDArray[np.uint8]  # land cover, number in :data:`LANDCOVER`, uint8 (y, x)
    parcel: Field  # lateness, vigour, soil and roughness of its parcel, 0 to 1, (trait, y, x)
    rows: Field  # pattern of crop rows and tramlines, -1 to 1
    facing: Field  # how far crop rows lie across the look of the radar, 0 to 1
    smooth: Field  # noise of unit variance: soil and vigour within parcels
    rough: Field  # noise of unit variance: tree crowns
    height: Field  # of trees and buildings in metres


class _Ground(NamedTuple):
    """Canvas: the random generator, and metres from the upper left corner."""

    rng: np.random.Generator
    x: Field
    y: Field
    size: tuple[float, float]
    resolution: float


def make_landscape(
    rng: np.random.Generator, shape: tuple[int, int], resolution: float = 10.0
) -> Landscape:
    """Draw a landscape: parcels, forests, a meandering river, a lake, a town and roads."""
    y, x = (axis.astype(np.float32) * resolution for axis in np.ogrid[: shape[0], : shape[1]])
    ground = _Ground(rng, x, y, (shape[0] * resolution, shape[1] * resolution), resolution)
    smooth = _noise(rng, shape, 3.0, 40.0)
    rough = _noise(rng, shape, 1.2, 6.0)
    wide = _noise(rng, shape, 3.4, 2200.0 / resolution)
    ragged = _noise(rng, shape, 2.6, 300.0 / resolution)

    cover, parcel, rows, facing, border = _parcels(ground)
    track = border < 0.45 * resolution
    cover[track] = CODE["meadow"]

    forest = wide + 0.25 * ragged > 1.0
    kind = _noise(rng, shape, 3.0, 1500.0 / resolution) > 0.2
    cover[forest] = np.where(kind, CODE["conifer"], CODE["deciduous"])[forest]

    along, across, half = _river(ground)
    riparian = np.abs(across) < half + 25 + 30 * np.maximum(ragged + 0.4, 0)
    cover[riparian] = CODE["deciduous"]
    meander = np.abs(across) - half
    cover[(meander < 14) & (meander >= 0) & (smooth > 1.5)] = CODE["gravel"]
    river = meander < 0
    shore = _noise(rng, shape, 4.2, 900.0 / resolution)
    lake = _blob(ground, along) + 0.16 * shore < 1
    town_noise = 0.8 * _noise(rng, shape, 3.4, 700.0 / resolution) + 0.3 * ragged

    cover[river] = CODE["river"]
    cover[lake] = CODE["lake"]
    _settlements(ground, cover, town_noise, river | lake)
    _roads(ground, cover)

    height = np.zeros(shape, np.float32)
    trees = (cover == CODE["deciduous"]) | (cover == CODE["conifer"])
    height[trees] = np.maximum(16 + 3 * rough[trees] + 2 * wide[trees], 2)
    for roof, metres in (("tiles", 9.0), ("dark_roof", 12.0), ("bright_roof", 10.0)):
        height[cover == CODE[roof]] = metres
    return Landscape(cover, parcel, rows, facing, smooth, rough, height)


def _noise(rng: np.random.Generator, shape: tuple[int, int], slope: float, scale: float) -> Field:
    domain = tuple(-(-int(1.1 * n + 8) // 8) * 8 for n in shape)
    noise = power_law_noise(rng, domain, slope=slope, scale=scale)
    return np.ascontiguousarray(noise[: shape[0], : shape[1]])


def _parcels(ground: _Ground) -> tuple[NDArray[np.uint8], Field, Field, Field, Field]:
    """Blocks of parallel strips, each rotated separately and divided into parcels."""
    rng, x, y, size, resolution = ground
    count = max(3, int(size[0] * size[1] / 6.5e5))
    centres = rng.uniform(-0.05, 1.05, (count, 2)) * np.array(size)
    first = np.full((y.shape[0], x.shape[1]), np.inf, np.float32)
    second = first.copy()
    block = np.zeros(first.shape, np.int32)
    for index, (row, column) in enumerate(centres.astype(np.float32)):
        distance = np.hypot(y - row, x - column)
        nearer = distance < first
        np.copyto(second, np.where(nearer, first, np.minimum(second, distance)))
        block[nearer] = index
        np.minimum(first, distance, out=first)
    angle = rng.uniform(0, math.pi, count).astype(np.float32)
    width = rng.uniform(70, 260, count).astype(np.float32)[block]
    length = rng.uniform(250, 700, count).astype(np.float32)[block]
    sine, cosine = np.sin(angle)[block], np.cos(angle)[block]
    u, v = cosine * x + sine * y, cosine * y - sine * x
    strip = np.floor(u / width)
    piece = np.floor(v / length + 0.37 * strip)
    key = (block * 4096 + (strip.astype(np.int32) & 4095)) * np.int64(4096)
    key += piece.astype(np.int32) & 4095
    _, number = np.unique(key, return_inverse=True)
    number = number.reshape(first.shape)
    parcels = int(number.max()) + 1
    crops = rng.choice(len(_CROPS), parcels, p=_CROP_SHARES)
    codes = np.array([CODE[name] for name in _CROPS], np.uint8)[crops]
    traits = rng.random((4, parcels), dtype=np.float32)
    period = rng.uniform(24, 42, parcels).astype(np.float32)[number]
    rows = np.sin(2 * np.pi * u / period).astype(np.float32)
    tram = np.abs(v % 36 - 18) < 0.25 * resolution
    rows = np.where(tram & (period > 36), np.float32(-1), rows)
    facing = np.abs(cosine) ** 2
    return codes[number], traits[:, number], rows, facing.astype(np.float32), second - first


def _river(ground: _Ground) -> tuple[float, Field, Field]:
    """Signed distance from a meandering river that crosses the scene, and its half width."""
    rng, x, y, size, _ = ground
    turn = rng.uniform(-0.5, 0.5)
    middle = rng.uniform(0.3, 0.42) if rng.random() < 0.5 else rng.uniform(0.58, 0.7)
    along = math.cos(turn) * y + math.sin(turn) * (x - size[1] / 2)
    across = math.cos(turn) * (x - middle * size[1]) - math.sin(turn) * (y - size[0] / 2)
    path, slope = np.zeros_like(along), np.zeros_like(along)
    for wave, swing in ((5200.0, 420.0), (2300.0, 190.0), (1050.0, 70.0), (560.0, 16.0)):
        wave *= rng.uniform(0.85, 1.15)
        phase = 2 * np.pi * (along / wave + rng.random())
        path += np.float32(swing) * np.sin(phase)
        slope += np.float32(swing * 2 * np.pi / wave) * np.cos(phase)
    half = (26 + 9 * np.sin(2 * np.pi * along / 3100.0)).astype(np.float32)
    return middle, ((across - path) / np.sqrt(1 + slope**2)).astype(np.float32), half


def _blob(ground: _Ground, river: float) -> Field:
    """Distance from a lake's centre over its radius; the lake lies next to the river."""
    rng, x, y, size, _ = ground
    column = (0.2 if river > 0.5 else 0.8) + rng.uniform(-0.05, 0.05)
    row = rng.uniform(0.2, 0.8)
    reach = 0.085 * min(size) * rng.uniform(0.9, 1.2)
    turn, squeeze = rng.uniform(0, math.pi), rng.uniform(1.2, 1.8)
    dy, dx = y - row * size[0], x - column * size[1]
    u = math.cos(turn) * dx + math.sin(turn) * dy
    v = math.cos(turn) * dy - math.sin(turn) * dx
    return (np.hypot(u / squeeze, v) / reach).astype(np.float32)


def _settlements(
    ground: _Ground, cover: NDArray[np.uint8], noise: Field, keep: NDArray[np.bool_]
) -> None:
    """Build a town with an industrial quarter, and villages, into the land cover."""
    rng, size = ground.rng, ground.size
    reach = 0.11 * min(size) * rng.uniform(0.9, 1.2)
    middle = rng.uniform(0.3, 0.7, 2) * np.array(size)
    places = [(*middle, reach, False)]
    bearing = rng.uniform(0, 2 * math.pi)
    aside = middle + 0.95 * reach * np.array([math.sin(bearing), math.cos(bearing)])
    places.append((*aside, 0.45 * reach, True))
    for _ in range(round(size[0] * size[1] / 2.2e7)):
        places.append(
            (*(rng.uniform(0.05, 0.95, 2) * np.array(size)), rng.uniform(150, 340), False)
        )
    for row, column, extent, works in places:
        _quarter(ground, (row, column), extent, works, cover, noise, keep)


def _quarter(
    ground: _Ground,
    middle: tuple[float, float],
    reach: float,
    works: bool,
    cover: NDArray[np.uint8],
    noise: Field,
    keep: NDArray[np.bool_],
) -> None:
    """Houses, gardens and streets, or the halls and yards of an industrial quarter."""
    rng, x, y, _, resolution = ground
    dy, dx = y - middle[0], x - middle[1]
    angle = rng.uniform(0, math.pi / 2)
    u = math.cos(angle) * dx + math.sin(angle) * dy
    v = math.cos(angle) * dy - math.sin(angle) * dx
    if works:
        radius = np.maximum(np.abs(u), np.abs(v) * 1.4) / reach
        lot, street, shares = (72.0, 56.0), (288.0, 224.0), (0.04, 0.26, 0.42, 0.78)
        dense: Field | float = 1.0
    else:
        radius = np.hypot(u, v * rng.uniform(1.0, 1.6)) / reach + 0.32 * noise
        lot, street, shares = (24.0, 19.0), (96.0, 142.5), (0.42, 0.60, 0.66, 0.76)
        dense = np.clip(1.25 - radius, 0.25, 1)
    dice = _hash(
        np.floor(u / lot[0]).astype(np.int64),
        np.floor(v / lot[1]).astype(np.int64),
        int(rng.integers(1 << 31)),
    )
    code = np.full(dice.shape, CODE["garden"], np.uint8)
    for name, share in zip(
        ("pavement", "bright_roof", "dark_roof", "tiles"), shares[::-1], strict=True
    ):
        code[dice < share * dense] = CODE[name]
    code[(u % street[0] < resolution) | (v % street[1] < resolution)] = CODE["road"]
    area = (radius < 1) & ~keep
    cover[area] = code[area]


def _hash(u: NDArray[np.int64], v: NDArray[np.int64], seed: int) -> Field:
    """A uniform number for each pair of integers."""
    h = (u * 73856093) ^ (v * 19349663) ^ seed
    h = (h ^ (h >> 13)) * 1274126177 & 0x7FFFFFFF
    h = (h ^ (h >> 16)) * 668265263 & 0x7FFFFFFF
    out: Field = ((h ^ (h >> 15)) & 0xFFFFF).astype(np.float32) / np.float32(0x100000)
    return out


def _roads(ground: _Ground, cover: NDArray[np.uint8]) -> None:
    """Two main roads across everything but the lake; bridges lead over the river."""
    rng, x, y, size, resolution = ground
    for turn in (rng.uniform(0.15, 0.6), rng.uniform(1.4, 2.0)):
        through = rng.uniform(0.4, 0.6, 2) * np.array(size)
        dy, dx = y - through[0], x - through[1]
        along = math.cos(turn) * dx + math.sin(turn) * dy
        bend = 160 * np.sin(along / 1500 + rng.uniform(0, 6)) + 40 * np.sin(along / 420)
        distance = np.abs(math.cos(turn) * dy - math.sin(turn) * dx - bend)
        road = scipy.ndimage.binary_opening(cover != CODE["lake"]) & (distance < 0.8 * resolution)
        cover[road] = CODE["road"]
