"""A scene from GeoTIFFs: bands by description, by file name, or as they were said to be."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.bands import is_scene_classification, optical_band, sar_band
from xcloudfree.exceptions import DataError, GridError

_OURS = re.compile(r"provenance|mask|\w+_std")
"""What stands beside the bands in files that the library wrote."""

_ONE = {"scales": "scale_factor", "offsets": "add_offset"}
"""What rioxarray calls numbers that differ by band, and what one of them is."""


def open_geotiffs(paths: Sequence[str], bands: Sequence[str] | None, chunks: int) -> xr.Dataset:
    """Open GeoTIFFs on one grid as a Dataset of bands, lazily, with the numbers as stored.

    Parameters
    ----------
    paths : sequence of str
        Files.
    bands : sequence of str or None
        Name of each band of each file, in their order.
    chunks : int
        Side of a block in pixels.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If bands have no names, or more or fewer are named than there are.
    GridError
        If the files are not on one grid.
    """
    files = [_opened(path, chunks) for path in paths]
    total = sum(file.sizes["band"] for file in files)
    if bands is not None and len(bands) != total:
        raise DataError(
            f"--bands names {len(bands)} and the files have {total} bands; name every one, "
            "comma-separated in their order"
        )
    given = iter(bands or ())
    found: dict[str, xr.DataArray] = {}
    for path, file in zip(paths, files, strict=True):
        _check_grid(files[0], file, paths[0], path)
        described = [] if bands is not None else _described(path, file)
        for index in range(file.sizes["band"]):
            name = described[index] if bands is None else next(given)
            if name in found:
                raise DataError(f"{name} is there twice; name the bands apart with --bands")
            plane = file.isel(band=index, drop=True)
            attrs = {k: v for k, v in file.attrs.items() if k != "long_name"}
            plane.attrs = {_ONE.get(k, k): _of_band(v, index) for k, v in attrs.items()}
            found[name] = plane.rename(name)
    return xr.Dataset(found)


def _opened(path: str, chunks: int) -> xr.DataArray:
    import rioxarray
    from rasterio.errors import RasterioIOError

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(Scales|Offsets) differ across bands")
            opened = rioxarray.open_rasterio(path, chunks={"x": chunks, "y": chunks})
    except RasterioIOError as error:
        raise DataError(f"{path} cannot be read as GeoTIFF ({error}); write it again") from error
    if not isinstance(opened, xr.DataArray):
        raise DataError(f"{path} holds several images; give one GeoTIFF for each")
    return opened


def _described(path: str, file: xr.DataArray) -> list[str]:
    """Names of the bands: descriptions, or what the name of a file of one band says."""
    said = file.attrs.get("long_name")
    names = [said] if isinstance(said, str) else list(said or [])
    if len(names) == file.sizes["band"] and all(_known(n) or _OURS.fullmatch(n) for n in names):
        return [str(n) for n in names]
    if file.sizes["band"] == 1:
        parts = [p for p in re.split(r"[_\-. ]", Path(path).stem) if _known(p)]
        if len(parts) == 1:
            return parts
    raise DataError(
        f"the bands of {path} are not named ({', '.join(map(str, names)) or 'no descriptions'}); "
        "name them with --bands B02,B03,B04,..., in their order"
    )


def _known(name: object) -> bool:
    return bool(optical_band(name) or sar_band(name) or is_scene_classification(name))


def _of_band(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, tuple) else value


def _check_grid(first: xr.DataArray, other: xr.DataArray, one: str, two: str) -> None:
    same = all(
        first.sizes[d] == other.sizes[d] and np.array_equal(first[d].values, other[d].values)
        for d in ("y", "x")
    )
    if not same or first.rio.crs != other.rio.crs:
        raise GridError(
            f"{one} and {two} are on different grids; bring one to the grid of the other first, "
            "with two.rio.reproject_match(one)"
        )
