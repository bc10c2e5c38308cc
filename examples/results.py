"""Every table of docs/results.md and of the README, from one command.

    python examples/results.py

Needs the folder of real data that the variable XCLOUDFREE_DATA names. Every pair of method and case
is kept in ``out/results`` as soon as it is done: call again to go on, remove the folder after
changes in the library's code.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import rasterio
import results_pages as pages
import xarray as xr
from demo_weights import CLEAR, DATA, NAME, REGIONS, UNSEEN, WITHOUT, clear_pair, triplets
from series_data import load

import xcloudfree as xcf
from xcloudfree import judge as bench

REPOSITORY = Path(__file__).parent.parent
PAGE = REPOSITORY / "docs/results.md"
README = REPOSITORY / "README.md"

SITES = {
    "worldcereal_00002806639B424A": "Belgium 10 m",
    "worldcereal_000028085BF08E7E": "Belgium 20 m",
    "worldcereal_2021_TZA_COPERNI": "Tanzania 20 m",
}


@dataclass(frozen=True)
class Hard:
    """A network's own output under the mask, joined without a feather."""

    model: str

    def __call__(self, data, hidden):
        guess = data.cloudfree.reconstruct(model=self.model, mask=hidden, blend=None)
        out = bench.TRIVIAL["do nothing"](data, hidden)
        return out.where(~hidden, bench.TRIVIAL["do nothing"](guess, hidden)).assign_attrs(
            out.attrs
        )

    def fingerprint(self):
        return f"hard {bench.Reconstruct(self.model).fingerprint()}"


SPATIAL = ["idw", "kriging", "regression-kriging"]
FUSION = ["pixel-fusion", "pixel-fusion-ihs", "pixel-fusion-pca", "pixel-fusion-wavelet"]
TRIVIAL = ["do nothing", "clear mean"]
FITTED = ["constant of training pixels", "constant of training regions", "ridge on SAR"]
TEMPORAL = ["nearest-date", "last-clear", "linear-time", "median", "geomedian", "whittaker"]

SINGLE = {m: m for m in [*TRIVIAL, *FITTED, *SPATIAL, *FUSION, "kernel-fusion"]}
NETWORKS = {
    f"{NAME}, not feathered": Hard(NAME),
    **({"the same fitted without SAR": WITHOUT} if WITHOUT.exists() else {}),
    NAME: NAME,
}
SERIES = {
    **{m: m for m in [*TRIVIAL, *TEMPORAL, *(f"{m}+offset" for m in TEMPORAL)]},
    **{m: bench.SingleDate(m) for m in [*SPATIAL, *FUSION]},
    **{m: m for m in ["spacetime-kriging", "starfm"]},
    "area-regression": "area-regression",
    "area-regression+nearby": "area-regression+nearby",
    "kernel-fusion": "kernel-fusion",
    NAME: bench.SingleDate(NAME),
}


def patches():
    """The network's training patches, and the four patches on which it is judged."""
    train = [
        bench.patch_case(str(ds.patch.values[i]), ds.isel(patch=i), region=region, mask=mask)
        for region, ds, mask in (
            *((r, triplets(ids), "score") for r, ids in REGIONS.items()),
            *((name, clear_pair(name, offset), _nothing) for name, offset in CLEAR.items()),
        )
        for i in range(ds.sizes["patch"])
    ]
    yield bench.Fold(train, [case for case in _development() if case.region in (*UNSEEN, "p839")])


def left_out():
    """All patches that have radar, each region once against the others."""
    yield from bench.leave_one_region_out(_development())


def series(gaps, dates):
    """The three series, gap by gap."""
    sites = {site: load(DATA / "series" / folder) for folder, site in SITES.items()}
    for gap in gaps:
        for site, images in sites.items():
            yield from bench.hidden_dates(
                images, region=site, gaps=[gap], kinds=("partial", "full"), count=dates
            )


def _development():
    found = []
    for region, ids in sorted({**REGIONS, **UNSEEN}.items()):
        ds = triplets(ids)
        found += [
            bench.patch_case(f"{region} {ds.patch.values[i]}", ds.isel(patch=i), region=region)
            for i in range(ds.sizes["patch"])
        ]
    public = xcf.datasets.sen12mscr(DATA / "sen12mscr", seasons=["fall"], rois=[139])
    found.append(bench.patch_case("p839", public.isel(patch=0).compute(), region="p839"))
    return found


def _nothing(scene):
    return xr.zeros_like(scene.s2.isel(band=0, drop=True), dtype=bool)


def claimed(cases, claims):
    """Those cases that no other process has begun; a fold is one piece of work."""
    for number, item in enumerate(cases):
        with suppress(FileExistsError):
            (claims / str(number)).touch(exist_ok=False)
            yield item


@click.command()
@click.option("--folder", type=Path, default=Path("out/results"), show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Processes that share the cases.")
@click.option("--dates", default=22, show_default=True, help="Hidden dates of each series.")
@click.option("--gaps", default="0,15,30", show_default=True, help="Days.")
@click.option("--without", default="", help="Methods to leave out, with commas between.")
@click.option("--claims", type=Path, hidden=True)
@click.option("--commit", default="", help="Of the code, where it is not a git checkout.")
def main(
    folder: Path, jobs: int, dates: int, gaps: str, without: str, claims: Path, commit: str
) -> None:
    """Judge everything and write the tables."""
    start, fresh = time.monotonic(), not folder.exists()
    warnings.simplefilter("ignore")
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    days = [float(g) for g in gaps.split(",")]
    parts = {
        "patches": (patches(), SINGLE | NETWORKS),
        "regions": (left_out(), SINGLE),
        "series": (series(days, dates), SERIES),
    }
    for name, (cases, methods) in parts.items():
        chosen = {n: m for n, m in methods.items() if n not in without.split(",")}
        parts[name] = cases, chosen
        if claims:
            (claims / name).mkdir(exist_ok=True)
            mine = claimed(cases, claims / name)
            for first in mine:  # unless the others have begun them all
                xcf.benchmark(chain([first], mine), chosen, folder=folder)
    if claims:
        return
    _together(jobs, folder, [f"--dates={dates}", f"--gaps={gaps}", f"--without={without}"])
    results = {n: xcf.benchmark(cases, m, folder=folder) for n, (cases, m) in parts.items()}
    for name, result in results.items():
        result.to_netcdf(folder / f"{name}.nc", engine="h5netcdf")
    readme, page = pages.patches(results["patches"], NAME, NETWORKS)
    cpu = sum(float(r.cpu_seconds.sum() + r.fit_cpu_seconds.sum()) for r in results.values())
    stamp = (
        f"Made by `make results`, {datetime.now(UTC):%Y-%m-%d}, commit {commit or _commit()}, "
        f"{platform.machine()} with {os.cpu_count()} cores and no GPU, "
        f"{'one process' if jobs == 1 else f'{jobs} processes'} of one thread; "
        f"the methods took {cpu / 60:.0f} minutes of CPU in all"
        + (f", everything {(time.monotonic() - start) / 60:.0f} by the clock" if fresh else "")
        + f". Series: {dates} hidden dates each, gaps of {gaps.replace(',', ', ')} days."
        + (f" Left out: {without}." if without else "")
    )
    pages.put(README, "judge", readme)
    pages.put(README, "hidden", pages.hidden(results["series"], dates))
    pages.put(PAGE, "stamp", stamp)
    pages.put(PAGE, "patches", page)
    pages.put(PAGE, "regions", pages.regions(results["regions"]))
    pages.put(PAGE, "series", pages.series(results["series"]))


def _together(jobs: int, folder: Path, options: list[str]) -> None:
    """Processes that take case after case until none is left; what they find is in the folder."""
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    with TemporaryDirectory() as claims:
        command = [sys.executable, __file__, f"--folder={folder}", f"--claims={claims}", *options]
        others = [subprocess.Popen(command, env={**os.environ, **one}) for _ in range(jobs)]
        codes = [process.wait() for process in others]
    if any(codes):
        raise SystemExit("a process failed; what is done is kept, call again")


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
