"""Scenes of several map projections: which one the grid lies in, said aloud."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xcloudfree.exceptions import GridWarning
from xcloudfree.stac.rules.items import plain
from xcloudfree.stac.search.footprints import footprint

if TYPE_CHECKING:
    import pystac


def item_projection(item: Any) -> str | None:
    """Map projection of an item, as stated by the item or by its assets.

    Parameters
    ----------
    item : pystac.Item or mapping
        A STAC item.

    Returns
    -------
    str or None
        ``EPSG:32632``.

    Examples
    --------
    >>> item_projection({"properties": {}, "assets": {"B02": {"proj:code": "EPSG:32655"}}})
    'EPSG:32655'
    """
    item = plain(item)
    for source in (item.get("properties", {}), *item.get("assets", {}).values()):
        if source.get("proj:code"):
            return str(source["proj:code"]).upper()
        if source.get("proj:epsg"):
            return f"EPSG:{source['proj:epsg']}"
    return None


def home_zone(items: Sequence[pystac.Item], area: Any, crs: Any) -> list[int]:
    """Items whose map projection the grid takes.

    Parameters
    ----------
    items : sequence of pystac.Item
        Sentinel-2 items.
    area : odc.geo.geom.Geometry or None
        Area that is loaded, in degrees.
    crs : optional
        Map projection that the caller asks for.

    Returns
    -------
    list of int
        Their positions: those in `crs` if there are any, else those in the projection that covers
        most of the area.

    Warns
    -----
    GridWarning
        The items lie in several projections and the caller has not chosen.
    """
    from odc.geo import CRS, geom
    from odc.geo.crs import CRSError

    zones: dict[str | None, list[int]] = {}
    for n, item in enumerate(items):
        zones.setdefault(item_projection(item), []).append(n)
    zones.pop(None, None)
    if crs is not None:
        try:
            asked = [members for code, members in zones.items() if CRS(str(code)) == CRS(crs)]
        except (CRSError, TypeError, ValueError):  # refused in words where the grid is made
            asked = []
        return asked[0] if asked else list(range(len(items)))
    if len(zones) < 2:
        return list(range(len(items)))
    covered = {}
    for code, members in zones.items():
        shape = geom.unary_union(footprint(items[n]) for n in members)
        covered[str(code)] = (shape if area is None else shape & area).area
    whole = geom.unary_union(footprint(item) for item in items)
    total = max(whole.area if area is None else area.area, 1e-12)
    home = max(covered, key=lambda code: (round(covered[code] / total, 2), len(zones[code]), code))
    shares = ", ".join(f"{code} {100 * covered[code] / total:.0f} %" for code in sorted(covered))
    others = [code for code in sorted(covered) if code != home]
    warnings.warn(
        f"The area lies in scenes of {len(covered)} map projections ({shares} of it), and all are "
        f"brought onto {home}. To choose another: load(..., crs={others[0]!r}).",
        GridWarning,
        stacklevel=3,
    )
    return zones[home]
