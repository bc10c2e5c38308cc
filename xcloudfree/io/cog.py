"""Cloud-optimised GeoTIFF: one file of all bands for each date."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError, GridError
from xcloudfree.recognise import SPATIAL

_BAND_DIMS: Final = ("band", "bands", "polarisation", "polarization")
_BLOCK: Final = 512

Spatial = xr.Dataset | xr.DataArray


def to_cog(obj: Spatial, path: str | os.PathLike[str]) -> list[Path]:
    """Write cloud-optimised GeoTIFFs, one per date, all bands in each.

    Blocks are computed row by row into a temporary file, which is then reorganised with overviews
    and takes its name when it is complete. Integers stay integers; bands of different types take
    the smallest type that holds them all, and an integer's no-data value becomes NaN where that is
    a float. Band names become descriptions, `scale_factor` and `add_offset` the bands' scale.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        Variables or a band dimension over y and x, with a coordinate reference system; at most one
        further dimension (time or patch).
    path : str or path-like
        File name, ending in ``.tif``. With several dates each gets its own:
        ``out.tif`` becomes ``out_20250601T103021.tif``.

    Returns
    -------
    list of Path
        The files, in the order of the dates.

    Raises
    ------
    GridError
        Without a coordinate reference system, or with unevenly spaced coordinates.
    DataError
        If the dimensions are not those above, or there is nothing to write.

    Examples
    --------
    >>> import tempfile, rioxarray
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.ones((6, 4), "uint16"))},
    ...                 coords={"y": 10.0 * np.arange(6)[::-1], "x": 10.0 * np.arange(4)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = to_cog(ds.rio.write_crs(32631), folder + "/out.tif")
    ...     print([f.name for f in files])
    ['out.tif']
    """
    import rioxarray  # noqa: F401  the rio accessor

    target = Path(os.fspath(path)).absolute()
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise DataError(f"{target.name} is no GeoTIFF name: xcf.io.to_cog(obj, 'out.tif').")
    bands = _bands(obj)
    first = next(iter(bands.values()))
    lead = list(first.dims[:-2])
    if len(lead) > 1:
        raise DataError(
            f"A file holds one date; {lead} are too many dimensions: "
            f"xcf.io.to_cog(obj.isel({lead[0]}=0), 'out.tif')."
        )
    if obj.rio.crs is None:
        raise GridError(
            "There is no coordinate reference system; declare it: "
            "ds = ds.rio.write_crs('EPSG:32631')."
        )
    grid = first.rename(dict(zip(first.dims[-2:], ("y", "x"), strict=True)))
    grid = grid.isel(dict.fromkeys(lead, 0), drop=True)
    profile = {
        "crs": obj.rio.crs,
        "transform": _transform(grid),
        "width": grid.sizes["x"],
        "height": grid.sizes["y"],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    if not lead:
        _write(bands, profile, target)
        return [target]
    files = [target] if first.sizes[lead[0]] == 1 else _names(first, lead[0], target)
    for i, file in enumerate(files):
        _write({n: b.isel({lead[0]: i}) for n, b in bands.items()}, profile, file)
    return files


def _bands(obj: Spatial) -> dict[str, xr.DataArray]:
    """Bands by name, each (*lead, y, x) with the same leading dimensions."""
    parts = {"": obj} if isinstance(obj, xr.DataArray) else {str(n): a for n, a in obj.items()}
    bands: dict[str, xr.DataArray] = {}
    for name, array in parts.items():
        spatial = next((pair for pair in SPATIAL if set(pair) <= set(array.dims)), None)
        if spatial is None:
            continue
        dim = next((d for d in _BAND_DIMS if d in array.dims), None)
        array = array.transpose(..., *spatial)
        if dim is None:
            bands[name or str(array.name or "data")] = array
            continue
        names = array[dim].values if dim in array.coords else range(1, array.sizes[dim] + 1)
        for i, band in enumerate(names):
            bands[str(band)] = array.isel({dim: i}, drop=True)
    if not bands:
        raise DataError(
            "Nothing has the dimensions y and x: "
            "xcf.io.to_cog(ds.rename({...: 'y', ...: 'x'}), path)."
        )
    widest = max(bands.values(), key=lambda a: a.ndim)
    lead: dict[Hashable, int] = {d: widest.sizes[d] for d in widest.dims[:-2]}
    for name, array in bands.items():
        missing = {d: n for d, n in lead.items() if d not in array.dims}
        bands[name] = array.expand_dims(missing).transpose(*widest.dims)
    return bands


def _transform(grid: xr.DataArray) -> Any:
    """Affine transform of evenly spaced pixel centres."""
    from affine import Affine

    steps, starts = [], []
    for dim in ("x", "y"):
        if dim not in grid.coords:
            raise GridError(
                f"There is no coordinate {dim}: xcf.io.to_cog(ds.assign_coords({dim}=...), path)."
            )
        centres = grid[dim].values.astype(np.float64)
        if centres.size > 1:
            step = (centres[-1] - centres[0]) / (centres.size - 1)
        else:
            known = grid.rio.transform()
            step = known.a if dim == "x" else known.e
        if centres.size > 2 and not np.allclose(np.diff(centres), step, rtol=1e-3, atol=0):
            raise GridError(
                f"The coordinate {dim} is not evenly spaced; put the data on a grid first: "
                "ds.rio.reproject(ds.rio.crs)."
            )
        steps.append(step)
        starts.append(centres[0] - step / 2)
    return Affine(steps[0], 0, starts[0], 0, steps[1], starts[1])


def _names(array: xr.DataArray, dim: Hashable, target: Path) -> list[Path]:
    """A file name for each date, or for each index where dates do not tell them apart."""
    count = array.sizes[dim]
    labels = [f"{i:04d}" for i in range(count)]
    if dim in array.coords and array[dim].dtype.kind == "M":
        stamps = np.datetime_as_string(array[dim].values, unit="s")
        dated = [s.replace("-", "").replace(":", "") for s in stamps]
        labels = dated if len(set(dated)) == count else labels
    return [target.with_name(f"{target.stem}_{label}{target.suffix}") for label in labels]


def _write(bands: dict[str, xr.DataArray], profile: dict[str, Any], target: Path) -> None:
    """One file: rows of blocks into a plain GeoTIFF, then GDAL's COG driver."""
    import rasterio
    import rasterio.shutil

    dtype = _common_type(bands)
    nodata = _common_nodata(bands, dtype)
    plain = target.with_name(target.name + ".partial.tif")
    final = target.with_name(target.name + ".complete.tif")
    options = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "IF_SAFER"}
    try:
        with rasterio.open(
            plain, "w", driver="GTiff", count=len(bands), dtype=dtype.name, nodata=nodata,
            interleave="band", **options, **profile,
        ) as file:  # fmt: skip
            for index, (name, array) in enumerate(bands.items(), start=1):
                file.set_band_description(index, name)
                units = array.attrs.get("units")
                if isinstance(units, str):
                    file.set_band_unit(index, units)
            if any("scale_factor" in b.attrs for b in bands.values()):
                file.scales = [float(b.attrs.get("scale_factor", 1)) for b in bands.values()]
                file.offsets = [float(b.attrs.get("add_offset", 0)) for b in bands.values()]
            for start, rows in _rows(bands, dtype):
                height = rows.shape[1]
                window = rasterio.windows.Window(0, start, profile["width"], height)
                file.write(rows, window=window)
        flags = any("flag_values" in b.attrs or b.dtype == np.bool_ for b in bands.values())
        rasterio.shutil.copy(
            plain,
            final,
            driver="COG",
            compress="deflate",
            predictor=3 if dtype.kind == "f" else 2,
            blocksize=_BLOCK,
            bigtiff="IF_SAFER",
            overview_resampling="nearest" if flags else "average",
        )
        final.replace(target)
    finally:
        plain.unlink(missing_ok=True)
        final.unlink(missing_ok=True)


def _rows(
    bands: dict[str, xr.DataArray], dtype: np.dtype[Any]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Rows of blocks of all bands, computed together."""
    first = next(iter(bands.values()))
    dim = first.dims[-2]
    chunks = max((a.chunksizes[dim][0] for a in bands.values() if a.chunks is not None), default=0)
    step = chunks or _BLOCK
    together = xr.Dataset({f"b{i}": (("y", "x"), a.data) for i, a in enumerate(bands.values())})
    for start in range(0, first.sizes[dim], step):
        part = together.isel(y=slice(start, start + step)).compute()
        planes = [
            _cast(part[f"b{i}"].values, array, dtype) for i, array in enumerate(bands.values())
        ]
        yield start, np.stack(planes)


def _cast(values: NDArray[Any], array: xr.DataArray, dtype: np.dtype[Any]) -> NDArray[Any]:
    nodata = array.attrs.get("nodata", array.encoding.get("_FillValue"))
    out = values.astype(dtype)
    if dtype.kind == "f" and values.dtype.kind in "iu" and nodata is not None:
        out[values == nodata] = np.nan
    return out


def _common_type(bands: dict[str, xr.DataArray]) -> np.dtype[Any]:
    types = [np.dtype(np.uint8) if b.dtype == np.bool_ else b.dtype for b in bands.values()]
    return np.result_type(*types)


def _common_nodata(bands: dict[str, xr.DataArray], dtype: np.dtype[Any]) -> float | int | None:
    """No-data value of the file: NaN for floats, for integers what the bands agree on."""
    if dtype.kind == "f":
        return float("nan")
    values = [
        b.attrs.get("nodata", b.encoding.get("_FillValue"))
        for b in bands.values()
        if "flag_values" not in b.attrs and b.dtype != np.bool_
    ]
    known = {int(v) for v in values if v is not None and not np.isnan(v)}
    if len(known) > 1:
        raise DataError(
            f"The bands have different no-data values {sorted(known)}: "
            "xcf.io.to_cog(ds[['B02', ...]], path) for those that agree."
        )
    return known.pop() if known else None
