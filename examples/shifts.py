"""Put shifts into the radar of real pairs, and measure them: what `ds.cloudfree.shift()` is worth.

    XCLOUDFREE_DATA=... python examples/shifts.py

Each pair has a shift of its own, of which nothing is known: it is measured first, and what is
measured after a shift was put in is compared with the sum. Needs h5netcdf.
"""

import os
from pathlib import Path

import numpy as np
import rasterio
import scipy
import xarray as xr

import xcloudfree  # noqa: F401  registers ds.cloudfree

ROOT = Path(os.environ.get("XCLOUDFREE_DATA", "data"))
SHIFTS = [(3, -2), (-6, 6), (0.5, 0), (2.4, -3.7), (-1.3, 5.2), (0.3, -0.6), (6, 6)]
BORDER = 8  # pixels that no shift may bring in from beyond the image
BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11", "B12")
L1C = [1, 2, 3, 7, 8, 11, 12]  # of 13 bands
CHOSEN_ON = ("terramind_38D_378R_2_3", "terramind_637U_59R_1_3")


def read(path):
    with rasterio.open(path) as file:
        return file.read().astype("float32")


def pairs():
    """Group, name, optical bands and backscatter of real pairs."""
    for folder in sorted((ROOT / "pairs_l1c").glob("terramind*")):
        group = "TerraMesh, chosen on" if folder.name in CHOSEN_ON else "TerraMesh, others"
        yield group, folder.name, read(folder / "s2.tif")[L1C], read(folder / "s1_rtc.tif")
    for folder in sorted((ROOT / "triplets").iterdir()):
        optical = read(folder / "s2_cloudfree.tif")[L1C]
        yield "SEN12MS-CR, chosen on", folder.name, optical, read(folder / "s1.tif")
    for path in sorted((ROOT / "pairs_l2a_bigearthnet_v2").glob("*/s2.tif")):
        optical = read(path)[[1, 2, 3, 7, 8, 10, 11]]
        yield "BigEarthNet", path.parent.name, optical, read(path.parent / "s1.tif")


def scene(optical, radar):
    """A Dataset of one date."""
    inner = slice(BORDER, -BORDER)
    empty = (radar == 0).all(0)  # a border that was filled
    dims = ("time", "y", "x")
    attrs = {"units": "1", "processing_level": "BOA"}
    arrays = {
        n: (dims, 1e-4 * band[None, inner, inner], attrs)
        for n, band in zip(BANDS, optical, strict=True)
    }
    for name, band in zip(("VV", "VH"), radar, strict=True):
        arrays[name] = (dims, np.where(empty, np.nan, band)[None, inner, inner], {"units": "dB"})
    return xr.Dataset(arrays, {"time": np.array(["2020-06-01"], "datetime64[ns]")})


def measured(ds, **options):
    """Rows and columns by block, NaN where unknown, (block, 2)."""
    clear = xr.zeros_like(ds.B04, bool)
    found = ds.cloudfree.shift(mask=clear, **options)
    return np.stack([found.dy.values.ravel(), found.dx.values.ravel()], -1)


def moved(radar, shift):
    return np.stack([scipy.ndimage.shift(b, shift, order=3, mode="nearest") for b in radar])


def put_in():
    """Errors of shifts that were put in, by group."""
    rows = {}
    for group, _, optical, radar in pairs():
        own = measured(scene(optical, radar))
        for shift in SHIFTS:
            found = measured(scene(optical, moved(radar, shift)))
            error = np.hypot(*(found - own - shift).T)
            rows.setdefault(group, []).append((error, np.hypot(*own.T)))
    heads = "pairs | blocks | answered | median error | 90 % below | above 2 px | own shift, median"
    print(f"| {heads} |")
    print("|---|---|---|---|---|---|---|")
    for group, parts in rows.items():
        error, own = (np.concatenate(a) for a in zip(*parts, strict=True))
        told = error[np.isfinite(error)]
        print(
            f"| {group} | {len(error) // len(SHIFTS)} | {len(told) / len(error):.0%} | "
            f"{np.median(told):.2f} px | {np.quantile(told, 0.9):.2f} px | "
            f"{np.mean(told > 2):.1%} | {np.nanmedian(own):.1f} px |"
        )


def chance():
    """How often an answer is given where there is none: radar of another place."""
    every = [p for p in pairs() if p[2].shape[-1] >= 200]
    known = 0
    total = 0
    for k, (_, _, optical, _) in enumerate(every):
        for step, turn in ((1, 1), (5, -1)):
            other = every[(k + step) % len(every)][3][:, ::turn, ::turn]
            size = min(optical.shape[-1], other.shape[-1])
            found = measured(scene(optical[:, :size, :size], other[:, :size, :size]))
            known += np.isfinite(found[:, 0]).sum()
            total += len(found)
    print(f"\nradar of another place: {known} of {total} blocks get an answer")


def finland(path):
    """Nearly clear months, each with its radar of both orbits."""
    ds = xr.open_dataset(path)
    parts = []
    for month in ds.month_s2.values.tolist():
        image = ds.s2.sel(month_s2=month)
        if (image.sel(band_s2="CLP") > 20).mean() > 0.1:
            continue
        for hour, orbit in enumerate(("ascending", "descending")):
            names = [f"{p}_{orbit.removesuffix('ending')}" for p in ("VV", "VH")]
            radar = ds.s1.sel(month_s1=month, band_s1=names).values
            if (radar < -9000).any():
                continue
            optical = image.sel(band_s2=list(BANDS)).values.astype("float32")
            time = np.datetime64("2020-09-01", "ns") + np.timedelta64(24 * 30 * month + hour, "h")
            one = scene(optical, radar).assign_coords(time=[time])
            parts.append(one.assign_coords(orbit_state=("time", [orbit])))
    return xr.concat(parts, "time", data_vars="all", coords="minimal", compat="override")


def orbits():
    """Ascending and descending radar over Finnish forest."""
    for path in sorted((ROOT / "series" / "biomassters_finland").glob("*.nc")):
        ds = finland(path)
        clear = xr.zeros_like(ds.B04, bool)
        found = ds.cloudfree.shift(by="orbit_state", mask=clear)
        print(f"\n{path.stem}: {ds.sizes['time']} images")
        for name, one in found.groupby("orbit_state"):
            print(
                f"  {name}: dy {one.dy.values.round(1).ravel()} dx {one.dx.values.round(1).ravel()}"
            )
        out = ds.cloudfree.reconstruct(model="median", mask=clear, align="check")
        print(" ", out.provenance.attrs["radar_shift"])


if __name__ == "__main__":
    put_in()
    chance()
    orbits()
