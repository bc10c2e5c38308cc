"""``xcloudfree demo``."""

from __future__ import annotations

from pathlib import Path

import click

from xcloudfree.cli.group import examples


@click.command(
    "demo",
    short_help="Run everything once, offline, with pictures.",
    epilog=examples(
        "xcloudfree demo",
        "xcloudfree demo --data my_series.zarr --out out/mine",
        "xcloudfree demo --data SEN12MS-CR/ --out out/real",
    ),
)
@click.option("--out", type=click.Path(path_type=Path), default="out/demo", show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Instead of a simulated series: a Zarr store of your own, of which clear dates are hidden "
    "under the clouds of others; or a folder in the layout of SEN12MS-CR.",
)
@click.option(
    "--model",
    help="Name or file  [default: a regression for a series, carf-small-demo for SEN12MS-CR]",
)
def demo_command(out: Path, data: Path | None, model: str | None) -> None:
    """Run the whole path offline and leave pictures, Zarr, COG and a table in a folder."""
    from xcloudfree.cli import demonstration as demonstration

    demonstration.run(out, data=data, model=model, say=click.echo)
