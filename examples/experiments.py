"""Fit and judge what a YAML file lists, on the SEN12MS-CR triplets, and write it into a page.

Each fit is one row on disk, so a run that was stopped goes on where it was. Needs the folder of
real data that the variable XCLOUDFREE_DATA names.

    python examples/experiments.py run
    python examples/experiments.py table --page docs/results.md
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from pathlib import Path

import click
import numpy as np
import rasterio
import xarray as xr
import yaml
from demo_weights import (
    CLEAR,
    REGIONS,
    UNSEEN,
    clear_pair,
    neighbours,
    one_spectrum,
    triplets,
)
from results_pages import put

import xcloudfree as xcf
from xcloudfree.judge.baselines import TrainingImage, fit_constant

HERE = Path(__file__).parent
ALL = REGIONS | UNSEEN
LEAST_CLOUD = 0.01
"""Patches with less cloud say nothing about cloudy pixels and are not judged."""

METRICS = {"psnr": ("PSNR dB", 2), "mae": ("MAE", 4), "sam": ("SAM deg", 2)}


@click.group()
def main() -> None:
    """Fit and judge, or make tables of what was judged."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)


@main.command()
@click.option("--file", default=HERE / "experiments.yaml", type=click.Path(path_type=Path))
@click.option("--rows", default=Path("out/experiments"), type=click.Path(path_type=Path))
@click.option("--only", multiple=True, help="Names of experiments; all by default.")
@click.option("--minutes", type=float, help="Begin nothing after this time.")
def run(file: Path, rows: Path, only: tuple[str, ...], minutes: float | None) -> None:
    """Do what is not done yet."""
    began, missing = time.monotonic(), [t for t in tasks(file, only) if not place(rows, t).exists()]
    rows.mkdir(parents=True, exist_ok=True)
    for number, task in enumerate(missing):
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            click.echo(f"{len(missing) - number} left; call again to go on")
            return
        if place(rows, task).exists():  # another experiment had the same task
            continue
        start = time.process_time()
        row = {"task": task, "patches": judge(task), "cpu_seconds": time.process_time() - start}
        partial = place(rows, task).with_suffix(".partial")
        partial.write_text(json.dumps(row, indent=1))
        partial.replace(place(rows, task))
        click.echo(f"{number + 1}/{len(missing)} {task['model']} seed {task['seed']} {brief(row)}")


@main.command()
@click.option("--file", default=HERE / "experiments.yaml", type=click.Path(path_type=Path))
@click.option("--rows", default=Path("out/experiments"), type=click.Path(path_type=Path))
@click.option("--page", type=click.Path(path_type=Path), help="With the two markers in it.")
def table(file: Path, rows: Path, page: Path | None) -> None:
    """Print the tables, or put them between the markers of a page."""
    parts = yaml.safe_load(file.read_text())
    text = "\n\n".join(section(name, e, file, rows) for name, e in parts["experiments"].items())
    click.echo(text)
    if page is not None:
        put(page, "experiments", text)


def tasks(file: Path, only: tuple[str, ...] = ()) -> list[dict]:
    """Every fit of a file, seeds of one row side by side."""
    parts = yaml.safe_load(file.read_text())
    found = []
    for name, experiment in parts["experiments"].items():
        if not only or name in only:
            for held in experiment["hold_out"]:
                trivial = experiment.get("show") == "patches"
                found += [one(parts["common"], r, held, 0) for r in TRIVIAL if trivial]
                for seed in experiment["seeds"]:
                    runs = experiment["runs"].values()
                    found += [one(parts["common"], r, held, seed) for r in runs]
    return found


def one(common: dict, wanted: dict, held: list[str], seed: int) -> dict:
    """One task: everything that its row depends on."""
    task = {"model": wanted["model"], "hold_out": held, "seed": seed}
    if wanted in TRIVIAL:
        return task
    return task | {"options": wanted.get("options", {}), "fit": common | wanted.get("fit", {})}


TRIVIAL = [{"model": "do nothing"}, {"model": "clear neighbours"}, {"model": "mean of training"}]
"""Rows that need no fit."""


def place(rows: Path, task: dict) -> Path:
    """File of a task's row."""
    key = hashlib.blake2b(json.dumps(task, sort_keys=True).encode(), digest_size=8).hexdigest()
    return rows / f"{key}.json"


def judge(task: dict) -> dict[str, dict[str, float]]:
    """Fit on all other regions; the metrics of each cloudy patch of those held out."""
    train = {k: triplets(ids) for k, ids in ALL.items() if k not in task["hold_out"]}
    train |= {name: clear_pair(name, offset) for name, offset in CLEAR.items()}
    predict = predictor(task, train)
    found = {}
    for region in task["hold_out"]:
        held = triplets(ALL[region])
        scene, truth = held.drop_vars("target"), held[["target"]].rename(target="s2")
        mask = scene.cloudfree.mask()
        share = mask.mean(["y", "x"]).values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = xcf.evaluate(predict(scene, mask), truth, mask=mask).compute()
        for i, patch in enumerate(held.patch.values):
            if share[i] >= LEAST_CLOUD:
                cloudy = result.sel(estimate="prediction", pixels="cloudy").isel(patch=i)
                values = {m: float(cloudy[m]) for m in METRICS}
                found[f"{region} {patch}"] = values | {"cloud": float(share[i])}
    return found


def predictor(task: dict, train: dict[str, xr.Dataset]):
    """From a scene and its mask to reflectance; networks give their own output everywhere."""
    if "fit" in task:
        model = xcf.models.create(task["model"], seed=task["seed"], **task["options"])
        fitted = xcf.fit(
            list(train.values()), model, seed=task["seed"], progress=False, device="cpu",
            **task["fit"],
        )  # fmt: skip
        return lambda scene, mask: scene.cloudfree.reconstruct(model=fitted, mask=mask, blend=None)
    images = [
        TrainingImage(target / 1e4, sar, region)
        for region, ds in train.items()
        for target, sar in zip(ds.target.values.astype("float32"), ds.s1.values, strict=True)
    ]
    constant = fit_constant(images)
    guess = {
        "do nothing": lambda x, r, m: x,
        "clear neighbours": neighbours(constant),
        "mean of training": one_spectrum(constant),
    }[task["model"]]

    def predict(scene: xr.Dataset, mask: xr.DataArray) -> xr.Dataset:
        s2 = scene.s2.astype("float32") * 1e-4
        parts = zip(s2.values, scene.s1.values, mask.values, strict=True)
        out = s2.copy(data=np.stack([guess(*p) for p in parts]).astype("float32"))
        out.attrs = {"units": "1", "processing_level": "TOA"}
        return xr.Dataset({"s2": out})

    return predict


def section(name: str, experiment: dict, file: Path, rows: Path) -> str:
    """Heading, note and table of one experiment."""
    common = yaml.safe_load(file.read_text())["common"]
    runs = experiment["runs"]
    if experiment.get("show") == "patches":
        runs = {t["model"]: t for t in TRIVIAL} | runs
    columns, missing = {}, 0
    for label, wanted in runs.items():
        seeds = [0] if wanted in TRIVIAL else experiment["seeds"]
        found = []
        for seed in seeds:
            held = [place(rows, one(common, wanted, h, seed)) for h in experiment["hold_out"]]
            missing += sum(not p.exists() for p in held)
            read = [json.loads(p.read_text())["patches"] for p in held if p.exists()]
            found.append({k: v for patches in read for k, v in patches.items()})
        columns[label] = found
    body = by_patch(columns) if experiment.get("show") == "patches" else by_seed(columns)
    if not any(f for found in columns.values() for f in found):
        body = ""
    notes = [experiment["note"].strip()] if experiment["note"].strip() else []
    if missing:
        notes.append(f"{missing} fits are not done yet; the table holds what is there.")
    return "\n\n".join([f"### {experiment['title']}", *notes, body]).rstrip()


def by_patch(columns: dict[str, list[dict]]) -> str:
    """PSNR / MAE / SAM of each patch, and the mean of the regions' means."""
    patches = list(dict.fromkeys(p for found in columns.values() for p in found[0]))
    lines = ["| patch (cloud) | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for patch in patches:
        shown = [found[0].get(patch) for found in columns.values()]
        cloud = next(s["cloud"] for s in shown if s)
        lines.append(f"| {patch} ({100 * cloud:.0f} %) | " + " | ".join(map(cell, shown)) + " |")
    means = []
    for found in columns.values():
        regions = {p.split()[0] for p in patches}
        own = [[v for p, v in found[0].items() if p.split()[0] == r] for r in sorted(regions)]
        each = [average(values) for values in own]
        means.append(average(each) if all(each) else None)
    lines.append("| **mean of regions** | " + " | ".join(map(cell, means)) + " |")
    return "\n".join(lines)


def by_seed(columns: dict[str, list[dict]]) -> str:
    """Mean and spread over the seeds, and the difference from the first row, seed by seed."""
    head = [f"{title}" for title, _ in METRICS.values()]
    lines = [
        "| | seeds | " + " | ".join(head) + " | PSNR minus the first row, by seed |",
        "|---" * (len(head) + 3) + "|",
    ]
    first = None
    for label, found in columns.items():
        each = {s: average(list(f.values())) for s, f in enumerate(found) if f}
        if not each:
            continue
        first = each if first is None else first
        cells = []
        for metric, (_, digits) in METRICS.items():
            values = [v[metric] for v in each.values()]
            spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.{digits}f}{spread}" if values else "")
        paired = [v["psnr"] - first[s]["psnr"] for s, v in each.items() if s in first]
        differences = "" if each is first else ", ".join(f"{d:+.2f}" for d in paired)
        lines.append(f"| {label} | {len(each)} | " + " | ".join([*cells, differences]) + " |")
    return "\n".join(lines)


def average(values: list) -> dict[str, float] | None:
    """Mean of each metric."""
    known = [v for v in values if v]
    return {m: float(np.mean([v[m] for v in known])) for m in METRICS} if known else None


def cell(values: dict[str, float] | None) -> str:
    """PSNR / MAE / SAM."""
    if values is None:
        return ""
    return " / ".join(f"{values[m]:.{digits}f}" for m, (_, digits) in METRICS.items())


def brief(row: dict) -> str:
    """A line for the terminal."""
    return f"{cell(average(list(row['patches'].values())))} ({row['cpu_seconds']:.0f} CPU s)"


if __name__ == "__main__":
    main()
