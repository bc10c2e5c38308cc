"""The command line: each command reads its words and makes one call."""

from __future__ import annotations

import click

from xcloudfree._version import __version__
from xcloudfree.cli import demo, doctor, evaluate, fit, mask, models, reconstruct
from xcloudfree.cli.group import Commands

_HELP = """Cloud-free Sentinel-2 from Sentinel-1 and cloudy Sentinel-2.

\b
Start with
  xcloudfree demo                                  everything once, offline
  xcloudfree doctor                                what is installed, what is wrong
  xcloudfree reconstruct SCENE OUT --dry-run       what it would take

A scene is a Zarr store, one or more GeoTIFFs, or the address of a STAC catalog. Every command
explains itself: xcloudfree COMMAND --help. Exit codes: 0 done, 1 refused with a line that says
what to do, 2 wrong words.
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, help=_HELP)
@click.version_option(__version__, prog_name="xcloudfree")
def main() -> None:
    """Collect the commands."""


for command in (
    demo.demo_command,
    doctor.doctor_command,
    mask.mask_command,
    reconstruct.reconstruct_command,
    fit.fit_command,
    evaluate.evaluate_command,
    models.models_command,
):
    main.add_command(command)
