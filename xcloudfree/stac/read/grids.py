"""Grids: declared by items, read from file headers, and the grid to load on."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import odc.geo.xr  # noqa: F401  registers the .odc accessor
from affine import Affine
from odc.geo import CRS, geom, res_
from odc.geo.crs import CRSError
from odc.geo.geobox import GeoBox
from pyproj import Proj

from xcloudfree.exceptions import GridError, GridWarning
from xcloudfree.stac.read.access import Access, Asset, AssetError, with_asset
from xcloudfree.stac.read.mosaic import Layer, Layers
from xcloudfree.stac.rules.assets import asset_metres
from xcloudfree.stac.rules.providers import as_mapping
from xcloudfree.stac.search.area import dense, enclosing_box, extent_of, footprint
from xcloudfree.stac.search.catalog import PROJECTION

if TYPE_CHECKING:
    import pystac


_FIELDS = ("code", "epsg", "wkt2", "projjson", "shape", "transform")


def declared(item: pystac.Item, key: str) -> dict[str, Any]:
    """Fields of the projection extension for one asset: its own, else those of the item."""
    own, common = item.assets[key].extra_fields, item.properties
    found = {name: own.get(f"proj:{name}", common.get(f"proj:{name}")) for name in _FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def declared_grid(item: pystac.Item, key: str) -> GeoBox | None:
    """Grid of one asset; None if the item does not declare it in full."""
    fields = declared(item, key)
    crs = next((fields[name] for name in _FIELDS[:4] if name in fields), None)
    if crs is None or "shape" not in fields or "transform" not in fields:
        return None
    if isinstance(crs, dict):
        crs = json.dumps(crs)
    height, width = (int(size) for size in fields["shape"])
    return GeoBox((height, width), Affine(*fields["transform"][:6]), crs)


FROM_HEADER = "xcloudfree:grid_from_header"
"""Property of items whose grid belongs to one file, so that it says nothing about the others."""

PROJECTIONS = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson")
"""Fields of an item, or of an asset, that name a map projection."""


def declares_grid(item: Any) -> bool:
    """Whether an item declares the grid of any of its assets."""
    item = as_mapping(item)
    sources = (item.get("properties", {}), *item.get("assets", {}).values())
    placed = any(s.get(name) for s in sources for name in PROJECTIONS)
    return placed and any(s.get("proj:transform") and s.get("proj:shape") for s in sources)


def with_grids(
    items: Sequence[pystac.Item],
    layers: Sequence[Layers],
    access: Access,
    *,
    reporting: bool = False,
) -> list[pystac.Item]:
    """The items, with missing grids read from the header of their finest asset."""
    out = []
    for item, own in zip(items, layers, strict=True):
        try:
            out.append(item if declares_grid(item) or not own else _completed(item, own, access))
        except AssetError:
            if not reporting:
                raise
            out.append(item)
    return out


def _completed(item: pystac.Item, layers: Layers, access: Access) -> pystac.Item:
    _, layer = min(layers, key=lambda one: asset_metres(item, one[1].asset, one[0]))
    address = item.assets[layer.asset].get_absolute_href() or ""

    def grid(dataset: Any) -> tuple[str, list[int], list[float]]:
        return str(dataset.crs), list(dataset.shape), list(dataset.transform)[:6]

    code, shape, transform = with_asset(Asset(item.id, layer.asset, address), access, grid)
    out = item.clone()
    out.properties |= {"proj:code": code, "proj:shape": shape, "proj:transform": transform}
    out.properties[FROM_HEADER] = True
    if not any("proj" in str(name) for name in out.stac_extensions):
        out.stac_extensions.append(PROJECTION)
    return out


def declared_asset(item: pystac.Item, layer: Layer, position: int = 0, address: str = "") -> Asset:
    """One asset with the item's declaration of its file; none in radar geometry."""
    checked = layer.read is None and FROM_HEADER not in item.properties
    return Asset(
        item.id,
        layer.asset,
        address,
        position,
        declared_grid(item, layer.asset),
        layer.data_type if layer.read is None else "",
        checked,
    )


PIXEL_SHARE = 0.01
"""Share of a pixel by which an area may extend beyond its grid, so that rounding adds no row."""


def given_grid(like: Any) -> GeoBox:
    """Grid of an object to be matched."""
    grid = like if isinstance(like, GeoBox) else getattr(getattr(like, "odc", None), "geobox", None)
    if grid is None or grid.crs is None:
        raise GridError(
            "like= has no georeferenced grid",
            fix='give it one first: load(..., like=ds.rio.write_crs("EPSG:..."))',
        )
    return grid


def native_grid(
    items: Sequence[pystac.Item],
    layers: Sequence[Layers],
    area: Any = None,
    *,
    home: Sequence[int] | None = None,
    resolution: Any = None,
    crs: Any = None,
    chosen: bool = False,
) -> GeoBox:
    """Grid to load on: the requested one, or the commonest finest grid of the items at home."""
    if crs is not None:
        try:
            crs = CRS(crs)
        except (CRSError, TypeError, ValueError) as error:
            raise GridError(
                f"crs={crs!r} is unknown ({error})", fix=f"name one: {_grid_call(items)}"
            ) from error
    if resolution is not None:
        try:
            resolution = res_(resolution)
        except ValueError:
            raise GridError(
                f"resolution={resolution!r} is not a pixel size, in units of the map projection",
                fix=f"call {_grid_call(items, crs)}",
                option="--resolution 10",
            ) from None
    boxes: dict[int, GeoBox] = {}
    for n, (item, own) in enumerate(zip(items, layers, strict=True)):
        grids = [declared_grid(item, layer.asset) for _, layer in own]
        if known := [grid for grid in grids if grid is not None]:
            boxes[n] = min(known, key=lambda grid: abs(grid.resolution.x))
    if at_home := [box for n, box in boxes.items() if home is None or n in home]:
        counts = Counter((box.crs, box.resolution, box.anchor) for box in at_home)
        commonest = counts.most_common(1)[0][0]
        native = next(b for b in at_home if (b.crs, b.resolution, b.anchor) == commonest)
        if crs is None and resolution is None:
            if area is None:
                outlines = [box.extent for box in boxes.values()]
                corners = [
                    (o if o.crs == native.crs else dense(o).to_crs(native.crs)).boundingbox
                    for o in outlines
                ]
                area = geom.bbox_union(corners).polygon
            return _enclosing(native, area)
        if chosen or crs is None or crs == native.crs:
            crs, resolution = crs or native.crs, resolution or native.resolution
    if crs is None or resolution is None:
        raise GridError(
            "The grid to load on is unknown: the items do not declare theirs, or only crs= was "
            "given",
            fix=f"name both: {_grid_call(items, crs)}",
            option="name collections whose items declare their grid with --collections",
        )
    if area is None:
        area = geom.unary_union(extent_of(box) for box in boxes.values())
    if area is None:
        raise GridError(
            "The area to load is unknown: the items do not declare their grid",
            fix="name it: load(..., bbox=(9.0, 48.0, 9.2, 48.1))",
        )
    if CRS(crs).geographic and area.boundingbox.span_x > 180:
        raise GridError(
            "The area crosses the 180th meridian, where a grid in degrees ends",
            fix="load it on a grid in metres: load(..., crs=None, resolution=None)",
            option="choose an area on one side of the 180th meridian with --bbox",
        )
    return GeoBox.from_geopolygon(dense(area), resolution=resolution, crs=crs)


def _grid_call(items: Sequence[pystac.Item], crs: CRS | None = None) -> str:
    """The call that names a grid, in the requested or declared projection."""
    codes = [item_projection(item) for item in items] if crs is None else [crs.epsg and str(crs)]
    code = next(filter(None, codes), "EPSG:...")
    pixel = "1e-4" if crs is not None and crs.geographic else "10"
    return f'load(..., crs="{code}", resolution={pixel})'


def _enclosing(native: GeoBox, area: Any) -> GeoBox:
    """Part (or extension) of a grid that contains an area, aligned to its pixels."""
    left, low, right, high = native.project(dense(area)).boundingbox.bbox
    x, y = math.floor(left + PIXEL_SHARE), math.floor(low + PIXEL_SHARE)
    rows, columns = math.ceil(high - PIXEL_SHARE) - y, math.ceil(right - PIXEL_SHARE) - x
    shape = max(rows, 1), max(columns, 1)  # an area may lie on the border of two pixels
    return GeoBox(shape, native.translate_pix(x, y).affine, native.crs)


def item_projection(item: Any) -> str | None:
    """Map projection of an item, declared by the item or by its assets."""
    item = as_mapping(item)
    for source in (item.get("properties", {}), *item.get("assets", {}).values()):
        if source.get("proj:code"):
            return str(source["proj:code"]).upper()
        if source.get("proj:epsg"):
            return f"EPSG:{source['proj:epsg']}"
    return None


def home_zone(items: Sequence[pystac.Item], area: Any, crs: Any) -> tuple[list[int], Any]:
    """Items whose grid is continued, and the projection to load on: None for that of the items."""
    everything = list(range(len(items)))
    zones: dict[str | None, list[int]] = {}
    for n, item in enumerate(items):
        zones.setdefault(item_projection(item), []).append(n)
    zones.pop(None, None)
    if crs is not None:
        try:
            requested = [members for code, members in zones.items() if CRS(str(code)) == CRS(crs)]
        except (CRSError, TypeError, ValueError):  # the error is raised where the grid is made
            requested = []
        return (requested[0] if requested else everything), crs
    if len(zones) < 2:
        return everything, None
    covered = {}
    for code, members in zones.items():
        shape = geom.unary_union(footprint(items[n]) for n in members)
        covered[str(code)] = (shape if area is None else shape & area).area
    whole = geom.unary_union(footprint(item) for item in items) if area is None else area
    total = max(whole.area, 1e-12)
    home = max(covered, key=lambda code: (round(covered[code] / total, 2), len(zones[code]), code))
    shares = ", ".join(f"{code} {100 * covered[code] / total:.0f} %" for code in sorted(covered))
    others = [code for code in sorted(covered) if code != home]
    error = area_error(whole, home)
    chosen = equal_area(whole) if error > AREA_ERROR else None
    reason = f", because areas on {home} are wrong by up to {100 * error:.0f} %" if chosen else ""
    warnings.warn(
        f"The area lies in scenes of {len(covered)} map projections ({shares} of it), and all are "
        f"reprojected to {chosen or home}{reason}. To choose another: load(..., "
        f"crs={home if chosen else others[0]!r}{', resolution=10' if chosen else ''}).",
        GridWarning,
        stacklevel=3,
    )
    return everything if chosen else zones[home], chosen


AREA_ERROR = 0.01
"""Largest error of areas on the grid of one UTM zone; beyond it, an equal-area grid is chosen."""


def area_error(area: Any, crs: Any) -> float:
    """Largest relative error of areas on a map projection within an area in degrees."""
    places: list[Any] = []

    def note(x: Any, y: Any, *_: Any) -> tuple[Any, Any]:
        places.append((x, y))
        return x, y

    dense(area).transform(note)  # works for any geometry
    longitude, latitude = (np.concatenate([place[n] for place in places]) for n in (0, 1))
    scale = Proj(str(crs)).get_factors(longitude, latitude).areal_scale
    return float(np.nanmax(np.abs(np.asarray(scale) - 1), initial=0))


def equal_area(area: Any) -> str:
    """Lambert's azimuthal equal-area projection around an area in degrees."""
    west, south, east, north = enclosing_box(area)
    middle = round((west + east + 360 * (west > east)) / 2)
    return (
        f"+proj=laea +lat_0={round((south + north) / 2)} +lon_0={middle - 360 * (middle > 180)} "
        "+datum=WGS84 +units=m +no_defs"
    )
