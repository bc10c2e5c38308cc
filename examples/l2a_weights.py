"""Fit and judge the shipped single-date weights for Level-2A, of twelve and of ten bands.

Needs the folder of real data that the variable XCLOUDFREE_DATA names, see l2a_data.py, and
h5netcdf. ``fit`` leaves out three groups of places in turn and then none; ``judge`` judges each
place by the weights that never saw it, writes the cards and puts the weights of all places among
those of the library. What is done is kept in ``out/l2a-weights``: call again to go on.

    python examples/l2a_weights.py fit
    python examples/l2a_weights.py fit --weights carf-small-l2a-demo
    python examples/l2a_weights.py judge
    python examples/l2a_weights.py judge --groups A --groups C
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path

import click
import l2a_data as data
import l2a_tables as tables
import rasterio
import results_pages as pages
import xarray as xr
from demo_weights import REPOSITORY, WEIGHTS

import xcloudfree as xcf
from xcloudfree import judge as bench
from xcloudfree.models.model import Model
from xcloudfree.train.samples import SEEN

BANDS = {"carf-small-l2a-demo": data.TWELVE, "carf-small-l2a-10-demo": data.TEN}

RECIPE = {
    "steps": 500,
    "batch": 8,
    "crop": 64,
    "learning_rate": 5e-4,
    "loss": "error",
    "alpha": 0.9,
    "simulated": 1.0,
    "mask": "simulated",
    "shrinkage": 1.0,
    "seed": 0,
}

SKIES = {"thick": (0.35, 1001), "mixed": (0.6, 2001), "whole": (1.0, 0)}
"""Simulated clouds for judging: cover, and the first seed, so that each image has a sky of its own;
or all of it white."""

DATES = 2
"""Clear dates of the series that are judged under simulated clouds, evenly spread."""

CHECKED = "Ireland S2A_MSIL2A_20170617T113321_36_85, thick"
"""Case on which an installation can be checked."""

ROWS = [
    "do nothing", "clear mean", "constant of training pixels", "constant of training regions",
    "ridge on SAR", "idw",
]  # fmt: skip

weights = click.option(
    "--weights", "names", type=click.Choice(list(BANDS)), multiple=True, default=list(BANDS)
)
groups = click.option(
    "--groups", type=click.Choice(list(data.PLACES)), multiple=True, default=list(data.PLACES),
    help="Of places that are left out in turn.",
)  # fmt: skip
keep = click.option("--keep", type=Path, default=Path("out/l2a-weights"), show_default=True)


@click.group()
def main() -> None:
    """Fit or judge the weights for Level-2A."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)


@main.command()
@weights
@groups
@keep
def fit(names: tuple[str, ...], groups: tuple[str, ...], keep: Path) -> None:
    """Fit without each group of places in turn, then on all."""
    for name in names:
        for group in [*groups, None]:
            fitted(name, group, keep)


def fitted(name: str, group: str | None, keep: Path) -> Model:
    """Network fitted on all places but those of a group, or what was kept of an earlier call."""
    path = keep / f"{name}-without-{group or 'none'}.safetensors"
    if path.is_file():
        return xcf.models.load(path)
    start = xcf.models.create(
        "carf-small", optical_bands=BANDS[name], level="BOA", base="prior", mask_input=True
    )
    begun = time.process_time()
    model = xcf.fit(
        list(training(BANDS[name], group).values()), start, device="cpu", progress=False,
        checkpoints=keep / f"state-{path.stem}", **RECIPE,
    )  # fmt: skip
    click.echo(f"{path.stem}: {time.process_time() - begun:.0f} CPU-seconds")
    model.save(path)
    return model


def training(bands: tuple[str, ...], group: str | None) -> dict[str, xr.Dataset]:
    """One dataset a place, of those that are not left out."""
    out = data.PLACES.get(group, ())
    return {
        place: xr.concat(kept, "patch", combine_attrs="override")
        for place, found in data.images(bands).items()
        if place not in out
        and (kept := [ds for ds in found if ds.patch.values[0] not in data.SNOW])
    }


@main.command()
@weights
@groups
@keep
def judge(names: tuple[str, ...], groups: tuple[str, ...], keep: Path) -> None:
    """Judge by folds, write cards and results, and ship the weights of all places."""
    warnings.simplefilter("ignore")
    for name in names:
        found = simulated(name, groups, keep)
        few = set(BANDS[name]) <= set(data.TEN)
        real = real_clouds(name, keep) if few else None
        ship(name, keep, tables.figures(found, name))
        text = tables.card(found, name, real) + "\n\n" + checked(name)
        click.echo(text)
        pages.put(WEIGHTS / f"{name}.md", "judge", text)
        pages.put(REPOSITORY / "docs/results.md", name, tables.page(found, name))


def simulated(name: str, groups: tuple[str, ...], keep: Path) -> xr.Dataset:
    """Figures of all rows on every image of these places under simulated clouds."""
    parts = []
    for group in groups:
        places = data.PLACES[group]
        cases = [case for case in simulated_cases(BANDS[name]) if case.region in places]
        methods = {row: row for row in ROWS} | {name: fitted(name, group, keep)}
        parts.append(xcf.benchmark([bench.Fold(train(BANDS[name], group), cases)], methods))
    return xr.concat(parts, dim="case")


def simulated_cases(bands: tuple[str, ...]) -> list[bench.Case]:
    """Every image under thick clouds, under mixed ones, and wholly hidden."""
    cases: list[bench.Case] = []
    for place, found in data.images(bands).items():
        for ds in found:
            count = ds.sizes["patch"]
            each = min(count, DATES)
            for index in (count * (2 * i + 1) // (2 * each) for i in range(each)):
                patch = ds.isel(patch=index)
                label = f"{place} {patch.patch.values!s}"
                for kind, (cover, seed) in SKIES.items():
                    number = seed + len(cases) // len(SKIES)
                    cases.append(under(patch, kind, cover, number, f"{label}, {kind}", place))
    return cases


def under(
    patch: xr.Dataset, kind: str, cover: float, seed: int, name: str, place: str
) -> bench.Case:
    """One clear image under a sky of its own; what it hides is known."""
    bare = patch.drop_vars("patch")
    scene = bare.drop_vars("target")
    if kind == "whole":
        white = xr.full_like(scene.s2, 9000)
        hidden, scene = xr.ones_like(nothing(scene)), scene.assign(s2=white)
    else:
        sky = xcf.datasets.simulate_clouds(scene, cover=cover, seed=seed, kind=kind)
        hidden = (sky.cloud_opacity > SEEN) | (sky.cloud_shadow > SEEN)
        scene = sky.drop_vars(["cloud_opacity", "cloud_shadow"])
    truth = bare[["target"]].rename(target="s2")
    return bench.Case(name, scene, hidden, truth, place, protocol="simulated", kind=kind)


def train(bands: tuple[str, ...], group: str) -> list[bench.Case]:
    """What the rows that are fitted get: the very images of the network's fit."""
    return [
        bench.patch_case(str(patch.patch.values), patch, region=place, mask=nothing)
        for place, ds in training(bands, group).items()
        for patch in (ds.isel(patch=i) for i in range(ds.sizes["patch"]))
    ]


def nothing(scene: xr.Dataset) -> xr.DataArray:
    """A mask of a clear image."""
    return xr.zeros_like(scene.s2.isel(band=0, drop=True), dtype=bool)


def real_clouds(name: str, keep: Path) -> xr.Dataset:
    """Clear dates of the series, alone, under real clouds of other dates or wholly hidden."""
    (group,) = (g for g, places in data.PLACES.items() if data.BELGIUM in places)
    cases = []
    for case in bench.hidden_dates(
        data.series(), region=data.BELGIUM, gaps=(0,), kinds=("partial", "full"), count=12
    ):
        alone, hidden = bench.SingleDate("idw").view(case.data, case.hidden)
        cases.append(replace(case, data=alone, hidden=hidden))
    methods = {row: row for row in ROWS} | {name: fitted(name, group, keep)}
    return xcf.benchmark([bench.Fold(train(BANDS[name], group), cases)], methods)


def checked(name: str) -> str:
    """What the shipped weights reach on an image of their own fit, to check an installation."""
    case = next(c for c in simulated_cases(BANDS[name]) if CHECKED in c.name)
    value = xcf.benchmark([case], [name]).value.sel(metric="psnr", pixels="cloudy").item()
    return (
        f"To check an installation: the shipped weights reach {value:.2f} dB on {CHECKED}, which "
        "they were fitted on. That says nothing about other places."
    )


def ship(name: str, keep: Path, metrics: dict[str, float]) -> None:
    """Put the weights of all places among those of the library."""
    model = fitted(name, None, keep)
    series = ", 36 clear dates of a WorldCereal series (sigma0)" if name.endswith("10-demo") else ""
    spec = model.spec.replace(
        name=name,
        demonstration=True,
        sar_quantity="sigma0",
        training_data="clear Sentinel-2 L2A images with Sentinel-1 under simulated clouds: five "
        f"BigEarthNet patches (sigma0), four TerraMesh examples (gamma0){series}",
        licence="Apache-2.0; fitted on modified Copernicus Sentinel data in public datasets whose "
        "licences for redistribution were not confirmed",
        metrics=metrics,
    )
    Model(spec, model.network).save(WEIGHTS / f"{name}.safetensors")


if __name__ == "__main__":
    main()
