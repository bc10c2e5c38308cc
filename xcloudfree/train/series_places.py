"""A series as places that fit into memory with all their dates."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError, UnitsError
from xcloudfree.masks.resolve import Mask, plan_mask
from xcloudfree.methods.leave_out import Place
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.dates import dates_of
from xcloudfree.reconstruct.observe import HIDDEN, observe

AT_A_TIME = 2
"""Number of places kept in memory."""

RADAR = ("VV", "VH")
"""Polarisations of the methods whose estimates a network reads."""


@dataclass(frozen=True, eq=False)
class SeriesPlaces:
    """A series of one network's bands; dates in order of time."""

    # (time, [band,] y, x), lazy for lazy data, in the order of the data
    reflectance: Any
    state: Any
    backscatter: Any
    times: NDArray[np.datetime64]  # in order of time
    order: NDArray[np.int64]  # positions of these in the data
    days: NDArray[np.float64]
    windows: list[tuple[slice, slice]]  # rows and columns of the places
    polarisations: int  # number of backscatter planes that the network reads, the first ones
    radar: list[int]  # planes with VV and VH
    kept: OrderedDict[int, Place] = field(default_factory=OrderedDict)
    barren: dict[int, DataError] = field(default_factory=dict)

    @classmethod
    def read(
        cls, data: xr.Dataset | Scene, spec: ModelSpec, mask: Mask, side: int, crop: int
    ) -> SeriesPlaces:
        """Recognise a series and cut it into places."""
        scene = data if isinstance(data, Scene) else read(data)
        why = f"fitting {spec.name!r} on a series"
        scene.need_optical(spec.optical_bands, why)
        if spec.polarisations:
            scene.need_sar(spec.polarisations, why)
        _, days = dates_of(scene, why, "fit(..., target=...) with cloud-free images")
        if scene.lead != ("time",):
            raise DataError(
                f"takes one place but the data has {scene.lead} before y and x",
                fix="give a list, fit([ds.isel(...), ...])",
                subject=why,
                option="keep one place in the file, with the dimensions time, y and x",
            )
        _check_level(scene, spec)
        height, width = scene.shape
        if min(height, width) < crop:
            raise DataError(
                f"the series of {height} x {width} px is smaller than the crop",
                fix=f"call fit(..., crop={min(height, width)})",
                option=f"--crop {min(height, width)}",
            )
        masked = plan_mask(scene, mask, None, 0, shadow=None)
        beside = () if masked.separate else masked.bands
        names = tuple(dict.fromkeys((*spec.optical_bands, *beside)))
        optical = scene.need_optical(names, why)
        reflectance, state = observe(scene, optical, masked, None, spec.optical_bands)
        if "regression" in spec.context:
            scene.need_sar(RADAR, why)
        radar = tuple(p for p in RADAR if scene.sar is not None and p in scene.sar.names)
        wanted = tuple(dict.fromkeys((*spec.polarisations, *radar)))
        order = np.argsort(days, kind="stable")
        return cls(
            reflectance,
            state,
            scene.backscatter(wanted).data if wanted else None,
            scene.template()["time"].values[order],
            order,
            np.asarray(days)[order],
            list(product(_cuts(height, side), _cuts(width, side))),
            len(spec.polarisations),
            [wanted.index(p) for p in radar],
        )

    def place(self, index: int) -> Place:
        """A place in memory; a useless one is replaced by the next."""
        errors = []
        for step in range(len(self.windows)):
            number = (index + step) % len(self.windows)
            if number in self.barren:
                errors.append(self.barren[number])
                continue
            if number in self.kept:
                self.kept.move_to_end(number)
                return self.kept[number]
            place = self._load(number)
            error = _barren(place)
            if error is not None:
                self.barren[number] = error
                errors.append(error)
                continue
            self.kept[number] = place
            while len(self.kept) > AT_A_TIME:
                self.kept.popitem(last=False)
            return place
        raise errors[0]

    def _load(self, number: int) -> Place:
        window = self.windows[number]
        reflectance, state = (
            np.asarray(a[..., *window])[self.order] for a in (self.reflectance, self.state)
        )
        sar = np.zeros((len(reflectance), 0, *reflectance.shape[2:]), np.float32)
        if self.backscatter is not None:
            sar = np.asarray(self.backscatter[..., *window])[self.order]
        clear = np.isfinite(reflectance).all(1) & ((state & HIDDEN) == 0)
        radar = sar[:, self.radar] if self.radar else None
        return Place(reflectance, clear, sar[:, : self.polarisations], radar, self.days)


def _barren(place: Place) -> DataError | None:
    """Why a place is useless for learning; None if it is not."""
    clear, has_backscatter = place.clear, np.isfinite(place.backscatter).all(1)
    if clear.any((1, 2)).sum() < 2:
        return DataError(
            f"{clear.any((1, 2)).sum()} of {len(clear)} dates show the ground under this mask, and "
            "2 are needed",
            fix="look at ds.cloudfree.mask(...), choose another method with fit(..., mask=...), "
            "or load a longer interval",
            option="choose another with --mask, or load a longer interval",
        )
    if not (clear & has_backscatter).any():
        return DataError(
            "no date that shows the ground has backscatter",
            fix="load Sentinel-1 of the same days, or leave out where it is missing with "
            "ds.sel(time=...)",
            option="load Sentinel-1 of the same days",
        )
    return None


def _cuts(size: int, side: int) -> list[slice]:
    """Equal parts of at most this side; a whole place if parts would be smaller than a crop."""
    count = max(1, size // side)
    edges = np.linspace(0, size, count + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def _check_level(scene: Scene, spec: ModelSpec) -> None:
    if scene.level is None:
        raise UnitsError(
            "the level of the series is not declared",
            fix=f"declare it with ds.cloudfree.calibrate(level={spec.level!r}) if that is what "
            "it is",
            option=f"--level {spec.level}",
        )
    if scene.level != spec.level:
        raise UnitsError(
            f"{spec.name!r} is made for {spec.level} reflectance and the series is {scene.level}",
            fix=f"call xcloudfree.models.create(..., level={scene.level!r}), or load the other "
            "level",
            option="choose another with --model, or load the other level",
        )
