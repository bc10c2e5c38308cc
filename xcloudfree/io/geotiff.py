"""Write one cloud-optimised GeoTIFF in bounded memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError
from xcloudfree.io.encoding import flagged, nodata_of, scale_of
from xcloudfree.io.layout import disk

_BLOCK: Final = 512
_WINDOW_BYTES: Final = 128 << 20
_CACHE_BYTES: Final = 128 << 20
"""Size of GDAL's block cache, which would otherwise take a twentieth of the machine's memory."""


def write(
    bands: dict[str, xr.DataArray],
    profile: dict[str, Any],
    target: Path,
    step: Callable[[], None],
    tags: Mapping[str, str],
) -> None:
    """Write windows into a plain temporary GeoTIFF, then GDAL's COG driver; step follows each."""
    import rasterio
    import rasterio.shutil

    dtype = np.result_type(*("u1" if b.dtype == np.bool_ else b.dtype for b in bands.values()))
    nodata = _common_nodata(bands, dtype)
    plain = target.with_name(target.name + ".partial.tif")
    final = target.with_name(target.name + ".complete.tif")
    options = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "IF_SAFER"}
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
            with geotiff_disk(target):
                file = rasterio.open(
                    plain, "w", driver="GTiff", count=len(bands), dtype=dtype.name, nodata=nodata,
                    interleave="band", **options, **profile,
                )  # fmt: skip
            try:
                file.update_tags(**tags)
                _describe(file, bands)
                for window, planes in _windows(bands, dtype):
                    with geotiff_disk(target):
                        file.write(planes, window=window)
                    step()
            finally:
                with geotiff_disk(target):
                    file.close()
            flags = any(map(flagged, bands.values()))
            with geotiff_disk(target):
                least = len(bands) * dtype.itemsize * profile["width"] * profile["height"]
                if plain.stat().st_size < least:  # GDAL does not always report a full disk
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
        for path in (plain, final):
            with suppress(OSError):  # a disk that cannot be written to contains neither
                path.unlink(missing_ok=True)


def geotiff_disk(target: Path) -> AbstractContextManager[None]:
    """Raise a helpful error when the disk fails; GDAL's errors are of many types."""
    advice = (
        "no file was written, and an earlier one is unchanged; when the disk has room "
        f"and can be written to, begin again: xcf.io.to_cog(obj, {str(target)!r})"
    )
    return disk(target, advice, Exception)


def _describe(file: Any, bands: dict[str, xr.DataArray]) -> None:
    """Names, units and scales of the bands."""
    for index, (name, array) in enumerate(bands.items(), start=1):
        file.set_band_description(index, name)
        units = array.attrs.get("units")
        if isinstance(units, str):
            file.set_band_unit(index, units)
        words = {k: _text(v) for k, v in array.attrs.items() if str(k).startswith("flag_")}
        file.update_tags(index, **words)
    if any("scale_factor" in b.attrs for b in bands.values()):
        file.scales, file.offsets = zip(*map(scale_of, bands.values()), strict=True)


def _text(value: Any) -> str:
    """Numbers or words of an attribute, as text."""
    return value if isinstance(value, str) else " ".join(map(str, np.ravel(value).tolist()))


def _windows(
    bands: dict[str, xr.DataArray], dtype: np.dtype[Any]
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Windows of whole blocks with all bands, computed together, as wide as memory allows."""
    from rasterio.windows import Window

    first = next(iter(bands.values()))
    together = xr.Dataset({f"b{i}": (("y", "x"), a.data) for i, a in enumerate(bands.values())})
    rows, columns = first.shape
    height, width = _size(bands)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            part = together.isel(y=slice(top, top + height), x=slice(left, left + width)).compute()
            planes = np.empty((len(bands), *part[["b0"]].sizes.values()), dtype)
            for i, (name, array) in enumerate(bands.items()):
                planes[i] = _cast(part[f"b{i}"].values, nodata_of(array, [name]), dtype)
            yield Window(left, top, planes.shape[2], planes.shape[1]), planes


def count(bands: dict[str, xr.DataArray]) -> int:
    """Number of windows in which :func:`write` computes a file."""
    shape = next(iter(bands.values())).shape
    height, width = _size(bands)
    return int(-(-shape[0] // height) * -(-shape[1] // width))


def _size(bands: dict[str, xr.DataArray]) -> tuple[int, int]:
    """Rows and columns of a window: whole blocks, as wide as memory allows."""
    first = next(iter(bands.values()))
    lazy = [a for a in bands.values() if a.chunks is not None]
    height, width = (
        max((a.chunksizes[dim][0] for a in lazy), default=_BLOCK) for dim in first.dims
    )
    block = height * width * sum(a.dtype.itemsize for a in bands.values())
    return height, width * max(1, _WINDOW_BYTES // max(1, block))


def _cast(values: NDArray[Any], nodata: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    out = values.astype(dtype)
    if dtype.kind == "f" and nodata is not None:
        out[values == nodata] = np.nan
    return out


def _common_nodata(bands: dict[str, xr.DataArray], dtype: np.dtype[Any]) -> float | int | None:
    """No-data value of the file: NaN for floats, the common value of the bands for integers."""
    if dtype.kind == "f":
        return float("nan")
    values = [nodata_of(b, [name]) for name, b in bands.items()]
    known = {int(v) for v in values if v is not None}
    if len(known) > 1:
        raise DataError(
            f"The bands have different no-data values {sorted(known)}",
            fix="call xcf.io.to_cog(ds[['B02', ...]], path) for those that agree",
            option="name the output with the ending .zarr",
        )
    return known.pop() if known else None
