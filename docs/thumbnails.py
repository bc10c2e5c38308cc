"""Draw the thumbnails of docs/gallery.md on a simulated season: ``python docs/thumbnails.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

import xcloudfree as xcf

FOLDER = Path(__file__).parent / "images/gallery"
SIZE = (3.2, 2.2)
"""Width and height in inches, at 100 dots each."""
DAYS = list(pd.date_range("2025-04-02T10:06", "2025-09-20", freq="9D"))
COVER = [0.0, 0.6, 0.3, 0.9, 0.1, 0.5, 0.7, 0.05, 0.4, 0.95] * 2
PIXELS = (160, 240)
SHOWN = 5
"""Number of the date that single images show."""


class Season:
    """The simulated season, its mask and its reconstruction."""

    def __init__(self) -> None:
        options = {"dates": DAYS, "cover": COVER[: len(DAYS)], "seed": 4, "level": "BOA"}
        self.scene = xcf.datasets.simulate_scene(PIXELS, **options)
        self.mask = self.scene.cloudfree.mask("l2a+series", dilate=3, shadow=True)
        self.out = self.scene.cloudfree.reconstruct(mask=self.mask, uncertainty=True)
        self.place = (20, 40)

    def colours(self, image: xr.Dataset) -> np.ndarray:
        """Red, green and blue of one date, all under one stretch."""
        planes = image[list(xcf.bands.RGB)].to_dataarray("band").transpose("y", "x", "band")
        return np.clip(planes.values / 0.22, 0, 1) ** 0.8

    def before_and_after(self) -> np.ndarray:
        """The left half of the cloudy image beside the right half of the reconstruction."""
        image = self.colours(self.scene.isel(time=SHOWN))
        half = image.shape[1] // 2
        image[:, half:] = self.colours(self.out.isel(time=SHOWN))[:, half:]
        return image


def remove_clouds(season: Season, ax: Axes) -> None:
    """Left half before, right half after."""
    ax.imshow(season.before_and_after())
    ax.axvline(PIXELS[1] / 2, color="white", lw=1.5)


def mask(season: Season, ax: Axes) -> None:
    """The outline of the mask on the cloudy image."""
    ax.imshow(season.colours(season.scene.isel(time=SHOWN)))
    hidden = season.mask.isel(time=SHOWN).values.astype(float)
    ax.contour(hidden, levels=[0.5], colors="#ddaa33", linewidths=1)


def catalog(season: Season, ax: Axes) -> None:
    """The radar of the pass next to the date."""
    radar = season.scene[["VV", "VH"]].isel(time=SHOWN).to_dataarray("band").values
    radar = np.stack([*radar, radar[0] - radar[1]])
    limits = xcf.plot.percentile_limits(radar.reshape(3, -1))
    ax.imshow(xcf.plot.stretch(radar, limits))


def ndvi(season: Season, ax: Axes) -> None:
    """The curve of one place, with its deviation."""
    y, x = season.place
    made = season.out.isel(y=slice(y, y + 1), x=slice(x, x + 1)).cloudfree.indices("NDVI")
    made = made.squeeze(["y", "x"])
    time, value, spread = made.time.values, made.NDVI.values, made.NDVI_std.fillna(0).values
    filled = made.provenance.values == 2
    ax.fill_between(time, value - spread, value + spread, color="#ddaa33", alpha=0.35, lw=0)
    ax.plot(time, value, color="0.6", lw=1)
    ax.plot(time[~filled], value[~filled], "o", ms=4, color="#4477aa")
    ax.plot(time[filled], value[filled], "o", ms=4, mfc="white", mec="#ddaa33")
    ax.spines[["top", "right"]].set_visible(False)


def months(season: Season, ax: Axes) -> None:
    """Two monthly mosaics beside each other."""
    maps = season.out.cloudfree.composite("MS", method="geomedian", fill=True)
    half = PIXELS[1] // 2
    halves = [season.colours(maps.isel(time=n))[:, :half] for n in (0, 4)]
    ax.imshow(np.concatenate(halves, axis=1))
    ax.axvline(half, color="white", lw=1.5)


def clear_days(season: Season, ax: Axes) -> None:
    """The share of clear pixels of each date."""
    share = 1 - season.mask.mean(["y", "x"]).values
    ax.bar(range(share.size), share, color="#4477aa")
    ax.bar(range(share.size), 1 - share, bottom=share, color="#cccccc")
    ax.spines[["top", "right", "left"]].set_visible(False)


def judge(season: Season, ax: Axes) -> None:
    """The error of each model on hidden ground of the scene itself."""
    models = ["linear-time", "median", "area-regression", "kernel-fusion"]
    hidden = {"mask": season.mask, "gaps": [0], "cases": 3, "progress": False}
    table = season.scene.cloudfree.judge(models, **hidden)
    errors = table.psnr.sel(distance="any", band="all").isel(gap=0).to_series().sort_values()
    ax.barh(range(errors.size), errors.values, color="#4477aa")
    for number, name in enumerate(errors.index):
        ax.text(0.5, number, name, va="center", color="white", fontsize=8)
    ax.spines[["top", "right", "bottom"]].set_visible(False)


def reliable(season: Season, ax: Axes) -> None:
    """The standard deviation of one date."""
    spread = season.out.B08_std.isel(time=SHOWN)
    ax.set_facecolor("#4477aa")
    ax.imshow(spread, cmap="magma", vmin=0, vmax=float(spread.quantile(0.98)))


def blocks(season: Season, ax: Axes) -> None:
    """Provenance, with the borders of the blocks."""
    made = season.out.provenance.isel(time=SHOWN).values == 2
    ax.imshow(np.where(made[..., None], [0.87, 0.67, 0.2], [0.27, 0.47, 0.67]))
    for edge in range(40, PIXELS[1], 40):
        ax.axvline(edge, color="white", lw=0.7)
        ax.axhline(edge, color="white", lw=0.7)
    ax.set(xlim=(0, PIXELS[1]), ylim=(PIXELS[0], 0))


def any_time(season: Season, ax: Axes) -> None:
    """Images of a small place every 20 days, as a film strip."""
    near = season.scene.isel(y=slice(0, 64), x=slice(0, 64))
    hidden = season.mask.isel(y=slice(0, 64), x=slice(0, 64))
    cube = near.cloudfree.reconstruct(times="20D", mask=hidden)
    images = [season.colours(cube.isel(time=n))[:44] for n in range(8)]
    rows = [np.concatenate(images[k : k + 4], axis=1) for k in (0, 4)]
    ax.imshow(np.concatenate(rows))


THUMBNAILS = {f.__name__: f for f in (
    remove_clouds, mask, catalog, ndvi, months, any_time,
    clear_days, judge, reliable, blocks,
)}  # fmt: skip
"""Function that draws each thumbnail, by the name of its file."""


def main(folder: Path = FOLDER) -> None:
    """Write all thumbnails."""
    season = Season()
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in THUMBNAILS.items():
        figure, ax = plt.subplots(figsize=SIZE)
        figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
        draw(season, ax)
        ax.set(xticks=[], yticks=[])
        if not ax.images:
            figure.subplots_adjust(0.06, 0.08, 0.94, 0.92)
        else:
            ax.set_axis_off()
            ax.set_aspect("auto")
        figure.savefig(folder / f"{name}.jpg", dpi=100, pil_kwargs={"quality": 85})
        plt.close(figure)


if __name__ == "__main__":
    main()
