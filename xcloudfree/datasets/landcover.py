"""Consistent reflectance and backscatter of simulated land cover on one day."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.datasets.cloud_layers import NATIVE
from xcloudfree.datasets.fields import Field, block_mean, power_law_noise
from xcloudfree.datasets.landscape import CODE, LANDCOVER, Landscape

# top-of-atmosphere reflectance x 1000, bands as in S2_BANDS
_VEGETATION: dict[str, tuple[float, ...]] = {
    "crop": (112, 84, 80, 46, 92, 300, 395, 405, 445, 150, 1.5, 190, 88),
    "meadow": (116, 90, 92, 62, 114, 275, 340, 350, 385, 132, 1.5, 225, 116),
    "deciduous": (109, 79, 67, 39, 78, 235, 300, 305, 340, 112, 1.2, 152, 66),
    "conifer": (107, 75, 57, 35, 60, 138, 172, 172, 196, 66, 1.2, 88, 40),
}
_SURFACE: dict[str, tuple[float, ...]] = {
    "dry soil": (140, 131, 143, 174, 196, 218, 238, 246, 272, 108, 1.8, 335, 275),
    "moist soil": (121, 103, 102, 110, 124, 138, 151, 155, 172, 68, 1.6, 205, 165),
    "straw": (134, 121, 136, 164, 196, 240, 268, 280, 312, 120, 1.8, 325, 222),
    "lake": (111, 80, 55, 34, 30, 27, 26, 24, 21, 11, 1.2, 11, 7),
    "river": (117, 91, 83, 62, 55, 39, 37, 33, 27, 14, 1.2, 14, 10),
    "gravel": (158, 158, 175, 202, 220, 232, 245, 258, 270, 110, 1.8, 345, 305),
    "road": (134, 124, 124, 132, 138, 144, 150, 154, 160, 68, 1.6, 188, 168),
    "tiles": (130, 118, 126, 182, 206, 222, 232, 240, 256, 105, 1.8, 300, 255),
    "dark_roof": (122, 104, 98, 98, 103, 109, 114, 117, 122, 52, 1.6, 148, 130),
    "bright_roof": (180, 192, 210, 232, 240, 248, 256, 265, 272, 115, 2.0, 290, 255),
    "pavement": (150, 146, 152, 166, 176, 186, 195, 202, 210, 88, 1.8, 245, 215),
}

# sigma0 in dB (VV, VH) of dense vegetation and of surfaces
_VEGETATION_SIGMA0 = {
    "cereal": (-13.5, -20.0), "crop": (-9.0, -15.0), "meadow": (-11.5, -18.0),
    "deciduous": (-8.6, -13.8), "conifer": (-9.2, -14.6),
}  # fmt: skip
_SURFACE_SIGMA0 = {
    "dry soil": (-13.5, -22.0), "moist soil": (-9.0, -17.5), "straw": (-12.0, -20.0),
    "lake": (-20.5, -28.5), "river": (-18.0, -26.5), "gravel": (-11.5, -20.0),
    "road": (-15.5, -23.5), "tiles": (-4.5, -12.0), "dark_roof": (-3.0, -11.5),
    "bright_roof": (-1.5, -10.5), "pavement": (-12.0, -20.0),
}  # fmt: skip

_PLANT = {"meadow": "meadow", "deciduous": "deciduous", "conifer": "conifer", "garden": "meadow"}
_PATH = (98, 66, 34, 18, 14, 10, 8, 7, 5, 3, 1, 2, 1)  # path radiance as reflectance x 1000
_CLEAR = (0.72, 0.78, 0.82, 0.87, 0.87, 0.85, 0.90, 0.86, 0.93, 0.36, 0.005, 0.93, 0.90)


def to_surface(reflectance: Field) -> Field:
    """Surface reflectance from top-of-atmosphere reflectance under one fixed clear sky."""
    path = np.array(_PATH, np.float32)[:, None, None] / 1000
    clear = np.array(_CLEAR, np.float32)[:, None, None]
    return np.maximum((reflectance - path) / clear, 0).astype(np.float32)


def phenology(land: Landscape, day: float) -> tuple[Field, Field]:
    """Shares of green vegetation, and of straw in the rest, on a day of the year."""
    cover, (late, vigour, _, _) = land.cover, land.parcel
    green, straw = np.zeros(cover.shape, np.float32), np.zeros(cover.shape, np.float32)
    on = day - 24 * (late - 0.5)  # each parcel has its own calendar
    season = _ramp(day, 105, 10) * (1 - _ramp(day, 292, 10))
    for crop, up, down, speed in (
        ("cereal", 100, 181, 5), ("rapeseed", 85, 176, 5), ("maize", 163, 262, 8),
        ("beet", 157, 278, 9),
    ):  # fmt: skip
        here = cover == CODE[crop]
        green[here] = (_ramp(on, up, 9) * (1 - _ramp(on, down, speed)))[here]
        if crop in ("cereal", "rapeseed"):
            straw[here] = (_ramp(on, down, speed) * (1 - _ramp(on, down + 55, 6)))[here]
    here = cover == CODE["meadow"]
    mown = ((on + 80 * vigour) % 48) / 48  # regrowth since the last cut
    green[here] = (0.45 + 0.45 * np.sqrt(mown))[here] * (0.65 + 0.35 * season)
    green[cover == CODE["deciduous"]] = 0.12 + 0.85 * season
    for name, share in (("conifer", 0.97), ("garden", 0.55), ("bare", 0.06), ("road", 0.06)):
        green[cover == CODE[name]] = share
    field = cover <= CODE["meadow"]
    green *= np.where(field, 0.82 + 0.18 * vigour + 0.05 * land.smooth + 0.02 * land.rows, 1)
    return np.clip(green, 0, 1), straw


def reflectance(land: Landscape, day: float, moisture: float, resolution: float = 10.0) -> Field:
    """Clear top-of-atmosphere reflectance of a landscape, each band at its native resolution."""
    green, straw = phenology(land, day)
    wet = _wetness(land, moisture)
    plant, surface, soil = _indices(land)
    late, vigour, tone, _ = land.parcel
    field = land.cover <= CODE["meadow"]
    trees = land.height > 0
    bright = np.where(field, 0.90 + 0.2 * tone + 0.035 * land.smooth + 0.02 * land.rows, 1)
    bright = bright + np.where(trees, 0.11 * land.rough + 0.05 * land.smooth, 0.015 * land.rough)
    lush = np.where(field, 0.92 + 0.16 * vigour, 1).astype(np.float32)
    yellow = (late - 0.5) * field * 0.22
    water = (land.cover == CODE["lake"]) | (land.cover == CODE["river"])
    bright = np.where(water, 1 + 0.01 * land.smooth, bright).astype(np.float32)
    out = np.empty((len(S2_BANDS), *land.cover.shape), np.float32)
    for index, band in enumerate(S2_BANDS):
        leaf = np.array([v[index] for v in _VEGETATION.values()], np.float32)[plant] / 1000
        stone = np.array([v[index] for v in _SURFACE.values()], np.float32) / 1000
        ground = wet * stone[1] + (1 - wet) * stone[0]
        ground = np.where(soil, ground + straw * (stone[2] - ground), stone[surface])
        if band in ("B06", "B07", "B08", "B8A", "B09"):
            leaf = leaf * lush
        elif band in ("B03", "B04", "B05", "B11", "B12"):
            leaf = leaf * (1 + yellow)
        path = np.float32(_PATH[index] / 1000)
        mixed = np.asarray(path + (ground + green * (leaf - ground) - path) * bright, np.float32)
        step = round(NATIVE.get(band, 10.0) / resolution)
        out[index] = (
            block_mean(mixed, step) if step > 1 else scipy.ndimage.gaussian_filter(mixed, 0.5)
        )
    return out


def backscatter(
    land: Landscape,
    day: float,
    moisture: float,
    rng: np.random.Generator,
    looks: float = 4.4,
) -> Field:
    """Radar backscatter of a landscape, sigma0 in dB, VV and VH, with speckle."""
    green, straw = phenology(land, day)
    wet = _wetness(land, moisture)
    _, surface, soil = _indices(land)
    plants = ["crop" if name != "cereal" else "cereal" for name in LANDCOVER]
    plants = [_PLANT.get(name, kind) for name, kind in zip(LANDCOVER, plants, strict=True)]
    slope = np.diff(land.height, axis=1, prepend=land.height[:, :1])
    edge = np.clip(slope / 12, -1, 1) * np.where(land.cover <= CODE["conifer"], 2.5, 1.0)
    bounce = np.where(land.cover >= CODE["tiles"], 3.0 * land.rough, 0)
    rough = np.where(soil, 3.0 * (land.parcel[3] - 0.5) + 0.5 * land.smooth, 0)
    out = np.empty((2, *land.cover.shape), np.float32)
    for index in range(2):
        leaf = np.array([_VEGETATION_SIGMA0[p][index] for p in plants], np.float32)[land.cover]
        stone = np.array([v[index] for v in _SURFACE_SIGMA0.values()], np.float32)
        ground = wet * stone[1] + (1 - wet) * stone[0]
        ground = np.where(soil, ground + straw * (stone[2] - ground), stone[surface]) + rough
        if index == 0:  # rows across the look direction are bright, above all in VV
            ground += np.where(soil, 1.6 * (land.facing - 0.5), 0)
        leaf = leaf + 0.35 * land.smooth * (land.cover <= CODE["conifer"])
        power = (1 - green) * 10 ** (ground / 10) + green * 10 ** (leaf / 10)
        power = scipy.ndimage.gaussian_filter(power * 10 ** ((edge + bounce) / 10), 0.6)
        out[index] = 10 * np.log10(power * _speckle(rng, power.shape, looks))
    return out


def _speckle(rng: np.random.Generator, shape: tuple[int, ...], looks: float) -> Field:
    """Multiplicative speckle: gamma distributed, mean 1, slightly correlated in space."""
    if not np.isfinite(looks):
        return np.ones(shape, np.float32)
    domain = tuple(n + n % 2 for n in shape)
    normal = power_law_noise(rng, domain, slope=1.6, scale=0.9)[: shape[0], : shape[1]]
    grid = np.linspace(-5, 5, 2001)
    table = scipy.stats.gamma.ppf(scipy.stats.norm.cdf(grid), looks, scale=1 / looks)
    speckle: Field = np.interp(normal, grid, table).astype(np.float32)
    return speckle


def _ramp(day: Field | float, middle: float, speed: float) -> Field:
    ramp: Field = (1 / (1 + np.exp((middle - np.asarray(day, np.float32)) / speed))).astype("f4")
    return ramp


def _wetness(land: Landscape, moisture: float) -> Field:
    wet: Field = np.clip(moisture + 0.7 * (land.parcel[2] - 0.5) + 0.07 * land.smooth, 0, 1)
    return wet.astype(np.float32)


def _indices(land: Landscape) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Vegetation and surface of each pixel as positions in the tables, and whether it is soil."""
    plants, surfaces = list(_VEGETATION), list(_SURFACE)
    plant = [plants.index(_PLANT.get(name, "crop")) for name in LANDCOVER]
    named = ("pavement" if name == "garden" else name for name in LANDCOVER)
    surface = [surfaces.index(name) if name in surfaces else 0 for name in named]
    places = np.array(surface)[land.cover]
    return np.array(plant)[land.cover], places, places == 0
