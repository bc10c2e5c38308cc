"""Fit and judge carf-series, the network that corrects kernel-fusion of a series.

    python examples/series_network.py prepare   # kernel-fusion of hidden dates; resumes
    python examples/series_network.py fit       # each region left out, then all; resumes
    python examples/series_network.py judge     # the tables of docs/results.md and of the card

Needs XCLOUDFREE_DATA. Everything is kept in out/series-network. Dates of eight regions are hidden
as xcloudfree.benchmarking.hidden_dates does, but several far dates of a series at once.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
import rioxarray
import torch
import xarray as xr
from numpy.typing import NDArray
from results_pages import put
from series_data import clear_by, load
from torch import nn

import xcloudfree as xcf
from xcloudfree.core.passes import day_numbers, in_utc, join_passes
from xcloudfree.core.predictor import PASS, Series
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.judge.protocols import Task, ground_of, tasks_of
from xcloudfree.methods.kernel_fusion import KernelFusion
from xcloudfree.models.model import Model
from xcloudfree.models.series_attention import SMALLEST, Tokens, tokens

NAME = "carf-series"
DATA = Path(os.environ.get("XCLOUDFREE_DATA", "data")) / "series"
KEPT = Path("out/series-network")
WEIGHTS = Path(xcf.models.__file__).parent / "weights"

GAPS = (0, 15, 30, 45)
FORTNIGHT = 15.0
"""Days, besides both gaps, between dates that are hidden at once."""


class Site(NamedTuple):
    """A series, the corner that is read, gaps in days, dates to hide and clouds over each."""

    region: str
    folder: str
    corner: tuple[int, int, int] | None = None  # row, column, side
    gaps: tuple[int, ...] = GAPS
    dates: int = 22
    clouds: int = 2


SITES = {
    "be20": Site("Belgium 20 m", "worldcereal_000028085BF08E7E"),
    "tza": Site("Tanzania 20 m", "worldcereal_2021_TZA_COPERNI"),
    "be10": Site("Belgium 10 m", "worldcereal_00002806639B424A", dates=14, clouds=1),
    "terv": Site("Tervuren", "tervuren_2022_dekads", gaps=(0, 15, 30), dates=10, clouds=1),
    "fin1": Site("Finland", "biomassters_finland/288afc34.nc", (64, 64, 96), (0, 45), 8, 1),
    "fin2": Site("Finland", "biomassters_finland/000aa810.nc", (64, 64, 96), (0, 45), 6, 1),
    "bolz": Site("Bolzano", "bolzano_2022", (256, 128, 128), (0, 4), 7, 1),
    "boad": Site("Boadella", "boadella_l2a", (128, 128, 96), (0, 45), 8, 1),
    "ts": Site("SEN12MS-CR-TS", "sen12mscr_ts_2017_146_patch0", (64, 64, 96), (0, 15, 30), 8, 1),
}

STEPS, RATE, DECAY, AT_ONCE, PIXELS = 400, 4e-3, 1e-2, 12, 64
FLOOR, SMALL, WORSE, DROPPED = 0.05, 0.03, 1.5, 0.3
"""Added to the ratio of squared errors; weight of changes; of being worse than kernel-fusion; and
largest share of the observations that a sample lacks."""

TRUST = 0.8
"""Share of the fitted change that is made, chosen on these regions left out in turn."""

PER_CASE = 200
"""Hidden pixels of a date to fit on."""


class Hidden(NamedTuple):
    """A hidden date and what kernel-fusion makes of it; (band, y, x) unless said."""

    site: str
    gap: int
    full: bool
    truth: NDArray[np.float32]
    mean: NDArray[np.float32]
    size: NDArray[np.float32]
    hidden: NDArray[np.bool_]  # (y, x)
    judged: NDArray[np.bool_]  # hidden pixels with a truth (y, x)
    others: NDArray[np.float32]  # (date, band, y, x), ordered by their distance
    shown: NDArray[np.bool_]  # (date, y, x)
    apart: NDArray[np.float64]  # days (date)


@click.group()
def main() -> None:
    """Prepare, fit or judge."""
    torch.set_num_threads(1)


@main.command()
@click.argument("sites", nargs=-1)
def prepare(sites: tuple[str, ...]) -> None:
    """Estimate hidden dates with kernel-fusion; those on disk are not done again."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in sites or SITES:
        _prepare(name)


def series_of(site: Site) -> tuple[xr.Dataset, Any]:
    """The series of a site, and what says where it shows the ground."""
    ds = _time_series(DATA / site.folder) if "_ts_" in site.folder else load(DATA / site.folder)
    if site.corner is not None:
        top, left, side = site.corner
        ds = ds.isel(y=slice(top, top + side), x=slice(left, left + side))
    clear = "score" if "_ts_" in site.folder else clear_by(ds)
    ds = in_utc(ds)
    return (ds if isinstance(clear, xr.DataArray) else join_passes(ds)), clear


def _time_series(folder: Path) -> xr.Dataset:
    """SEN12MS-CR-TS: 13 bands of Level-1C."""
    paths = {pd.Timestamp(path.stem.split("_")[-3]): path for path in folder.glob("*.tif")}
    images = [rioxarray.open_rasterio(paths[day], mask_and_scale=False) for day in sorted(paths)]
    stack = xr.concat(images, pd.Index(sorted(paths), name="time"), join="override")
    attrs = {"units": "1", "processing_level": "TOA"}
    values = (stack.astype("float32") * np.float32(1e-4)).drop_attrs()
    return xr.Dataset(
        {
            name: values.isel(band=k, drop=True).assign_attrs(attrs)
            for k, name in enumerate(xcf.bands.S2_BANDS)
        }
    )


def _prepare(name: str) -> None:
    site = SITES[name]
    ds, clear_by_what = series_of(site)
    scene, days = read(ds), day_numbers(ds.time)
    stack = scene.reflectance().compute().values
    ground = ground_of(ds, scene, clear_by_what) & np.isfinite(stack).all(1)
    sar = None if scene.sar is None else np.asarray(scene.backscatter(("VV", "VH")).data)
    np.savez(KEPT / f"{name}.npz", reflectance=stack, clear=ground, days=days)
    tasks: list[Task] = []
    for kind in ("partial", "full"):
        for clouds in (site.clouds, 1):
            try:
                tasks += tasks_of(ground, stack, days, site.dates, clouds, 0, (kind,), "clean")
                break
            except DataError as error:
                click.echo(f"{name}, {kind}: {error}")
    rng = np.random.default_rng(0)
    for gap in site.gaps:
        waiting, run = [tasks[k] for k in rng.permutation(len(tasks))], 0
        while waiting:
            chosen: list[Task] = []
            for task in waiting:
                far = [abs(days[task.date] - days[other.date]) for other in chosen]
                if all(d > FORTNIGHT + 2 * gap for d in far):
                    chosen.append(task)
            waiting = [task for task in waiting if task not in chosen]
            path = KEPT / f"{name}-{gap:02d}-{run:03d}.npz"
            run += 1
            if not path.exists():
                found = _estimated(stack, ground, sar, days, chosen, gap)
                partial = path.with_suffix(".partial.npz")
                np.savez(partial, gap=gap, **found)
                partial.replace(path)
                click.echo(f"{path.stem}: {len(chosen)} dates, {len(waiting)} left at this gap")


def _estimated(
    stack: NDArray, ground: NDArray, sar: NDArray | None, days: NDArray, tasks: list[Task], gap: int
) -> dict[str, Any]:
    """Kernel-fusion of some dates, each without all dates within the gap."""
    dates, clear = [task.date for task in tasks], ground.copy()
    away = (np.abs(days[:, None] - days[dates]) <= max(gap, PASS)).any(1)
    away[dates] = False
    kept, hidden = np.flatnonzero(~away), []
    for task in tasks:
        cloud = np.ones_like(ground[0]) if task.donor is None else ~ground[task.donor]
        hidden.append(cloud & ground[task.date])
        clear[task.date] &= ~hidden[-1]
    at = np.searchsorted(kept, dates)
    wanted = np.zeros((len(kept), *ground.shape[1:]), bool)
    wanted[at] = True
    series = Series(
        np.where(clear[kept][:, None], stack[kept], np.float32(np.nan)), ~clear[kept], wanted,
        None if sar is None else sar[kept], days[kept],
    )  # fmt: skip
    method = KernelFusion()
    answer = method.predict(series, [method.conclude(method.measure(series, ()), ())])
    assert answer.deviation is not None
    return {
        "mean": answer.mean[at], "size": answer.deviation[at], "hidden": np.stack(hidden),
        "dates": np.array(dates), "kept": kept, "full": np.array([t.donor is None for t in tasks]),
    }  # fmt: skip


def cases(name: str) -> Iterator[Hidden]:
    """The hidden dates of a site."""
    with np.load(KEPT / f"{name}.npz") as site:
        stack, ground, days = site["reflectance"], site["clear"], site["days"]
    for path in sorted(KEPT.glob(f"{name}-*-*.npz")):
        with np.load(path) as stored:
            found = dict(stored)
        clear = np.zeros_like(ground)
        clear[found["kept"]] = ground[found["kept"]]
        for date, hidden in zip(found["dates"], found["hidden"], strict=True):
            clear[date] &= ~hidden
        for k, date in enumerate(found["dates"].tolist()):
            mean, apart = found["mean"][k], days - days[date]
            order = np.argsort(np.abs(apart), kind="stable")
            order = order[(np.abs(apart[order]) > PASS) & clear[order].any((1, 2))]
            judged = found["hidden"][k] & np.isfinite(mean).all(0)
            if judged.sum() >= 20:
                yield Hidden(
                    name, int(found["gap"]), bool(found["full"][k]), stack[date], mean,
                    found["size"][k], ~clear[date], judged, stack[order], clear[order],
                    apart[order],
                )  # fmt: skip


class Sample(NamedTuple):
    """Some pixels of a hidden date."""

    kind: tuple[str, bool]  # region, and whether all of the date is hidden
    tokens: Tokens
    error: torch.Tensor  # truth less estimate (pixel, band)
    size: torch.Tensor


def tensors(case: Hidden) -> dict[str, torch.Tensor]:
    """The arguments of `tokens` other than the pixels."""
    known = np.isfinite(case.mean).all(0) & np.isfinite(case.size).all(0)
    plain = {
        "mean": np.where(known, case.mean, 0), "size": np.where(known, case.size, 1),
        "others": np.where(case.shown[:, None], case.others, 0), "shown": case.shown,
        "apart": case.apart, "hidden": case.hidden, "known": known,
    }  # fmt: skip
    found = {k: torch.from_numpy(v) for k, v in plain.items()}
    found["size"] = found["size"].clamp(min=SMALLEST)
    return found


def samples(names: list[str]) -> list[Sample]:
    """Samples of all hidden dates of some sites."""
    rng, out = np.random.default_rng(1), []
    for name in names:
        for case in cases(name):
            places = np.argwhere(case.judged)
            places = places[rng.permutation(len(places))[:PER_CASE]]
            given = tensors(case)
            found = tokens(**given, ask=torch.from_numpy(places))
            if found is None:
                continue
            error = torch.from_numpy((case.truth - case.mean)[:, *places.T].T.copy())
            size = given["size"][:, *torch.from_numpy(places).T].mT
            out.append(Sample((SITES[name].region, case.full), found, error, size))
    return out


def fitted(parts: list[Sample], seed: int = 0) -> Model:
    """A network fitted on some samples; regions and kinds are drawn equally often."""
    model = xcf.models.create("series-attention", seed=seed, level="BOA")
    rng, network = np.random.default_rng(seed), model.network.train()
    by_kind = defaultdict(list)
    for part in parts:
        by_kind[part.kind].append(part)
    kinds = list(by_kind)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=STEPS, pct_start=0.15
    )
    for _ in range(STEPS):
        loss = torch.zeros(())
        for _ in range(AT_ONCE):
            same = by_kind[kinds[rng.integers(len(kinds))]]
            part = same[rng.integers(len(same))]
            which = torch.from_numpy(rng.integers(0, len(part.error), PIXELS))
            some, error, size = part.tokens.of(which), part.error[which], part.size[which]
            kept = torch.rand(some.known.shape) > rng.uniform(0, DROPPED)
            change = network.correct(some._replace(known=some.known & kept), bounded=False)
            ratio = (error - size * change).square().mean() / error.square().mean()
            gain = (ratio + FLOOR).log()
            loss = loss + gain + WORSE * gain.clamp(min=0) + SMALL * change.square().mean()
        optimiser.zero_grad()
        (loss / AT_ONCE).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        for weight in network.share[-1].parameters():
            weight.mul_(TRUST)
    network.eval()
    return model


@main.command()
def fit() -> None:
    """Fit with each region left out, and with all; what is on disk is not fitted again."""
    parts = samples(list(SITES))
    regions = [*dict.fromkeys(site.region for site in SITES.values()), ""]
    for region in regions:
        path = model_of(region)
        if path.exists():
            continue
        model = fitted([part for part in parts if part.kind[0] != region])
        model.spec = model.spec.replace(
            name=NAME,
            trained=True,
            training_data=(
                f"{len(SITES)} series of {len(regions) - 1} regions (WorldCereal, Tervuren, "
                "BioMassters, Bolzano, Boadella, SEN12MS-CR-TS), clear dates hidden"
                + (f"; without {region}" if region else "")
            ),
            licence="Apache-2.0; fitted on modified Copernicus Sentinel data in public datasets "
            "whose licences for redistribution were not confirmed",
        )
        click.echo(model.save(path))


def model_of(region: str) -> Path:
    """Weights that were fitted without a region; with all of them for ""."""
    name = f"without {region}" if region else NAME
    return KEPT / f"{name.replace(' ', '-').lower()}.safetensors"


@main.command()
def judge() -> None:
    """Gain on the hidden pixels of each region, with the weights fitted without it."""
    gains: dict[tuple[str, bool, int], list[tuple[float, float]]] = defaultdict(list)
    for name, site in SITES.items():
        model = xcf.models.load(model_of(site.region))
        for case in cases(name):
            before, after = (
                -10 * np.log10(np.square((a - case.truth)[:, case.judged]).mean())
                for a in (case.mean, corrected(model, case))
            )
            gains[name, case.full, case.gap].append((before, after - before))
    means = {key: np.mean(values, 0) for key, values in gains.items()}
    text = table(means, {key: len(values) for key, values in gains.items()})
    click.echo(text)
    put(Path("docs/results.md"), "series-network", text)
    put(WEIGHTS / f"{NAME}.md", "judge", text)
    model = xcf.models.load(model_of(""))
    model.spec = model.spec.replace(metrics=figures(means))
    click.echo(model.save(WEIGHTS / f"{NAME}.safetensors"))


def corrected(model: Model, case: Hidden) -> NDArray[np.float32]:
    """The network's estimate of a hidden date."""
    given = {k: v[None] for k, v in tensors(case).items()}
    known = given["known"][:, None].float()
    context = torch.cat([given["mean"], 10 * given["size"], known], 1)
    with torch.inference_mode():
        out = model.network(
            given["mean"], given["mean"][:, :0], mask=given["hidden"][:, None].float(),
            context=context, others=given["others"], shown=given["shown"].float(),
            apart=given["apart"],
        )  # fmt: skip
    return out[0].numpy()


def figures(means: dict[tuple[str, bool, int], NDArray]) -> dict[str, float]:
    """Means over regions left out for the specification of the weights."""
    found = {}
    for full, words in ((False, "partly"), (True, "wholly")):
        sites: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for (name, whole, _), (_, gain) in means.items():
            if whole == full:
                sites[SITES[name].region][name].append(gain)
        regions = [np.mean([np.mean(g) for g in each.values()]) for each in sites.values()]
        worst = min(gain for (_, whole, _), (_, gain) in means.items() if whole == full)
        found[f"{words} hidden, regions left out: gain in dB over kernel-fusion"] = round(
            float(np.mean(regions)), 3
        )
        found[f"{words} hidden, worst site and gap"] = round(float(worst), 3)
    return found


def table(means: dict[tuple[str, bool, int], NDArray], counts: dict[Any, int]) -> str:
    """PSNR of kernel-fusion and gain of the network, by site, kind and gap."""
    lines = ["| site | hidden | dates | gap in days | kernel-fusion, dB | gain, dB |", "|---|" * 6]
    lines[1] = "|---" * 6 + "|"
    for name, site in SITES.items():
        for full in (False, True):
            gaps = [gap for gap in site.gaps if (name, full, gap) in means]
            if gaps:
                before, gain = zip(*(means[name, full, gap] for gap in gaps), strict=True)
                cells = [
                    site.region + (" (second place)" if name == "fin2" else ""),
                    "wholly" if full else "partly",
                    " / ".join(str(counts[name, full, gap]) for gap in gaps),
                    " / ".join(map(str, gaps)),
                    " / ".join(f"{v:.2f}" for v in before),
                    " / ".join(f"{v:+.2f}" for v in gain),
                ]
                lines.append("| " + " | ".join(cells) + " |")
    told = figures(means)
    lines += ["", "; ".join(f"{name}: {value:+.2f}" for name, value in told.items()) + "."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
