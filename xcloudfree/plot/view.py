"""One date of an object, reduced to screen resolution before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.recognise import read, spatial_dims
from xcloudfree.core.scene import Scene
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError

Spatial = xr.Dataset | xr.DataArray


@dataclass(frozen=True)
class View:
    """The selected date and pixels of a scene, and of objects that belong to it."""

    dims: tuple[str, str]  # names of rows and columns
    lead: tuple[str, ...]  # dimensions before them
    shape: tuple[int, int]  # rows and columns of the whole
    index: int  # number of the date or patch
    count: int  # number of dates or patches
    label: Any  # its time or name, if it has one
    step: int  # every how many pixels

    def __call__(self, obj: Any) -> Any:
        """The same part of an array with the scene's dates, or of one that applies to all dates."""
        dims = [d for d in obj.dims if d in self.lead]
        where: dict[Any, Any] = {d: self.index if obj.sizes[d] > 1 else 0 for d in dims}
        return obj.isel(where | self._thinned(self.dims, obj.dims))

    def of_other(self, other: Spatial, name: str, *, any_date: bool = False) -> Any:
        """The same date and pixels of another object, found by its own coordinates."""
        scene = read(other)
        if scene.shape != self.shape:
            raise DataError(
                f"{name} has {_pixels(scene.shape)} but the picture next to it has "
                f"{_pixels(self.shape)}",
                fix=f"call plot({name}={name}.odc.reproject(out.odc.geobox))",
                option="warp one to the grid of the other first, for example with gdalwarp",
            )
        where = {
            d: self._number(other.coords.get(d), other.sizes[d], name, any_date) for d in scene.lead
        }
        return other.isel(where | self._thinned(tuple(map(str, scene.spatial)), other.dims))

    def of_array(self, mask: Any) -> xr.DataArray:
        """A mask from the user, labelled or not."""
        if not isinstance(mask, xr.DataArray):
            values = np.asarray(mask)
            if values.ndim not in (2, 3) or values.shape[-2:] != self.shape:
                raise DataError(
                    f"a mask of shape {values.shape} does not lie on {_pixels(self.shape)}",
                    fix=f"call plot(mask=array of shape {self.shape})",
                )
            mask = xr.DataArray(values, dims=("lead", *self.dims)[-values.ndim :])
        where = {
            d: self._number(mask.coords.get(d), mask.sizes[d], "mask", True)
            for d in mask.dims
            if d not in self.dims
        }
        part: xr.DataArray = mask.isel(where | self._thinned(self.dims, mask.dims))
        return part

    def _thinned(self, spatial: tuple[str, ...], dims: Any) -> dict[Any, Any]:
        return {d: slice(None, None, self.step) for d in spatial if d in dims}

    def _number(self, labels: xr.DataArray | None, size: int, name: str, any_date: bool) -> int:
        """Number of the matching date or patch of another object."""
        if labels is not None and self.label is not None and labels.dtype.kind == _kind(self.label):
            matches = np.flatnonzero(labels.values == self.label)
            if not matches.size and _kind(self.label) == "M":
                matches = np.flatnonzero(_day(labels.values) == _day(self.label))
            if matches.size:
                return int(matches[0])
            if any_date and size == 1:
                return 0
            raise DataError(
                f"{name} has nothing of {_plain(self.label)} among its {size} from "
                f"{_plain(labels.values.min())} to {_plain(labels.values.max())}",
                fix=f"choose a date that both have, plot({name}=..., time=...)",
                option="--time with a date that both have",
            )
        if size == 1:
            return 0
        if size != self.count:
            raise DataError(
                f"{name} has {size} images without times to say which belongs to the one of "
                f"{self.count} shown",
                fix=f"call plot({name}=one of them)",
                option="give inputs of the same dates",
            )
        return self.index


def _pixels(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]} pixels"


def _kind(label: Any) -> str:
    return str(np.asarray(label).dtype.kind)


def _day(times: Any) -> Any:
    return times.astype("M8[D]")


def _plain(label: Any) -> str:
    return str(_day(label) if _kind(label) == "M" else label)


def view(scene: Scene, time: Any, index: int, max_size: int) -> View:
    """Choose a date and a reduced resolution."""
    step = max(1, -(-max(scene.shape) // max(1, max_size)))
    coordinate = scene.source.coords.get("time")
    if time is not None and coordinate is not None and coordinate.ndim:
        (index,) = nearest(coordinate, [time])
    count = 1
    for dim in scene.lead:
        count = scene.source.sizes[dim]
        if not -count <= index < count:
            raise DataError(
                f"there are {count} along {dim}, counted from 0",
                fix=f"call plot(index={count - 1})",
                option=f"keep one element along {dim} in the file",
            )
    label = scene.source.coords.get(scene.lead[0] if scene.lead else "time")
    name = None if label is None else label.values[index] if label.ndim else label.values[()]
    rows, columns = map(str, scene.spatial)
    lead = tuple(map(str, scene.lead))
    return View((rows, columns), lead, scene.shape, index % count, count, name, step)


def nearest(coordinate: xr.DataArray, times: Sequence[Any]) -> list[int]:
    """Numbers of the dates nearest to some times."""
    index = coordinate.to_index()
    dates = index.unique().sort_values()  # in which pandas can look for the nearest
    try:
        positions = dates.get_indexer(list(times), method="nearest")
        return [int(np.flatnonzero(index == dates[n])[0]) for n in positions]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{', '.join(map(repr, times))} cannot be found among the dates from {index.min()} to "
            f"{index.max()}",
            fix=f"call plot(time={str(dates[0])!r}), or by number plot(index=0)",
            option=f"--time {str(dates[0])[:10]}",
        ) from error


def title(scene: Scene, index: int) -> str:
    """The date or number of an image."""
    coordinate = scene.source.coords.get("time")
    if coordinate is not None and coordinate.dims in ((), ("time",)):
        try:
            when = utc_times(coordinate)[index if coordinate.dims else 0]
        except DataError:
            return ""
        date, _, clock = str(np.datetime_as_string(when, "m")).partition("T")
        return date if clock == "00:00" else f"{date} {clock}"
    if not scene.lead:
        return ""
    names = scene.source.coords.get(scene.lead[0])
    if names is not None and names.dtype.kind == "U":
        return str(names.values[index])
    return f"{scene.lead[0]} {index}"


def together(arrays: Mapping[str, xr.DataArray]) -> dict[str, NDArray[Any]]:
    """Compute arrays together, so that they share their dependencies."""
    bare = {}
    for key, array in arrays.items():
        plain = array.transpose(..., *(spatial_dims(array) or ())).variable
        bare[key] = xr.Variable([f"{key} {d}" for d in plain.dims], plain.data)
    computed = xr.Dataset(bare).compute()
    return {key: np.asarray(computed[key].values) for key in arrays}
