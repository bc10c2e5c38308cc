"""The grid: whether bands share one, its coordinate system, and its position on the ground."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

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
    """Raise an error for bands whose coordinates or coordinate systems reveal two grids."""
    for dim in spatial:
        steps = np.diff(source[dim].values.astype(float)) if dim in source.coords else np.empty(0)
        if len(steps) > 1 and not evenly_spaced(source[dim]):
            smallest, largest = (f(np.abs(steps)) for f in (np.min, np.max))
            raise GridError(
                f"the coordinate {dim!r} is not evenly spaced (steps of {smallest:g} to "
                f"{largest:g}), as after joining dates or sensors on different grids",
                fix=_join_again(smallest < 1e-3 * largest),
                option="warp all files to one grid first, for example with gdalwarp",
            )
        step = _declared_step(source, dim == spatial[0])
        if step and len(steps) and abs(np.median(steps)) < 0.99 * step:
            raise GridError(
                f"pixels are {abs(np.median(steps)):g} apart along {dim!r} and the grid declares "
                f"{step:g}, as after joining arrays of two grids",
                fix=f"{_join_again()}, or correct it with ds.rio.write_transform()",
                option="warp all files to one grid first, for example with gdalwarp",
            )
    for layer in (optical, sar):
        if layer is not None and _interleaved(layer.arrays[0], spatial):
            raise GridError(
                "every second row or column of an image is empty, as after joining dates or "
                "sensors of two grids",
                fix=_join_again(),
                option="warp all files to one grid first, for example with gdalwarp",
            )
    if optical is None or sar is None:
        return
    if not set(spatial) <= set(sar.arrays[0].dims):
        raise GridError(
            f"Sentinel-1 has dimensions {sar.arrays[0].dims} and Sentinel-2 "
            f"{optical.arrays[0].dims}: they are on different grids",
            fix="put Sentinel-1 on the grid of "
            "Sentinel-2 with s1.odc.reproject(s2.odc.geobox, resampling='bilinear')",
            option="warp one to the grid of the other first, for example with gdalwarp",
        )
    systems = {coordinate_system(source, layer.arrays[0]) for layer in (optical, sar)} - {None}
    if len(systems) > 1:
        raise GridError(
            f"Sentinel-1 and Sentinel-2 are in different coordinate systems ({listed(systems)})",
            fix="reproject with s1.odc.reproject(s2.odc.geobox, resampling='bilinear')",
            option="warp one to the grid of the other first, for example with gdalwarp",
        )


def _declared_step(source: xr.Dataset | xr.DataArray, vertical: bool) -> float:
    """Pixel size in the GeoTransform of the grid mapping; 0 if there is none."""
    mapping = source.coords.get("spatial_ref")
    numbers = str("" if mapping is None else mapping.attrs.get("GeoTransform", "")).split()
    try:
        return abs(float(numbers[5 if vertical else 1]))
    except (IndexError, ValueError):
        return 0.0


def _join_again(rounded: bool = False) -> str:
    """The call that joins dates, with grids that differ by rounding or more."""
    if rounded:
        return "join them again with xr.concat(dates, 'time', join='override')"
    return (
        "join them on one grid with "
        "xr.concat([d.odc.reproject(dates[0].odc.geobox) for d in dates], 'time')"
    )


def _interleaved(array: xr.DataArray, spatial: tuple[str, str]) -> bool:
    """Whether an image in memory lacks every second of 16 rows or columns in its middle."""
    sizes = [array.sizes.get(dim, 0) for dim in spatial]
    floating = array.dtype.kind == "f"
    if not floating or not array.variable._in_memory or min(sizes) < 16:
        return False
    middle = {d: slice(n // 2 - 8, n // 2 + 8) for d, n in zip(spatial, sizes, strict=True)}
    valid = np.isfinite(array.variable.isel(middle).transpose(..., *spatial).values)
    for axis in (-2, -1):
        lines = valid.any(axis)
        even, odd = lines[..., ::2], lines[..., 1::2]
        for full, empty in ((even, odd), (odd, even)):
            if np.any(full.all(-1) & ~empty.any(-1)):
                return True
    return False


def evenly_spaced(coord: xr.DataArray) -> bool:
    """Whether steps are equal, except for a thousandth and single-precision rounding."""
    values = coord.values.astype(float)
    if len(values) < 3:
        return True
    steps, rounding = np.diff(values), 0.0
    if np.issubdtype(coord.dtype, np.floating):
        rounding = 4 * float(np.spacing(np.abs(coord.values).max()))
    return bool(np.ptp(steps) <= 1e-3 * abs(np.median(steps)) + rounding)


def coordinate_system(source: xr.Dataset | xr.DataArray, array: xr.DataArray) -> str | None:
    """EPSG code or text of the coordinate system, wherever a program stored it."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    for mapping in _grid_mappings(source, array):
        text = mapping.get("crs_wkt", mapping.get("spatial_ref"))
        if text is not None:
            return CRS.from_user_input(text).to_string()
        if "grid_mapping_name" in mapping:
            return CRS.from_cf(dict(mapping)).to_string()
    for value in _codes(source, array):
        with suppress(CRSError, TypeError, ValueError):
            return CRS.from_user_input(value).to_string()
    return None


def is_geographic(system: str | None) -> bool:
    """Whether coordinates of a system are degrees."""
    if system is None:
        return False
    from pyproj import CRS

    return bool(CRS.from_user_input(system).is_geographic)


def _grid_mappings(
    source: xr.Dataset | xr.DataArray, array: xr.DataArray
) -> Iterator[Mapping[Any, Any]]:
    """Attributes of a possible grid mapping, as a coordinate or as a variable."""
    named = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping")
    for name in (named, "spatial_ref", "crs"):
        for holder in (source.coords, source if isinstance(source, xr.Dataset) else {}):
            if name is not None and name in holder:
                yield holder[name].attrs


def _codes(source: xr.Dataset | xr.DataArray, array: xr.DataArray) -> Iterator[Any]:
    """Codes in coordinates and attributes: of stackstac, STAC items, EOPF, and others."""
    for name in ("epsg", "proj:epsg", "proj:code", "crs", "spatial_ref"):
        held = [holder[name] for holder in (array.attrs, source.attrs) if name in holder]
        if name in source.coords:
            held += list(np.unique(source.coords[name].values)[:2])
        values = {str(v) for v in held if v is not None and str(v) not in ("", "0", "nan")}
        if len(values) == 1:
            text = values.pop()
            yield int(float(text)) if text.replace(".0", "").isdigit() else text


def ground(scene: Scene) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Direction and length of a metre on the grid, at the centre of the scene."""
    from pyproj import Geod, Transformer
    from pyproj.exceptions import ProjError

    array = scene.first.arrays[0]
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
            f"{system} does not define where on earth the grid lies",
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
