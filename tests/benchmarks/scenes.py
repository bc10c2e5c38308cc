"""Scenes of any size in stores, made block by block; and the bare loop over their windows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal

import dask
import dask.array as da
import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray

import xcloudfree as xcf
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.windows import Span, spans

Clouds = Literal["overcast", "corners"]

ATTRS = {
    "s2": {
        "units": "1", "processing_level": "TOA", "scale_factor": 1e-4, "add_offset": -0.1,
        "nodata": 0,
    },
    "s1": {"units": "dB", "quantity": "sigma0"},
}  # fmt: skip
_TEXTURE = 509

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Bands of a series."""


def scene(side: int, block: int, clouds: Clouds | NDArray[np.bool_] = "overcast") -> xr.Dataset:
    """Lazy scene (uint16 reflectance as delivered, float32 backscatter), made as it is read.

    Parameters
    ----------
    side, block : int
        Pixels along y and x, and of the blocks.
    clouds : str or ndarray of bool
        Everywhere; in a corner of an eighth of the side of every block; or where they are.
    """
    sizes = (block,) * (side // block) + ((side % block,) if side % block else ())
    mask = None
    if not isinstance(clouds, str):
        mask = da.from_array(clouds, chunks=(sizes, sizes), name=False)
    variables = {}
    for name, count, dtype, dims in (
        ("s2", 13, "uint16", ("band", "y", "x")),
        ("s1", 2, "float32", ("polarisation", "y", "x")),
    ):
        array = da.map_blocks(
            _block, *([] if mask is None else [mask[None]]), count=count, clouds=clouds
            if isinstance(clouds, str) else "", chunks=((count,), sizes, sizes), dtype=dtype,
            meta=np.empty((0, 0, 0), dtype),
        )  # fmt: skip
        variables[name] = (dims, array, ATTRS[name])
    coords = {"band": list(S2_BANDS), "polarisation": ["VV", "VH"]}
    return xr.Dataset(variables, coords)


def _smooth(rng: np.random.Generator, side: int, sigma: float) -> NDArray[np.float64]:
    """A random field of unit variance."""
    step = np.fft.fftfreq(side)
    fade = np.exp(-2 * (np.pi * sigma) ** 2 * (step[:, None] ** 2 + step**2))
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * fade).real
    return np.asarray(field / field.std())


def series(side: int, dates: int, chunk: int) -> tuple[xr.Dataset, xr.DataArray]:
    """Series as delivered, 40 % of every date under clouds of some kilometres."""
    rng = np.random.default_rng(0)
    land = [_smooth(rng, side, s) for s in (1.5, 6, 30)]
    time_ = np.datetime64("2025-01-05", "ns") + np.arange(dates) * np.timedelta64(5, "D")
    rule = {"scale_factor": 1e-4, "add_offset": 0.0, "nodata": 0, "processing_level": "BOA"}
    season = np.sin(np.arange(dates) / 11)[:, None, None]
    variables = {}
    for name in BANDS:
        base = 2000 + sum(rng.uniform(-300, 400) * p for p in land)
        values = np.clip(base + rng.uniform(100, 400) * season * (1 + 0.3 * land[1]), 1, 9000)
        variables[name] = (("time", "y", "x"), values.astype("uint16"), rule)
    for name, mean in (("VV", -11.0), ("VH", -18.0)):
        noise = rng.normal(0, 0.7, (dates, side, side))
        values = (mean + 1.5 * land[0] + season + noise).astype("float32")
        variables[name] = (("time", "y", "x"), values, {"units": "dB"})
    clouds = [_smooth(rng, side, 40) for _ in range(dates)]
    mask = np.stack([c > np.quantile(c, 0.6) for c in clouds])
    ds = xr.Dataset(variables, coords={"time": time_})
    sizes = {"time": 1, "y": chunk, "x": chunk}
    return ds.chunk(sizes), xr.DataArray(mask, dims=("time", "y", "x")).chunk(sizes)


def stored(folder: Path, ds: xr.Dataset) -> xr.Dataset:
    """A scene read from a store, as its dask blocks are written."""
    path = folder / "scene.zarr"
    with dask.config.set(scheduler="threads"):
        return xcf.io.to_zarr(ds, path, mode="overwrite", progress=False)  # type: ignore[no-any-return]


def _block(
    mask: NDArray[np.bool_] | None = None, *, count: int, clouds: str, block_info: Any = None
) -> NDArray[Any]:
    """Ground with texture, and bright cloud over it."""
    place = block_info[None]
    height, width = place["chunk-shape"][-2:]
    rng = np.random.default_rng(list(place["chunk-location"]))
    rows, columns = (rng.integers(_TEXTURE, size=n) for n in (count, count))
    out = np.empty((count, height, width), "float32" if count == 2 else "uint16")
    cloudy = np.zeros((height, width), bool) if mask is None else mask[0]
    if clouds == "overcast":
        cloudy[:] = True
    elif clouds == "corners":
        cloudy[: height // 8, : width // 8] = True
    for band in range(count):
        tile = np.roll(_texture(), (rows[band], columns[band]), (0, 1))
        values = np.tile(tile, (-(-height // _TEXTURE), -(-width // _TEXTURE)))[:height, :width]
        if count == 2:
            out[band] = values * np.float32(4) - np.float32(12 + 6 * band)
            continue
        ground, cloud = (50, 900) if S2_BANDS[band] == "B10" else (800 + 200 * band, 5500)
        reflectance = np.where(cloudy, cloud, ground) * (1 + np.float32(0.2) * values)
        out[band] = np.rint(reflectance + 1000)
    return out


@cache
def _texture() -> NDArray[np.float32]:
    """Smooth and rough noise, which compresses about as images do; from about -1 to 1."""
    rng = np.random.default_rng(0)
    rough = rng.standard_normal((_TEXTURE, _TEXTURE))
    spectrum = np.fft.rfft2(rough)
    fy, fx = np.fft.fftfreq(_TEXTURE)[:, None], np.fft.rfftfreq(_TEXTURE)[None]
    spectrum /= np.maximum(np.hypot(fy, fx), 1 / _TEXTURE)
    smooth = np.fft.irfft2(spectrum, (_TEXTURE, _TEXTURE))
    return (0.3 * smooth / smooth.std() + 0.02 * rough).astype("float32")


# ------------------------------------------------------------------ the competitor


def bare_loop(
    model: xcf.models.model.Model,
    source: Path,
    out: Path,
    block: int,
    *,
    side_by_side: int,
    rows: int | None = None,
) -> None:
    """What one would write without this library: read a window, run the network, write its core.

    No mask, no check of units, no resume, nothing flushed; the store has the layout of ours.

    Parameters
    ----------
    model : Model
        In channels-last layout.
    source, out : Path
        Stores; `out` is made by :func:`empty_like_ours`.
    block : int
        Side of what is written at a time.
    side_by_side : int
        Windows at a time; torch's threads are shared out among them.
    rows : int, optional
        How many rows of windows, from the second on; by default all from the first on.
    """
    inputs = zarr.open_group(source, mode="r")
    optical, sar = inputs["s2"], inputs["s1"]
    results = zarr.open_group(out, mode="r+")
    plan = plan_of(model, optical.shape[-1], block)
    share = max(1, torch.get_num_threads() // side_by_side)

    def one(place: tuple[Span, Span]) -> None:
        torch.set_num_threads(share)
        y, x = place
        window = (..., slice(y.read_start, y.read_stop), slice(x.read_start, x.read_stop))
        reflectance = optical[window].astype(np.float32) * np.float32(1e-4) - np.float32(0.1)
        a, b = model.normalise(reflectance[None], sar[window][None])
        with torch.inference_mode():
            a = a.contiguous(memory_format=torch.channels_last)
            guess = model.denormalise(model.network(a, b))[0, :, y.core, x.core]
        core = (..., slice(y.start, y.stop), slice(x.start, x.stop))
        numbers = np.rint((guess.astype(np.float64) + 0.1) / 1e-4)
        results["s2"][core] = np.clip(numbers, 1, 65535).astype(np.uint16)
        results["s1"][core] = sar[core]
        results["provenance"][core] = 2

    chosen = plan if rows is None else plan[1 : 1 + rows]
    places = [(y, x) for y in chosen for x in plan]
    before = torch.get_num_threads()
    if side_by_side == 1:
        for place in places:
            one(place)
    else:
        with ThreadPoolExecutor(side_by_side) as pool:
            list(pool.map(one, places))
    torch.set_num_threads(before)


def plan_of(model: xcf.models.model.Model, side: int, block: int) -> list[Span]:
    """The windows of `reconstruct` with chunks of one size."""
    chunks = (block,) * (side // block) + ((side % block,) if side % block else ())
    return spans(chunks, model.spec.reach or 0, model.spec.stride)


def empty_like_ours(ours: Path, out: Path) -> None:
    """A store with arrays laid out and compressed as in one of ours, without a block in it."""
    group, made = zarr.open_group(ours, mode="r"), zarr.open_group(out, mode="w")
    for name, array in group.arrays():
        made.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=array.chunks, shards=array.shards,
            fill_value=array.fill_value, compressors=array.compressors, filters=array.filters,
        )  # fmt: skip


def reconstruct_and_store(
    ds: xr.Dataset, out: Path, threads: int, **options: Any
) -> Callable[[], None]:
    """The library's way: one call each."""

    def work() -> None:
        with dask.config.set(scheduler="threads", num_workers=threads):
            lazy = ds.cloudfree.reconstruct(**options)
            xcf.io.to_zarr(lazy, out, mode="overwrite", progress=False)

    return work
