"""Hide clear dates of a real series under the clouds of other dates, and reconstruct them.

    python examples/hidden_dates.py FOLDER [FOLDER ...] --methods linear-time area-regression
    python examples/hidden_dates.py FOLDER --store site.zarr; xcloudfree demo --data site.zarr

A folder holds one site as NetCDF files: Sentinel-2 at 10 or 20 m with SCL, and Sentinel-1. What is
hidden how: xcloudfree.benchmarking.hidden_dates. Needs h5netcdf.
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

import xcloudfree as xcf

HALF_WIDTH = 9.0  # days: backscatter of a date is the triangular mean of the passes around it


def load(folder):
    """Series of reflectance with SCL and backscatter on one grid, the finest there is."""
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
        stored = scene[name].transpose("time", "y", "x")
        values = stored.where(stored > 0).astype("float32") * np.float32(1e-4)
        out[name] = values.drop_attrs().assign_attrs(units="1", processing_level="BOA")
    out["SCL"] = scene["SCL"].transpose("time", "y", "x")
    for name in ("VV", "VH"):
        stored = passes[name].where(passes[name] != 0) * 1e-4
        out[name] = _onto(_around(stored, out.time), grid).astype("float32")
        out[name].attrs = {"units": "dB", "quantity": "sigma0"}
    return out


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "--methods", nargs="+", default=["linear-time", "median+offset", "area-regression"]
    )
    parser.add_argument("--gaps", nargs="+", type=float, default=[0, 15, 30])
    parser.add_argument("--dates", type=int, default=22)
    parser.add_argument("--full", action="store_true", help="hide whole images too")
    parser.add_argument("--keep", type=Path, help="folder to resume from")
    parser.add_argument("--store", type=Path, help="only write the first folder's series as Zarr")
    options = parser.parse_args()
    if options.store:
        xcf.io.to_zarr(load(options.folders[0]), options.store, mode="overwrite")
        return
    kinds = ("partial", "full") if options.full else ("partial",)
    cases = (
        case
        for folder in options.folders
        for case in xcf.benchmarking.hidden_dates(
            load(folder), region=folder.name, gaps=options.gaps, kinds=kinds, count=options.dates
        )
    )
    result = xcf.benchmark(cases, options.methods, folder=options.keep)
    for metric in ("psnr", "mae"):
        print(xcf.benchmarking.NAMES[metric], "of the hidden pixels\n")
        print(
            xcf.benchmarking.to_markdown(
                result, by=("region", "kind", "gap"), metrics=[metric], cost=metric == "psnr"
            ),
            end="\n\n",
        )


if __name__ == "__main__":
    main()
