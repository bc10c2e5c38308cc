"""The grid: whether bands share one, its coordinate system, and how it lies on the ground."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xcloudfree.core.scene import Layer, Scene, listed
from xcloudfree.exceptions import GridError


def check_grid(
    source: xr.Dataset | xr.DataArray,
    spatial: tuple[str, str],
    optical: Layer | None,
    sar: Layer | None,
) -> None:
    """Refuse bands whose coordinates or coordinate systems tell of two grids."""
    for dim in spatial:
        steps = np.diff(source[dim].values.astype(float)) if dim in source.coords else np.empty(0)
        if len(steps) > 1 and np.ptp(steps) > 1e-3 * abs(np.median(steps)) + _rounding(source[dim]):
            raise GridError(
                f"the coordinate {dim!r} is not evenly spaced, as after joining arrays of two "
                "grids",
                fix="put both on one grid first, with s1.odc.reproject(s2.odc.geobox)",
            )
        step = _declared_step(source, dim == spatial[0])
        if step and len(steps) and abs(np.median(steps)) < 0.99 * step:
            raise GridError(
                f"pixels are {abs(np.median(steps)):g} apart along {dim!r} and the grid declares "
                f"{step:g}, as after joining arrays of two grids",
                fix="put both on one grid first, with "
                "s1.odc.reproject(s2.odc.geobox), or correct it with ds.rio.write_transform()",
            )
    if optical is None or sar is None:
        return
    if not set(spatial) <= set(sar.arrays[0].dims):
        raise GridError(
            f"Sentinel-1 has dimensions {sar.arrays[0].dims} and Sentinel-2 "
            f"{optical.arrays[0].dims}: they are on different grids",
            fix="put Sentinel-1 on the grid of "
            "Sentinel-2 with s1.odc.reproject(s2.odc.geobox, resampling='bilinear')",
        )
    systems = {coordinate_system(source, layer.arrays[0]) for layer in (optical, sar)} - {None}
    if len(systems) > 1:
        raise GridError(
            f"Sentinel-1 and Sentinel-2 are in different coordinate systems ({listed(systems)})",
            fix="reproject with s1.odc.reproject(s2.odc.geobox, resampling='bilinear')",
        )


def _declared_step(source: xr.Dataset | xr.DataArray, vertical: bool) -> float:
    """Pixel size in the GeoTransform of the grid mapping; 0 where there is none."""
    mapping = source.coords.get("spatial_ref")
    numbers = str("" if mapping is None else mapping.attrs.get("GeoTransform", "")).split()
    try:
        return abs(float(numbers[5 if vertical else 1]))
    except (IndexError, ValueError):
        return 0.0


def _rounding(coord: xr.DataArray) -> float:
    """What the type of a coordinate makes of even steps."""
    if not np.issubdtype(coord.dtype, np.floating):
        return 0.0
    return 4 * float(np.spacing(np.abs(coord.values).max()))


def coordinate_system(source: xr.Dataset | xr.DataArray, array: xr.DataArray) -> str | None:
    """EPSG code or text of the grid mapping that an array names."""
    name = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping") or "spatial_ref"
    mapping = source.coords.get(name)
    if mapping is None and isinstance(source, xr.Dataset):
        mapping = source.get(name)
    text = (
        None if mapping is None else mapping.attrs.get("crs_wkt", mapping.attrs.get("spatial_ref"))
    )
    if text is None:
        return None
    from pyproj import CRS

    return CRS.from_user_input(text).to_string()


def ground(scene: Scene) -> tuple[tuple[float, float], tuple[float, float], float]:
    """How a metre on the ground lies on the grid, at the centre of the scene."""
    from pyproj import Geod, Transformer
    from pyproj.exceptions import ProjError

    array = (scene.optical or scene.sar).arrays[0]  # type: ignore[union-attr]
    steps, centre = [], []
    for dim in scene.spatial:
        if dim not in array.coords or array.sizes[dim] < 2:
            raise GridError(
                "shadow of clouds needs the size of a pixel and there are no coordinates along "
                f"{dim!r}",
                fix="give them with ds.assign_coords(y=..., x=...), or leave it out: "
                "mask(shadow=False)",
                option="--no-shadow",
            )
        values = array[dim].values[[0, -1]].astype(float)
        steps.append((values[1] - values[0]) / (array.sizes[dim] - 1))
        centre.append(values.mean())
    try:
        system = coordinate_system(scene.source, array)
    except ProjError:
        system = None
    if system is None:
        raise GridError(
            "shadow of clouds needs to know where north is and the grid declares no coordinate "
            "reference system",
            fix='declare it with ds.rio.write_crs("EPSG:..."), or call mask(shadow=False)',
            option="--no-shadow",
        )
    try:
        there = Transformer.from_crs(system, "EPSG:4326", always_xy=True)
        back = Transformer.from_crs("EPSG:4326", system, always_xy=True)
    except ProjError as error:
        raise GridError(
            f"{system} does not tell where on earth the grid lies",
            fix='declare another with ds.rio.write_crs("EPSG:..."), or call mask(shadow=False)',
            option="--no-shadow",
        ) from error
    longitude, latitude = there.transform(centre[1], centre[0])
    directions = []
    for azimuth in (90.0, 0.0):
        far = Geod(ellps="WGS84").fwd(longitude, latitude, azimuth, 100.0)
        x, y = back.transform(far[0], far[1])
        directions.append(((y - centre[0]) / steps[0] / 100.0, (x - centre[1]) / steps[1] / 100.0))
    east, north = directions
    if not np.isfinite([*east, *north]).all():
        raise GridError(
            f"the centre of the scene lies outside of {system}",
            fix="correct the coordinates, or call mask(shadow=False)",
            option="--no-shadow",
        )
    return east, north, abs(east[0] * north[1] - east[1] * north[0]) ** -0.5
