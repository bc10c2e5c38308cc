"""Layers of simulated cloud: their properties, and their colour in each Sentinel-2 band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError

CloudKind = Literal["mixed", "thick", "thin"]
"""Kinds of sky: low and middle clouds, cirrus and haze, or one to three layers of any."""

BAND: dict[str, tuple[float, float, float]] = {
    "B01": (0.443, 0.96, 0.05), "B02": (0.492, 1.00, 0.16), "B03": (0.560, 0.99, 0.34),
    "B04": (0.665, 1.06, 0.56), "B05": (0.704, 1.05, 0.61), "B06": (0.740, 1.11, 0.64),
    "B07": (0.783, 1.17, 0.65), "B08": (0.833, 1.13, 0.68), "B8A": (0.865, 1.20, 0.70),
    "B09": (0.945, 1.20, 0.68), "B10": (1.374, 1.00, 0.15), "B11": (1.614, 1.00, 0.80),
    "B12": (2.202, 1.00, 0.84),
}  # fmt: skip
"""Wavelength (um), thick low cloud relative to B02, share of the clear signal lost in shadow."""


SURFACE: dict[str, float] = {
    "B01": 0.50, "B02": 0.60, "B03": 0.68, "B04": 0.72, "B05": 0.74, "B06": 0.74, "B07": 0.74,
    "B08": 0.74, "B8A": 0.75, "B09": 0.75, "B10": 0.15, "B11": 0.84, "B12": 0.85,
}  # fmt: skip
"""Share of surface reflectance lost in shadow: without path radiance, larger in the blue.
From cloud shadow of a Level-2A series against clear dates around it."""

NATIVE: dict[str, float] = {"B01": 60.0, "B09": 60.0, "B10": 60.0} | dict.fromkeys(
    ("B05", "B06", "B07", "B8A", "B11", "B12"), 20.0
)
"""Pixel size in metres of the bands that are coarser than 10 m."""

ABSORBED = {"B11": 0.3, "B12": 0.5}
"""Brightness of thin cloud over thick cloud of equal opacity, where droplets absorb."""


class CloudLayer(NamedTuple):
    """One randomly drawn layer of cloud: its height and appearance."""

    height: float  # km
    strength: float  # optical thickness at the mean excess of the noise over its threshold
    power: float  # exponent of that excess
    angstrom: float  # exponent of the decrease of the optical thickness with wavelength
    slope: float  # spectral exponent of the noise
    scale: float  # outer scale of the noise, km
    stretch: float  # elongation of the noise
    orientation: float  # direction of the elongation, radians
    offset: float  # handicap of the layer in its competition for the cover
    brightness: float  # reflectance if infinitely thick
    grain: float  # smallness of its droplets, 0 to 1
    ice: float  # share of ice, 0 to 1
    relief: float  # contrast between its sides towards and away from the sun


Range = tuple[float, float] | tuple[float, float, str]

# ranges of the fields of a layer, in the order in which they are drawn; "log": uniform in the
# logarithm; a range of one value is not drawn
_LOW: dict[str, Range] = {
    "height": (0.6, 2.5, "log"), "strength": (0.11, 1.35, "log"), "power": (1.0, 2.0),
    "angstrom": (0.0, 0.2), "slope": (2.9, 3.8), "scale": (0.7, 8.0, "log"), "stretch": (1.0, 1.8),
    "orientation": (0.0, math.pi), "offset": (-0.5, 0.5), "brightness": (0.78, 0.98),
    "grain": (0.0, 0.8), "ice": (0.0, 0.0), "relief": (0.0, 0.25),
}  # fmt: skip
_MIDDLE: dict[str, Range] = {
    "height": (3.5, 6.0), "strength": (0.11, 1.1, "log"), "power": (1.0, 1.6),
    "angstrom": (0.0, 0.3), "slope": (2.8, 3.8), "scale": (1.0, 10.0, "log"),
    "stretch": (1.0, 2.5), "orientation": (0.0, math.pi), "offset": (-0.5, 0.5),
    "brightness": (0.75, 0.95), "grain": (0.4, 1.0), "ice": (0.0, 0.3), "relief": (0.0, 0.15),
}  # fmt: skip
_CIRRUS: dict[str, Range] = {
    "height": (6.0, 9.5), "strength": (0.05, 0.35, "log"), "power": (0.9, 1.4),
    "angstrom": (0.0, 0.2), "slope": (3.0, 4.0), "scale": (1.5, 12.0, "log"),
    "stretch": (1.5, 6.0), "orientation": (0.0, math.pi), "offset": (-0.5, 0.5),
    "brightness": (0.75, 0.95), "grain": (0.0, 0.6), "ice": (0.7, 1.0), "relief": (0.0, 0.0),
}  # fmt: skip
_HAZE: dict[str, Range] = {
    "height": (0.5, 3.0, "log"), "strength": (0.05, 0.35, "log"), "power": (0.9, 1.3),
    "angstrom": (0.4, 1.4), "slope": (3.2, 4.2), "scale": (2.0, 12.0, "log"),
    "stretch": (1.0, 2.5), "orientation": (0.0, math.pi), "offset": (-0.5, 0.5),
    "brightness": (0.75, 0.9), "grain": (0.3, 1.0), "ice": (0.0, 0.0), "relief": (0.0, 0.0),
}  # fmt: skip


def check_kind(kind: str, call: str) -> None:
    """Raise an error for an unknown kind of cloud."""
    kinds = get_args(CloudKind)
    if kind not in kinds:
        near = did_you_mean(kind, kinds)
        raise DataError(f"kind={kind!r}{near} is not one of {kinds}", fix=f"call {call}")


def draw_layers(rng: np.random.Generator, kind: CloudKind) -> list[CloudLayer]:
    """Draw the one to three layers of a sky, the lowest first."""
    if kind == "thick":
        two = rng.random() < 0.75
        drawn = [_LOW, _MIDDLE][: 1 + int(rng.random() < 0.25)] if two else [_MIDDLE]
    elif kind == "thin":
        drawn = [_CIRRUS] if rng.random() < 0.6 else [_HAZE]
    else:
        chance = rng.random(4) < (0.65, 0.35, 0.3, 0.25)
        four = (_LOW, _MIDDLE, _CIRRUS, _HAZE)
        drawn = [m for m, c in zip(four, chance, strict=True) if c][:3] or [_LOW]
    return sorted((_draw_layer(rng, ranges) for ranges in drawn), key=lambda layer: layer.height)


def _draw_layer(rng: np.random.Generator, ranges: Mapping[str, Range]) -> CloudLayer:
    values = {}
    for name, (low, high, *log) in ranges.items():
        if low == high:
            values[name] = low
        elif log:
            values[name] = math.exp(float(rng.uniform(math.log(low), math.log(high))))
        else:
            values[name] = float(rng.uniform(low, high))
    return CloudLayer(**values)


def thick_reflectance(layer: CloudLayer, vapour: float, names: Sequence[str]) -> list[float]:
    """Reflectance of an infinitely thick layer, band by band."""
    above = math.exp(-layer.height / 2.2)
    swir = {"B11": 0.66 + 0.42 * layer.grain}
    swir["B12"] = swir["B11"] * (0.60 + 0.22 * layer.grain)
    icy = {"B11": 0.30, "B12": 0.36}
    white = []
    for name in names:
        value = BAND[name][1] * (1 + 0.1 * (layer.grain - 0.3) * (BAND[name][0] - 0.5) / 0.4)
        if name in icy:
            value = (1 - layer.ice) * swir[name] + layer.ice * icy[name]
        elif name == "B09":
            value *= math.exp(-vapour * above)
        elif name == "B10":
            value = math.exp(-10 * vapour * above)
        elif name == "B08":
            value *= 1 - 0.02 * vapour * above
        white.append(layer.brightness * value)
    return white
