"""Clouds and their shadow laid over any part of the scene that they were drawn for.

One layer has an opacity field ``a`` and a height, see :mod:`xcloudfree.datasets.sky`. In band ``b``
it is blended over what lies below,

    y_b = a_b * c_b + (1 - a_b) * (1 - d_b * s) * x_b,

with ``c_b`` the reflectance of an infinitely thick cloud (water vapour above the cloud top darkens
B09 and B10, droplets and ice darken B11 and B12), ``a_b`` the opacity at the wavelength of the
band, ``s`` the light that the same field, displaced away from the sun, takes from the ground, and
``d_b`` the share of the signal that can be lost: little in the blue at top of atmosphere, where
the air shines, most in the infrared. Opacity follows the optical depth as in a two-stream cloud,
``a = u / (1 + u)`` with ``u`` proportional to the optical depth and to ``wavelength ** -angstrom``.
What such a cloud lets through it also spreads sideways, so that little of it reaches the ground in
its shadow: ``s = 1 - (1 + u) ** -2``, with which half-opaque clouds cast shadows as deep as those
of real ones (near infrared 0.3 to 0.5 of the clear value).

Parts of a scene, at any place, agree bit for bit with the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcloudfree.datasets.cloud_layers import ABSORBED, BAND, NATIVE, SURFACE, thick_reflectance
from xcloudfree.datasets.fields import Field, block_mean
from xcloudfree.datasets.sky import Sky


@dataclass(frozen=True, slots=True)
class CloudField:
    """Clouds over a scene: the cloudy reflectance and the truth about it."""

    cloudy: Field  # reflectance below cloud and shadow, float32 (band, y, x); may exceed 1
    # share of the ground's light that the clouds take away at 0.5 um, float32 (y, x), 0 to 1
    opacity: Field
    # share of direct sunlight that the clouds take away from the ground, float32 (y, x)
    shadow: Field


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
    """Lay clouds and their shadow over a part of the scene that they were drawn for."""
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
