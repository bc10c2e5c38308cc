"""The work on one block: decode, mask, predict, join with what was observed, encode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.core.windows import Area, widened
from xcloudfree.masks.plan import MaskPlan
from xcloudfree.reconstruct.composite import MARGIN, RADIUS, Provenance, feather
from xcloudfree.reconstruct.inference import Inference, Prediction, Window

Blend = Literal["feather"] | None


@dataclass(frozen=True)
class Reconstruction:
    """The work on one block."""

    inference: Inference  # the network
    bands: tuple[str, ...]  # bands of the optical window
    calibration: Calibration  # from stored numbers to physical ones
    sar_calibration: SarCalibration  # from stored numbers to physical ones
    mask: MaskPlan  # how to find occluded pixels
    blend: Blend  # see reconstruct
    context: int = 0  # windows with parts of the context

    def __dask_tokenize__(self) -> Any:
        """What decides the result."""
        return (
            __version__, self.inference.__dask_tokenize__(), self.bands, self.calibration,
            self.sar_calibration, self.mask.__dask_tokenize__(), self.blend, self.context,
        )  # fmt: skip

    def __call__(self, *windows: NDArray[Any], core: Area) -> tuple[NDArray[Any], ...]:
        """Reconstruct the core of a window."""
        lead = windows[0].shape[:-3]
        images = [w.reshape(-1, *w.shape[len(lead) :]) for w in windows]
        blocks = [self._prepare(planes, core) for planes in zip(*images, strict=True)]
        guesses = iter(self.inference([b.window for b in blocks if b.window is not None]))
        results = [self._finish(b, next(guesses) if b.window else None, core) for b in blocks]
        return tuple(
            np.stack(parts).reshape(*lead, *parts[0].shape) for parts in zip(*results, strict=True)
        )

    def _prepare(self, planes: tuple[NDArray[Any], ...], core: Area) -> _Block:
        """Find what to reconstruct, and only if there is something, what the network reads."""
        given = int(self.mask.separate)
        stored, backscatter = planes[:2]
        picked = self._picked()
        inner = stored[:, *core]
        observed = self.calibration.valid(inner[picked]).all(0)
        near, within = widened(core, self.mask.reach, stored.shape[-2:])
        hidden = self._occluded(stored[:, *near], [p[..., *near] for p in planes[2 : 2 + given]])
        wanted = hidden[within] & observed if self.blend else observed
        measured = self.sar_calibration.valid(backscatter[:, *core]).all(0)
        provenance = np.full(observed.shape, Provenance.OBSERVED, np.uint8)
        provenance[~observed] = Provenance.NODATA
        provenance[wanted & measured] = Provenance.RECONSTRUCTED
        provenance[wanted & ~measured] = Provenance.UNRECONSTRUCTABLE
        filled = provenance == Provenance.RECONSTRUCTED
        if not filled.any():
            self.calibration.decode(inner[:, ::4, ::4])  # refuses values of another unit
            self.sar_calibration.decode(backscatter[:, *core][:, ::4, ::4])
            return _Block(inner, provenance, filled)

        reflectance, sar = self._physical(stored, backscatter)
        clear = np.isfinite(reflectance).all(0)
        occluded = self._occluded(stored, planes[2 : 2 + given]) & clear
        reads = np.zeros_like(clear)
        reads[core] = filled
        if self.blend:
            reads = scipy.ndimage.maximum_filter(reads, 2 * EDGE + 1)
        parts = 2 + given + self.context
        context = np.concatenate(planes[2 + given : parts]) if self.context else None
        days, series = None, planes[parts:]
        own = reflectance
        if series:
            days = series[0][:, 0, 0]
            others = [self._physical(*series[i : i + 2]) for i in range(1, len(series), 2)]
            reflectance = np.stack([reflectance, *(o for o, _ in others)])
            sar = np.stack([sar, *(r for _, r in others)])
        window = Window(reflectance, sar, occluded | ~clear, reads, days, context)
        return _Block(inner, provenance, filled, own, clear & ~occluded, window)

    def _physical(
        self, stored: NDArray[Any], backscatter: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Reflectance of the bands that the network reads, and backscatter in dB."""
        reflectance = self.calibration.decode(stored[self._picked()])
        return reflectance, self.sar_calibration.decode(backscatter)

    def _picked(self) -> list[int]:
        return [self.bands.index(b) for b in self.inference.spec.optical_bands]

    def _finish(
        self, block: _Block, guess: Prediction | None, core: Area
    ) -> tuple[NDArray[Any], ...]:
        picked, out = self._picked(), block.stored.copy()
        spread = self.inference.uncertainty
        deviation = np.full(out.shape if spread else 0, np.nan, np.float32)
        if guess is not None:
            filled, values = block.filled, guess.mean
            if self.blend:
                assert block.reflectance is not None
                assert block.clear is not None
                values = feather(values, block.reflectance, block.clear)
            for band, plane in zip(picked, values[:, *core], strict=True):
                out[band][filled] = self.calibration.encode(plane[filled], out.dtype)
            for band in set(range(len(out))) - set(picked):
                out[band][filled] = self._empty(out.dtype)
            if guess.deviation is not None:
                for band, plane in zip(picked, guess.deviation[:, *core], strict=True):
                    deviation[band][filled] = plane[filled]
        out[:, block.provenance == Provenance.UNRECONSTRUCTABLE] = self._empty(out.dtype)
        return (out, block.provenance, deviation) if spread else (out, block.provenance)

    def _occluded(self, stored: NDArray[Any], given: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
        if self.mask.separate:
            return self.mask.compute(given[0])
        return self.mask.compute([stored[self.bands.index(b)] for b in self.mask.bands])

    def _empty(self, dtype: np.dtype[Any]) -> Any:
        return self.calibration.encode(np.array([np.nan], np.float32), dtype)[0]


EDGE = RADIUS + MARGIN
"""Pixels around a reconstructed one whose prediction is compared with what was observed."""


@dataclass(frozen=True, eq=False)
class _Block:
    """One image of a block: its core, and the window around it if there is something to predict."""

    stored: NDArray[Any]
    provenance: NDArray[np.uint8]
    filled: NDArray[np.bool_]
    reflectance: NDArray[np.float32] | None = None
    clear: NDArray[np.bool_] | None = None
    window: Window | None = None
