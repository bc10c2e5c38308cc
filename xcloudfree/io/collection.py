"""The STAC collection of a product: what its items have in common, and where they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xcloudfree.io.passport import COLLECTION, EXTENSIONS, TYPES, passport_of


def collection_of(product: Path) -> Path:
    """Where the collection of a product is."""
    return product.with_name(product.name + COLLECTION)


def write_collection(product: Path, members: Sequence[Path]) -> None:
    """Write the collection of a product, from the items of its members beside it.

    Items without a place make no collection, because it must have an extent in space.
    """
    target, found = collection_of(product), [passport_of(member) for member in members]
    items = [json.loads(p.read_text(encoding="utf-8")) for p in found if p.is_file()]
    if not items or any("bbox" not in item for item in items):
        target.unlink(missing_ok=True)
        return
    fresh = target.with_name(target.name + ".partial")
    text = json.dumps(describe(product, items), indent=1, ensure_ascii=False)
    fresh.write_text(text + "\n", encoding="utf-8")
    fresh.replace(target)


def describe(product: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The collection of some items."""
    import pystac

    extent = pystac.Extent.from_items([pystac.Item.from_dict(item) for item in items])
    said = items[0]["properties"]
    bands: dict[str, dict[str, Any]] = {}
    for item in items:
        for asset in item["assets"].values():
            for band in asset["bands"]:
                bands.setdefault(band["name"], band)
    codes = list(dict.fromkeys(i["properties"]["proj:code"] for i in items))
    out: dict[str, Any] = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [one for one in EXTENSIONS if "file" not in one],
        "id": product.name,
        "title": product.stem,
        "description": f"Sentinel-2: {said['processing:lineage']}",
        "license": "other",
        "extent": extent.to_dict(),
        "summaries": {
            "proj:code": codes,
            "processing:level": [said["processing:level"]],
            "xcloudfree:model": list(
                dict.fromkeys(i["properties"]["xcloudfree:model"] for i in items)
            ),
            "bands": list(bands.values()),
        },
        "links": [
            {
                "rel": "item",
                "href": f"./{passport_of(Path(item['id'])).name}",
                "type": "application/geo+json",
            }
            for item in items
        ],
    }
    if product.suffix == ".zarr":
        out["assets"] = {
            "data": {"href": f"./{product.name}", "type": TYPES[".zarr"], "roles": ["data"]}
        }
    return out
