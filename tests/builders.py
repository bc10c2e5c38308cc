"""Scenes, series, stores and networks that several test modules build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray  # noqa: F401  registers ds.rio
import xarray as xr

from xcloudfree.core.bands import S2_BANDS

FEW = ["B02", "B8A", "VV", "VH"]
DIMS = ("time", "y", "x")

# ------------------------------------------------------------------ scenes in every accepted form


def make_bands(
    dates: int = 2, height: int = 45, width: int = 38, seed: int = 0, dtype: str = "float32"
) -> xr.Dataset:
    """Random reflectance (with a cloud) and backscatter with CRS, attributes and encodings."""
    rng = np.random.default_rng(seed)
    shape = (dates, height, width)
    cloud = np.zeros(shape, bool)
    cloud[:, height // 3 :, width // 2 :] = True
    cloud[:, : height // 5, : width // 4] = True
    variables: dict[str, xr.DataArray] = {}
    for name in S2_BANDS:
        ground = rng.uniform(0.02, 0.12, shape)
        sky = rng.uniform(0.45, 0.7, shape)
        values = np.where(cloud, sky, ground)
        if name in ("B10", "B11"):
            values = np.where(cloud, 0.06 if name == "B10" else 0.3, ground / 20)
        attrs: dict[str, object] = {"units": "1", "processing_level": "TOA", "source": "test"}
        if dtype == "uint16":
            values = np.rint((values + 0.1) * 1e4)
            attrs |= {"scale_factor": 1e-4, "add_offset": -0.1, "nodata": 0}
        variables[name] = xr.DataArray(values.astype(dtype), dims=DIMS, attrs=attrs)
    for name, mean in (("VV", -11.0), ("VH", -18.0)):
        values = rng.normal(mean, 2, shape).astype("float32")
        variables[name] = xr.DataArray(
            values, dims=DIMS, attrs={"units": "dB", "quantity": "sigma0"}
        )
    ds = xr.Dataset(
        variables,
        coords={
            "time": np.array(["2025-06-01", "2025-06-06", "2025-06-11"], "datetime64[ns]")[:dates],
            "y": 5000000.0 - 10 * np.arange(height) - 5,
            "x": 400000.0 + 10 * np.arange(width) + 5,
            "item_id": ("time", [f"S2_{i}" for i in range(dates)]),
        },
        attrs={"title": "a scene"},
    )
    return ds.rio.write_crs("EPSG:32633")


def stacked(ds: xr.Dataset) -> xr.Dataset:
    """The same scene as variables ``s2`` and ``s1``."""
    s2 = ds[list(S2_BANDS)].to_dataarray("band").transpose("time", "band", "y", "x")
    s1 = ds[["VV", "VH"]].to_dataarray("polarisation")
    return xr.Dataset(
        {
            "s2": s2.assign_attrs(ds.B02.attrs),
            "s1": s1.transpose("time", "polarisation", "y", "x").assign_attrs(ds.VV.attrs),
        },
        attrs=ds.attrs,
    )


def as_array(ds: xr.Dataset) -> xr.DataArray:
    """The same scene as one array with optical and radar bands."""
    names = [*S2_BANDS, "VV", "VH"]
    array = ds[names].to_dataarray("band").transpose("time", "band", "y", "x").rename("scene")
    declared = {k: v for k, v in ds.B02.attrs.items() if k != "units"}
    return array.assign_attrs(declared | {"units": "1", "sar_units": "dB", "title": "a scene"})


# ------------------------------------------------------------------ series with clouds


def make_series(
    height: int = 40, width: int = 33, dtype: str = "float32", dates: int = 7
) -> xr.Dataset:
    """Dates of ``make_bands`` five to seven days apart."""
    parts = [make_bands(1, height, width, seed, dtype) for seed in range(dates)]
    start = np.datetime64("2025-06-01", "ns")
    for i, part in enumerate(parts):
        parts[i] = part.assign_coords(time=[start + np.timedelta64(6 * i + i % 2, "D")])
    return xr.concat(parts, "time", data_vars="all", coords="minimal", compat="override")


def blobs(height: int = 40, width: int = 33, dates: int = 7) -> xr.DataArray:
    """A mask of smooth clouds that move from date to date."""
    t, y, x = np.mgrid[:dates, :height, :width]
    hidden = np.sin(y / 5 + 2 * t) * np.cos(x / 6 - t) > 0.3
    return xr.DataArray(hidden, dims=DIMS)


def image_with_gaps(
    seed: int, size: int = 48, bands: int = 3, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Random bands, and what is clear of them: gaps are squares of 8 pixels."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 0.5, (bands, size, size)).astype("float32")
    gaps = rng.uniform(size=(-(-size // 8), -(-size // 8))) < share
    return image, ~np.kron(gaps, np.ones((8, 8), bool))[:size, :size]


# ------------------------------------------------------------------ patches to fit a network to

QUICK = {"steps": 3, "batch": 2, "crop": 32, "progress": False}


def fields(count: int = 3, seed: int = 0) -> xr.Dataset:
    """Patches of 48 px whose reflectance follows from backscatter; cloud from column 20 on."""
    rng = np.random.default_rng(seed)
    field = np.kron(rng.integers(0, 2, (count, 6, 6)), np.ones((8, 8)))
    truth = np.repeat((0.04 + 0.08 * field)[:, None], 13, 1).astype("float32")
    truth[:, 10] = 0.002
    radar = np.stack([-18 + 10 * field, -25 + 10 * field], 1).astype("float32")
    cloudy = truth.copy()
    cloudy[..., :, 20:] = 0.7
    cloudy[:, 10, :, 20:], cloudy[:, 11, :, 20:] = 0.1, 0.4
    attrs = {"units": "1", "processing_level": "TOA"}
    dims = ("patch", "band", "y", "x")
    return xr.Dataset(
        {
            "s2": (dims, cloudy, attrs),
            "s1": (
                ("patch", "polarisation", "y", "x"),
                radar,
                {"units": "dB", "quantity": "gamma0"},
            ),
            "target": (dims, truth, attrs),
        },
        coords={"band": list(S2_BANDS), "polarisation": ["VV", "VH"]},
    )


def field_series(dates: int = 6, seed: int = 0) -> xr.Dataset:
    """One field through time; a cloud covers the right half on every other date."""
    one = fields(1, seed).isel(patch=0)
    truth, cloudy = one.target, one.s2
    images = [cloudy if i % 2 else truth + 0.002 * i for i in range(dates)]
    days = np.datetime64("2024-06-01", "ns") + 5 * np.arange(dates) * np.timedelta64(1, "D")
    coords = {"time": days, "y": 10.0 * np.arange(48)[::-1], "x": 10.0 * np.arange(48)}
    s2 = xr.concat(images, "time").transpose("time", "band", "y", "x")
    s1 = xr.concat([one.s1] * dates, "time")
    out = xr.Dataset({"s2": s2.astype("float32"), "s1": s1}).assign_coords(coords)
    out.s2.attrs, out.s1.attrs = one.s2.attrs, one.s1.attrs
    return out


def randomised(model: Any, std: float = 0.05, seed: int = 1) -> Any:
    """Give the zero-initialised last convolution weights, so that the residual says something."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for parameter in (model.network.restore.weight, model.network.restore.bias):
        with torch.no_grad():
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return model


# ------------------------------------------------------------------ files


def write_patch(root: Path, kind: str, season: str, region: int, patch: int, value: float) -> None:
    """One image of SEN12MS-CR, in its folders: band k holds ``value + k``."""
    folder = root / f"ROIs1158_{season}_{kind}" / f"{kind}_{region}"
    folder.mkdir(parents=True, exist_ok=True)
    count, dtype = (2, "float32") if kind == "s1" else (13, "uint16")
    profile = {"driver": "GTiff", "width": 256, "height": 256, "count": count, "dtype": dtype}
    name = f"ROIs1158_{season}_{kind}_{region}_p{patch}.tif"
    with rasterio.open(folder / name, "w", **profile) as file:
        for band in range(count):
            file.write(np.full((256, 256), value + band, dtype), band + 1)


RECORD = ("parameters", "dates_without_radar", "dates_without_radar_from")
"""What a result says of the call: its parameters, and what could be counted without computing."""


def without_record(out: xr.Dataset) -> xr.Dataset:
    """A result without what it says of the call."""
    bare = out.copy()
    bare["provenance"].attrs = {k: v for k, v in out.provenance.attrs.items() if k not in RECORD}
    return bare


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store."""
    files = sorted(p for p in store.rglob("*") if p.is_file())
    return {str(p.relative_to(store)): p.read_bytes() for p in files}
