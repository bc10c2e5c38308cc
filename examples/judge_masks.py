"""What masks find again of the cloud that is taken away from the scene classification.

    python examples/judge_masks.py FOLDER [FOLDER ...]

A folder holds one site as examples/series_data.py reads it. From the classes 3, 8, 9 and 10
(shadow, cloud, cirrus) are taken away: rims of 1, 2 and 4 pixels; all of every fourth partly cloudy
date; all of every sixth date that is over 90 % hidden. "found" is the share of what was taken away
that the series finds again, "clear lost" the share of the ground (classes 4, 5, 6) of dates
without cloud that it hides. These classes are no truth: some of their clear dates lie under
haze, and much of their cirrus (10) changes no reflectance.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy
from series_data import load

import xcloudfree as xcf  # noqa: F401  registers ds.cloudfree

CLOUD, GROUND, CIRRUS = [3, 8, 9, 10], [4, 5, 6], 10
DROPPED = 0
"""Class that stands for what was taken away: no data, which counts as clear."""


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    print(
        "| site | taken away | found | found without cirrus | clear lost |\n|---|---|---|---|---|"
    )
    for folder in parser.parse_args().folders:
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
