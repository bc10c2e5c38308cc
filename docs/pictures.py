"""Draw the pictures of the README and of docs: ``python docs/pictures.py``.

Those of real series need XCLOUDFREE_DATA, and are left as they are without.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import xcloudfree as xcf
from xcloudfree.core.windows import Span, span

IMAGES = Path(__file__).parent / "images"
RESULTS = Path(__file__).parent / "results.md"
SIDE = 320
BLOCK = (112, 208)
SEED = 5
SITE = "worldcereal_00002806639B424A"
ALPS = "bolzano_2022"
CLOUDY = ("2022-06-07", "2022-06-15", "2022-06-22")
"""Dates of the Alps that are drawn before and after: overcast, partly clouded, overcast."""
EVERY = 14
"""Cases of the protocol that are drawn: the first, and each so many after it."""
SHOWN = ("geomedian", "area-regression+nearby")
DRAWN = {
    "kernel-fusion": "#332288",
    "area-regression+nearby": "#aa3377",
    "area-regression": "#ee6677",
    "starfm": "#4477aa",
    "geomedian+offset": "#228833",
    "geomedian": "#228833",
    "linear-time": "#66ccee",
    "regression-kriging": "#ccbb44",
    "clear mean": "#999999",
}
"""Methods of the picture of gaps: the best of each family, and the mean."""
DAYS = (0, 15, 30)


def differences() -> dict[str, np.ndarray]:
    """Largest difference over bands between a block and the whole, by what is read for it."""
    model = xcf.models.load("carf-small-demo")
    read = _window()
    ways = {
        "reach, on the grid": read,
        "no halo": span(*BLOCK, SIDE, halo=0, stride=model.spec.stride),
        "reach, 2 px off the grid": Span(*BLOCK, read.read_start + 2, read.read_stop + 2),
    }
    whole = _output(model, slice(0, SIDE))[:, slice(*BLOCK), slice(*BLOCK)]
    out = {}
    for name, way in ways.items():
        block = _output(model, slice(way.read_start, way.read_stop))[:, way.core, way.core]
        out[name] = np.abs(block - whole).max(0) / whole.std()
    return out


def halo(path: Path) -> None:
    """What is read for a block, and what comes out if less is read or from elsewhere."""
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.3), layout="constrained")
    _plan(axes[0], _window(), xcf.models.load("carf-small-demo").spec.stride)
    for ax, (title, wrong) in zip(axes[1:], differences().items(), strict=True):
        shown = ax.imshow(wrong, cmap="magma", vmin=0, vmax=0.5)
        ax.set_title(f"{title}\n{np.mean(wrong > 0):.0%} of the pixels differ", fontsize=10)
        ax.set_xticks([])
        ax.set_yticks([])
    bar = figure.colorbar(shown, ax=axes[1:], shrink=0.8, extend="max")
    bar.set_label("difference to the whole,\nby its standard deviation")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table_of_gaps(text: str, kind: str) -> dict[str, list[float]]:
    """PSNR by method and gap, of the first table of means below a heading of the page.

    Parameters
    ----------
    text : str
        The page.
    kind : str
        How the heading begins.

    Returns
    -------
    dict
    """
    _, _, below = text.partition(f"\n### {kind}")
    lines = below[below.index("| method") :].split("\n\n")[0].splitlines()
    head, *rows = ([cell.strip(" *") for cell in line.split("|")[1:-1]] for line in lines)
    chosen = [i for i, name in enumerate(head) if name.endswith("PSNR dB")]
    return {row[0]: [float(row[i].split()[0]) for i in chosen] for row in rows[1:]}


def gaps(path: Path) -> None:
    """What methods without weights lose where no date near the hidden one is known."""
    text = RESULTS.read_text()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    titles = {"Hidden under clouds": "partly hidden", "Hidden wholly": "wholly hidden"}
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        found = table_of_gaps(text, kind)
        for name, colour in DRAWN.items():
            if name in found:
                style = {"lw": 2.5 if name == "kernel-fusion" else 1.5, "marker": "o", "ms": 4}
                style["ls"] = "--" if name.endswith("+offset") else "-"
                ax.plot(DAYS, found[name], color=colour, label=name, **style)
        ax.set(xlabel="days without observation before and after", xticks=DAYS)
        ax.set_title(title, fontsize=11)
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("PSNR of hidden pixels, dB")
    beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False, "fontsize": 9}
    axes[1].legend(*_once(axes), **beside)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def load(folder: Path) -> xr.Dataset:
    """A real series, as the example with the protocol loads it."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    import series_data

    return series_data.load(folder)


def before_after(path: Path, folder: Path) -> None:
    """Cloudy dates of a real series before and after the defaults, all under one stretch."""
    series = load(folder)
    out = series.cloudfree.reconstruct()
    hidden = (out.provenance != 1).values
    before, after = (d[list(xcf.bands.RGB)].to_dataarray("band") for d in (series, out))
    clear = before.where(~hidden).values
    limits = xcf.plot.percentile_limits(clear.reshape(3, -1))
    figure, axes = plt.subplots(2, len(CLOUDY), figsize=(9, 9.4), layout="constrained")
    for column, date in zip(axes.T, CLOUDY, strict=True):
        number = series.get_index("time").get_loc(date)
        number = number.start if isinstance(number, slice) else number
        titles = f"{date}, {hidden[number].mean():.0%} hidden", "reconstructed"
        for ax, image, title in zip(column, (before, after), titles, strict=True):
            shown = image.isel(time=number).transpose("band", "y", "x").values
            ax.imshow(xcf.plot.stretch(shown, limits), interpolation="antialiased")
            ax.set_title(title, fontsize=10)
            ax.set(xticks=[], yticks=[])  # the frame stays: an overcast date is all white
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 88})
    plt.close(figure)


def hidden_date(path: Path, folder: Path) -> None:
    """A hidden date of a real series, filled: the one whose hidden share is nearest to a half."""
    cases = xcf.benchmarking.hidden_dates(load(folder), gaps=[0], count=12, clouds=1)
    case = min(cases, key=lambda c: abs(float(c.occluded.mean()) - 0.5))
    out = case.data.cloudfree.reconstruct(model=SHOWN[1], mask=case.hidden)
    print(case.name, f"{_psnr(case.at_date(out).compute(), case):.1f} dB")
    figure = xcf.plot.plot(
        out, observed=case.data, truth=case.truth, mask=case.hidden, time=case.date
    )
    figure.savefig(path, dpi=110)


def hidden_dates(path: Path, folder: Path) -> None:
    """Dates of a real series, hidden under its own clouds, filled, and as they were."""
    cases = list(xcf.benchmarking.hidden_dates(load(folder), gaps=[15], count=22))[::EVERY]
    size = (10.5, 2.25 * len(cases))
    figure, axes = plt.subplots(len(cases), 5, figsize=size, layout="constrained")
    for row, case in zip(axes, cases, strict=True):
        truth = case.truth[list(xcf.bands.RGB)].to_dataarray("band").squeeze().values
        limits = xcf.plot.percentile_limits(truth.reshape(3, -1))
        radar = case.at_date(case.data[["VV", "VH"]]).to_dataarray("band").values
        radar = np.stack([*radar, radar[0] - radar[1]])
        shades = xcf.plot.percentile_limits(radar.reshape(3, -1))
        images = {f"{case.date:.10}, hidden": _colours(case.at_date(case.data), limits)}
        images["Sentinel-1: VV, VH, VV-VH"] = xcf.plot.stretch(radar, shades)
        for method in SHOWN:
            out = case.data.cloudfree.reconstruct(model=method, mask=case.hidden)
            made = case.at_date(out).compute()
            images[f"{method}: {_psnr(made, case):.1f} dB"] = _colours(made, limits)
        images["as it was"] = xcf.plot.stretch(truth, limits)
        for ax, (title, image) in zip(row, images.items(), strict=True):
            ax.imshow(image, interpolation="nearest")
            ax.set_title(title, fontsize=8.5)
            ax.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _colours(image: xr.Dataset, limits: np.ndarray) -> np.ndarray:
    planes = image[list(xcf.bands.RGB)].to_dataarray("band").squeeze().values
    return xcf.plot.stretch(planes, limits)


def _psnr(made: xr.Dataset, case: xcf.benchmarking.Case) -> float:
    names = [name for name in case.truth.data_vars if str(name).startswith("B")]
    errors = (made[names] - case.truth[names]).to_dataarray().squeeze().values[:, case.occluded]
    return float(-10 * np.log10(np.nanmean(errors**2)))


def _once(axes: np.ndarray) -> tuple[list[object], list[str]]:
    """Each line that either axes has, and its name."""
    found = {n: h for ax in axes for h, n in zip(*ax.get_legend_handles_labels(), strict=True)}
    names = [name for name in DRAWN if name in found]
    return [found[name] for name in names], names


def _window() -> Span:
    spec = xcf.models.load("carf-small-demo").spec
    assert spec.reach is not None
    return span(*BLOCK, SIDE, halo=spec.reach, stride=spec.stride)


def _plan(ax: Axes, read: Span, stride: int) -> None:
    for line in range(0, SIDE + 1, stride):
        ax.axhline(line, color="0.85", lw=0.6)
        ax.axvline(line, color="0.85", lw=0.6)
    squares = (
        (read.read_start, read.read_stop, "#4477aa", "read"),
        (read.start, read.stop, "#ddaa33", "written"),
    )
    for low, high, colour, name in squares:
        side = high - low
        ax.add_patch(Rectangle((low, low), side, side, color=colour, alpha=0.6, lw=0))
        ax.text(low + 4, low + 4, name, va="top", fontsize=10)
    ax.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"one block on the scene\nlines: grid of {stride} px", fontsize=10)


def _output(model: xcf.models.model.Model, window: slice) -> np.ndarray:
    scene = xcf.datasets.simulate_scene((SIDE, SIDE), seed=SEED, cover=0.4).isel(time=0)
    cut = scene.isel(y=window, x=window)
    optical = cut[list(xcf.bands.S2_BANDS)].to_dataarray().values[None]
    sar = cut[["VV", "VH"]].to_dataarray().values[None]
    with torch.inference_mode():
        mask = torch.from_numpy(cut.cloudfree.mask().values[None, None].astype("float32"))
        images = model.normalise(optical, sar, torch.device("cpu"))
        out = model.network(*images, mask=mask)
    return out[0].numpy()


if __name__ == "__main__":
    halo(IMAGES / "halo.png")
    gaps(IMAGES / "gaps.png")
    if data := os.environ.get("XCLOUDFREE_DATA"):
        before_after(IMAGES / "before_after.jpg", Path(data, "series", ALPS))
        hidden_date(IMAGES / "hidden_date.png", Path(data, "series", SITE))
        hidden_dates(IMAGES / "hidden_dates.png", Path(data, "series", SITE))
