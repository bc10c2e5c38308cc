"""The work on one block: decode, mask, predict, join with what was observed, encode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xcloudfree._version import __version__
from xcloudfree.inference import Inference, Prediction, Window
from xcloudfree.kernels.composite import MARGIN, RADIUS, Provenance, feather
from xcloudfree.kernels.radiometry import Calibration, SarCalibration
from xcloudfree.masks import MaskPlan

Blend = Literal["feather"] | None
Core = tuple[slice, slice]


@dataclass(frozen=True)
class Reconstruction:
    """The work on one block.

    Parameters
    ----------
    inference : Inference
        The network.
    bands : tuple of str
        Bands of the optical window.
    calibration, sar_calibration
        From stored numbers to physical ones.
    mask : MaskPlan
        How to find occluded pixels.
    blend : "feather" or None
        See :func:`xcloudfree.reconstruct.reconstruct`.
    """

    inference: Inference
    bands: tuple[str, ...]
    calibration: Calibration
    sar_calibration: SarCalibration
    mask: MaskPlan
    blend: Blend

    def __dask_tokenize__(self) -> Any:
        """What decides the result."""
        return (
            __version__, self.inference.__dask_tokenize__(), self.bands, self.calibration,
            self.sar_calibration, self.mask.__dask_tokenize__(), self.blend,
        )  # fmt: skip

    def __call__(self, *windows: NDArray[Any], core: Core) -> tuple[NDArray[Any], ...]:
        """Reconstruct the core of a window.

        Parameters
        ----------
        *windows : ndarray
            Optical, backscatter, the mask where it is read from arrays of its own, and where the
            network reads several dates their day numbers and the other acquisitions: optical and
            backscatter of each. All are (*lead, [band,] y, x).
        core : tuple of slice
            Rows and columns to return.

        Returns
        -------
        tuple of ndarray
            Stored numbers (*lead, band, y, x), provenance (*lead, y, x) and, if asked for, the
            standard deviation (*lead, band, y, x).
        """
        lead = windows[0].shape[:-3]
        images = [w.reshape(-1, *w.shape[len(lead) :]) for w in windows]
        blocks = [self._prepare(planes, core) for planes in zip(*images, strict=True)]
        active = [b for b in blocks if b.filled.any()]
        guesses = iter(self.inference([b.window for b in active]))
        results = [self._finish(b, next(guesses) if b in active else None, core) for b in blocks]
        return tuple(
            np.stack(parts).reshape(*lead, *parts[0].shape) for parts in zip(*results, strict=True)
        )

    def _prepare(self, planes: tuple[NDArray[Any], ...], core: Core) -> _Block:
        given = int(self.mask.separate)
        stored, backscatter = planes[:2]
        reflectance, sar = self._physical(stored, backscatter)
        observed = np.isfinite(reflectance).all(0)
        measured = np.isfinite(sar).all(0)
        occluded = self._occluded(stored, planes[2 : 2 + given]) & observed

        wanted = occluded if self.blend else observed
        provenance = np.full(observed.shape, Provenance.OBSERVED, np.uint8)
        provenance[~observed] = Provenance.NODATA
        provenance[wanted & measured] = Provenance.RECONSTRUCTED
        provenance[wanted & ~measured] = Provenance.UNRECONSTRUCTABLE

        filled = np.zeros_like(observed)
        filled[core] = provenance[core] == Provenance.RECONSTRUCTED
        reads = ndimage.maximum_filter(filled, 2 * EDGE + 1) if self.blend else filled
        days, series = None, planes[2 + given :]
        if series:
            days = series[0][:, 0, 0]
            others = [self._physical(*series[i : i + 2]) for i in range(1, len(series), 2)]
            reflectance = np.stack([reflectance, *(o for o, _ in others)])
            sar = np.stack([sar, *(r for _, r in others)])
        window = Window(reflectance, sar, occluded | ~observed, reads, days)
        return _Block(stored, observed & ~occluded, provenance, filled, window)

    def _physical(
        self, stored: NDArray[Any], backscatter: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Reflectance of the bands that the network reads, and backscatter in dB."""
        reflectance = self.calibration.decode(stored[self._picked()])
        return reflectance, self.sar_calibration.decode(backscatter)

    def _picked(self) -> list[int]:
        return [self.bands.index(b) for b in self.inference.spec.optical_bands]

    def _finish(
        self, block: _Block, guess: Prediction | None, core: Core
    ) -> tuple[NDArray[Any], ...]:
        picked, provenance = self._picked(), block.provenance[core]
        out = block.stored[:, *core].copy()
        deviation = np.full(out.shape, np.nan, np.float32)
        lost = provenance == Provenance.UNRECONSTRUCTABLE
        if guess is not None:
            filled, values = block.filled[core], guess.mean
            if self.blend:
                reflectance = block.window.reflectance
                values = feather(
                    values, reflectance[0] if reflectance.ndim == 4 else reflectance, block.clear
                )
            for band, plane in zip(picked, values[:, *core], strict=True):
                out[band][filled] = self.calibration.encode(plane[filled], out.dtype)
            for band in set(range(len(out))) - set(picked):
                out[band][filled] = self._empty(out.dtype)
            if guess.deviation is not None:
                for band, plane in zip(picked, guess.deviation[:, *core], strict=True):
                    deviation[band][filled] = plane[filled]
        out[:, lost] = self._empty(out.dtype)
        return (out, provenance, deviation) if self.inference.uncertainty else (out, provenance)

    def _occluded(self, stored: NDArray[Any], given: tuple[NDArray[Any], ...]) -> NDArray[np.bool_]:
        if self.mask.separate:
            return self.mask.compute(given[0])
        return self.mask.compute(stored[[self.bands.index(b) for b in self.mask.bands]])

    def _empty(self, dtype: np.dtype[Any]) -> Any:
        return self.calibration.encode(np.array([np.nan], np.float32), dtype)[0]


EDGE = RADIUS + MARGIN
"""Pixels around a reconstructed one whose prediction is compared with what was observed."""


@dataclass(frozen=True, eq=False)
class _Block:
    """One image of a block: what is stored, what is clear, and what to predict."""

    stored: NDArray[Any]
    clear: NDArray[np.bool_]
    provenance: NDArray[np.uint8]
    filled: NDArray[np.bool_]
    window: Window
