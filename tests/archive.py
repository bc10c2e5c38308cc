"""Real and made-up STAC items whose assets are small rasters of known reflectance or backscatter.

Everything here is written from the description of each archive and knows nothing of the library.
"""

import copy
import json
from dataclasses import dataclass

import affine
import numpy as np
import rasterio
from rasterio.warp import transform_bounds

N = 120  # pixels of 10 m
BANDS = {
    10: ("B02", "B03", "B04", "B08"),
    20: ("B05", "B06", "B07", "B8A", "B11", "B12"),
    60: ("B01", "B09", "B10"),
}
NAMES = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1",
    "B06": "rededge2", "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09",
    "B10": "cirrus", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
NBART = {
    "B01": "nbart_coastal_aerosol", "B02": "nbart_blue", "B03": "nbart_green", "B04": "nbart_red",
    "B05": "nbart_red_edge_1", "B06": "nbart_red_edge_2", "B07": "nbart_red_edge_3",
    "B08": "nbart_nir_1", "B8A": "nbart_nir_2", "B11": "nbart_swir_2", "B12": "nbart_swir_3",
}  # fmt: skip


def metres(band):
    return next(size for size, bands in BANDS.items() if band in bands)


@dataclass(frozen=True)
class Encoding:
    """How an archive stores reflectance, and under which key."""

    keys: dict
    shift: int = 0  # digital numbers added to reflectance / 1e-4
    dtype: str = "uint16"
    nodata: int = 0
    declared: bool = True  # whether the file tells its nodata
    classes: str = ""
    driver: str = "COG"


def keyed(pattern, bands=tuple(NAMES)):
    return {band: pattern(band) for band in bands}


L2A = tuple(band for band in NAMES if band != "B10")
TWIN = keyed(lambda b: f"{b}_{metres(b)}m", L2A)


def truth(band, seed=0, size=N, lowest=2e-4):
    """Reflectance of one band at its own resolution, with a hole."""
    rng = np.random.default_rng([seed, list(NAMES).index(band)])
    shape = (size * 10 // metres(band),) * 2
    values = rng.uniform(lowest, 1.2, shape)
    values[: shape[0] // 8, : shape[1] // 5] = np.nan
    return values


def classes(size=N):
    return (np.indices((size // 2, size // 2)).sum(0) // 3 % 6).astype("uint8")


def numbers(values, encoding):
    found = np.rint(values / 1e-4) + encoding.shift
    found = np.where(np.isfinite(values), found, encoding.nodata)
    return found.astype(encoding.dtype)


def write(path, pixels, transform, crs, nodata=None, driver="COG"):
    """One band as a file; a JPEG 2000 is a real one where GDAL can write it, else a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"COG": {"blocksize": 128, "overviews": "NONE"}}.get(driver, {})
    if driver == "JP2OpenJPEG":
        path = path.with_suffix(".jp2")
        options = {"quality": 100, "reversible": "YES", "ycbcr420": "NO"}
    with rasterio.open(
        path,
        "w",
        driver=driver,
        height=pixels.shape[0],
        width=pixels.shape[1],
        count=1,
        dtype=pixels.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        **options,
    ) as target:
        target.write(pixels, 1)
    return str(path)


def origin(item):
    """Upper left corner and projection of an item, as it states them."""
    sources = [item["properties"], *item["assets"].values()]
    code = next(
        s.get("proj:code") or f"EPSG:{s['proj:epsg']}"
        for s in sources
        if s.get("proj:code") or s.get("proj:epsg")
    )
    fine = [s["proj:transform"] for s in sources if s.get("proj:transform")]
    first = min(fine, key=lambda t: abs(t[0]))
    return first[2], first[5], code


def transform_at(item, size):
    x, y, _ = origin(item)
    return affine.Affine(size, 0, x, 0, -size, y)


def place(item, left, top, crs, size=N * 10):
    """Footprint, bbox: the outline of the shrunken raster."""
    west, south, east, north = transform_bounds(
        crs, "EPSG:4326", left, top - size, left + size, top
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    item["bbox"] = [west, south, east, north]


def shrink(item, encoding, folder, seed=0, lowest=2e-4):
    """The item with its Sentinel-2 assets replaced by small files; returns it and the truth."""
    item = copy.deepcopy(item)
    x, y, crs = origin(item)
    made = {}
    for band, key in encoding.keys.items():
        asset = item["assets"][key]
        made[band] = truth(band, seed, lowest=lowest)
        size = metres(band)
        asset["href"] = write(
            folder / item["id"] / f"{key}.tif",
            numbers(made[band], encoding),
            transform_at(item, size),
            crs,
            encoding.nodata if encoding.declared else None,
            encoding.driver,
        )
        asset.pop("alternate", None)
        if "proj:transform" in asset:
            asset["proj:transform"] = list(transform_at(item, size))[:6]
            asset["proj:shape"] = list(made[band].shape)
        asset.pop("proj:bbox", None)
    if encoding.classes:
        asset = item["assets"][encoding.classes]
        asset["href"] = write(
            folder / item["id"] / f"{encoding.classes}.tif",
            classes(),
            transform_at(item, 20),
            crs,
            0 if encoding.declared else None,
        )
        if "proj:transform" in asset:
            asset["proj:transform"] = list(transform_at(item, 20))[:6]
            asset["proj:shape"] = list(classes().shape)
        asset.pop("proj:bbox", None)
    for field in ("proj:transform", "proj:shape"):
        if field in item["properties"]:
            size = transform_at(item, 10)
            item["properties"][field] = list(size)[:6] if "transform" in field else [N, N]
    kept = {*encoding.keys.values(), encoding.classes}
    for key, asset in item["assets"].items():
        if key not in kept:
            asset["href"] = "https://archive.invalid/" + key  # reading it would fail
    place(item, x, y, crs)
    return item, made


def read_item(root, name):
    return json.loads((root / "stac_items" / f"{name}.json").read_text("utf-8"))


def made_up(name, collection, time, assets, epsg=32632, left=600000, top=5300040, **properties):
    """An item after the description of an archive that left no sample."""
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "links": [],
        "properties": {"datetime": time, **properties},
        "assets": assets,
    }
    place(item, left, top, f"EPSG:{epsg}")
    return item


def dump(content, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def collection(item):
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": item["collection"],
        "description": "made up",
        "license": "proprietary",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2014-04-03T00:00:00Z", None]]},
        },
    }
