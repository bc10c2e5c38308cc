"""What masks find again of the cloud that is taken away from the scene classification.

    python examples/judge_masks.py FOLDER [FOLDER ...]
    python examples/judge_masks.py FOLDER [FOLDER ...] --methods kernel-fusion median linear-time

A folder holds one site as examples/series_data.py reads it. From the classes 3, 8, 9 and 10
(shadow, cloud, cirrus) are taken away: rims of 1, 2 and 4 pixels; all of every fourth partly cloudy
date; all of every sixth date that is over 90 % hidden. "found" is the share of what was taken away
that the series finds again, "clear lost" the share of the ground (classes 4, 5, 6) of dates
without cloud that it hides. These classes are no truth: some of their clear dates lie under
haze, and much of their cirrus (10) changes no reflectance.

With --methods: clear dates get the clouds of other dates, with their values; then rims of 2 pixels
are taken away on all dates, and the methods fill under the mask that the series makes of the rest.
Beside it stands the PSNR of the same pixels where all that is no ground is hidden, under SCL as
it was, and under SCL without rims.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy
from series_data import load

import xcloudfree as xcf  # noqa: F401  registers ds.cloudfree

CLOUD, GROUND, CIRRUS = [3, 8, 9, 10], [4, 5, 6], 10
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
    shown = ds.SCL.isin(GROUND).values
    share = 1 - shown.mean((1, 2))
    clear, cloudy = np.flatnonzero(share < 0.02), np.flatnonzero((share > 0.2) & (share < 0.9))
    bands = [name for name in ds if name.startswith("B")]
    for number, date in enumerate(clear[np.linspace(0, len(clear) - 1, dates).round().astype(int)]):
        donor = ds.isel(time=cloudy[number * 7 % len(cloudy)], drop=True)
        cover = (ds.time == ds.time[date]) & ~donor.SCL.isin(GROUND)
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
        classes = ds.SCL
        clear_dates = classes.isin([1, 2, 7, *CLOUD]).mean(["y", "x"]).values < 0.02
        ground = classes.isin(GROUND).values
        for name, taken in protocols(classes):
            given = classes.where(~taken, DROPPED).astype("uint8")
            mask = ds.assign(SCL=given).cloudfree.mask("scl+series").values
            sure = taken & (classes != CIRRUS).values
            found = [f"{mask[w].mean():.3f}" if w.any() else "-" for w in (taken, sure)]
            lost = mask[ground & clear_dates[:, None, None]].mean()
            print(f"| {folder.name} | {name} | {' | '.join(found)} | {lost:.3f} |", flush=True)


if __name__ == "__main__":
    main()
