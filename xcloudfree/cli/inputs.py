"""Open a scene from the arguments of a command: Zarr, NetCDF, GeoTIFFs or a STAC catalog."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr

import xcloudfree as xcf
from xcloudfree.cli.group import add_options, split_list
from xcloudfree.core.bands import is_scene_classification, optical_band, sar_band
from xcloudfree.core.recognise import dates_elsewhere, spatial_dims
from xcloudfree.exceptions import CatalogError, DataError, GridError

Spatial = xr.Dataset | xr.DataArray

_WRITTEN_HERE = re.compile(
    r"provenance|mask|\w+_(std|lower|upper)|count|count_reconstructed|age|emad|smad|bcmad"
)
"""Variables other than bands in files written by the library."""

_BY_BAND = {"scales": "scale_factor", "offsets": "add_offset"}
"""rioxarray's names for numbers by band, and for one of them."""


@dataclass(frozen=True)
class SceneOptions:
    """Options that describe a scene; fields are named like the options."""

    bands: str | None
    scale: float | None
    offset: float | None
    nodata: float | None
    sar_nodata: float | None
    level: str | None
    sar: str | None
    quantity: str | None
    bbox: str | None
    datetime: str | None
    collections: str | None
    sar_catalog: str | None
    sign: str | None
    cloud_cover: float | None
    resolution: float | None
    chunks: int

    @classmethod
    def pop_from(cls, options: dict[str, Any]) -> SceneOptions:
        """Separate the options of a scene from those of a command."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})


scene_argument = click.argument("scene", nargs=-1, required=True, metavar="SCENE...")

scene_options = add_options(
    click.option(
        "--bands", help="Bands of GeoTIFFs, comma-separated in order, if the files do not name "
        "them; or bands to load from a catalog.",
    ),
    click.option("--scale", type=float, help="Reflectance per stored number: 1e-4."),
    click.option("--offset", type=float, help="Reflectance of the number 0: 0 or -0.1."),
    click.option("--nodata", type=float, help="Stored number that means no data."),
    click.option("--sar-nodata", type=float, help="The same for backscatter."),
    click.option("--level", type=click.Choice(["TOA", "BOA"]), help="Level-1C is TOA, 2A is BOA."),
    click.option("--sar", type=click.Choice(["dB", "linear"]), help="Unit of the backscatter."),
    click.option("--quantity", type=click.Choice(["sigma0", "gamma0"]), help="Backscatter kind."),
    click.option("--bbox", help="West,south,east,north in degrees (catalog)."),
    click.option("--datetime", help="2025-06-01/2025-06-30 (catalog)."),
    click.option("--collections", help="Comma-separated (catalog)."),
    click.option("--sar-catalog", help="Another catalog to take Sentinel-1 from."),
    click.option(
        "--sign", help="Function that makes addresses readable (catalog): planetary_computer:sign."
    ),
    click.option("--cloud-cover", type=float, help="Largest cloud cover of an item, % (catalog)."),
    click.option("--resolution", type=float, help="Pixel size of the grid to load on (catalog)."),
    click.option("--chunks", default=1024, show_default=True, help="Side of a block in pixels."),
)  # fmt: skip
"""Options of every command that reads a scene."""


def open_scene(places: Sequence[str], options: SceneOptions) -> Spatial:
    """Open a scene lazily, and declare units from the options."""
    scene = _opened(places, options)
    if (dim := dates_elsewhere(scene, scene.dims)) is not None:
        scene = scene.rename({dim: "time"})
    names = ("scale", "offset", "nodata", "sar_nodata", "level", "sar", "quantity")
    declared = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    if declared:
        scene = scene.cloudfree.calibrate(**declared)
    return scene


def _opened(places: Sequence[str], options: SceneOptions) -> Spatial:
    first = places[0]
    if first.startswith(("http://", "https://")) or first.endswith(".json"):
        if len(places) > 1:
            raise DataError(
                "a catalog takes no other place", fix="name another one with --sar-catalog"
            )
        return _from_catalog(first, options)
    for place in places:
        if not Path(place).exists():
            raise DataError(
                f"there is no {place}",
                fix="name a Zarr store, a NetCDF file, GeoTIFFs or a STAC address",
            )
    if all(place.lower().endswith((".tif", ".tiff")) for place in places):
        return open_geotiffs(places, split_list(options.bands), options.chunks)
    if len(places) > 1:
        raise DataError(
            "several places must all be GeoTIFFs", fix="give one Zarr store, or .tif files"
        )
    if first.lower().endswith((".nc", ".nc4")):
        return _from_netcdf(first, options.chunks)
    if not Path(first).is_dir():
        raise DataError(
            f"{first} is not a Zarr store, a NetCDF file, a GeoTIFF or a catalog",
            fix="give a Zarr folder, a .nc file, .tif files, a .json catalog or an http address",
        )
    return _from_store(first)


def _from_store(path: str) -> Spatial:
    """A scene from a Zarr store; a DataArray if the store has a single array with bands."""
    opened = xcf.io.open_zarr(path)
    first, *others = opened.data_vars.values()
    return first if not others and "band" in first.dims else opened


def _from_netcdf(path: str, chunks: int) -> xr.Dataset:
    """A scene from a NetCDF file, with stored numbers as in the file."""
    try:
        opened = xr.open_dataset(path, chunks={}, decode_coords="all", mask_and_scale=False)
    except (ImportError, OSError, ValueError) as error:
        missing = "dependencies" in str(error) or isinstance(error, ImportError)
        raise DataError(
            f"{path} cannot be read as NetCDF ({' '.join(str(error).split())})",
            fix="install a reader with pip install h5netcdf h5py" if missing else "write it again",
        ) from error
    spatial = spatial_dims(opened)
    return opened if spatial is None else opened.chunk(dict.fromkeys(spatial, chunks))


def _from_catalog(address: str, options: SceneOptions) -> xr.Dataset:
    if options.bbox is None or options.datetime is None:
        raise CatalogError(
            "a catalog needs an area and an interval",
            fix="set them with --bbox west,south,east,north and --datetime 2025-06-01/2025-06-30",
        )
    try:
        west, south, east, north = map(float, options.bbox.split(","))
    except ValueError as error:
        raise CatalogError(
            f"--bbox {options.bbox!r} is not four numbers", fix="give --bbox 11.2,47.9,11.4,48.0"
        ) from error
    clear = {"eo:cloud_cover": {"lte": options.cloud_cover}}
    return xcf.stac.load(
        address,
        bbox=(west, south, east, north),
        datetime=options.datetime,
        bands=split_list(options.bands),
        collections=split_list(options.collections),
        resolution=options.resolution,
        sar_catalog=options.sar_catalog,
        sign=None if options.sign is None else imported(options.sign),
        chunks={"x": options.chunks, "y": options.chunks},
        query=None if options.cloud_cover is None else clear,
    )


def imported(name: str) -> Any:
    """A function by the name of its module and its own."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise CatalogError(
            f"--sign {name} cannot be imported ({error})",
            fix="install it, for example with pip install planetary-computer, and give "
            "--sign planetary_computer:sign",
        ) from error


def open_geotiffs(paths: Sequence[str], bands: Sequence[str] | None, chunks: int) -> xr.Dataset:
    """Open GeoTIFFs on one grid as a Dataset of bands, lazily, with the stored numbers.

    Band names come from `bands` in order, from the descriptions in the files, or from the names
    of single-band files.
    """
    files = [_read_geotiff(path, chunks) for path in paths]
    total = sum(file.sizes["band"] for file in files)
    if bands is not None and len(bands) != total:
        raise DataError(
            f"--bands names {len(bands)} and the files have {total} bands",
            fix="name every one with --bands, comma-separated in their order",
        )
    given = iter(bands or ())
    planes: dict[str, xr.DataArray] = {}
    for path, file in zip(paths, files, strict=True):
        _check_grid(files[0], file, paths[0], path)
        described = [] if bands is not None else _described(path, file)
        attrs = {_BY_BAND.get(k, k): v for k, v in file.attrs.items() if k != "long_name"}
        for index in range(file.sizes["band"]):
            name = described[index] if bands is None else next(given)
            if name in planes:
                raise DataError(f"{name} occurs twice", fix="name the bands with --bands")
            plane = file.isel(band=index, drop=True)
            plane.attrs = {k: v[index] if isinstance(v, tuple) else v for k, v in attrs.items()}
            planes[name] = plane.rename(name)
    return xr.Dataset(planes)


def _read_geotiff(path: str, chunks: int) -> xr.DataArray:
    import rioxarray
    from rasterio.errors import RasterioIOError

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(Scales|Offsets) differ across bands")
            opened = rioxarray.open_rasterio(path, chunks={"x": chunks, "y": chunks})
    except RasterioIOError as error:
        raise DataError(
            f"{path} cannot be read as GeoTIFF ({error})", fix="write it again"
        ) from error
    if not isinstance(opened, xr.DataArray):
        raise DataError(f"{path} contains several images", fix="write one GeoTIFF for each")
    return opened


def _described(path: str, file: xr.DataArray) -> list[str]:
    """Names of the bands: descriptions, or parts of the name of a single-band file."""
    said = file.attrs.get("long_name")
    names = [said] if isinstance(said, str) else list(said or [])
    recognised = all(_is_band(name) or _WRITTEN_HERE.fullmatch(name) for name in names)
    if recognised and len(names) == file.sizes["band"]:
        return [str(name) for name in names]
    if file.sizes["band"] == 1:
        parts = [part for part in re.split(r"[_\-. ]", Path(path).stem) if _is_band(part)]
        if len(parts) == 1:
            return parts
    raise DataError(
        f"the bands of {path} are not named ({', '.join(map(str, names)) or 'no descriptions'})",
        fix="name them with --bands B02,B03,B04,..., in their order",
    )


def _is_band(name: object) -> bool:
    return bool(optical_band(name) or sar_band(name) or is_scene_classification(name))


def _check_grid(first: xr.DataArray, other: xr.DataArray, one: str, two: str) -> None:
    same = all(np.array_equal(first[dim].values, other[dim].values) for dim in ("y", "x"))
    if not same or first.rio.crs != other.rio.crs:
        raise GridError(
            f"{one} and {two} are on different grids",
            fix="bring one to the grid of the other first, with two.rio.reproject_match(one)",
            option="bring one to the grid of the other first, for example with gdalwarp",
        )
