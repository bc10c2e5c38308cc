"""A scene from what stands on the command line: Zarr, GeoTIFFs or a STAC catalog."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import xarray as xr

from xcloudfree.cli.group import add_options, words
from xcloudfree.exceptions import CatalogError, DataError

Spatial = xr.Dataset | xr.DataArray


@dataclass(frozen=True)
class SceneWords:
    """What is said about a scene beside where it is; fields are named as the options.

    Parameters
    ----------
    bands : str or None
        Names of the bands of GeoTIFFs, or which to load from a catalog.
    scale, offset, nodata, level, sar, quantity
        See :func:`xcloudfree.core.calibrate.calibrate`.
    bbox, datetime, collections, sar_catalog, cloud_cover, resolution
        See :func:`xcloudfree.stac.load`.
    sign : str or None
        ``"module:function"``.
    chunks : int
        Pixels along the sides of a block.
    """

    bands: str | None
    scale: float | None
    offset: float | None
    nodata: float | None
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
    def taken(cls, options: dict[str, Any]) -> SceneWords:
        """Take the options of a scene out of those of a command."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})


scene_argument = click.argument("scene", nargs=-1, required=True, metavar="SCENE...")

scene_options = add_options(
    click.option(
        "--bands", help="Of GeoTIFFs, comma-separated in their order, where the files do not name "
        "them; or which to load from a catalog.",
    ),
    click.option("--scale", type=float, help="Reflectance per stored number: 1e-4."),
    click.option("--offset", type=float, help="Reflectance of the number 0: 0 or -0.1."),
    click.option("--nodata", type=float, help="Stored number that means no data."),
    click.option("--level", type=click.Choice(["TOA", "BOA"]), help="Level-1C is TOA, 2A is BOA."),
    click.option("--sar", type=click.Choice(["dB", "linear"]), help="Unit of the backscatter."),
    click.option("--quantity", type=click.Choice(["sigma0", "gamma0"]), help="Of the backscatter."),
    click.option("--bbox", help="West,south,east,north in degrees (catalog)."),
    click.option("--datetime", help="2025-06-01/2025-06-30 (catalog)."),
    click.option("--collections", help="Comma-separated (catalog)."),
    click.option("--sar-catalog", help="Another catalog to take Sentinel-1 from."),
    click.option(
        "--sign", help="Function that makes addresses readable (catalog): planetary_computer:sign."
    ),
    click.option("--cloud-cover", type=float, help="Per cent at most, of an item (catalog)."),
    click.option("--resolution", type=float, help="Of the grid to load on (catalog)."),
    click.option("--chunks", default=1024, show_default=True, help="Side of a block in pixels."),
)  # fmt: skip
"""Options of every command that reads a scene."""


def open_scene(places: Sequence[str], said: SceneWords) -> Spatial:
    """Open a scene lazily and declare what was said about it.

    Parameters
    ----------
    places : sequence of str
        A Zarr store, GeoTIFFs on one grid, or the address of a catalog.
    said : SceneWords
        The options.

    Returns
    -------
    Dataset or DataArray

    Raises
    ------
    DataError
        If there is nothing there, or it is none of these.
    """
    first = places[0]
    if first.startswith(("http://", "https://")) or first.endswith(".json"):
        if len(places) > 1:
            raise DataError(
                "a catalog stands alone; take Sentinel-1 from another with --sar-catalog"
            )
        return _declared(_from_catalog(first, said), said)
    for place in places:
        if not Path(place).exists():
            raise DataError(f"there is no {place}; give a Zarr store, GeoTIFFs or a STAC address")
    if all(place.lower().endswith((".tif", ".tiff")) for place in places):
        from xcloudfree.cli.geotiffs import open_geotiffs

        return _declared(open_geotiffs(places, words(said.bands), said.chunks), said)
    if len(places) > 1:
        raise DataError("several places must all be GeoTIFFs; give one Zarr store, or .tif files")
    if not Path(first).is_dir():
        raise DataError(f"{first} is no Zarr store, no GeoTIFF (.tif) and no catalog (.json, http)")
    return _declared(open_store(first), said)


def open_store(path: str) -> Spatial:
    """A scene from a Zarr store; the one array with bands where that is all there is.

    Parameters
    ----------
    path : str
        A folder.

    Returns
    -------
    Dataset or DataArray

    Raises
    ------
    DataError
        If it is none.
    """
    import xcloudfree as xcf

    opened = xcf.io.open_zarr(path)
    if len(opened.data_vars) == 1:
        (array,) = opened.data_vars.values()
        return array if "band" in array.dims else opened
    return opened


def _from_catalog(address: str, said: SceneWords) -> xr.Dataset:
    import xcloudfree as xcf

    if said.bbox is None or said.datetime is None:
        raise CatalogError(
            "a catalog holds much: say where and when with --bbox west,south,east,north and "
            "--datetime 2025-06-01/2025-06-30"
        )
    try:
        box = [float(number) for number in words(said.bbox) or []]
    except ValueError:
        box = []
    if len(box) != 4:
        raise CatalogError(f"--bbox {said.bbox!r} is not four numbers: --bbox 11.2,47.9,11.4,48.0")
    options: dict[str, Any] = {
        "bbox": box,
        "datetime": said.datetime,
        "bands": words(said.bands),
        "collections": words(said.collections),
        "resolution": said.resolution,
        "sar_catalog": said.sar_catalog,
        "sign": None if said.sign is None else _function(said.sign),
        "chunks": {"x": said.chunks, "y": said.chunks},
    }
    if said.cloud_cover is not None:
        options["query"] = {"eo:cloud_cover": {"lte": said.cloud_cover}}
    return xcf.stac.load(address, **options)


def _function(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise CatalogError(
            f"--sign {name} cannot be imported ({error}); install it, for example with "
            "pip install planetary-computer, and give --sign planetary_computer:sign"
        ) from error


def _declared(scene: Spatial, said: SceneWords) -> Spatial:
    names = ("scale", "offset", "nodata", "level", "sar", "quantity")
    given = {name: getattr(said, name) for name in names if getattr(said, name) is not None}
    if not given:
        return scene
    out: Spatial = scene.cloudfree.calibrate(**given)
    return out
