"""The passport of a product: a STAC item beside it, which says what it is and how it was made.

The collection of a product, also beside it, says what its items have in common and where they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.core.bands import optical_band
from xcloudfree.core.grid import coordinate_system, evenly_spaced
from xcloudfree.core.recognise import spatial_dims
from xcloudfree.core.scene import BAND_DIMS
from xcloudfree.core.times import utc_times
from xcloudfree.io.encoding import nodata_of, scale_of

SUFFIX: Final = ".item.json"
"""Of the item's file, after the whole name of the product."""

COLLECTION: Final = ".collection.json"
"""Of the collection's file, after the whole name of the product of all dates."""

EXTENSIONS: Final = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("file/v2.1.0", "processing/v1.2.0", "projection/v2.0.0", "raster/v2.0.0")
)
CLASSES: Final = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
EO: Final = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"

COMMON: Final = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071",
    "B06": "rededge075", "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09",
    "B10": "cirrus", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
"""Common names of the eo extension, 2.0."""

JSON: Final = ("parameters", "request", "judge_table")
"""Attributes that hold JSON: the calls of reconstruct and stac.load, and the table of judge."""

TYPES: Final = {
    ".zarr": "application/vnd.zarr; version=3",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
}

Files = Mapping[str, tuple[Path, xr.Dataset]]
"""Asset keys, each with the file and what is in it."""


def passport_of(product: Path) -> Path:
    """Where the item of a product is."""
    return product.with_name(product.name + SUFFIX)


def write_passport(
    product: Path,
    ds: xr.Dataset,
    files: Files,
    written: dict[str, Any],
    facts: dict[str, Any],
    whole: Path | None = None,
) -> None:
    """Write the item of a product, a part of `whole`; remove that of one which this replaces."""
    item = _described(product, ds, files, written, facts)
    if item is not None and "bbox" in item:
        name = (whole or product).name
        item["collection"] = name
        link = {"rel": "collection", "href": f"./{name}{COLLECTION}", "type": "application/json"}
        item["links"].append(link)
    _write(item, passport_of(product))


def _write(content: dict[str, Any] | None, target: Path) -> None:
    """Write a file at once; remove an earlier one if there is no content."""
    if content is None:
        target.unlink(missing_ok=True)
        return
    fresh = target.with_name(target.name + ".partial")
    fresh.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(target)


def _described(
    product: Path, ds: xr.Dataset, files: Files, written: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any] | None:
    """The item of a product, with no time of writing; None of what has no model or no dates."""
    if not facts or "time" not in ds.coords or ds["time"].dtype.kind != "M" or not ds["time"].size:
        return None
    place, properties = place_of(ds)
    properties |= _times(ds["time"])
    properties["processing:software"] = {"xcloudfree": __version__}
    mask = facts.get("mask", "")
    properties["processing:level"] = "L3"
    properties["processing:lineage"] = f"clouds ({mask}) filled by {facts['model']}"
    for key, fact in facts.items():
        properties[f"xcloudfree:{key}"] = _parsed(fact) if key in JSON else fact
    properties["xcloudfree:written"] = written
    assets = {key: _asset(path, part) for key, (path, part) in files.items()}
    words = {key for asset in assets.values() for band in asset["bands"] for key in band}
    used = [EO] if "eo:common_name" in words else []
    used += [CLASSES] if any(word.startswith("classification:") for word in words) else []
    links = []
    if "model_digest" in facts:  # a network; classical methods have no weights
        named_by = _parsed(facts.get("parameters", "{}")).get("model")
        weights = f"urn:xcloudfree:weights:{facts['model_digest']}"  # of a model in memory
        href = named_by if isinstance(named_by, str) else weights
        links.append({"rel": "mlm:model", "href": href, "title": str(facts["model"])})
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted([*EXTENSIONS, *used]),
        "id": product.name,
        **place,
        "properties": properties,
        "links": links,
        "assets": assets,
    }


def tags_of(facts: dict[str, Any]) -> dict[str, str]:
    """How a product was made, as text that a GeoTIFF holds."""
    return {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}


def _parsed(text: Any) -> Any:
    """What an attribute in JSON says."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _times(time: xr.DataArray) -> dict[str, Any]:
    """One date, or the first and the last."""
    stamps = [f"{np.datetime_as_string(t, unit='s')}Z" for t in np.sort(utc_times(time))]
    if stamps[0] == stamps[-1]:
        return {"datetime": stamps[0]}
    return {"datetime": None, "start_datetime": stamps[0], "end_datetime": stamps[-1]}


def place_of(ds: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Footprint in degrees, and the grid; without them where there is no coordinate system."""
    nowhere: dict[str, Any] = {"geometry": None}
    first = next((a for a in ds.values() if spatial_dims(a)), None)
    names = None if first is None else spatial_dims(first)
    if first is None or names is None or not set(names) <= set(ds.coords):
        return nowhere, {"proj:code": None}
    system = coordinate_system(ds, first)
    axes = [ds[name].values.astype(float) for name in names]
    if system is None or min(map(len, axes)) < 2 or not all(evenly_spaced(ds[n]) for n in names):
        return nowhere, {"proj:code": None}
    from pyproj import Transformer

    (dy, dx), (top, left) = (
        [float(a[-1] - a[0]) / (len(a) - 1) for a in axes],
        [float(a[0]) for a in axes],
    )
    top, left = top - dy / 2, left - dx / 2
    bottom, right = top + dy * len(axes[0]), left + dx * len(axes[1])
    there = Transformer.from_crs(system, "EPSG:4326", always_xy=True)
    corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
    ring = [[round(v, 7) for v in there.transform(x, y)] for x, y in corners]
    west, south, east, north = there.transform_bounds(
        min(left, right), min(top, bottom), max(left, right), max(top, bottom)
    )
    coded = system.upper().startswith("EPSG:")
    grid = {
        "proj:code": system.upper() if coded else None,
        **({} if coded else {"proj:wkt2": system}),
        "proj:shape": [len(a) for a in axes],
        "proj:transform": [dx, 0.0, left, 0.0, dy, top],
    }
    geometry = {"type": "Polygon", "coordinates": [ring]}
    bbox = [round(v, 7) for v in (west, south, east, north)]
    return {"geometry": geometry, "bbox": bbox}, grid


def _asset(path: Path, ds: xr.Dataset) -> dict[str, Any]:
    """A file or a store, and its bands."""
    bands = [
        band for name, array in ds.items() if spatial_dims(array) for band in _bands(name, array)
    ]
    flags = all(any(key.startswith("classification:") for key in band) for band in bands)
    return {
        "href": f"./{path.name}",
        "type": TYPES.get(path.suffix, TYPES[".tif"]),
        "roles": ["metadata" if flags else "data"],
        "raster:sampling": "area",
        "bands": bands,
        **_file(path),
    }


def _bands(name: Hashable, array: xr.DataArray) -> list[dict[str, Any]]:
    """What the bands of a variable are called, and what their numbers mean."""
    dim = next((d for d in BAND_DIMS if d in array.dims and d in array.coords), None)
    labels = [name] if dim is None else array[dim].values.tolist()
    dtype = "uint8" if array.dtype == np.bool_ else array.dtype.name
    scale, offset = scale_of(array)
    found = []
    for label in labels:
        band: dict[str, Any] = {"name": str(label), "data_type": dtype}
        missing = nodata_of(array, [name, label])
        if missing is not None or array.dtype.kind == "f":
            band["nodata"] = "nan" if missing is None else missing
        if isinstance(array.attrs.get("units"), str):
            band["unit"] = array.attrs["units"]
        if (scale, offset) != (1.0, 0.0):
            band |= {"raster:scale": scale, "raster:offset": offset}
        common = COMMON.get(optical_band(label) or "")
        if common is not None:
            band["eo:common_name"] = common
        found.append(band | _classes(array))
    return found


def _classes(array: xr.DataArray) -> dict[str, Any]:
    """What flags mean, by the classification extension."""
    attrs = array.attrs
    names = str(attrs.get("flag_meanings", "")).split()
    values, masks = (
        np.ravel(attrs[key]).tolist() if key in attrs else []
        for key in ("flag_values", "flag_masks")
    )
    if not names or len(names) != len(masks or values):
        return {}
    if not masks:
        classes = [{"value": int(v), "name": n} for v, n in zip(values, names, strict=True)]
        return {"classification:classes": classes}
    fields: dict[int, list[dict[str, Any]]] = {}
    for name, mask, number in zip(names, masks, values or masks, strict=True):
        offset = (int(mask) & -int(mask)).bit_length() - 1
        fields.setdefault(int(mask), []).append({"value": int(number) >> offset, "name": name})
    return {
        "classification:bitfields": [
            {
                "offset": (mask & -mask).bit_length() - 1,
                "length": mask.bit_count(),
                "classes": classes,
            }
            for mask, classes in fields.items()
        ]
    }


def _file(path: Path) -> dict[str, Any]:
    """Size, and of a single file the checksum; a store has many, which are not all read again."""
    if path.is_dir():
        files = [Path(root, name) for root, _, names in os.walk(path) for name in names]
        return {"file:size": sum(file.stat().st_size for file in files)}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file:size": path.stat().st_size, "file:checksum": f"1220{digest}"}  # multihash


def write_collection(product: Path, members: Sequence[Path]) -> None:
    """Write the collection of a product, from the items beside it that have a place."""
    found = [passport_of(member) for member in members]
    items = [json.loads(p.read_text(encoding="utf-8")) for p in found if p.is_file()]
    content = None
    if items and all("bbox" in item for item in items):
        content = _gathered(product, items)
    _write(content, product.with_name(product.name + COLLECTION))


def _gathered(product: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
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
