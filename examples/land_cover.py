"""Land cover from a filled series, against land cover from its clear dates.

    python examples/land_cover.py FOLDER ... --methods kernel-fusion linear-time

A folder holds one site as examples/series_data.py reads it. The sites have no labels, so the
classes are clusters of clear dates: k-means on every other clear date, which nothing else sees. The
remaining clear dates are the features of a random forest, as they were (row "clear dates"), and
hidden under the clouds of the cloudy dates nearest to them: then filled by a method, or with the
hidden pixels left empty. The forest learns on one half of a checkerboard of blocks and maps the
other, and the other way round. Figures are means over seeds of the forest, with half their range.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from series_data import clear_by, load
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import cohen_kappa_score
from sklearn.preprocessing import StandardScaler

import xcloudfree as xcf

METHODS = ("kernel-fusion", "area-regression+nearby", "linear-time", "median")
CLEAR = 0.02  # largest hidden share of a clear date
CLOUDY = (0.3, 1.0)  # hidden share of the dates that lend their clouds
BLOCK = 8  # pixels of the side of a square of the checkerboard
CLASSES = 6
SEEDS = range(5)


def bands_of(scene):
    return [name for name in scene.data_vars if name.startswith("B")]


def split(hidden):
    """Dates of the clusters, dates of the features, and for each of these the one that hides it."""
    share = hidden.mean(["y", "x"]).values
    days = hidden.time.values
    clear = np.flatnonzero(share < CLEAR)
    lenders = np.flatnonzero((share > CLOUDY[0]) & (share <= CLOUDY[1]))
    labelled, features = clear[0::2], clear[1::2]
    free, nearest = list(lenders), []
    for date in features:  # each cloudy date lends its clouds once, as long as there are enough
        free = free or list(lenders)
        nearest.append(free.pop(int(np.abs(days[free] - days[date]).argmin())))
    return labelled, features, np.array(nearest)


def covered(scene, hidden, dates, lenders):
    """The scene and its mask, with the clouds of some dates pasted over others."""
    scene, hidden = scene.copy(deep=True), hidden.copy(deep=True)
    for date, lender in zip(dates, lenders, strict=True):
        cloud = hidden.values[lender].copy()
        for name in bands_of(scene):
            scene[name].values[date][cloud] = scene[name].values[lender][cloud]
        hidden.values[date] |= cloud
    return scene, hidden


def table(scene, times, where=None):
    """Features of every pixel (y * x, band * time), NaN where `where` is True."""
    values = scene[bands_of(scene)].sel(time=times).to_dataarray("band")
    values = values.transpose("y", "x", "band", "time").values
    if where is not None:
        empty = where.sel(time=times).transpose("y", "x", "time").values
        values = np.where(empty[:, :, None], np.nan, values)
    return values.reshape(values.shape[0] * values.shape[1], -1)


def clusters(features):
    """Class of every pixel."""
    scaled = StandardScaler().fit_transform(features)
    return KMeans(CLASSES, n_init=10, random_state=0).fit_predict(scaled)


def checkerboard(shape):
    rows, columns = np.indices(shape) // BLOCK
    return ((rows + columns) % 2).astype(bool).ravel()


def mapped(features, classes, board, seed):
    """Class of every pixel by a forest that learned from the other half of the board."""
    made = np.empty_like(classes)
    for half in (board, ~board):
        forest = RandomForestClassifier(200, random_state=seed, n_jobs=1, min_samples_leaf=2)
        made[~half] = forest.fit(features[half], classes[half]).predict(features[~half])
    return made


def compare(ways, classes, board, seeds=SEEDS):
    """By way: accuracy and kappa against the classes, and agreement with the first way, by seed."""
    first, *_ = ways
    maps = {w: [mapped(f, classes, board, s) for s in seeds] for w, f in ways.items()}
    return {
        way: np.array(
            [
                [
                    (made == classes).mean(),
                    cohen_kappa_score(made, classes),
                    (made == clear).mean(),
                ]
                for made, clear in zip(found, maps[first], strict=True)
            ]
        )
        for way, found in maps.items()
    }


def site(folder, methods):
    """Features of a site by way, its classes, and words about both."""
    scene = load(folder)
    scene = xcf.join_passes(scene)
    hidden = scene.cloudfree.mask(clear_by(scene)).compute()
    labelled, features, lenders = split(hidden)
    days = scene.time.values
    classes = clusters(table(scene, days[labelled]))
    kept = np.setdiff1d(np.arange(days.size), labelled)  # nobody sees the dates of the clusters
    cloudy, mask = covered(scene, hidden, features, lenders)
    cloudy, mask, times = cloudy.isel(time=kept), mask.isel(time=kept), days[features]
    ways = {
        "clear dates": table(scene, times),
        "hidden pixels left empty": table(cloudy, times, mask),
    }
    for name in methods:
        out = cloudy.cloudfree.reconstruct(name, mask=mask)
        ways[f"filled by {name}"] = table(out, times)
    share = float(mask.sel(time=times).mean())
    words = (
        f"{Path(folder).name}: {classes.size} pixels, {features.size} dates of features, "
        f"{share:.0%} hidden; {labelled.size} other clear dates make {CLASSES} clusters"
    )
    return ways, classes, checkerboard((scene.sizes["y"], scene.sizes["x"])), words


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for folder in options.folders:
        ways, classes, board, words = site(folder, options.methods)
        print(f"{words}\n\n| features | accuracy % | kappa | agreement with clear dates % |")
        print("|---|---|---|---|")
        for way, found in compare(ways, classes, board).items():
            right, kappa, same = found.mean(0)
            spread = 100 * np.ptp(found[:, 0]) / 2
            agreement = "" if way == "clear dates" else f"{100 * same:.1f}"
            print(f"| {way} | {100 * right:.1f} ± {spread:.1f} | {kappa:.2f} | {agreement} |")
        print(flush=True)


if __name__ == "__main__":
    main()
