"""Read the real series that the examples judge on, each as one Dataset of Level-2A reflectance.

Below $XCLOUDFREE_DATA/series: WorldCereal sites (Sentinel-2 with SCL, Sentinel-1 of many passes),
June 2022 near Bolzano (four bands with SCL, no radar), BioMassters chips of Finland (one date a
month, cloud probability, radar), ten-day composites of Tervuren (cloud is no data; radar) and
Boadella (twelve bands, no radar, no mask). Needs h5netcdf and rioxarray.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import rioxarray
import xarray as xr

HALF_WIDTH = 9.0  # days: backscatter of a date is the triangular mean of the passes around it
UNSURE = 20  # percent of cloud probability from which a pixel of Finland counts as cloud
SURFACE = {"units": "1", "processing_level": "BOA"}
RADAR = {"units": "dB", "quantity": "sigma0"}


def load(folder):
    """Series of reflectance, backscatter and mask where there is one, on the finest grid."""
    name = Path(folder).name
    if name.startswith("bolzano"):
        return _bolzano(folder)
    if name.startswith("boadella"):
        return _boadella(folder)
    if name.startswith("tervuren"):
        return _tervuren(folder)
    if Path(folder).suffix == ".nc":
        return _finland(folder)
    return _worldcereal(folder)


def clear_by(series):
    """What says where a series shows the ground, as `clear` of hidden_dates takes it."""
    if "SCL" in series:
        return "scl"
    if "CLP" in series:
        return ~(series.CLP <= UNSURE)
    bands = series[[name for name in series if name.startswith("B")]].to_dataarray("band")
    without = bands.isnull().any("band")
    return without if without.any() else "l2a"


def _worldcereal(folder):
    found = {}
    for path in sorted(Path(folder).glob("*.nc")):
        ds = xr.open_dataset(path, mask_and_scale=False).rename(timestamp="time").load()
        found["s1" if path.name.startswith("S1") else path.name.split("_")[2]] = ds
    passes, coarse = found.pop("s1"), found.get("20m")
    grid = found.get("10m", coarse)
    layers = [_onto(ds, grid) for ds in found.values()]
    scene = xr.merge(
        [ds.drop_vars("spatial_ref") for ds in layers], compat="override", join="exact"
    )
    bands = [n for n in scene.data_vars if n.startswith("B")]
    out = xr.Dataset(coords={c: scene[c] for c in ("time", "y", "x")})
    for name in bands:
        out[name] = _reflectance(scene[name].transpose("time", "y", "x"))
    out["SCL"] = scene["SCL"].transpose("time", "y", "x")
    for name in ("VV", "VH"):
        stored = passes[name].where(passes[name] != 0) * 1e-4
        out[name] = _onto(_around(stored, out.time), grid).astype("float32")
        out[name].attrs = RADAR
    return out


def _bolzano(folder):
    (path,) = Path(folder).glob("*.nc")
    scene = xr.open_dataset(path, mask_and_scale=False).rename(t="time").load()
    bands = {name: _reflectance(scene[name]) for name in ("B02", "B03", "B04", "B08")}
    return xr.Dataset({**bands, "SCL": scene.SCL.drop_attrs()}).rio.write_crs(scene.attrs["crs"])


def _boadella(folder):
    images = {}
    for path in sorted(Path(folder).glob("*.tif")):
        image = rioxarray.open_rasterio(path, mask_and_scale=False).load()
        images[pd.Timestamp(path.stem.split("_")[1])] = image.assign_coords(
            band=list(image.attrs["long_name"])
        )
    stack = xr.concat(list(images.values()), pd.Index(images, name="time"), join="override")
    return xr.Dataset(
        {str(b): _reflectance(stack.sel(band=b, drop=True)) for b in stack.band.values}
    )


def _tervuren(folder):
    (path,) = Path(folder).glob("*.nc")
    scene = xr.open_dataset(path, mask_and_scale=False).rename(t="time").load()
    out = {}
    for name in scene.data_vars:
        band = name.rsplit("-", 1)[-1]
        if name.startswith("S2"):
            out[band] = _reflectance(scene[name].where(scene[name] < 65535))
        elif name.startswith("S1"):
            stored = scene[name].where((scene[name] < 65535) & (scene[name] > 0))
            out[band] = (20 * np.log10(stored) - 83).astype("float32").assign_attrs(RADAR)
    return xr.Dataset(out).rio.write_crs(scene.attrs["crs"])


def _finland(path):
    chip = xr.open_dataset(path).load()
    months = pd.date_range("2020-09-01", periods=12, freq="MS")  # the days are not known
    optical = chip.s2.rename(month_s2="time").assign_coords(time=months[chip.month_s2.values])
    radar = chip.s1.rename(month_s1="time").assign_coords(time=months[chip.month_s1.values])
    radar = radar.where(radar > -9999).sel(time=optical.time)
    grid = {"y": -10.0 * np.arange(chip.sizes["y"]), "x": 10.0 * np.arange(chip.sizes["x"])}
    bands = [str(b) for b in chip.band_s2.values if b != "CLP"]
    out = {band: _reflectance(optical.sel(band_s2=band, drop=True)) for band in bands}
    out["CLP"] = optical.sel(band_s2="CLP", drop=True)
    for name in ("VV", "VH"):
        out[name] = radar.sel(band_s1=f"{name}_asc", drop=True).assign_attrs(RADAR)
    return xr.Dataset(out).assign_coords(grid)


def _reflectance(stored):
    values = stored.where(stored > 0).astype("float32") * np.float32(1e-4)
    return values.drop_attrs().assign_attrs(SURFACE)


def _around(passes, times):
    distance = np.abs(times.values[:, None] - passes.time.values) / np.timedelta64(1, "D")
    weight = np.maximum(0, 1 - distance / HALF_WIDTH)
    empty = weight.sum(1) == 0
    weight[empty, distance[empty].argmin(1)] = 1
    known = passes.notnull().values
    power = np.where(known, 10 ** (passes.values / 10), 0)
    mean = np.tensordot(weight, power, 1) / np.tensordot(weight, known.astype(float), 1)
    return xr.DataArray(
        10 * np.log10(mean), dims=passes.dims, coords={**passes.coords, "time": times}
    )


def _onto(data, grid):
    """Repeat coarse pixels: the grids share their corner."""
    if data.sizes["y"] == grid.sizes["y"]:
        return data.assign_coords(y=grid.y, x=grid.x)
    fold = grid.sizes["y"] // data.sizes["y"]
    index = {d: np.arange(grid.sizes[d]) // fold for d in ("y", "x")}
    return data.isel(index).assign_coords(y=grid.y, x=grid.x)
