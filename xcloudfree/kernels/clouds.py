"""Simulated clouds and their shadows over clear reflectance: exact pairs for fitting and testing.

One layer is an opacity field ``a`` (smooth noise with a power-law spectrum, cut at the requested
cover) at one height. In band ``b`` it is blended over what lies below,

    y_b = a_b * c_b + (1 - a_b) * (1 - d_b * s) * x_b,

with ``c_b`` the reflectance of an infinitely thick cloud (water vapour above the cloud top darkens
B09 and B10, droplets and ice darken B11 and B12), ``a_b`` the opacity at the wavelength of the
band, ``s`` the opacity of the same field displaced away from the sun, and ``d_b`` the share of the
signal that is direct light: little in the blue, where the air shines, most in the infrared.
Opacity follows the optical depth as in a two-stream cloud, ``a = u / (1 + u)`` with ``u``
proportional to the optical depth and to ``wavelength ** -angstrom``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from xcloudfree.bands import S2_BANDS, optical_band
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.kernels.cloud_layers import (
    ABSORBED,
    BAND,
    NATIVE,
    CloudLayer,
    draw_layers,
    thick_reflectance,
)
from xcloudfree.kernels.fields import Field, block_mean, displace, power_law_noise

CloudKind = Literal["mixed", "thick", "thin"]

_FAINTEST = np.float32(1e-3)


@dataclass(frozen=True, slots=True)
class CloudField:
    """Clouds over a scene: the cloudy reflectance and the truth about it.

    Attributes
    ----------
    cloudy : numpy.ndarray
        Reflectance below cloud and shadow, float32 (band, y, x); may exceed 1.
    opacity : numpy.ndarray
        Share of the ground's light that the clouds take away at 0.5 um, float32 (y, x), 0 to 1.
    shadow : numpy.ndarray
        Share of direct sunlight that the clouds take away from the ground, float32 (y, x).
    """

    cloudy: Field
    opacity: Field
    shadow: Field


def simulate_clouds(
    reflectance: NDArray[np.floating],
    *,
    rng: np.random.Generator,
    cover: float,
    bands: Sequence[str] = S2_BANDS,
    kind: CloudKind = "mixed",
    sun: tuple[float, float] = (150.0, 50.0),
    shadow: bool = True,
    resolution: float = 10.0,
    native: bool = True,
) -> CloudField:
    """Put simulated clouds and their shadows over clear reflectance.

    Parameters
    ----------
    reflectance : numpy.ndarray
        Clear top-of-atmosphere reflectance (band, y, x). NaN stays NaN.
    rng : numpy.random.Generator
        The only source of chance: equal states give equal clouds.
    cover : float
        Share of pixels with cloud (opacity above 0), 0 to 1; held to the pixel.
    bands : sequence of str
        Sentinel-2 band of each plane.
    kind : {"mixed", "thick", "thin"}
        Thick clouds (low and middle), thin ones (cirrus and haze), or one to three layers of any.
    sun : tuple of float
        Azimuth (degrees clockwise from north) and elevation (degrees) of the sun. Rows run south.
    shadow : bool
        Whether the clouds cast shadows on the ground.
    resolution : float
        Size of a pixel in metres.
    native : bool
        Whether bands of 20 m and 60 m see the clouds as coarsely as the instrument does.

    Returns
    -------
    CloudField
        Cloudy reflectance, opacity and shadow. Where the last two are 0 the first is unchanged.

    Raises
    ------
    DataError
        Unusable shape, cover, kind, sun or resolution.
    MissingBandError
        A name that is no Sentinel-2 band.

    Examples
    --------
    >>> clear = np.full((13, 64, 64), 0.1, np.float32)
    >>> sky = simulate_clouds(clear, rng=np.random.default_rng(0), cover=0.25)
    >>> sky.cloudy.shape, float((sky.opacity > 0).mean())
    ((13, 64, 64), 0.25)
    """
    names = _checked(reflectance, bands, cover, kind, sun, resolution)
    ground = np.array(reflectance, dtype=np.float32)
    shape = (ground.shape[1], ground.shape[2])
    if cover == 0 or ground.size == 0:
        return CloudField(ground, np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    vapour = float(rng.uniform(2.4, 4.4))  # optical depth of the whole column in B09
    layers = draw_layers(rng, kind)
    farthest = max(math.hypot(*shadow_offset(one.height * 1e3, sun, resolution)) for one in layers)
    margin = int(min(farthest, 0.5 * max(shape))) + 16
    domain = tuple(fft.next_fast_len(n + margin, real=True) for n in shape)
    fields = _excess(rng, layers, domain, shape, cover, resolution)

    lit, seen = np.ones(shape, np.float32), np.ones(shape, np.float32)
    for layer, u in zip(layers, fields, strict=True):
        here = u[: shape[0], : shape[1]]
        seen /= 1.0 + here
        if shadow:
            rows, columns = shadow_offset(layer.height * 1e3, sun, resolution)
            lit /= 1.0 + displace(u, rows, columns)[: shape[0], : shape[1]]
    shade = 1.0 - lit
    if shadow:
        dark = _at_native(shade, names, resolution if native else None)
        for plane, name in zip(ground, names, strict=True):
            plane *= 1.0 - np.float32(BAND[name][2]) * dark[NATIVE.get(name, 10.0)]
    for layer, u in zip(layers, fields, strict=True):
        here = np.ascontiguousarray(u[: shape[0], : shape[1]])
        coarse = _at_native(here, names, resolution if native else None)
        light = _relief(here, layer.relief, sun)
        colour = thick_reflectance(layer, vapour, names)
        for plane, name, white in zip(ground, names, colour, strict=True):
            ratio = (BAND[name][0] / 0.5) ** -layer.angstrom
            u_band = coarse[NATIVE.get(name, 10.0)]
            through: Field = 1.0 / (1.0 + np.float32(ratio) * u_band)
            tone = np.float32(white) * light
            if name in ABSORBED:  # few scatterings lose little light, many lose much
                tone = tone * (1.0 + np.float32(ABSORBED[name]) * through)
            plane += (1.0 - through) * (tone - plane)
    return CloudField(ground, 1.0 - seen, shade)


def shadow_offset(
    height: float, sun: tuple[float, float], resolution: float = 10.0
) -> tuple[float, float]:
    """Where the shadow of a cloud falls on flat ground.

    Parameters
    ----------
    height : float
        Height of the cloud in metres.
    sun : tuple of float
        Azimuth (degrees clockwise from north) and elevation (degrees).
    resolution : float
        Size of a pixel in metres.

    Returns
    -------
    tuple of float
        Rows (southwards) and columns (eastwards) from the cloud to its shadow.

    Examples
    --------
    >>> rows, columns = shadow_offset(1000.0, sun=(180.0, 45.0))
    >>> round(rows, 3), round(columns, 3) + 0.0
    (-100.0, 0.0)
    """
    azimuth, elevation = (math.radians(angle) for angle in sun)
    reach = height / math.tan(elevation) / resolution
    return reach * math.cos(azimuth), -reach * math.sin(azimuth)


def _checked(
    reflectance: NDArray[np.floating],
    bands: Sequence[str],
    cover: float,
    kind: str,
    sun: tuple[float, float],
    resolution: float,
) -> list[str]:
    call = "simulate_clouds(reflectance, rng=numpy.random.default_rng(0), cover=0.4, bands=bands)"
    if reflectance.ndim != 3 or reflectance.shape[0] != len(bands):
        raise DataError(
            f"reflectance has the shape {reflectance.shape}, but {len(bands)} bands are named; "
            f"give (band, y, x) with one plane a band: {call}"
        )
    if not (0 <= cover <= 1 and 0 < sun[1] <= 90 and resolution > 0):
        raise DataError(
            f"cover={cover} must be 0..1, the sun's elevation {sun[1]} 0..90 degrees, "
            f"resolution={resolution} positive; for example {call}"
        )
    if kind not in get_args(CloudKind):
        raise DataError(f"kind={kind!r} is none of {get_args(CloudKind)}; leave it out: {call}")
    names = [optical_band(band) for band in bands]
    known = [name for name in names if name is not None]
    if len(known) != len(names):
        raise MissingBandError(
            f"{[b for b, n in zip(bands, names, strict=True) if n is None]} are no Sentinel-2 "
            'bands; name each plane as in simulate_clouds(..., bands=("B02", "B03", "B04"))'
        )
    return known


def _excess(
    rng: np.random.Generator,
    layers: Sequence[CloudLayer],
    domain: tuple[int, ...],
    shape: tuple[int, int],
    cover: float,
    resolution: float,
) -> list[Field]:
    """Thickness ``u`` of each layer on the periodic domain; the layers together keep the cover."""
    noises = [
        power_law_noise(
            rng,
            domain,
            slope=layer.slope,
            scale=layer.scale * 1e3 / resolution,
            stretch=layer.stretch,
            orientation=layer.orientation,
        )
        - np.float32(layer.offset)
        for layer in layers
    ]
    window = np.maximum.reduce([noise[: shape[0], : shape[1]] for noise in noises]).ravel()
    clear = window.size - round(cover * window.size)
    level = np.partition(window, clear - 1)[clear - 1] if clear else np.nextafter(window.min(), -9)
    fields = []
    for layer, noise in zip(layers, noises, strict=True):
        excess = np.maximum(noise - level, 0)
        inside = excess[: shape[0], : shape[1]]
        count = max(int(np.count_nonzero(inside)), 1)
        mean = max(float(inside.sum(dtype=np.float64)) / count, 0.15)
        u = np.float32(layer.strength) * (excess / np.float32(mean)) ** np.float32(layer.power)
        fields.append(np.where(excess > 0, np.maximum(u, _FAINTEST), np.float32(0)))
    return fields


def _at_native(field: Field, names: Sequence[str], resolution: float | None) -> dict[float, Field]:
    """Means over the native pixels of the bands; 0 stays 0, so that clear pixels stay clear."""
    out = {10.0: field}
    for size in {NATIVE[name] for name in names if name in NATIVE}:
        step = 1 if resolution is None else max(1, round(size / resolution))
        out[size] = np.where(field > 0, block_mean(field, step), np.float32(0))
    return out


def _relief(u: Field, amount: float, sun: tuple[float, float]) -> Field:
    """Brightness of a cloud's surface: its side towards the sun is the brighter one."""
    if amount == 0 or min(u.shape) < 2:
        return np.ones((1, 1), np.float32)
    down, right = np.gradient(np.log1p(u))
    azimuth = math.radians(sun[0])
    descent = down * math.cos(azimuth) - right * math.sin(azimuth)
    light: Field = 1 + np.float32(amount) * np.tanh(12 * descent, dtype=np.float32)
    return light
