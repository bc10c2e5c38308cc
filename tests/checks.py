"""The one output check that the test of every public function uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read


class CountingScheduler:
    """A dask scheduler that counts its calls."""

    def __init__(self) -> None:
        self.computes = 0

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        self.computes += 1
        return dask.get(dsk, keys, **kwargs)


@contextmanager
def no_computes() -> Iterator[None]:
    """Fail if anything computes inside."""
    scheduler = CountingScheduler()
    with dask.config.set(scheduler=scheduler):
        yield
    assert scheduler.computes == 0, f"{scheduler.computes} computes on a lazy path"


def check_kept(source: Any, result: Any) -> None:
    """Dimensions, coordinates, CRS, attributes, types and chunks of all variables survive."""
    assert type(source) is type(result)
    assert dict(source.sizes) == dict(result.sizes)
    for name, coord in source.coords.items():
        xr.testing.assert_identical(
            coord.drop_vars("provenance", errors="ignore"), _bare(result, name)
        )
    assert result.attrs == source.attrs
    assert result.rio.crs == source.rio.crs
    if isinstance(source, xr.DataArray):
        check_array(source, result)
        return
    assert set(source.data_vars) <= set(result.data_vars)
    for name in source.data_vars:
        check_array(source[name], result[name])


def check_array(source: xr.DataArray, result: xr.DataArray) -> None:
    """One array: same dims, type, attributes, encoding, chunks and kind of memory."""
    assert result.dims == source.dims
    assert result.dtype == source.dtype
    assert result.attrs == source.attrs
    assert result.name == source.name
    assert result.encoding == source.encoding
    assert result.chunks == source.chunks
    assert type(result.data) is type(source.data)


def check_plane(source: xr.DataArray, result: xr.DataArray, dtype: str) -> None:
    """A derived array (mask, score, weights): on the grid of a band, lazy where it is."""
    assert result.dims == tuple(d for d in source.dims if d != "band")
    assert result.dtype == np.dtype(dtype)
    assert result.rio.crs == source.rio.crs
    for dim in result.dims:
        if dim in source.coords:
            xr.testing.assert_identical(result[dim], source[dim])
    assert type(result.data) is type(source.data)
    if source.chunks is not None:
        assert all(result.chunksizes[d] == source.chunksizes[d] for d in result.dims)
    assert result.attrs["long_name"]


def check_scene(ds: xr.Dataset, *, level: str, lazy: bool, crs: str | None) -> None:
    """What a loader returns: declared units, one grid, lazy if it should be, ready to be masked."""
    scene = read(ds)
    assert (scene.level, scene.sar_calibration().units) == (level, "dB")
    assert scene.quantity in ("sigma0", "gamma0")
    assert scene.calibration().scale in (1.0, 1e-4)
    assert str(ds.rio.crs or None) == str(crs)
    for layer in (scene.optical, scene.sar):
        assert all((a.chunks is not None) == lazy for a in layer.arrays)
        assert layer.attribute("units") in ("1", "dB")
    with no_computes():
        mask = ds.cloudfree.mask("l2a")
    check_plane(scene.optical.arrays[0], mask, "bool")
    assert "calibrate" not in repr(ds.cloudfree)


def _bare(result: Any, name: Any) -> xr.DataArray:
    return result.coords[name].drop_vars("provenance", errors="ignore")
