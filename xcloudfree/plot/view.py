"""One date of an object, thinned out to what a screen can show, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree import masks
from xcloudfree.describe.suitability import judge_masks
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.kernels.mask import METHODS
from xcloudfree.occlusion import Mask
from xcloudfree.plot.colours import MASK, PROVENANCE
from xcloudfree.recognise import SPATIAL, coordinate_system, read
from xcloudfree.scene import Scene

Spatial = xr.Dataset | xr.DataArray
Legend = dict[int, tuple[str, str]]


@dataclass(frozen=True)
class View:
    """Which date and which pixels of a scene, and of what belongs to it.

    Parameters
    ----------
    dims : tuple of str
        Names of the y and x dimensions.
    lead : tuple of str
        Dimensions before them.
    index : int
        Number of the date or patch.
    step : int
        Every how many pixels.
    """

    dims: tuple[str, str]
    lead: tuple[str, ...]
    index: int
    step: int

    def __call__(self, obj: Any) -> Any:
        """The same part of a Dataset or array; what has no dates serves for every one."""
        dims = [d for d in obj.dims if d in self.lead]
        where: dict[Any, Any] = {d: self.index if obj.sizes[d] > 1 else 0 for d in dims}
        where |= {d: slice(None, None, self.step) for d in self.dims if d in obj.dims}
        return obj.isel(where)

    def of_array(self, mask: Any) -> xr.DataArray:
        """A mask that the user brought, labelled or not."""
        if not isinstance(mask, xr.DataArray):
            values = np.asarray(mask)
            names = ("lead", *self.dims)[-values.ndim :]
            mask = xr.DataArray(values, dims=names)
            if "lead" in names:
                mask = mask.isel(lead=self.index if mask.sizes["lead"] > 1 else 0)
        return self(mask)  # type: ignore[no-any-return]


def view(scene: Scene, time: Any, index: int, max_size: int) -> View:
    """Choose a date and how far to thin out.

    Parameters
    ----------
    scene : Scene
        What was recognised.
    time : datetime-like or None
        The nearest date is taken.
    index : int
        Which date or patch, without `time`.
    max_size : int
        Rows and columns at most.

    Returns
    -------
    View

    Raises
    ------
    DataError
        If there is no such date.
    """
    step = max(1, -(-max(scene.shape) // max(1, max_size)))
    coordinate = scene.source.coords.get("time")
    if time is not None and coordinate is not None and coordinate.ndim:
        index = int(coordinate.to_index().get_indexer([time], method="nearest")[0])
    for dim in scene.lead:
        size = scene.source.sizes[dim]
        if not -size <= index < size:
            raise DataError(
                f"there are {size} along {dim}, counted from 0: plot(index={size - 1})."
            )
    rows, columns = map(str, scene.spatial)
    return View((rows, columns), tuple(map(str, scene.lead)), index, step)


def title(scene: Scene, index: int) -> str:
    """The date or number of an image.

    Parameters
    ----------
    scene : Scene
        What was recognised.
    index : int
        Which.

    Returns
    -------
    str
    """
    coordinate = scene.source.coords.get("time")
    if "time" in scene.lead and coordinate is not None:
        if coordinate.dtype.kind != "M":
            return ""
        date, _, clock = str(np.datetime_as_string(coordinate.values[index], "m")).partition("T")
        return date if clock == "00:00" else f"{date} {clock}"
    if not scene.lead:
        return ""
    names = scene.source.coords.get(scene.lead[0])
    if names is not None and names.dtype.kind == "U":
        return str(names.values[index])
    return f"{scene.lead[0]} {index}"


def together(arrays: Mapping[str, xr.DataArray]) -> dict[str, NDArray[Any]]:
    """Compute arrays at once, so that they share what is behind them.

    Parameters
    ----------
    arrays : mapping of str to DataArray
        Lazy or not, of any shapes; y and x last.

    Returns
    -------
    dict of str to ndarray
    """
    bare = {}
    for key, array in arrays.items():
        pair = next(pair for pair in SPATIAL if set(pair) <= set(array.dims))
        plain = array.transpose(..., *pair).variable
        bare[key] = xr.Variable([f"{key} {d}" for d in plain.dims], plain.data)
    computed = xr.Dataset(bare).compute()
    return {key: np.asarray(computed[key].values) for key in arrays}


def occlusion(
    obj: Spatial, small: Spatial, seen: View, mask: Mask | Any | None
) -> tuple[xr.DataArray | None, Legend]:
    """Flags of the pixels, lazy, and what they mean.

    Parameters
    ----------
    obj, small : Dataset or DataArray
        The object, and the part of it that is shown.
    seen : View
        Which part.
    mask : str, DataArray, array, callable or None
        ``"auto"``: the provenance that the object carries, else the first built-in mask that reads
        single pixels and finds its bands.

    Returns
    -------
    tuple of (DataArray or None, dict)
    """
    if mask is None:
        return None, MASK
    if not isinstance(mask, str):
        made = mask(obj) if callable(mask) and not isinstance(mask, xr.DataArray) else mask
        return seen.of_array(made).astype(np.uint8), MASK
    if mask != "auto":
        if mask in METHODS and not METHODS[mask].reach:
            return masks.mask(small, mask).astype(np.uint8), MASK
        return seen(masks.mask(obj, mask)).astype(np.uint8), MASK
    carried = carried_provenance(small)
    if carried is not None:
        return carried, PROVENANCE
    scene = read(small)
    fitting = (v.name for v in judge_masks(scene) if v.fits)
    ready = next((n for n in fitting if n in METHODS and not METHODS[n].reach), None)
    if ready is None:
        return None, MASK
    try:
        return masks.mask(small, ready).astype(np.uint8), MASK
    except CloudFreeError:  # nobody asked for it
        return None, MASK


def carried_provenance(obj: Spatial) -> xr.DataArray | None:
    """Provenance flags, where an object has them.

    Parameters
    ----------
    obj : Dataset or DataArray
        Anything.

    Returns
    -------
    DataArray or None
    """
    return (obj if isinstance(obj, xr.Dataset) else obj.coords).get("provenance")


@dataclass(frozen=True)
class Frame:
    """Where a picture lies on the ground.

    Parameters
    ----------
    extent : tuple of float
        Left, right, bottom, top, as matplotlib wants it.
    labels : tuple of str
        Of the x and y axis.
    flip : bool
        Whether the rows go up.
    """

    extent: tuple[float, float, float, float]
    labels: tuple[str, str]
    flip: bool = False


def frame(small: Spatial, dims: tuple[str, str]) -> Frame:
    """Borders and labels of the axes: kilometres, degrees, or pixels without coordinates.

    Parameters
    ----------
    small : Dataset or DataArray
        What is shown.
    dims : tuple of str
        Names of the y and x dimensions.

    Returns
    -------
    Frame
    """
    rows, columns = (small.sizes[d] for d in dims)
    if any(d not in small.coords or small.sizes[d] < 2 for d in dims):
        return Frame((-0.5, columns - 0.5, rows - 0.5, -0.5), ("column", "row"))
    layer = next(iter(small.data_vars.values())) if isinstance(small, xr.Dataset) else small
    system = coordinate_system(small, layer)
    geographic = dims[0] != "y"
    unit = "km"
    if system is not None and not geographic:
        from pyproj import CRS

        geographic = CRS.from_user_input(system).is_geographic
    elif system is None and not geographic:
        unit = ""
    scale = 1e-3 if unit == "km" and not geographic else 1.0
    left, right = _edges(small[dims[1]], scale)
    top, bottom = _edges(small[dims[0]], scale)
    if geographic:
        names = ("longitude (°)", "latitude (°)")
    elif unit:
        names = ("easting (km)", "northing (km)")
    else:
        names = (dims[1], dims[0])
    low, high = min(top, bottom), max(top, bottom)
    return Frame((left, right, low, high), names, flip=bottom > top)


def _edges(coordinate: xr.DataArray, scale: float) -> tuple[float, float]:
    """Outer borders of the first and the last pixel."""
    first, last = (float(coordinate.values[i]) * scale for i in (0, -1))
    half = (last - first) / (coordinate.size - 1) / 2
    return first - half, last + half
