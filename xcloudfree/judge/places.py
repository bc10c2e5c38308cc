"""Squares of a scene in memory, and their clear ground to hide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.passes import day_numbers, in_utc, join_passes
from xcloudfree.core.recognise import read
from xcloudfree.judge.case import Case
from xcloudfree.judge.protocols import (
    Kind,
    Task,
    bands_alone,
    build_cases,
    clear_dates,
    clouded_dates,
    declared,
    ground_of,
    tasks_of,
    with_reflectance,
)
from xcloudfree.masks import masking as masks
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.shadow import Shadow

SIDE: Final = 64
"""Rows and columns of a square."""
AROUND: Final = 32
"""Pixels around a square that its mask reads."""

_LEAST: Final = 0.02  # share of an image that must be hidden, and visible, to be judged

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Place:
    """A square of the scene in memory, with its mask and its hidden dates."""

    row: int  # the first, in pixels of the scene
    column: int
    scene: xr.Dataset
    hidden: xr.DataArray  # the mask
    tasks: list[Task] = field(default_factory=list)  # dates to hide; none for a single image
    mirrored: list[tuple[int, ...]] = field(default_factory=list)  # the same of one image

    @property
    def name(self) -> str:
        """Its name in the names of cases."""
        return f"y{self.row} x{self.column}"

    @property
    def count(self) -> int:
        """Number of cases per gap."""
        return len(self.tasks) + len(self.mirrored)

    @property
    def partial(self) -> bool:
        """Whether a part of each hidden image stays visible."""
        return all(task.kind == "partial" for task in self.tasks)

    def cases(self, gaps: Sequence[float]) -> Iterator[Case]:
        """The cases of this place."""
        if self.mirrored:
            yield from _mirrored_cases(self)
        elif self.tasks:
            ground, stack = _of_series(self.scene, self.hidden)
            yield from build_cases(self.scene, ground, stack, self.tasks, gaps, self.name)


def windows_of(shape: tuple[int, int], seed: int) -> list[Window]:
    """Squares on the grid of the scene, in the middle of it, in an order drawn by the seed."""
    spans = []
    for length in shape:
        step, count = min(SIDE, length), max(1, length // SIDE)
        first = (length - count * step) // 2
        spans.append([slice(first + n * step, first + (n + 1) * step) for n in range(count)])
    every = list(product(*spans))
    return [every[n] for n in np.random.default_rng(seed).permutation(len(every))]


def read_place(
    obj: xr.Dataset | xr.DataArray, window: Window, mask: Mask, dilate: int, shadow: Shadow
) -> Place:
    """Read a square with its surroundings, mask it, and cut it out."""
    scene = read(obj)
    around, inside = {}, {}
    for dim, span, length in zip(scene.spatial, window, scene.shape, strict=True):
        start = max(0, span.start - AROUND)
        around[dim] = slice(start, min(length, span.stop + AROUND))
        inside[dim] = slice(span.start - start, span.stop - start)
    part = in_utc(obj.isel(around))
    if isinstance(mask, xr.DataArray):  # it belongs to the images before joining
        mask = in_utc(mask.isel({d: s for d, s in around.items() if d in mask.dims}))
    elif "time" in scene.lead:
        part = join_passes(part)
    part = part.compute()
    hidden = masks.mask(part, mask, dilate=dilate, shadow=shadow).compute()
    return Place(window[0].start, window[1].start, _plain(part.isel(inside)), hidden.isel(inside))


def with_hidden_dates(place: Place, count: int, seed: int) -> Place:
    """The place with so many of its clear dates hidden, spread over the series, or none."""
    ground, stack = _of_series(place.scene, place.hidden)
    days = day_numbers(place.scene.time)
    clear = clear_dates(ground, days)
    if not len(clear):
        return place
    kind: Kind = "partial" if len(clouded_dates(ground)) > 1 else "full"
    every = list(tasks_of(ground, stack, days, len(clear), 1, seed, (kind,), "clean"))
    rng = np.random.default_rng((seed, place.row, place.column))
    chosen = [int(rng.choice(part)) for part in np.array_split(np.arange(len(every)), count)
              if len(part)]  # fmt: skip
    return replace(place, tasks=[every[n] for n in chosen])


def with_mirrored_clouds(place: Place, count: int) -> Place:
    """The place with so many ways to mirror the clouds of its only image onto clear ground."""
    _, ground = _of_image(place)
    ways: list[tuple[int, ...]] = []
    for axes in ((1,), (0,), (0, 1)):
        laid = np.flip(~ground, axes)
        judged, visible = (laid & ground).mean(), (ground & ~laid).mean()
        if judged >= _LEAST and visible >= _LEAST:
            ways.append(axes)
    return replace(place, mirrored=ways[:count])


def _mirrored_cases(place: Place) -> Iterator[Case]:
    """The image under its own clouds and their mirror images; its clear ground is the truth."""
    scene = read(place.scene)
    values, ground = _of_image(place)
    for axes in place.mirrored:
        laid = np.flip(~ground, axes)
        seen = np.flip(values, tuple(a + 1 for a in axes))
        hidden = laid | ~ground
        cloudy = np.where(laid & ground, seen, values)
        truth = np.where(ground, values, np.float32(np.nan))
        name = {(1,): "columns", (0,): "rows", (0, 1): "rows and columns"}[axes]
        yield Case(
            f"{place.name} under its clouds, {name} mirrored",
            with_reflectance(place.scene, scene, cloudy),
            xr.DataArray(hidden, dims=scene.spatial),
            bands_alone(with_reflectance(place.scene, scene, truth), scene),
            region=place.name,
            protocol="mirrored clouds",
            kind="partial",
        )


def _of_series(ds: xr.Dataset, hidden: xr.DataArray) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    scene = read(ds)
    return ground_of(ds, scene, hidden), scene.reflectance().values


def _of_image(place: Place) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Reflectance (band, y, x), and which pixels show the ground."""
    scene = read(place.scene)
    values = scene.reflectance().values
    return values, np.isfinite(values).all(0) & ~place.hidden.transpose(*scene.spatial).values


def _plain(part: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """A Dataset of bands unchanged; other forms as one with variables `s2` and `s1`."""
    scene = read(part)
    if isinstance(part, xr.Dataset) and scene.form == "bands":
        return part
    layers = {"s2": scene.reflectance().drop_attrs().assign_attrs(declared(scene))}
    if scene.sar is not None:
        radar = scene.backscatter().rename(band="polarization").drop_attrs()
        kind = {"quantity": scene.quantity} if scene.quantity else {}
        layers["s1"] = radar.assign_attrs(units="dB", **kind)
    return xr.Dataset(layers)
