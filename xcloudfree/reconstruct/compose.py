"""Join a prediction with the observed pixels, and record where each pixel comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.core.box_sums import box_sums
from xcloudfree.core.predictor import Booleans, Floats, Prediction
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.restore import labelled
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Area
from xcloudfree.reconstruct.conformal import DISTANCES, Table, distances_of, expected_error
from xcloudfree.reconstruct.observe import Arrays

Blend = Literal["feather"] | None

RADIUS = 8
"""Pixels over which the reconstruction is adjusted to the observed pixels around it."""

MARGIN = 3
"""Margin of a cloud in pixels that is observed but rarely cloud-free, so not used to adjust."""

EDGE = RADIUS + MARGIN
"""Pixels around a reconstructed one where prediction and observation are compared."""

SIGHT = max(DISTANCES)
"""Pixels around a reconstructed one in which it is looked for what is visible, for its interval."""

BESIDE = 20
"""Visible pixels from which their errors tell those of the hidden ones beside them."""


class Provenance(IntEnum):
    """Origin of an output pixel."""

    NODATA = 0
    OBSERVED = 1
    RECONSTRUCTED = 2
    UNRECONSTRUCTABLE = 3


@dataclass(frozen=True)
class OfDate:
    """What hidden ground taught of the errors on one date."""

    gaps: NDArray[np.uint8]  # class of each pixel of the core, (y, x)
    half: Floats  # (gap, distance, band), see `Table`
    spread: Floats
    expected: Floats  # (gap, band, 3)

    def at(
        self, near: NDArray[np.uint8], filled: Booleans, stated: Floats | None, misfit: Floats
    ) -> tuple[Floats, Floats]:
        """Half width and standard deviation of filled pixels, (band, pixel)."""
        gaps, index = self.gaps[filled], (self.gaps[filled], near[filled])
        scale = np.ones_like(misfit)
        for gap in np.unique(gaps):
            use = gaps == gap
            known = np.ones_like(misfit[:, use]) if stated is None else stated[:, use]
            scale[:, use] = expected_error(self.expected[gap], known.T, misfit[:, use].T).T
        return self.half[index].T * scale, self.spread[index].T * scale


@dataclass(frozen=True)
class Compose:
    """Observation and prediction to stored numbers, provenance and optional outputs."""

    calibration: Calibration
    picked: tuple[int, ...]  # positions of the bands that are predicted
    blend: Blend
    uncertainty: bool
    flags: bool
    stated: bool = True  # whether a deviation is predicted
    bounds: bool = False  # whether to return lower and upper bounds
    calibrated: bool = False  # whether a table of the scene says how far off it is
    time: int | None = None  # which leading dimension shares a table

    @property
    def sight(self) -> int:
        """Pixels around hidden ones whose prediction is compared with what was observed."""
        return SIGHT if self.calibrated else EDGE if self.blend else 0

    def of_date(
        self,
        tables: Sequence[Table],
        lead: tuple[int, ...],
        place: tuple[int, ...],
        planes: Sequence[NDArray[Any]],
    ) -> OfDate:
        """What is known of the errors on one image of a block, from its classes and its date."""
        sizes = [1 if k == self.time else n for k, n in enumerate(lead)]
        index = [0 if k == self.time else n for k, n in enumerate(place)]
        number = int(np.ravel_multi_index(index, sizes)) if lead else 0
        table, date = tables[number], int(planes[1].flat[0])
        return OfDate(planes[0], table.half[date], table.spread[date], table.expected)

    def image(
        self,
        stored: NDArray[Any],
        hidden: Booleans,
        valid: Booleans,
        prediction: Prediction | None,
        core: Area,
        answerable: Booleans | None = None,
        seen: Floats | None = None,
        known: OfDate | None = None,
    ) -> Arrays:
        """The core of one image; `answerable` are the pixels of the core that may be filled."""
        wanted = hidden[core] if self.blend else valid[core]
        filled = np.zeros_like(wanted)
        if prediction is not None:
            told = np.asarray(np.isfinite(prediction.mean).all(0))
            filled = wanted & told[core]
        if answerable is not None:
            filled &= answerable
        provenance = np.full(wanted.shape, Provenance.OBSERVED, np.uint8)
        provenance[~valid[core]] = Provenance.NODATA
        provenance[wanted & ~filled] = Provenance.UNRECONSTRUCTABLE
        provenance[filled] = Provenance.RECONSTRUCTED

        out = stored[:, *core].copy()
        empty = self.calibration.encode(np.array([np.nan], np.float32), out.dtype)[0]
        out[:, wanted & ~filled] = empty
        deviation = np.full(out.shape, np.nan, np.float32)
        bounds = [out.copy(), out.copy()] if self.bounds else []
        flags = np.zeros(wanted.shape, np.uint8)
        if prediction is not None and prediction.flags is not None:
            flags[valid[core]] = prediction.flags[core][valid[core]]
        if prediction is not None and filled.any():
            mean = prediction.mean
            if seen is None and (self.blend or known is not None):
                seen = self.calibration.decode(stored[list(self.picked)])
            plain = mean
            if self.blend and seen is not None:
                mean = feather(np.where(told, mean, np.float32(0)), seen, valid & ~hidden & told)
            mean = mean[:, *core][:, filled]
            stated = prediction.deviation
            spread = None if stated is None else stated[:, *core][:, filled]
            if known is not None and seen is not None:
                clear = valid & ~hidden
                near = distances_of(clear)[core]
                misfit = misfit_of(plain, seen, clear & told)[:, *core][:, filled]
                half, usual = known.at(near, filled, spread, misfit)
                spread = usual if spread is None else spread
                for plane, value in zip(bounds, (mean - half, mean + half), strict=False):
                    self._fill(plane, filled, value)
            self._fill(out, filled, mean)
            if self.uncertainty and spread is not None:
                for band, row in zip(self.picked, spread, strict=True):
                    deviation[band][filled] = row
        more = [deviation] if self.uncertainty else []
        return (out, provenance, *more, *bounds, *([flags] if self.flags else []))

    def _fill(self, out: NDArray[Any], filled: Booleans, values: Floats) -> None:
        """Write reflectance (band, pixel) as stored numbers; bands not predicted become empty."""
        out[:, filled] = self.calibration.encode(np.array([np.nan], np.float32), out.dtype)[0]
        numbers = self.calibration.encode(values, out.dtype)
        for band, row in zip(self.picked, numbers, strict=True):
            out[band][filled] = row


def feather(
    prediction: Floats,
    observed: Floats,
    clear: Booleans,
    radius: int = RADIUS,
    margin: int = MARGIN,
) -> Floats:
    """Adjust the prediction to the observed pixels around it, without changing these."""
    if radius <= 0 or not clear.any():
        return prediction
    side = 2 * radius + 1
    trusted = scipy.ndimage.minimum_filter(clear, 2 * margin + 1, mode="nearest")
    share = scipy.ndimage.uniform_filter(trusted.astype(np.float32), side, mode="nearest")
    gain = np.minimum(1, 2 * share) / np.maximum(share, 1 / side**2)
    out = prediction.copy()
    for band, (guess, seen) in enumerate(zip(prediction, observed, strict=True)):
        offset = np.where(trusted, seen - guess, 0)
        out[band] += gain * scipy.ndimage.uniform_filter(offset, side, mode="nearest")
    return out


def misfit_of(prediction: Floats, observed: Floats, clear: Booleans) -> Floats:
    """Mean error on the clear pixels around each pixel, NaN where there are too few."""
    trusted = scipy.ndimage.minimum_filter(clear, 2 * MARGIN + 1, mode="nearest")
    width = 2 * (SIGHT - MARGIN) + 1
    count = box_sums(trusted, width)
    out = np.full(prediction.shape, np.nan, np.float32)
    for plane, guess, seen in zip(out, prediction, observed, strict=True):
        error = np.where(trusted, np.abs(seen - guess), np.float32(0))
        np.divide(box_sums(error, width), count, out=plane, where=count >= BESIDE, casting="unsafe")
    return out


def label_provenance(scene: Scene, provenance: Any, made_by: Mapping[str, str]) -> xr.DataArray:
    """Name the values of a reconstruction's provenance."""
    return labelled(
        scene,
        provenance,
        "provenance",
        {
            "long_name": "provenance of the pixel",
            "flag_values": np.array([p.value for p in Provenance], np.uint8),
            "flag_meanings": " ".join(p.name.lower() for p in Provenance),
            **made_by,
            "xcloudfree_version": __version__,
        },
    )
