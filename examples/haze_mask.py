"""Fit and judge the network of the mask "haze", which finds what the mask of one date misses.

    python examples/haze_mask.py fit      # writes xcloudfree/masks/haze.safetensors
    python examples/haze_mask.py judge    # each region left out in turn; resumes nothing, minutes

Needs XCLOUDFREE_DATA. Real cloudy dates of series are labelled by the series: by the line in time
between clear dates where that is known, elsewhere by the mask "series". Clear images of all kinds
get simulated haze and shadow with the spectra of real clouds. The mask to start from is that of the
single date, too tight or too wide, or there is none.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from results_pages import put
from scipy.ndimage import binary_dilation, gaussian_filter
from series_cases import SITES, Site, series_of
from training_data import BANDS, NEVER_FITTED, clear_pairs, opacity_of, real_clouds

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.masks import haze_network as haze
from xcloudfree.masks.resolve import MARGINS

WEIGHTS = Path(haze.__file__).with_name("haze.safetensors")

SERIES = {
    **{name: SITES[name]._replace(corner=None) for name in ("be10", "be20", "tza")},
    **{name: SITES[name]._replace(corner=(0, 0, 256)) for name in ("bolz", "boad", "ts")},
}
"""Series whose cloudy dates are read."""

GROUND = {name: SITES[name]._replace(corner=None) for name in ("terv", "fin1", "fin2")}
"""Series of which the clear dates alone are read."""

NEAR, ALIKE = 15, 0.03
"""Days within which clear dates lie before and after, and by how much they may differ there."""

CHANGED, SAME = 0.03, 0.02
"""Mean difference in reflectance from which a pixel is hazy, and up to which it is ground."""

PIXELS, REAL_PIXELS, SKIES = 60, 150, 8
"""Pixels that are drawn of a simulated and of a real image, and skies laid over a clear one."""

SUBSETS = (
    ("B02", "B03", "B04", "B08"),
    ("B05", "B06", "B07", "B8A", "B11", "B12"),
    ("B02", "B03", "B04", "B08", "B11", "B12"),
    tuple(b for b in S2_BANDS if b not in ("B01", "B09", "B10")),
)
"""Bands that simulated images are reduced to, most of the time."""

NETWORKS, HIDDEN, STEPS, DRAWN, RATE, DECAY = 4, 16, 1500, 512, 5e-3, 0.1
WORST = 4
"""Number of regions that the table shows because they lose most ground."""

CLOUDED, VEILED, MASKED = 0.6, 0.2, 0.5
"""Shares of the simulated skies with clouds, with a veil over all of it, and with a mask."""

REAL = 2.0
"""Weight of the real dates of a region."""


class Image(NamedTuple):
    """Reflectance, and what is known of each pixel."""

    region: str
    level: str
    bands: tuple[str, ...]
    values: NDArray[np.float32]  # (band, y, x)
    hidden: NDArray[np.bool_]  # by the mask to start from
    label: NDArray[np.float32]  # 1 hazy, 0 ground, NaN unknown


class Rows(NamedTuple):
    """Pixels of an image as the network reads them."""

    region: str
    level: str
    real: bool
    inputs: NDArray[np.float32]  # (pixel, number)
    label: NDArray[np.float32]  # (pixel,)


def rows_of(image: Image, real: bool, count: int, rng: np.random.Generator) -> Rows | None:
    """Some visible pixels with a label."""
    planes = dict(zip(image.bands, image.values, strict=True))
    found, visible = haze.described(planes, image.hidden, image.level == "TOA")
    able = np.flatnonzero(visible & np.isfinite(image.label))
    if not len(able):
        return None
    drawn = rng.choice(able, min(count, len(able)), replace=False)
    inputs = found.reshape(len(found), -1)[:, drawn].T
    return Rows(image.region, image.level, real, inputs, image.label.ravel()[drawn])


def dates_of(site: Site) -> Iterator[tuple[Image, NDArray[np.bool_]]]:
    """Every date with the mask of the single date, and where it certainly is ground."""
    series, start = series_of(site)
    series = series.transpose("time", "y", "x")
    level = series[next(b for b in S2_BANDS if b in series)].attrs["processing_level"]
    bands = tuple(b for b in BANDS[level] if b in series)
    values = np.stack([series[b].values for b in bands], 1).astype("float32")
    days = (series.time.values - series.time.values[0]) / np.timedelta64(1, "D")
    single = series.cloudfree.mask(start, dilate=MARGINS.get(str(start), 0))
    alone = single.transpose("time", "y", "x").values | ~np.isfinite(values).all(1)
    found = series.cloudfree.mask("auto").values
    clear = ~(alone | found)
    for n in range(len(days)):
        error = np.abs(values[n] - between(values, clear, days, n)).mean(0)
        sure = np.where(error > CHANGED, 1, np.where(error < SAME, 0, np.nan))
        label = np.where(np.isfinite(error), sure, found[n]).astype("float32")
        yield Image(site.region, level, bands, values[n], alone[n], label), clear[n]


def between(values: NDArray, clear: NDArray, days: NDArray, date: int) -> NDArray:
    """Straight line in time between the nearest clear dates, NaN where these differ."""
    sides = []
    for sign in (-1, 1):
        value, age = np.full_like(values[0], np.nan), np.full(clear.shape[1:], np.nan)
        away = sign * (days - days[date])
        for n in sorted(np.flatnonzero((away > 0) & (away <= NEAR)), key=lambda n: -away[n]):
            value[:, clear[n]], age[clear[n]] = values[n][:, clear[n]], away[n]
        sides.append((value, age))
    (before, past), (after, future) = sides
    line = before + past / (past + future) * (after - before)
    return np.where(np.abs(after - before).mean(0) < ALIKE, line, np.nan).astype("float32")


def clear_images(level: str) -> Iterator[Image]:
    """Images of pairs without cloud."""
    pairs = list(clear_pairs(level))
    if level == "TOA":
        pairs += [case for case in real_clouds() if case.region not in NEVER_FITTED]
    for case in pairs:
        ground, bands = case.truth[:, :192, :192], BANDS[level]
        clear = np.zeros(ground.shape[1:], bool)
        yield Image(case.region, level, bands, ground, clear, clear.astype("float32"))


def every_row(seed: int = 0) -> list[Rows]:
    """All pixels to fit and judge on."""
    rng, found = np.random.default_rng(seed), []
    clear = [*clear_images("TOA"), *clear_images("BOA")]
    clouds = defaultdict(list)
    for case in real_clouds():
        thick = opacity_of(case) > 0.8
        if case.region not in NEVER_FITTED and thick.any():
            clouds["TOA"].append((S2_BANDS, case.cloudy[:, thick][:, ::50].T))
    for site in (*SERIES.values(), *GROUND.values()):
        shown = []
        for image, ground in dates_of(site):
            if site in SERIES.values():
                start = haze.bright(dict(zip(image.bands, image.values, strict=True)))
                label = np.where(image.hidden, 1, image.label)
                for one in (image, image._replace(hidden=start, label=label)):
                    found.append(rows_of(one, True, REAL_PIXELS, rng))
                cloud = image.values[:, image.hidden & np.isfinite(image.values).all(0)]
                if len(image.bands) > 9 and cloud.size:
                    clouds[image.level].append((image.bands, cloud[:, ::200].T))
            if ground.mean() > 0.95:
                kept = np.where(ground, 0, np.nan)[:192, :192].astype("float32")
                values = np.nan_to_num(image.values[:, :192, :192], nan=0.1)
                shown.append(image._replace(values=values, hidden=kept > 1, label=kept))
        clear += [shown[n] for n in rng.permutation(len(shown))[:12]]
    for image in clear:
        for _ in range(SKIES):
            bands, spectra = clouds[image.level][rng.integers(len(clouds[image.level]))]
            cloud = spectra[rng.integers(len(spectra))]
            under = hazed(image, dict(zip(bands, cloud, strict=True)), rng)
            found.append(rows_of(under, False, PIXELS, rng))
    return [rows for rows in found if rows is not None]


def hazed(image: Image, cloud: dict[str, float], rng: np.random.Generator) -> Image:
    """A clear image under simulated cloud, haze and shadow, with a mask that misses some of it."""
    shape = image.hidden.shape
    opacity = np.zeros(shape)
    if rng.random() < CLOUDED:
        width = rng.uniform(4, 30)
        noise = rng.standard_normal((shape[0] + 80, shape[1] + 80))
        noise = gaussian_filter(noise, width) + 0.2 * gaussian_filter(noise, width / 3)
        field = ((noise - noise.mean()) / noise.std())[40:-40, 40:-40]
        level, steep = rng.uniform(-2.5, 0.8), rng.uniform(1.5, 4)
        opacity = 1 / (1 + np.exp(-(field + level) * steep))
    if rng.random() < VEILED:
        opacity = np.clip(opacity + rng.uniform(0, 0.4), 0, 0.98)
    moved = np.roll(opacity, tuple(rng.integers(-25, 26, 2)), (0, 1))
    shade = moved * rng.uniform(0.2, 0.65) * (rng.random() < 0.7)
    usual = np.mean(list(cloud.values()))
    colour = np.array([cloud.get(band, usual) for band in image.bands])[:, None, None]
    values = image.values * (1 - shade) * (1 - opacity) + opacity * colour
    change = np.abs(values - image.values).mean(0)
    label = np.where(change > CHANGED, 1, np.where(change < SAME / 2, 0, np.nan))
    hidden = (opacity > rng.uniform(0.15, 0.75)) | (shade > rng.uniform(0.2, 0.5))
    hidden = binary_dilation(hidden, iterations=int(rng.integers(1, 4)))
    if rng.random() > MASKED:
        hidden = haze.bright(dict(zip(image.bands, values, strict=True)))
    bands = image.bands
    if len(bands) >= 10 and rng.random() < 0.6:
        bands = tuple(b for b in bands if b in SUBSETS[rng.integers(len(SUBSETS))])
    label = np.where(np.isfinite(image.label), label, np.nan).astype("float32")
    if "B11" not in bands and {"B03", "B11"} <= {*image.bands}:  # snow looks like cloud there
        green, infrared = (image.values[image.bands.index(band)] for band in ("B03", "B11"))
        label[green > haze.SNOW * infrared] = np.nan
    values = values[[image.bands.index(band) for band in bands]].astype("float32")
    return Image(image.region, image.level, bands, values, hidden, label)


def fitted(rows: list[Rows]) -> dict[str, NDArray[np.float32]]:
    """Weights of several networks; regions count equally."""
    number = Counter((r.region, r.real, r.level) for r in rows)
    weight = np.concatenate([np.full(len(r.label), share(r, number)) for r in rows])
    inputs = torch.from_numpy(np.concatenate([r.inputs for r in rows]))
    label = torch.from_numpy(np.concatenate([r.label for r in rows]))
    sizes, found = ((haze.FEATURES, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)), defaultdict(list)
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        drawn = np.random.default_rng(seed).choice(
            len(label), (STEPS, DRAWN), p=weight / weight.sum()
        )
        layers = [torch.nn.Linear(a, b) for a, b in sizes]
        network = torch.nn.Sequential(
            layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2]
        )
        optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
        for some in torch.from_numpy(drawn):
            logits = network(inputs[some])[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, label[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        for k, layer in enumerate(layers):
            found[f"layer{k}.weight"].append(layer.weight.detach().numpy().T)
            found[f"layer{k}.bias"].append(layer.bias.detach().numpy())
    return {name: np.ascontiguousarray(np.stack(parts)) for name, parts in found.items()}


def share(rows: Rows, number: Counter) -> float:
    """Weight of each of its pixels."""
    same = number[rows.region, rows.real, rows.level]
    return (REAL if rows.real else 1) / same / len(rows.label)


@click.group()
def main() -> None:
    """Fit or judge."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)


@main.command()
def fit() -> None:
    """Fit on all regions and write the weights."""
    safetensors.numpy.save_file(fitted(every_row()), WEIGHTS)


@main.command()
@click.option("--page", type=click.Path(path_type=Path), help="With the two markers in it.")
def judge(page: Path | None) -> None:
    """Haze found and ground lost, each region left out in turn."""
    every, found = every_row(), {}
    for region in dict.fromkeys(r.region for r in every):
        country = region.split()[0]  # two sites of Belgium are one region
        weights = fitted([r for r in every if r.region.split()[0] != country])
        for real in (True, False):
            own = [r for r in every if r.region == region and r.real == real]
            if own:
                label = np.concatenate([r.label for r in own]) > 0.5
                odd = likely(np.concatenate([r.inputs for r in own]), weights)
                shares = label.mean(), odd[label].mean(), odd[~label].mean()
                found[region, real] = shares
                click.echo(f"{region} {real} " + " ".join(f"{share:.3f}" for share in shares))
    text = table(found)
    click.echo(text)
    if page is not None:
        put(page, "haze", text)


def table(found: dict[tuple[str, bool], tuple[float, float, float]]) -> str:
    """Real regions one by one, the others on the mean, and those that lose most ground."""
    rows = {f"{region}, real": shares for (region, real), shares in found.items() if real}
    others = {region: shares for (region, real), shares in found.items() if not real}
    rows[f"{len(others)} regions, simulated, mean"] = tuple(np.nanmean([*others.values()], 0))
    rows |= {
        f"{region}, simulated": others[region]
        for region in sorted(others, key=lambda r: -np.nan_to_num(others[r][2]))[:WORST]
    }
    lines = ["| region left out | hazy | found | ground hidden |", "|---|---|---|---|"]
    for row, (hazy, seen, lost) in rows.items():
        lines.append(f"| {row} | {hazy:.2f} | {seen:.2f} | {lost:.3f} |")
    return "\n".join(lines)


def likely(inputs: NDArray[np.float32], weights: dict[str, NDArray[np.float32]]) -> NDArray:
    """Whether rows are hazy for some weights."""
    return haze.probability(inputs, haze.layers_of(weights)) > haze.LIKELY


if __name__ == "__main__":
    main()
