"""The grid that an item declares for an asset, in any version of the projection extension."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

_FIELDS = ("code", "epsg", "wkt2", "projjson", "shape", "transform")


def declared(item: pystac.Item, key: str) -> dict[str, Any]:
    """Fields of the projection extension for one asset: its own, else those of the item.

    Parameters
    ----------
    item : pystac.Item
        A STAC item.
    key : str
        Key of the asset.

    Returns
    -------
    dict
        ``code``, ``epsg``, ``wkt2``, ``projjson``, ``shape`` and ``transform``, where stated.
    """
    own, common = item.assets[key].extra_fields, item.properties
    found = {name: own.get(f"proj:{name}", common.get(f"proj:{name}")) for name in _FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def declared_grid(item: pystac.Item, key: str) -> GeoBox | None:
    """Grid of one asset; None where the item does not tell it in full.

    Parameters
    ----------
    item : pystac.Item
        A STAC item.
    key : str
        Key of the asset.

    Returns
    -------
    GeoBox or None
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    fields = declared(item, key)
    crs = next((fields[name] for name in _FIELDS[:4] if name in fields), None)
    if crs is None or "shape" not in fields or "transform" not in fields:
        return None
    if isinstance(crs, dict):
        crs = json.dumps(crs)
    height, width = (int(size) for size in fields["shape"])
    return GeoBox((height, width), Affine(*fields["transform"][:6]), crs)
