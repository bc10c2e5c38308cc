"""Scaling of reflectance and backscatter to what a network reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Normalisation:
    """Clip and scale; no data becomes 0.

    Parameters
    ----------
    optical_range : tuple of float
        Reflectance that becomes 0 and 1; values beyond are clipped.
    sar_range : mapping of str to tuple of float
        Backscatter in dB that becomes 0 and 1, by polarisation; values beyond are clipped.
    """

    optical_range: tuple[float, float]
    sar_range: dict[str, tuple[float, float]]

    def optical(self, reflectance: NDArray[Any]) -> NDArray[np.float32]:
        """Scale reflectance of shape (..., band, y, x).

        Parameters
        ----------
        reflectance : ndarray
            Reflectance, NaN where there is no data.

        Returns
        -------
        ndarray of float32
            Between 0 and 1.

        Examples
        --------
        >>> PRESETS["dsen2cr"].optical(np.array([[[-0.1, 0.25, 1.5, np.nan]]])).tolist()
        [[[0.0, 0.25, 1.0, 0.0]]]
        """
        return _unit(reflectance, *self.optical_range)

    def sar(self, backscatter: NDArray[Any], polarisations: tuple[str, ...]) -> NDArray[np.float32]:
        """Scale backscatter of shape (..., polarisation, y, x).

        Parameters
        ----------
        backscatter : ndarray
            Backscatter in dB, NaN where there is no data.
        polarisations : tuple of str
            Names along the polarisation axis.

        Returns
        -------
        ndarray of float32
            Between 0 and 1.

        Examples
        --------
        >>> PRESETS["dsen2cr"].sar(np.array([[[-12.5]], [[-65.0]]]), ("VV", "VH")).ravel().tolist()
        [0.5, 0.0]
        """
        low, high = np.array([self.sar_range[p] for p in polarisations], np.float32).T
        return _unit(backscatter, low[:, None, None], high[:, None, None])

    def to_reflectance(self, scaled: NDArray[Any]) -> NDArray[np.float32]:
        """Undo :meth:`optical`, except for its clipping.

        Parameters
        ----------
        scaled : ndarray
            Output of a network.

        Returns
        -------
        ndarray of float32
            Reflectance.
        """
        low, high = self.optical_range
        return np.asarray(scaled * np.float32(high - low) + np.float32(low), np.float32)


PRESETS: dict[str, Normalisation] = {
    "dsen2cr": Normalisation((0.0, 1.0), {"VV": (-25.0, 0.0), "VH": (-32.5, 0.0)}),
    "uncrtaints": Normalisation((0.0, 1.0), {"VV": (-25.0, 0.0), "VH": (-25.0, 0.0)}),
}
"""Presets by the name that a :class:`~xcloudfree.models.ModelSpec` stores.

They differ in the range of VH; weights fitted with one give wrong answers with the other.
"""


def _unit(values: NDArray[Any], low: Any, high: Any) -> NDArray[np.float32]:
    scaled = (np.asarray(values, np.float32) - low) / (high - low)
    return np.asarray(np.nan_to_num(np.clip(scaled, 0, 1), copy=False), np.float32)
