"""Scale reflectance and backscatter to the inputs of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Values = TypeVar("Values", bound=Any)
"""Any array with arithmetic."""


@dataclass(frozen=True)
class Normalisation:
    """Clip to a range and scale it to another; no data becomes the lower end."""

    # reflectance mapped to the ends of `optical_scale`; values beyond are clipped
    optical_range: tuple[float, float]
    # backscatter in dB mapped to the ends of `sar_scale`, by polarisation; values beyond are
    # clipped
    sar_range: dict[str, tuple[float, float]]
    optical_scale: tuple[float, float] = (0.0, 1.0)  # input range of the network
    sar_scale: tuple[float, float] = (0.0, 1.0)  # input range of the network

    @property
    def gain(self) -> float:
        """Network input per unit of reflectance."""
        (low, high), (bottom, top) = self.optical_range, self.optical_scale
        return (top - bottom) / (high - low)

    def optical(self, reflectance: NDArray[Any]) -> NDArray[np.float32]:
        """Scale reflectance of shape (..., band, y, x)."""
        return _to_scale(_unit(reflectance, *self.optical_range), self.optical_scale)

    def sar(self, backscatter: NDArray[Any], polarisations: tuple[str, ...]) -> NDArray[np.float32]:
        """Scale backscatter of shape (..., polarisation, y, x)."""
        ends = np.array([self.sar_range[p] for p in polarisations], np.float32)
        low, high = ends.reshape(-1, 2).T
        unit = _unit(backscatter, low[:, None, None], high[:, None, None])
        return _to_scale(unit, self.sar_scale)

    def to_scale(self, reflectance: Values) -> Values:
        """Undo :meth:`to_reflectance`."""
        out: Values = (reflectance - self.optical_range[0]) * self.gain + self.optical_scale[0]
        return out

    def to_reflectance(self, scaled: Values) -> Values:
        """Undo :meth:`optical`, except for its clipping."""
        out: Values = (scaled - self.optical_scale[0]) * (1 / self.gain) + self.optical_range[0]
        return out


_OWN_RANGES = {"VV": (-25.0, 0.0), "VH": (-32.5, 0.0)}
_ONE_RANGE = {"VV": (-25.0, 0.0), "VH": (-25.0, 0.0)}

PRESETS: dict[str, Normalisation] = {
    "dsen2cr": Normalisation((0.0, 1.0), _OWN_RANGES),
    "dsen2cr-2000": Normalisation((0.0, 1.0), _OWN_RANGES, (0.0, 5.0), (0.0, 2.0)),
    "uncrtaints": Normalisation((0.0, 1.0), _ONE_RANGE),
    "uncrtaints-10": Normalisation((0.0, 1.0), _ONE_RANGE, (0.0, 10.0), (0.0, 10.0)),
    "pix2pix": Normalisation((0.0, 1.0), _OWN_RANGES, (-1.0, 1.0), (-1.0, 1.0)),
}
"""Presets by the name that a :class:`~xcloudfree.models.ModelSpec` stores.

``dsen2cr`` and ``uncrtaints`` differ in the range of VH. ``dsen2cr-2000`` (digital numbers over
2000) and ``uncrtaints-10`` (everything times 10) are the scales of the published networks, and
``pix2pix`` is that of the adversarial ones. Weights fitted with one preset give wrong results with
another.
"""


def _unit(values: NDArray[Any], low: Any, high: Any) -> NDArray[np.float32]:
    scaled = (np.asarray(values, np.float32) - low) / (high - low)
    return np.asarray(np.nan_to_num(np.clip(scaled, 0, 1), copy=False), np.float32)


def _to_scale(unit: NDArray[np.float32], scale: tuple[float, float]) -> NDArray[np.float32]:
    if scale == (0.0, 1.0):
        return unit
    low, high = np.float32(scale[0]), np.float32(scale[1])
    return np.asarray(unit * (high - low) + low, np.float32)
