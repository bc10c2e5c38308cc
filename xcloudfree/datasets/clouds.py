"""Simulated clouds and their shadows over clear reflectance: exact pairs to fit and test on.

Clouds are drawn for a whole scene and applied to any part of it; parts agree bit for bit with the
whole. One layer is an opacity field ``a`` (smooth noise with a power-law spectrum, thresholded to
the requested cover) at one height. In band ``b`` it is blended over what lies below,

    y_b = a_b * c_b + (1 - a_b) * (1 - d_b * s) * x_b,

with ``c_b`` the reflectance of an infinitely thick cloud (water vapour above the cloud top darkens
B09 and B10, droplets and ice darken B11 and B12), ``a_b`` the opacity at the wavelength of the
band, ``s`` the light that the same field, displaced away from the sun, blocks from the ground, and
``d_b`` the share of the signal that can be lost: little in the blue at top of atmosphere, because
of path radiance, most in the infrared. Opacity follows the optical depth as in a two-stream cloud,
``a = u / (1 + u)`` with ``u`` proportional to the optical depth and to ``wavelength ** -angstrom``.
Such a cloud also scatters transmitted light sideways, so that little of it reaches the ground in
its shadow: ``s = 1 - (1 + u) ** -2``, with which half-opaque clouds cast shadows as deep as those
of real ones (near infrared 0.3 to 0.5 of the clear value).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.datasets.cloud_layers import (
    ABSORBED,
    BAND,
    NATIVE,
    SURFACE,
    CloudKind,
    CloudLayer,
    draw_layers,
    thick_reflectance,
)
from xcloudfree.datasets.fields import Field, block_mean, power_law_noise

Ground = tuple[tuple[float, float], tuple[float, float]]
"""Rows and columns per metre eastwards, and northwards."""

LARGEST = 2048
"""Pixels after which the clouds of a large scene repeat."""

_FAINTEST = np.float32(1e-3)


class CloudField(NamedTuple):
    """Clouds over a scene: the cloudy reflectance and the truth about it."""

    cloudy: Field  # reflectance below cloud and shadow (band, y, x); may exceed 1
    opacity: Field  # share of the ground's light that the clouds block at 0.5 um, (y, x)
    shadow: Field  # share of direct sunlight that the clouds block from the ground, (y, x)


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """Clouds over a scene, before they are applied."""

    shape: tuple[int, int]  # rows and columns of the scene
    layers: tuple[CloudLayer, ...]  # the lowest first
    vapour: float  # optical depth of the whole column of water vapour in B09
    thickness: tuple[Field, ...]  # optical thickness u of each layer, periodic
    light: tuple[Field, ...]  # brightness of the surface of each layer, periodic
    offsets: tuple[tuple[float, float], ...]  # rows and columns from each layer to its shadow


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
    surface: bool = False,
) -> CloudField:
    """Put simulated clouds and their shadows over clear reflectance (band, y, x).

    `cover` is the share of pixels with cloud, exact to the pixel; `sun` azimuth and elevation in
    degrees; rows run south; `resolution` is in metres. With `native`, bands of 20 m and 60 m see
    the clouds at the instrument's resolution; `surface` reflectance has no path radiance. Where
    opacity and shadow are 0 the reflectance is unchanged; NaN stays NaN.
    """
    shape = (reflectance.shape[1], reflectance.shape[2])
    if cover == 0 or reflectance.size == 0:
        free = np.zeros(shape, np.float32)
        return CloudField(np.array(reflectance, np.float32), free, free.copy())
    axes = (0.0, 1 / resolution), (-1 / resolution, 0.0)
    sky = draw_sky(rng, shape, cover=cover, kind=kind, sun=sun, axes=axes, resolution=resolution)
    step = resolution if native else None
    return lay(sky, reflectance, bands, shadow=shadow, resolution=step, surface=surface)


def draw_sky(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    cover: float,
    kind: CloudKind,
    sun: tuple[float, float],
    axes: Ground,
    resolution: float,
) -> Sky:
    """Draw the clouds over a scene; the cover is held on average beyond :data:`LARGEST` pixels."""
    vapour = float(rng.uniform(2.4, 4.4))
    layers = draw_layers(rng, kind)
    offsets = [offset_on(one.height * 1e3, sun, axes) for one in layers]
    margin = int(min(max(math.hypot(*o) for o in offsets), 0.5 * max(shape))) + 16
    domain = tuple(scipy.fft.next_fast_len(min(n + margin, LARGEST), real=True) for n in shape)
    fields = _excess(rng, layers, domain, shape, cover, resolution)
    down, right = offset_on(1.0, (sun[0], 45.0), axes)
    size = max(math.hypot(down, right), 1e-12)
    slope = down / size, right / size
    light = [_relief(u, layer.relief, slope) for u, layer in zip(fields, layers, strict=True)]
    return Sky(shape, tuple(layers), vapour, tuple(fields), tuple(light), tuple(offsets))


def lay(
    sky: Sky,
    reflectance: NDArray[np.floating],
    names: Sequence[str],
    *,
    origin: tuple[int, int] = (0, 0),
    shadow: bool = True,
    resolution: float | None = 10.0,
    surface: bool = False,
) -> CloudField:
    """Apply clouds and their shadow to the part of their scene that starts at `origin`."""
    ground = np.array(reflectance, dtype=np.float32)
    steps = {n: 1 if resolution is None else max(1, round(NATIVE[n] / resolution)) for n in NATIVE}
    grid = math.lcm(*{steps.get(name, 1) for name in names})
    part = [(o, o + n) for o, n in zip(origin, ground.shape[1:], strict=True)]
    wide = [  # out to the native pixels of the coarsest bands
        (a // grid * grid, min(-(-b // grid) * grid, n))
        for (a, b), n in zip(part, sky.shape, strict=True)
    ]
    inner = tuple(slice(a - w, b - w) for (a, b), (w, _) in zip(part, wide, strict=True))
    start, size = [w for w, _ in wide], [b - a for a, b in wide]

    clouds = [_piece(u, start, size) for u in sky.thickness]
    seen, lit = np.ones(size, np.float32), np.ones(size, np.float32)
    for u, (here, offset) in zip(sky.thickness, zip(clouds, sky.offsets, strict=True), strict=True):
        seen /= 1.0 + here
        if shadow:
            lit /= np.square(1.0 + _displaced(u, offset, start, size))
    shade = 1.0 - lit
    loss = SURFACE if surface else {name: row[2] for name, row in BAND.items()}
    if shadow and shade.any():
        dark = {s: _coarse(shade, s)[inner] for s in {steps.get(name, 1) for name in names}}
        for plane, name in zip(ground, names, strict=True):
            plane *= 1.0 - np.float32(loss[name]) * dark[steps.get(name, 1)]
    for layer, here, whole in zip(sky.layers, clouds, sky.light, strict=True):
        if not here.any():
            continue
        coarse = {s: _coarse(here, s)[inner] for s in {steps.get(name, 1) for name in names}}
        light = _piece(whole, [a for a, _ in part], ground.shape[1:]) if layer.relief else whole
        colour = thick_reflectance(layer, sky.vapour, names)
        for plane, name, white in zip(ground, names, colour, strict=True):
            ratio = (BAND[name][0] / 0.5) ** -layer.angstrom
            through: Field = 1.0 / (1.0 + np.float32(ratio) * coarse[steps.get(name, 1)])
            tone = np.float32(white) * light
            if name in ABSORBED:  # few scatterings lose little light, many lose much
                tone = tone * (1.0 + np.float32(ABSORBED[name]) * through)
            plane += (1.0 - through) * (tone - plane)
    return CloudField(ground, (1.0 - seen)[inner], shade[inner])


def offset_on(height: float, sun: tuple[float, float], axes: Ground) -> tuple[float, float]:
    """Rows and columns from a cloud to its shadow."""
    azimuth, elevation = (math.radians(angle) for angle in sun)
    reach = height / math.tan(elevation)
    east, north = -reach * math.sin(azimuth), -reach * math.cos(azimuth)
    return tuple(east * e + north * n for e, n in zip(*axes, strict=True))  # type: ignore[return-value]


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


def _relief(u: Field, amount: float, slope: tuple[float, float]) -> Field:
    """Brightness of a cloud's surface: the side towards the sun is brighter."""
    if amount == 0 or min(u.shape) < 2:
        return np.ones((1, 1), np.float32)
    height = np.log1p(u)
    down, right = (np.roll(height, -1, axis) - np.roll(height, 1, axis) for axis in (0, 1))
    descent = np.float32(0.5 * slope[0]) * down + np.float32(0.5 * slope[1]) * right
    light: Field = 1 + np.float32(amount) * np.tanh(12 * descent, dtype=np.float32)
    return light


def _coarse(field: Field, step: int) -> Field:
    """Means over native pixels; 0 stays 0, so that clear pixels stay clear."""
    return field if step == 1 else np.where(field > 0, block_mean(field, step), np.float32(0))


def _piece(field: Field, start: Sequence[int], size: Sequence[int]) -> Field:
    """A part of a periodic field."""
    first = [a % n for a, n in zip(start, field.shape, strict=True)]
    if all(a + k <= n for a, k, n in zip(first, size, field.shape, strict=True)):
        part: Field = field[first[0] : first[0] + size[0], first[1] : first[1] + size[1]]
        return part
    rows, columns = (
        (a + np.arange(k)) % n for a, k, n in zip(first, size, field.shape, strict=True)
    )
    part = field[rows[:, None], columns]
    return part


def _displaced(
    field: Field, offset: tuple[float, float], start: Sequence[int], size: Sequence[int]
) -> Field:
    """A part of a periodic field that was displaced by fractions of pixels (bilinear)."""
    whole = [math.floor(amount) for amount in offset]
    down, right = (np.float32(a - w) for a, w in zip(offset, whole, strict=True))
    near = [a - w - 1 for a, w in zip(start, whole, strict=True)]
    out = _piece(field, near, [n + 1 for n in size])
    out = (1 - down) * out[1:] + down * out[:-1]
    return (1 - right) * out[:, 1:] + right * out[:, :-1]
