"""Where a picture lies on the ground, and how its axes say so."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from xcloudfree.core.grid import coordinate_system
from xcloudfree.plot.view import Spatial


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
