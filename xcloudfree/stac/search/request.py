"""A call of `load` as text, from which it can be made again: an attribute of ``item_id``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from xcloudfree.exceptions import DataError
from xcloudfree.stac.search.query import Query


def request_text(
    catalog: Any, where: Query, grid: Any, options: Mapping[str, Any], names: Mapping[str, Any]
) -> str:
    """The call in JSON, without secrets, functions, and catalogs that are no address."""
    area, code = where.area, grid.crs.epsg
    return json.dumps({
        "catalog": catalog,
        "datetime": where.interval,
        "intersects": None if area is None else area.json,
        "grid": {
            "crs": f"EPSG:{code}" if code else str(grid.crs),
            "shape": list(grid.shape),
            "transform": list(grid.transform)[:6],
        },
        **{k: dict(v) if isinstance(v, Mapping) else v for k, v in options.items()},
        **names,
    })  # fmt: skip


def arguments(request: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `load` that a request stands for, without the catalogs."""
    try:
        found = dict(request)
        grid = found.pop("grid")
        found.pop("catalog")
        found.pop("sar_catalog")
        found["like"] = GeoBox(tuple(grid["shape"]), Affine(*grid["transform"]), grid["crs"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"the request lacks {error}",
            fix="name the item beside a product of what xcf.stac.load loaded",
            option="name the item of a product that was loaded from a catalog",
        ) from error
    return found
