"""Observations of a scene: stored numbers to physical values, and the occluded pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, map_windows
from xcloudfree.core.predictor import Booleans, Dates, Floats, Series
from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.core.scene import Layer, Scene
from xcloudfree.core.windows import LARGEST, WHOLE, Area, Encoded, Halo, Mosaic
from xcloudfree.masks.plan import MaskPlan

FLOAT, BYTE = (np.dtype(t) for t in ("float32", "uint8"))

HIDDEN, WANTED, CLEAR = 1, 2, 4
"""Bits of the state of a pixel."""

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Observe(Stage):
    """Convert stored numbers to reflectance and the state of each pixel."""

    bands: tuple[str, ...]  # of the windows
    picked: tuple[int, ...]  # positions of the bands that are read
    calibration: Calibration
    mask: MaskPlan
    around: int | None  # pixels around hidden ones that are wanted too; None for all pixels

    def __call__(self, stored: NDArray[Any], *given: NDArray[Any], core: Area) -> Arrays:
        """Reflectance (*lead, band, y, x) and state (*lead, y, x) of the core."""
        read = self._read(stored)
        reflectance = self.calibration.decode(read[..., *core])
        measured = np.asarray(self.calibration.valid(read).all(-3))
        state = np.zeros((*stored.shape[:-3], *reflectance.shape[-2:]), np.uint8)
        for image in np.ndindex(stored.shape[:-3]):
            valid = measured[image]
            hidden = self.occluded(stored[image], [g[image] for g in given]) & valid
            wanted = self.wanted(hidden, valid)
            bits = HIDDEN * hidden + WANTED * wanted + CLEAR * (valid & ~hidden)
            state[image] = bits[core]
        return reflectance, state

    def wanted(self, hidden: Booleans, valid: Booleans) -> Booleans:
        """Wanted pixels (..., y, x), from hidden and valid ones."""
        if self.around is None:
            return valid
        size = (*(1,) * (hidden.ndim - 2), *(2 * self.around + 1,) * 2)
        return np.asarray(scipy.ndimage.maximum_filter(hidden, size) & valid)

    def decode(self, stored: NDArray[Any]) -> Floats:
        """Reflectance of the bands that are read."""
        return self.calibration.decode(self._read(stored))

    def valid(self, stored: NDArray[Any]) -> Booleans:
        """Pixels with a measurement in all bands that are read."""
        return np.asarray(self.calibration.valid(self._read(stored)).all(-3))

    def occluded(self, stored: NDArray[Any], given: Sequence[NDArray[Any]]) -> Booleans:
        """Occluded pixels of one image."""
        if given:  # a mask from the user, or classes
            return self.mask.compute(given[0])
        return self.mask.compute(stored[[self.bands.index(b) for b in self.mask.bands]])

    def _read(self, stored: NDArray[Any]) -> NDArray[Any]:
        whole = self.picked == tuple(range(stored.shape[-3]))
        return stored if whole else stored[..., list(self.picked), :, :]


@dataclass(frozen=True)
class Decode:
    """Convert stored numbers to dB, or to the reflectance of another sensor."""

    calibration: SarCalibration | Calibration

    def __call__(self, stored: NDArray[Any], *, core: Area) -> Arrays:
        """Physical values (*lead, polarisation or band, y, x) of the core."""
        return (self.calibration.decode(stored[..., *core]),)


def observe(
    scene: Scene,
    optical: Layer,
    mask: MaskPlan,
    around: int | None,
    read: Sequence[str] | None = None,
) -> list[Any]:
    """Reflectance of the bands to read (by default all), and state, of a scene."""
    picked = tuple(map(optical.names.index, optical.names if read is None else read))
    return list(
        map_windows(
            Observe(optical.names, picked, scene.calibration(), mask, around),
            [optical.planes(), *(mask.groups if mask.separate else [])],
            [Output(FLOAT, len(picked)), Output(BYTE)],
            lead=len(scene.lead),
            plan=Halo(mask.reach + (around or 0)),
        )
    )


def decode(scene: Scene, layer: Layer, calibration: SarCalibration | Calibration) -> Any:
    """Physical values of a layer."""
    outputs = [Output(FLOAT, len(layer.names))]
    return map_windows(Decode(calibration), [layer.planes()], outputs, lead=len(scene.lead))[0]


@dataclass(frozen=True)
class Reader(Stage, Dates):
    """Windows of stored numbers to series, one for each place along dimensions other than time."""

    look: Observe
    sar: SarCalibration | None = None  # if a window of backscatter follows these numbers and masks
    coarse: Calibration | None = None  # if a window of coarse images follows these

    @property
    def margin(self) -> int:
        """Pixels around a pixel that influence whether it is wanted."""
        return self.look.mask.reach + (self.look.around or 0)

    def series(
        self,
        planes: Sequence[Mosaic],
        core: Area,
        origin: tuple[int, int] = (0, 0),
        asked: NDArray[np.bool_] | None = None,
        parts: bool = False,
    ) -> Series:
        """The series of one place; with `parts` it is decoded where it is read."""
        stored, *rest = planes
        given = [rest.pop(0)] if self.look.mask.separate else []
        parts = parts and self.days is not None
        values = [Encoded(stored, self.look.decode, len(self.look.picked))]
        for rule in (self.sar, self.coarse):
            if rule is not None:
                values.append(Encoded(rest[0], rule.decode, rest.pop(0).shape[1]))
        reflectance, *others = (v if parts else v.decoded() for v in values)
        if isinstance(reflectance, Encoded):
            valid = np.stack([self.look.valid(image) for image in stored.images()])
        else:
            valid = np.asarray(np.isfinite(reflectance).all(1))
        if self.look.mask.is_plain:
            hidden = self.look.mask.compute(given[0][slice(None), ..., *WHOLE])
        else:
            masks = given[0].images() if given else None
            hidden = np.stack([
                self.look.occluded(image, [] if masks is None else [next(masks)])
                for image in stored.images()
            ])  # fmt: skip
        hidden &= valid
        wanted = self.look.wanted(hidden, valid)
        return Series(
            reflectance,  # type: ignore[arg-type]
            hidden,
            wanted,
            others.pop(0) if self.sar is not None else None,  # type: ignore[arg-type]
            None if self.days is None else np.sort(self.days, kind="stable"),
            others.pop(0) if self.coarse is not None else None,  # type: ignore[arg-type]
            asked=asked,
            origin=origin,
            core=core,
            measured=valid if parts else None,
        )


def strips(series: Series) -> Iterator[Series]:
    """The core of a series in strips of rows, for a pixel-wise predictor."""
    height, width = series.hidden.shape[-2:]
    rows, columns = (
        slice(*s.indices(n)[:2]) for s, n in zip(series.core, (height, width), strict=True)
    )
    times, bands = series.reflectance.shape[:2]
    step = max(1, LARGEST // max(1, times * bands * (columns.stop - columns.start)))
    for start in range(rows.start, rows.stop, step):
        yield series.cut((slice(start, min(start + step, rows.stop)), columns))
