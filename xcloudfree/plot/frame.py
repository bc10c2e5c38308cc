"""Position of a picture on the ground, and its axes."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from xcloudfree.core.grid import coordinate_system
from xcloudfree.plot.view import Spatial


@dataclass(frozen=True)
class Frame:
    """Position of a picture on the ground."""

    extent: tuple[float, float, float, float]  # left, right, bottom, top
    labels: tuple[str, str]  # of the x and the y axis
    flip: bool = False  # whether the rows go up


def frame(small: Spatial, dims: tuple[str, str]) -> Frame:
    """Borders and labels of the axes: kilometres, degrees, or pixels without coordinates."""
    rows, columns = (small.sizes[d] for d in dims)
    if any(d not in small.coords or small.sizes[d] < 2 for d in dims):
        return Frame((-0.5, columns - 0.5, rows - 0.5, -0.5), ("column", "row"))
    layer = next(iter(small.data_vars.values())) if isinstance(small, xr.Dataset) else small
    system = coordinate_system(small, layer)
    scale, names = 1.0, (dims[1], dims[0])
    if dims[0] != "y" or is_geographic(system):
        names = ("longitude (°)", "latitude (°)")
    elif system is not None:
        scale, names = 1e-3, ("easting (km)", "northing (km)")
    left, right = _edges(small[dims[1]], scale)
    top, bottom = _edges(small[dims[0]], scale)
    low, high = min(top, bottom), max(top, bottom)
    return Frame((left, right, low, high), names, flip=bottom > top)


def is_geographic(system: str | None) -> bool:
    """Whether coordinates of a system are degrees."""
    if system is None:
        return False
    from pyproj import CRS

    return bool(CRS.from_user_input(system).is_geographic)


def _edges(coordinate: xr.DataArray, scale: float) -> tuple[float, float]:
    """Outer borders of the first and the last pixel."""
    first, last = (float(coordinate.values[i]) * scale for i in (0, -1))
    half = (last - first) / (coordinate.size - 1) / 2
    return first - half, last + half
