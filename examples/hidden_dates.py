"""Hide clear dates of a real series under the clouds of other dates, and reconstruct them.

    python examples/hidden_dates.py FOLDER [FOLDER ...] --methods linear-time area-regression

A folder holds one site as NetCDF files: Sentinel-2 at 10 or 20 m with SCL, and Sentinel-1. A date
is clear where the scene classification says vegetation, bare, water or unclassified; clear dates
(less than 2 % of anything else) are hidden in turn under two real cloud masks that cover 20-90 %.
All dates within the gap around the hidden one are taken away too. Needs h5netcdf.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import xarray as xr

import xcloudfree as xcf

CLEAR = (4, 5, 6, 7)
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


def cases(series, count):
    """(date, mask): clear dates spread over the series, each under two clouds of other dates."""
    ground = series.SCL.isin(CLEAR).values
    share = 1 - ground.mean((1, 2))
    clear = np.flatnonzero(share < 0.02)
    clouds = np.flatnonzero((share >= 0.2) & (share <= 0.9))
    chosen = clear[np.unique(np.linspace(0, len(clear) - 1, count).round().astype(int))]
    rng = np.random.default_rng(0)
    for date in chosen:
        for cloud in rng.choice(clouds[clouds != date], 2, replace=False):
            yield int(date), ~ground[cloud]


def hide(series, date, mask, gap):
    """What a method may see, what is occluded, and which pixels are judged."""
    days = np.abs(series.time.values - series.time.values[date]) / np.timedelta64(1, "D")
    keep = (days > gap) | (np.arange(len(days)) == date)
    seen = series.isel(time=keep)
    ground = seen.SCL.isin(CLEAR)
    position = int(np.flatnonzero(np.flatnonzero(keep) == date)[0])
    here = xr.zeros_like(ground)
    here[position] = mask
    hidden = here & ground
    bands = [n for n in seen.data_vars if n.startswith("B")]
    for name in bands:  # what is not ground on other dates is no data; the truth is not there
        attrs = seen[name].attrs
        seen[name] = (
            seen[name].where(ground & ~hidden, 0.9 * hidden.where(hidden)).assign_attrs(attrs)
        )
    return seen.drop_vars("SCL"), hidden, position


def judge(series, method, gap, count):
    """Mean over the cases of MAE and PSNR in the hidden pixels, and seconds a case."""
    errors, seconds, missing = [], 0.0, 0.0
    for date, mask in cases(series, count):
        seen, hidden, position = hide(series, date, mask, gap)
        start = time.perf_counter()
        out = seen.cloudfree.reconstruct(model=method, mask=hidden)
        seconds += time.perf_counter() - start
        where = hidden.values[position]
        names = [n for n in seen.data_vars if n.startswith("B")]
        guess = np.stack([out[n].values[position][where] for n in names])
        truth = np.stack([series[n].values[date][where] for n in names])
        difference = np.clip(guess, 0, 1) - np.clip(truth, 0, 1)
        missing += np.isnan(difference).mean()
        errors.append((np.nanmean(np.abs(difference)), -10 * np.log10(np.nanmean(difference**2))))
    mae, psnr = np.mean(errors, axis=0)
    return mae, psnr, seconds / len(errors), missing / len(errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "--methods", nargs="+", default=["linear-time", "median+offset", "area-regression"]
    )
    parser.add_argument("--gaps", nargs="+", type=float, default=[0, 15, 30])
    parser.add_argument("--dates", type=int, default=22)
    options = parser.parse_args()
    print(
        "| site | method | "
        + " | ".join(f"gap {g:g} d: MAE / PSNR" for g in options.gaps)
        + " | s |"
    )
    for folder in options.folders:
        series = load(folder)
        for method in options.methods:
            rows = [judge(series, method, gap, options.dates) for gap in options.gaps]
            cells = " | ".join(f"{mae:.4f} / {psnr:.2f}" for mae, psnr, _, _ in rows)
            lost = max(r[3] for r in rows)
            note = f" ({lost:.1%} not reconstructed)" if lost else ""
            seconds = np.mean([r[2] for r in rows])
            label = f"| {folder.name[-12:]} | {method}{note}"
            print(f"{label} | {cells} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    assert xcf.__version__
    main()
