"""Every table of docs/results.md and of the README, from one command.

    python examples/results.py

Needs the folder of real data that the variable XCLOUDFREE_DATA names. Every pair of method and case
is kept in ``out/results`` as soon as it is done: call again to go on, remove the folder after
changes in the library's code.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import rasterio
import xarray as xr
from demo_weights import CLEAR, DATA, NAME, REGIONS, UNSEEN, WITHOUT, clear_pair, triplets
from hidden_dates import load

import xcloudfree as xcf
from xcloudfree import benchmarking as bench

REPOSITORY = Path(__file__).parent.parent
PAGE = REPOSITORY / "docs/results.md"
README = REPOSITORY / "README.md"

SITES = {
    "worldcereal_00002806639B424A": "Belgium 10 m",
    "worldcereal_000028085BF08E7E": "Belgium 20 m",
    "worldcereal_2021_TZA_COPERNI": "Tanzania 20 m",
}

METRICS = ("psnr", "ssim", "mae", "rmse", "sam")


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


@dataclass(frozen=True)
class Alone:
    """A method of single images: it sees only the dates on which something is hidden."""

    method: str

    def __call__(self, data, hidden):
        dates = hidden.any([d for d in hidden.dims if d != "time"])
        some = {"time": dates.values}
        return data.isel(some).cloudfree.reconstruct(model=self.method, mask=hidden.isel(some))

    def fingerprint(self):
        return f"alone {self.method}"


SPATIAL = ["idw", "kriging", "regression-kriging"]
FUSION = ["pixel-fusion", "pixel-fusion-ihs", "pixel-fusion-pca", "pixel-fusion-wavelet"]
TRIVIAL = ["do nothing", "clear mean"]
FITTED = ["constant of training pixels", "constant of training regions", "ridge on SAR"]
TEMPORAL = ["nearest-date", "last-clear", "linear-time", "median", "geomedian", "whittaker"]

SINGLE = {m: m for m in [*TRIVIAL, *FITTED, *SPATIAL, *FUSION]}
NETWORKS = {
    f"{NAME}, not feathered": Hard(NAME),
    **({"the same fitted without SAR": WITHOUT} if WITHOUT.exists() else {}),
    NAME: NAME,
}
SERIES = {
    **{m: m for m in [*TRIVIAL, *TEMPORAL, *(f"{m}+offset" for m in TEMPORAL)]},
    **{m: Alone(m) for m in [*SPATIAL, *FUSION]},
    "starfm": "starfm",
    "area-regression": "area-regression",
    NAME: Alone(NAME),
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


def tables_of_patches(result):
    cloudy = {"metrics": ["psnr"], "by": ["case"], "mean": True}
    share = result["count"].sel(pixels="cloudy").max("method") / result["count"].sel(
        pixels="all"
    ).max("method")
    named = [
        f"{c} ({100 * float(s):.0f} % cloud)"
        for c, s in zip(result.case.values, share, strict=True)
    ]
    shown = result.assign_coords(case=named)
    readme = [
        "PSNR in dB of the cloudy pixels (mask of eq. 13-16); the best of each column is bold:",
        bench.to_markdown(shown, **cloudy, notes=False),
    ]
    page = [
        *readme,
        "Mean over the patches, cloudy pixels:",
        bench.to_markdown(result, by=[], metrics=METRICS, cost=True, notes=False),
        "PSNR in dB of whole images, clear pixels as observed (not on the date of the truth):",
        bench.to_markdown(shown, **cloudy, pixels=["all"]),
        _compared(result, NAME),
        _upsets(shown, [NAME], ["case"]),
    ]
    return "\n\n".join(readme), "\n\n".join(page)


def tables_of_regions(result):
    return "\n\n".join(
        [
            "Mean over the patches, cloudy pixels:",
            bench.to_markdown(result, by=[], metrics=METRICS, cost=True),
            "PSNR in dB of the cloudy pixels by region:",
            bench.to_markdown(result, by=["region"], notes=False),
            _compared(result, "constant of training regions"),
        ]
    )


def tables_of_series(result):
    result, parts = result.sortby(["region", "gap"]), []
    for kind, text in (
        ("partial", "Hidden under clouds of other dates (20 to 90 % of the image)"),
        ("full", "Hidden wholly"),
    ):
        chosen = result.isel(case=result.kind.values == kind)
        parts += [
            f"{text}: PSNR in dB of the hidden pixels.",
            bench.to_markdown(chosen, by=["region", "gap"], notes=False),
            f"{text}: mean over the three series.",
            bench.to_markdown(
                chosen, by=["gap"], metrics=["psnr", "mae", "ssim", "sam"], notes=False, cost=True
            ),
        ]
        parts.append(_upsets(chosen, ["area-regression"], ["region", "gap"]))
    parts.append("\n".join(f"* {note}" for note in bench.failures(result)))
    parts.append(_compared(result.isel(case=result.kind.values == "partial"), "area-regression"))
    return "\n\n".join(parts)


def _upsets(result, methods, by):
    rivals = [str(m) for m in result.method.values if m not in (*methods, *NETWORKS)]
    lines = bench.upsets(result, methods, by=by, pixels=["cloudy"], rivals=rivals)
    head = f"Every place where something simpler or classical beats {' or '.join(methods)}"
    return "\n".join([f"{head} ({len(lines)}):", "", *(f"* {line}" for line in lines or ["none"])])


def _compared(result, reference):
    found = bench.compare(result, reference)
    lines = [
        f"Difference in PSNR of the hidden pixels to {reference}, mean over regions, with the 95 % "
        f"interval of a bootstrap over regions. {found.attrs['statement']}",
        "",
        "| method | difference, dB | interval | ahead in |",
        "|---|---|---|---|",
    ]
    for name in found.method.values:
        one = found.sel({"method": name})
        if name == reference or not int(one.regions):
            continue
        interval = f"{float(one.low):+.2f} to {float(one.high):+.2f}"
        ahead = f"{int(one.regions_ahead)} of {int(one.regions)} regions"
        lines.append(f"| {name} | {float(one.difference):+.2f} | {interval} | {ahead} |")
    return "\n".join(lines)


def put(page: Path, mark: str, text: str) -> None:
    """Replace what stands between the markers of a page."""
    old = page.read_text()
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    new, count = marked.subn(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", old)
    if count != 1:
        raise SystemExit(f"{page} has no markers <!-- {mark} --> ... <!-- /{mark} -->")
    page.write_text(new)


def shared(cases, share):
    """Every so manieth case."""
    index, count = share
    number = 0
    for item in cases:
        if isinstance(item, bench.Fold):
            mine = [c for n, c in enumerate(item.test, number) if n % count == index]
            number += len(item.test)
            if mine:
                yield bench.Fold(item.train, mine, item.name)
        else:
            if number % count == index:
                yield item
            number += 1


@click.command()
@click.option("--folder", type=Path, default=Path("out/results"), show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Processes that share the cases.")
@click.option("--dates", default=22, show_default=True, help="Hidden dates of each series.")
@click.option("--gaps", default="0,15,30,45", show_default=True, help="Days.")
@click.option("--without", default="", help="Methods to leave out, with commas between.")
@click.option("--share", default="", hidden=True)
@click.option("--commit", default="", help="Of the code, where it is not a git checkout.")
def main(
    folder: Path, jobs: int, dates: int, gaps: str, without: str, share: str, commit: str
) -> None:
    """Judge everything and write the tables."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    days = [float(g) for g in gaps.split(",")]
    single = SINGLE | NETWORKS
    parts = [
        (cases, {name: m for name, m in methods.items() if name not in without.split(",")})
        for cases, methods in (
            (patches(), single),
            (left_out(), SINGLE),
            (series(days, dates), SERIES),
        )
    ]
    if share:
        index, count = map(int, share.split("/"))
        for cases, methods in parts:
            xcf.benchmark(shared(cases, (index, count)), methods, folder=folder)
        return
    command = [sys.executable, __file__, "--folder", str(folder), "--dates", str(dates)]
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    others = [
        subprocess.Popen(
            [*command, "--gaps", gaps, "--without", without, "--share", f"{i}/{jobs}"],
            env={**os.environ, **one},
        )
        for i in range(jobs)
    ]
    if any(process.wait() for process in others):
        raise SystemExit("a process failed; what is done is kept, call again")
    results = [xcf.benchmark(cases, methods, folder=folder) for cases, methods in parts]
    folder.mkdir(parents=True, exist_ok=True)
    for name, result in zip(("patches", "regions", "series"), results, strict=True):
        result.to_netcdf(folder / f"{name}.nc", engine="h5netcdf")
    readme, page = tables_of_patches(results[0])
    cpu = sum(float(r.cpu_seconds.sum() + r.fit_cpu_seconds.sum()) for r in results)
    stamp = (
        f"Made by `make results`, {datetime.now(UTC):%Y-%m-%d}, commit {commit or _commit()}, "
        f"{platform.machine()} with {os.cpu_count()} cores and no GPU, one thread a process, "
        f"other jobs running; the methods took {cpu / 60:.0f} minutes of CPU in all. "
        f"Series: {dates} hidden dates each, gaps of {gaps} days."
        + (f" Left out: {without}." if without else "")
    )
    put(README, "judge", readme)
    put(PAGE, "stamp", stamp)
    put(PAGE, "patches", page)
    put(PAGE, "regions", tables_of_regions(results[1]))
    put(PAGE, "series", tables_of_series(results[2]))


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
