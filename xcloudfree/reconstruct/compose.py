"""Join a prediction with the observed pixels, and record where each pixel comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.core.predictor import Booleans, Floats, Prediction
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Area
from xcloudfree.reconstruct.observe import HIDDEN, Arrays

Blend = Literal["feather"] | None

RADIUS = 8
"""Pixels over which the reconstruction is adjusted to the observed pixels around it."""

MARGIN = 3
"""Margin of a cloud in pixels that is observed but rarely cloud-free, so not used to adjust."""

EDGE = RADIUS + MARGIN
"""Pixels around a reconstructed one where prediction and observation are compared."""


class Provenance(IntEnum):
    """Origin of an output pixel."""

    NODATA = 0
    OBSERVED = 1
    RECONSTRUCTED = 2
    UNRECONSTRUCTABLE = 3


@dataclass(frozen=True)
class Compose:
    """Observation and prediction to stored numbers, provenance and optional outputs."""

    calibration: Calibration
    picked: tuple[int, ...]  # positions of the bands that are predicted
    blend: Blend
    uncertainty: bool
    flags: bool

    def __call__(
        self,
        stored: NDArray[Any],
        state: NDArray[np.uint8],
        mean: Floats,
        *others: NDArray[Any],
        core: Area,
    ) -> Arrays:
        """The core of a block of predicted images."""
        lead, results, measured = state.shape[:-2], [], self.calibration.valid(stored)
        for place in np.ndindex(lead):
            image, hidden = stored[place], np.asarray((state[place] & HIDDEN) > 0)
            valid = np.asarray(measured[place][list(self.picked)].all(0))
            rest = [other[place] for other in others]
            deviation = rest.pop(0) if self.uncertainty else None
            prediction = Prediction(mean[place], deviation, rest.pop(0) if self.flags else None)
            results.append(self.image(image, hidden, valid, prediction, core))
        return tuple(
            np.stack(part).reshape(*lead, *part[0].shape) for part in zip(*results, strict=True)
        )

    def image(
        self,
        stored: NDArray[Any],
        hidden: Booleans,
        valid: Booleans,
        prediction: Prediction | None,
        core: Area,
        answerable: Booleans | None = None,
        seen: Floats | None = None,
    ) -> Arrays:
        """The core of one image; `answerable` are the pixels of the core that may be filled."""
        wanted = hidden[core] if self.blend else valid[core]
        filled = np.zeros_like(wanted)
        if prediction is not None:
            known = np.asarray(np.isfinite(prediction.mean).all(0))
            filled = wanted & known[core]
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
        flags = np.zeros(wanted.shape, np.uint8)
        if prediction is not None and prediction.flags is not None:
            flags[valid[core]] = prediction.flags[core][valid[core]]
        if prediction is not None and filled.any():
            mean = prediction.mean
            if self.blend:
                if seen is None:
                    seen = self.calibration.decode(stored[list(self.picked)])
                mean = feather(np.where(known, mean, np.float32(0)), seen, valid & ~hidden & known)
            out[:, filled] = empty  # bands that are not predicted
            numbers = self.calibration.encode(mean[:, *core][:, filled], out.dtype)
            for band, row in zip(self.picked, numbers, strict=True):
                out[band][filled] = row
            if self.uncertainty and prediction.deviation is not None:
                for band, plane in zip(self.picked, prediction.deviation[:, *core], strict=True):
                    deviation[band][filled] = plane[filled]
        results = (out, provenance)
        if self.uncertainty:
            results = (*results, deviation)  # type: ignore[assignment]
        return (*results, flags) if self.flags else results


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


def labelled(scene: Scene, data: Any, name: str, attrs: Mapping[str, Any]) -> xr.DataArray:
    """An array with the dimensions and coordinates of a scene."""
    template = scene.template()
    out = xr.DataArray(data, template.coords, template.dims, name=name, attrs=dict(attrs))
    return out.transpose(*scene.dims)
