"""The command judge, which compares models on the user's own scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import xarray as xr

import xcloudfree as xcf
from xcloudfree.cli.group import add_options, examples, main, split_list
from xcloudfree.cli.inputs import SceneOptions, open_scene, scene_argument, scene_options
from xcloudfree.cli.outputs import progress_option
from xcloudfree.exceptions import DataError

_ENDINGS = (".md", ".csv", ".png")
_OF_PATCHES = ("do nothing", "clear mean", "kernel-fusion", "pixel-fusion", "carf-small-demo")


@main.command(
    "judge",
    short_help="Compare models on your data.",
    epilog=examples(
        "xcloudfree judge my_series.zarr",
        "xcloudfree judge my_series.zarr --models kernel-fusion,median,mine.safetensors \\",
        "    --gaps 0,30 --cases 20 --output table.md --output table.csv --output table.png",
        "xcloudfree judge SEN12MS-CR/                     patches with their clear images",
    ),
)
@scene_argument
@click.option("--models", help="Comma-separated names or files; by default four that fit.")
@click.option("--gaps", default="0,15,30", show_default=True, help="Days to withhold images.")
@click.option("--cases", default=6, show_default=True, help="Clear dates to hide.")
@click.option("--seed", default=0, show_default=True, help="Seed of the hidden ground.")
@click.option(
    "--mask", "--method", "mask", default="auto", show_default=True,
    help="Cloud mask: auto, series, score, l2a, scl, ...",
)  # fmt: skip
@click.option("--dilate", default=0, show_default=True, help="Radius to extend the mask by.")
@click.option(
    "--output", "outputs", multiple=True, type=click.Path(path_type=Path),
    help="Also write the tables (.md), all figures (.csv) or a picture (.png); repeatable.",
)  # fmt: skip
@add_options(progress_option, scene_options)
def judge_command(
    scene: tuple[str, ...],
    models: str | None,
    gaps: str,
    outputs: Sequence[Path],
    **options: Any,
) -> None:
    """Hide clear ground of a SCENE under its own clouds, fill it with each model, and compare.

    SCENE is a Zarr store, a NetCDF file, GeoTIFFs on one grid, or a STAC address; or a folder in
    the layout of SEN12MS-CR, whose patches are compared with their own clear images.
    """
    for path in outputs:
        if path.suffix not in _ENDINGS:
            raise DataError(
                f"the ending of {path} names no format",
                fix=f"name it with one of the endings {', '.join(_ENDINGS)}",
            )
    from xcloudfree import judge
    from xcloudfree.judge.patches import cases_of

    said = SceneOptions.pop_from(options)
    folder, stores = Path(scene[0]), ("zarr.json", ".zgroup", ".zarray")
    if len(scene) == 1 and folder.is_dir() and not any((folder / n).is_file() for n in stores):
        chosen = split_list(models) or list(_OF_PATCHES)
        patches = xcf.datasets.sen12mscr(scene[0])
        cases = list(cases_of(patches, options["mask"]))
        table = judge.benchmark(cases, chosen, progress=options["progress"])
        text = judge.to_markdown(table, by=["case"], mean=True)
    else:
        opened = open_scene(scene, said)  # the other options are those of judge()
        table = opened.cloudfree.judge(split_list(models), gaps=_days(gaps), **options)
        text = _tables(table)
    click.echo(text)
    for path in outputs:
        if path.suffix == ".png":
            judge.plot(table).savefig(path, dpi=110)
        else:
            written = text + "\n" if path.suffix == ".md" else _figures(table)
            path.write_text(written, encoding="utf-8")
        click.echo(f"written: {path}", err=True)


def _tables(table: xr.Dataset) -> str:
    """The tables of a scene, the hidden ground, and the best model."""
    from xcloudfree.judge import to_markdown

    told = table.attrs
    parts = [f"Hidden: {told['hidden']}; mask {told['mask']!r}, seed {told['seed']}."]
    parts += ["PSNR in dB of the hidden pixels, by days without any image around:"]
    parts += [to_markdown(table, mean=len(table.gap) > 1, cost=True)]
    parts += ["By distance to the nearest visible pixel:"]
    parts += [to_markdown(table, by=["distance"], notes=False)]
    parts += ["Mean absolute error by band:"]
    parts += [to_markdown(table, by=["band"], metrics=["mae"], notes=False)]
    best = f"{told['winner']}: {told['winner_reason']}" if told["winner"] else told["winner_reason"]
    return "\n\n".join([*parts, f"Best: {best}."])


def _figures(table: xr.Dataset) -> str:
    """One row per model, gap, distance and band."""
    named = [name for name in ("psnr", "mae", "bias", "sam", "reconstructed") if name in table]
    return str(table[named or ["value"]].to_dataframe().to_csv())


def _days(gaps: str) -> list[float]:
    try:
        return [float(word) for word in split_list(gaps) or []]
    except ValueError as error:
        raise DataError(
            f"--gaps {gaps!r} are not numbers of days", fix="give --gaps 0,15,30"
        ) from error
