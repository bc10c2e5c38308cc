"""What masks find again of the cloud that is taken away from the scene classification.

    python examples/judge_masks.py FOLDER [FOLDER ...]
    python examples/judge_masks.py FOLDER [FOLDER ...] --methods kernel-fusion median linear-time

A folder holds one site as examples/series_data.py reads it. Three tables are printed:

* From the classes 3, 8, 9 and 10 (shadow, cloud, cirrus) are taken away: rims of 1, 2 and 4 pixels;
  all of every fourth partly cloudy date; all of every sixth date that is over 90 % hidden. "found"
  is the share of what was taken away that the series finds again, "clear lost" the share of the
  ground (classes 4, 5, 6) of dates without cloud that it hides. These classes are no truth: some of
  their clear dates lie under haze, and much of their cirrus (10) changes no reflectance.
* "bright" is the share of pixels left clear whose shortest band is more than 1.5 times the median
  of the pixel's ground within 60 days, and the same for the ground of dates without cloud;
  "lost" the share of harvested fields that is hidden on the date that first shows them bare: of
  the fields of 20 pixels and more whose NDVI falls by 0.2 between two dates that are at least 70 %
  ground and stays as low on the next two, the 20 largest.
* Simulated skies of 24 dates, seeds 3 to 7: the share found of what changes reflectance by
  more than 0.03, and the share hidden of what changes it by less than 0.01.

With --methods, instead: clear dates get clouds and shadows of other dates, with their values; then
rims of 2 pixels are taken away on all dates, and the methods fill under the mask that the series
makes of the rest. Beside it stands the PSNR of the same pixels where all that is no ground is
hidden, under SCL as it was, and under SCL without rims.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import scipy
from series_data import load

import xcloudfree as xcf

CLOUD, GROUND, CIRRUS = [3, 8, 9, 10], [4, 5, 6], 10
OPAQUE = [3, 8, 9]
"""Classes that show little of the ground below. Much of classes 7 and 10 is clear ground."""
DROPPED = 4
"""Class of what was taken away: vegetation."""


def protocols(classes):
    """Name, what is taken away from the classes."""
    cloud = classes.isin(CLOUD).values
    share = cloud.mean((1, 2))
    yield "nothing", np.zeros_like(cloud)
    for rim in (1, 2, 4):
        inner = scipy.ndimage.binary_erosion(
            cloud, np.ones((1, 3, 3)), iterations=rim, border_value=1
        )
        yield f"rim of {rim} px", cloud & ~inner
    for name, dates in (
        ("whole clouds", np.flatnonzero((share > 0.05) & (share < 0.9))[::4]),
        ("overcast dates", np.flatnonzero(share > 0.9)[::6]),
    ):
        taken = np.zeros_like(cloud)
        taken[dates] = cloud[dates]
        yield name, taken


def eroded(classes, pixels):
    """Classes of which the rims of cloud and shadow, so many pixels wide, were taken away."""
    cloud = classes.isin(CLOUD).values
    inner = scipy.ndimage.binary_erosion(
        cloud, np.ones((1, 3, 3)), iterations=pixels, border_value=1
    )
    return classes.where(~cloud | inner, DROPPED).astype("uint8")


def under_clouds(ds, dates):
    """Clear dates in turn, each under the clouds of a date that is partly cloudy."""
    clear = np.flatnonzero((~ds.SCL.isin(GROUND)).values.mean((1, 2)) < 0.02)
    share = ds.SCL.isin(OPAQUE).values.mean((1, 2))
    cloudy = np.flatnonzero((share > 0.2) & (share < 0.9))
    bands = [name for name in ds if name.startswith("B")]
    for number, date in enumerate(clear[np.linspace(0, len(clear) - 1, dates).round().astype(int)]):
        donor = ds.isel(time=cloudy[number * 7 % len(cloudy)], drop=True)
        cover = (ds.time == ds.time[date]) & donor.SCL.isin(OPAQUE)
        laid = {name: ds[name].where(~cover, donor[name]) for name in bands}
        laid = {name: values.assign_attrs(ds[name].attrs) for name, values in laid.items()}
        laid["SCL"] = ds.SCL.where(~cover, donor.SCL).astype("uint8")
        yield date, ds.assign(laid), cover


def reconstructed(ds, methods, dates):
    """PSNR of what was under the clouds, by method and mask."""
    error = {}
    for date, sky, cover in under_clouds(ds, dates):
        for method in methods:
            for name, data, mask in (
                ("all but ground", sky, ~sky.SCL.isin(GROUND)),
                ("scl", sky, "scl"),
                ("scl, rims missed", sky.assign(SCL=eroded(sky.SCL, 2)), "scl"),
                ("scl+series, rims missed", sky.assign(SCL=eroded(sky.SCL, 2)), "scl+series"),
            ):
                out = data.cloudfree.reconstruct(method, mask=mask)
                bands = [name for name in out.data_vars if name.startswith("B")]
                wrong = (out[bands] - ds[bands]).isel(time=date).to_dataarray()
                hidden = cover.isel(time=date) & ds.SCL.isel(time=date).isin(GROUND)
                error.setdefault((method, name), []).append(
                    -10 * np.log10(float((wrong.where(hidden) ** 2).mean()))
                )
    return {key: float(np.mean(values)) for key, values in error.items()}


def cloudless(classes):
    """Dates whose classes have hardly any cloud, nor any that may be."""
    return classes.isin([1, 2, 7, *CLOUD]).mean(["y", "x"]).values < 0.02


def bright(ds, hidden):
    """Share of pixels left clear that are brighter than the ground near in time."""
    shortest = ds[next(name for name in ds if name.startswith("B"))].values
    ground = np.where(ds.SCL.isin(GROUND), shortest, np.nan)
    days = ds.time.values.astype("datetime64[D]").astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pixel without ground has no median
        usual = [np.nanmedian(ground[abs(days - day) <= 60], axis=0) for day in days]
    shown = ~hidden & np.isfinite(shortest)
    return (shown & (shortest > 1.5 * np.array(usual))).sum() / shown.sum()


def harvests(ds, most=20):
    """Date and pixels of fields that lose their plants for good, the largest ones."""
    red, infrared = (ds["B04" if "B04" in ds else "B05"].values, ds.B8A.values)
    ndvi = (infrared - red) / (infrared + red)
    ground = ds.SCL.isin(GROUND).values
    clear = np.flatnonzero(ground.mean((1, 2)) > 0.7)
    days = ds.time.values.astype("datetime64[D]").astype(int)
    found = []
    for before, date, *after in zip(clear, clear[1:], clear[2:], clear[3:], strict=False):
        fallen = (ndvi[date] < ndvi[before] - 0.2) & (days[date] - days[before] <= 40)
        fallen &= ground[before] & ground[date]
        for later in after:
            fallen &= ground[later] & (ndvi[later] < ndvi[date] + 0.1)
        fields, count = scipy.ndimage.label(scipy.ndimage.binary_opening(fallen))
        found += [(date, fields == number) for number in range(1, count + 1)]
    found = [(date, field) for date, field in found if field.sum() >= 20]
    return sorted(found, key=lambda change: -change[1].sum())[:most]


def judge_changes(folders):
    print("| site | bright | of clear dates | harvests | lost |\n|---|---|---|---|---|")
    for folder in folders:
        ds = load(folder)
        hidden = ds.cloudfree.mask().values
        clear_dates = ~(cloudless(ds.SCL)[:, None, None] & ds.SCL.isin(GROUND).values)
        cells = [f"{bright(ds, where):.2%}" for where in (hidden, clear_dates)]
        fields = harvests(ds) if "B8A" in ds else []
        lost = [hidden[date][field].mean() for date, field in fields]
        cells += [f"{len(fields)}", f"{np.mean(lost):.1%}" if fields else "-"]
        print(f"| {folder.name} | {' | '.join(cells)} |", flush=True)


def judge_skies():
    bands = {"all": None, "B02 B03 B04 B08": ["B02", "B03", "B04", "B08"]}
    print("| bands | seed | found | clear lost | |\n|---|---|---|---|---|")
    for seed in range(3, 8):
        options = {"dates": 24, "cover": 0.4, "seed": seed}
        make = xcf.datasets.simulate_scene, xcf.datasets.simulate_truth
        sky, ground = (function((96, 96), **options) for function in make)
        change = abs(sky - ground)[["B02", "B04", "B08", "B11"]].to_dataarray().max("variable")
        for name, chosen in bands.items():
            mask = sky[chosen or list(sky)].cloudfree.mask()
            found, lost = (float(mask.where(w).mean()) for w in (change > 0.03, change < 0.01))
            print(f"| {name} | {seed} | {found:.3f} | {lost:.3f} | {mask.method} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", help="judge what is filled under the masks")
    parser.add_argument("--dates", type=int, default=6)
    options = parser.parse_args()
    if options.methods:
        print("| site | method | mask | PSNR (dB) |\n|---|---|---|---|")
        for folder in options.folders:
            means = reconstructed(load(folder), options.methods, options.dates)
            for (method, name), mean in means.items():
                print(f"| {folder.name} | {method} | {name} | {mean:.2f} |", flush=True)
        return
    print(
        "| site | taken away | found | found without cirrus | clear lost |\n|---|---|---|---|---|"
    )
    for folder in options.folders:
        ds = load(folder)
        classes, clear_dates = ds.SCL, cloudless(ds.SCL)
        ground = classes.isin(GROUND).values
        for name, taken in protocols(classes):
            given = classes.where(~taken, DROPPED).astype("uint8")
            mask = ds.assign(SCL=given).cloudfree.mask("scl+series").values
            sure = taken & (classes != CIRRUS).values
            found = [f"{mask[w].mean():.3f}" if w.any() else "-" for w in (taken, sure)]
            lost = mask[ground & clear_dates[:, None, None]].mean()
            print(f"| {folder.name} | {name} | {' | '.join(found)} | {lost:.3f} |", flush=True)
    judge_changes(options.folders)
    judge_skies()


if __name__ == "__main__":
    main()
