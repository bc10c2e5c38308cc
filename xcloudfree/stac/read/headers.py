"""Items that do not declare their grid: it stands in the header of their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xcloudfree.stac.read.access import Access, Asset, AssetError, use
from xcloudfree.stac.read.mosaic import Layers
from xcloudfree.stac.rules.assets import asset_metres
from xcloudfree.stac.rules.items import plain
from xcloudfree.stac.search.catalog import PROJECTION

if TYPE_CHECKING:
    import pystac


PROJECTIONS = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson")
"""Fields of an item, or of an asset, that name a map projection."""


def declares_grid(item: Any) -> bool:
    """Whether an item declares the grid of any of its assets.

    Parameters
    ----------
    item : pystac.Item or mapping
        A STAC item.

    Returns
    -------
    bool

    Examples
    --------
    >>> declares_grid({"properties": {"proj:code": "EPSG:32632"}, "assets": {"B02": {}}})
    False
    """
    item = plain(item)
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
    """The items, those without a grid completed from the header of their finest asset.

    Reads no pixel, and nothing at all of items that declare their grid.

    Parameters
    ----------
    items : sequence of pystac.Item
        Items on map grids.
    layers : sequence of Layers
        What is read of each.
    access : Access
        How addresses are opened.
    reporting : bool
        Whether an item whose header cannot be read stays as it is.

    Returns
    -------
    list of pystac.Item

    Raises
    ------
    AssetError
        A header cannot be read.
    """
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

    code, shape, transform = use(Asset(item.id, layer.asset, address), access, grid)
    out = item.clone()
    out.properties |= {"proj:code": code, "proj:shape": shape, "proj:transform": transform}
    if not any("proj" in str(name) for name in out.stac_extensions):
        out.stac_extensions.append(PROJECTION)
    return out
