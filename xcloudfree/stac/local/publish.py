"""Write a Dataset like satellite archives do: as COGs and STAC items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import odc.geo.xr  # noqa: F401  registers the .odc accessor
import rasterio
import xarray as xr

from xcloudfree.core.bands import POLARISATIONS, S2_BANDS
from xcloudfree.core.files import replacing
from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError, UnitsError
from xcloudfree.stac.rules.harmonise import BASELINE_OFFSET, SCALE

_EXTENSIONS = ("projection/v1.1.0", "raster/v1.1.0", "sat/v1.0.0")
_S1_NODATA = -32768.0


def publish(
    ds: xr.Dataset,
    folder: str | Path,
    *,
    base_url: str | None = None,
    level: str | None = None,
    baseline: str = "05.00",
    declare: bool = True,
    collection: str | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write a Dataset as COGs with STAC collections and items, in the archives' own encoding.

    Sentinel-2 becomes uint16 digital numbers (0: no data) with the offset of its processing
    baseline, Sentinel-1 linear power (float32, -32768: no data). Repeated calls add to a folder.

    Parameters
    ----------
    ds : xarray.Dataset
        Bands ``B01``.. as reflectance, ``SCL``, and ``VV``, ``VH`` in dB or linear power; dims
        (time, y, x), georeferenced. Coordinates ``platform``, ``time_gap`` and ``relative_orbit``
        along ``time`` are used if present.
    folder : path-like
        Folder to write to.
    base_url : str, optional
        Address at which the folder is served. Default: relative addresses, which
        :func:`xcloudfree.stac.local.serve.serve` completes.
    level : {"TOA", "BOA"}, optional
        Processing level. Default: as declared by the bands.
    baseline : str
        Processing baseline; from 04.00 on, numbers carry an offset of 1000.
    declare : bool
        Whether assets declare scale and offset; if not, only the baseline says.
    collection : str, optional
        Name of the Sentinel-2 collection. Default ``sentinel-2-l1c`` or ``sentinel-2-l2a``.

    Returns
    -------
    tuple of (list of dict, list of dict)
        The written collections and items.

    Raises
    ------
    DataError
        No time, no georeference, or nothing to publish.
    UnitsError
        Undeclared level.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collections, items = publish(scene, folder)
    >>> [collection["id"] for collection in collections]
    ['sentinel-2-l1c', 'sentinel-1-rtc']
    """
    grid = ds.odc.geobox
    if grid is None or grid.crs is None or grid.crs.epsg is None:
        system = next(filter(None, (coordinate_system(ds, v) for v in ds.values())), "EPSG:...")
        raise DataError(
            "The Dataset has no EPSG grid", fix=f'call publish(ds.rio.write_crs("{system}"), ...)'
        )
    if "time" not in ds.coords:
        raise DataError(
            "The Dataset has no time", fix="call publish(ds.expand_dims(time=[...]), ...)"
        )
    ds = ds if "time" in ds.dims else ds.expand_dims("time")
    folder = Path(folder)
    bands = [name for name in (*S2_BANDS, "SCL") if name in ds]
    pols = [name for name in POLARISATIONS if name in ds]
    if not bands and not pols:
        raise DataError(
            "No band to publish", fix="call publish(ds[['B02', 'B03', 'B04', 'VV', 'VH']], ...)"
        )
    level = level or next((ds[b].attrs.get("processing_level") for b in bands), None)
    if bands and level not in ("TOA", "BOA"):
        raise UnitsError(
            f"level={level!r} is undeclared", fix='call publish(ds, folder, level="TOA")'
        )

    items = []
    for step, time in enumerate(utc_times(ds["time"])):
        one = ds.isel(time=step)
        made = []
        if bands:
            made.append(_scene(one[bands], time, str(level), baseline, declare, collection))
        if pols:
            made.append(_pass(one[pols], time))
        for item in made:
            _place(item, grid)
            for key, asset in item["assets"].items():
                path = f"{item['id']}/{key}.tif"
                asset["href"] = f"{base_url.rstrip('/')}/{path}" if base_url else f"./{path}"
                _write(asset.pop("pixels"), folder / path, grid, asset["raster:bands"][0]["nodata"])
            _dump(item, folder / "items" / f"{item['id']}.json")
        items += made
    collections = [_collection(name) for name in dict.fromkeys(i["collection"] for i in items)]
    for entry in collections:
        _dump(entry, folder / "collections" / f"{entry['id']}.json")
    return collections, items


def _dump(content: dict[str, Any], path: Path) -> None:
    _save(json.dumps(content, indent=1).encode(), path)


def _save(content: bytes | memoryview, path: Path) -> None:
    with replacing(path, f"publish(ds, {str(path.parents[1])!r})") as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)


def _stamp(time: np.datetime64) -> tuple[str, str]:
    text = str(np.datetime_as_string(time, unit="ms"))
    return text + "Z", text[:19].replace("-", "").replace(":", "")


def _coordinate(one: xr.Dataset, name: str, default: Any) -> Any:
    return one.coords[name].values[()] if name in one.coords else default


def _scene(
    one: xr.Dataset,
    time: np.datetime64,
    level: str,
    baseline: str,
    declare: bool,
    collection: str | None,
) -> dict[str, Any]:
    """A Sentinel-2 item, its assets with pixels."""
    stated, compact = _stamp(time)
    product = "L1C" if level == "TOA" else "L2A"
    platform = str(_coordinate(one, "platform", "sentinel-2a"))
    offset = BASELINE_OFFSET if float(baseline) >= 4 else 0.0
    assets = {}
    for name, band in one.data_vars.items():
        raster: dict[str, Any] = {"nodata": 0, "data_type": "uint16"}
        if name == "SCL":
            pixels, raster = band.values.astype("uint8"), {"nodata": 0, "data_type": "uint8"}
        else:
            valid = np.isfinite(band.values)
            reflectance = np.where(valid, band.values, 0).astype("float64")
            numbers = np.clip(np.rint((reflectance - offset) / SCALE), 1, 65535)
            pixels = np.where(valid, numbers, 0).astype("uint16")
            raster |= {"scale": SCALE, "offset": offset} if declare else {}
        assets[str(name)] = {"pixels": pixels, "raster:bands": [raster]}
    satellite, number = "S2" + platform[-1:].upper(), baseline.replace(".", "")
    return {
        "id": f"{satellite}_MSI{product}_{compact}_N{number}_R037_T32UNA",
        "collection": collection or f"sentinel-2-{product.lower()}",
        "properties": {
            "datetime": stated,
            "platform": platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "s2:product_type": f"S2MSI{product[1:]}",
            "s2:processing_baseline": baseline,
        },
        "assets": assets,
    }


def _pass(one: xr.Dataset, time: np.datetime64) -> dict[str, Any]:
    """A Sentinel-1 item, its assets with pixels."""
    gap = _coordinate(one, "time_gap", np.timedelta64(0, "ns"))
    time = time + (np.timedelta64(0, "ns") if np.isnat(gap) else gap)
    stated, compact = _stamp(time)
    orbit = int((time - np.datetime64("2014-04-03")) / np.timedelta64(1, "m") / 98.6)
    assets = {}
    for name, band in one.data_vars.items():
        power = band.values.astype("float64")
        if band.attrs.get("units", "dB") == "dB":
            power = 10 ** (power / 10)
        pixels = np.where(np.isfinite(power), power, _S1_NODATA).astype("float32")
        raster = {"nodata": _S1_NODATA, "data_type": "float32"}
        assets[str(name).lower()] = {"pixels": pixels, "raster:bands": [raster]}
    first = next(iter(one.data_vars.values()))
    return {
        "id": f"S1A_IW_GRDH_1SDV_{compact}_{orbit:06d}_rtc",
        "collection": "sentinel-1-rtc",
        "properties": {
            "datetime": stated,
            "platform": "sentinel-1a",
            "constellation": "sentinel-1",
            "sar:instrument_mode": "IW",
            "sar:product_type": "GRD",
            "sar:polarizations": [str(name) for name in one.data_vars],
            "sat:absolute_orbit": orbit,
            "sat:relative_orbit": int(_coordinate(one, "relative_orbit", (orbit - 73) % 175 + 1)),
            "xcloudfree:quantity": first.attrs.get("quantity", "gamma0"),
        },
        "assets": assets,
    }


def _write(pixels: npt.NDArray[Any], path: Path, grid: Any, nodata: float) -> None:
    profile = {
        "driver": "COG", "count": 1, "dtype": pixels.dtype, "nodata": nodata, "blocksize": 256,
        "compress": "DEFLATE", "resampling": "NEAREST" if path.stem == "SCL" else "AVERAGE",
        "height": grid.shape[0], "width": grid.shape[1], "transform": grid.transform,
        "crs": f"EPSG:{grid.crs.epsg}",
    }  # fmt: skip
    with rasterio.MemoryFile() as file:  # GDAL does not always report a full disk
        with file.open(**profile) as target:
            target.write(pixels, 1)
        _save(file.getbuffer(), path)


def _place(item: dict[str, Any], grid: Any) -> None:
    """Add common properties and the position of an item."""
    extent = grid.geographic_extent
    item |= {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS
        ],
        "geometry": extent.json,
        "bbox": list(extent.boundingbox),
        "links": [],
    }
    item["properties"]["proj:epsg"] = grid.crs.epsg
    for asset in item["assets"].values():
        asset |= {
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "gsd": abs(grid.resolution.x),
            "proj:shape": list(grid.shape),
            "proj:transform": list(grid.transform)[:6],
        }


def _collection(name: str) -> dict[str, Any]:
    interval = [["2014-04-03T00:00:00Z", None]]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": f"{name}, published by xcloudfree",
        "license": "proprietary",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": interval}},
    }
