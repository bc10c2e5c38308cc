"""Whether bands lie on one grid, by what their coordinates and grid mappings tell."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xcloudfree.core.layer import Layer
from xcloudfree.core.scene import listed
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
