"""Commands for series and results: composite, plot, remake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xcloudfree.cli.group import add_options, examples, main
from xcloudfree.cli.inputs import (
    SceneOptions,
    imported,
    open_scene,
    scene_argument,
    scene_options,
)
from xcloudfree.cli.outputs import check_output, progress_option, write
from xcloudfree.exceptions import DataError
from xcloudfree.reconstruct.composite import METHODS

PICTURES = (".png", ".jpg", ".pdf", ".svg")
FILMS = (".gif", ".mp4")


@main.command(
    "composite",
    short_help="Compute one image per month, season, or other interval.",
    epilog=examples(
        "xcloudfree composite series.zarr months.zarr",
        "xcloudfree composite series.zarr seasons.tif --every QS-DEC --method median --fill",
        "xcloudfree composite out.zarr two.zarr --fill \\",
        "    --between 2025-05-01/2025-06-15 --between 2025-06-16/2025-07-31",
    ),
)
@scene_argument
@click.argument("out")
@click.option(
    "--every",
    default="MS",
    show_default=True,
    help="Frequency of pandas: MS for months, 10D, QS-DEC, YS, ...",
)
@click.option("--between", multiple=True, help="START/END, inclusive; instead of --every.")
@click.option(
    "--method", type=click.Choice(METHODS), default="geomedian", show_default=True,
    help="How to combine the dates of a pixel.",
)  # fmt: skip
@click.option("--mask", default="auto", show_default=True, help="Mask, if there is no provenance.")
@click.option("--fill", is_flag=True, help="Include reconstructed values.")
@add_options(progress_option, scene_options)
def composite_command(
    scene: tuple[str, ...],
    out: str,
    every: str,
    between: tuple[str, ...],
    method: Any,
    mask: str,
    fill: bool,
    progress: bool | None,
    **options: Any,
) -> None:
    """Compute one image per period of a SCENE with dates, and write them to OUT.

    SCENE is a Zarr store, a NetCDF file, GeoTIFFs on one grid, or a STAC address. Output of
    xcloudfree reconstruct keeps its provenance. OUT ends in .zarr (run again to resume) or .tif.
    """
    check_output(out)
    opened = open_scene(scene, SceneOptions.pop_from(options))
    periods: Any = [_ends(text) for text in between] or every
    maps = opened.cloudfree.composite(periods, method, mask=mask, fill=fill)
    write(maps, out, progress=progress)


def _ends(text: str) -> tuple[str, str]:
    start, slash, end = text.partition("/")
    if not slash:
        raise DataError(
            f"--between {text!r} has no end", fix="give --between 2025-06-01/2025-08-31"
        )
    return start, end


@main.command(
    "plot",
    short_help="Draw a picture, a film, or a page with before and after.",
    epilog=examples(
        "xcloudfree plot out.zarr out.png --observed scene.zarr",
        "xcloudfree plot out.zarr ndvi.png --at 500105,5399895 --of NDVI --observed scene.zarr",
        "xcloudfree plot scene.zarr year.png --calendar",
        "xcloudfree plot out.zarr film.gif --observed scene.zarr",
        "xcloudfree plot out.zarr before_after.html --observed scene.zarr --time 2025-06-10",
    ),
)
@scene_argument
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--observed", help="The cloudy input of SCENE.")
@click.option("--calendar", is_flag=True, help="Draw how clear each date is.")
@click.option("--at", help="x,y: draw the curve of this place.")
@click.option("--of", default="B08", show_default=True, help="Band or index of the curve.")
@click.option("--time", help="Date of the picture; the nearest one is used.")
@click.option("--mask", default="auto", show_default=True, help="Mask of hidden pixels.")
@scene_options
def plot_command(
    scene: tuple[str, ...],
    out: Path,
    observed: str | None,
    calendar: bool,
    at: str | None,
    of: str,
    time: str | None,
    mask: str,
    **options: Any,
) -> None:
    """Draw a SCENE or a result, and write the picture to OUT.

    OUT ends in .png, .jpg, .pdf or .svg for a picture, in .gif or .mp4 for a film of all dates, and
    in .html for a page with before and after.
    """
    kind = out.suffix.lower()
    if kind not in (*PICTURES, *FILMS, ".html"):
        raise DataError(
            f"the ending of {out} is not a known format",
            fix="use the ending .png, .gif or .html",
        )
    if (at is not None or calendar) and kind not in PICTURES:
        raise DataError("curve and calendar need a picture format", fix="use the ending .png")
    said = SceneOptions.pop_from(options)
    opened = open_scene(scene, said)
    before = None if observed is None else open_scene([observed], said)
    plots = opened.cloudfree.plot
    if kind == ".html":
        plots.swipe(out, observed=before, time=time, mask=mask)
    elif kind in FILMS:
        plots.movie(out, observed=before, mask=mask)
    else:
        if at is not None:
            figure = plots.series(at=_place(at), of=of, observed=before, mask=mask)
        elif calendar:
            figure = plots.calendar(mask)
        else:
            figure = plots(observed=before, time=time, mask=mask)
        figure.savefig(out, dpi=150)
    click.echo(f"written: {out}")


def _place(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError as error:
        raise DataError(
            f"--at {text!r} is not two numbers", fix="give --at x,y in coordinates of the scene"
        ) from error
    return x, y


@main.command(
    "remake",
    short_help="Make a product again from its STAC item.",
    epilog=examples(
        "xcloudfree remake out.zarr.item.json again/",
        "xcloudfree remake out.tif.item.json again/ --catalog https://mirror.example/stac",
    ),
)
@click.argument("item", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@add_options(
    click.option("--catalog", help="Where the items are now, if not where they were."),
    click.option("--model", help="The file of weights, where the passport knows only a digest."),
    click.option("--sign", help="Function that makes addresses readable, module:function."),
    progress_option,
)
def remake_command(
    item: Path,
    folder: Path,
    catalog: str | None,
    model: str | None,
    sign: str | None,
    progress: bool | None,
) -> None:
    """Make the product of ITEM again, into FOLDER, and compare it with what ITEM says.

    ITEM is the STAC item beside a product that was loaded from a catalog, reconstructed, and
    written, with nothing in between. What differs is an error, and the new product is kept.
    """
    from xcloudfree.reconstruct.remake import remake

    function = None if sign is None else imported(sign)
    made = remake(item, folder, catalog=catalog, model=model, sign=function, progress=progress)
    for path in made:
        click.echo(f"written: {path}, as {item.name} says")
