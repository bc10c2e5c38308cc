"""Make a product again from its passport and the catalog that it came from."""

from __future__ import annotations

from pathlib import Path

import click

from xcloudfree.cli.group import add_options, examples, main
from xcloudfree.cli.inputs import imported
from xcloudfree.cli.outputs import progress_option


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
