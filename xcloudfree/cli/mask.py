"""``xcloudfree mask``."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from xcloudfree.cli.group import examples
from xcloudfree.cli.output import check_output, is_store, write
from xcloudfree.cli.plan import plan_mask_text
from xcloudfree.cli.scene import SceneWords, open_scene, scene_argument, scene_options

_EXAMPLES = examples(
    "xcloudfree mask scene.zarr mask.zarr",
    "xcloudfree mask B02.tif B03.tif B04.tif B01.tif B11.tif mask.tif \\",
    "    --method l2a --scale 1e-4 --offset -0.1 --level BOA",
    "xcloudfree mask https://earth-search.aws.element84.com/v1 mask.zarr --method scl \\",
    "    --bbox 11.2,47.9,11.4,48.0 --datetime 2025-06",
)


@click.command("mask", epilog=_EXAMPLES, short_help="Write a cloud mask.")
@scene_argument
@click.argument("out")
@click.option("--method", default="score", show_default=True, help="Or l2a, scl, s2cloudless, ...")
@click.option("--threshold", type=float, help="Score above which a pixel is cloud.")
@click.option("--dilate", default=0, show_default=True, help="Radius in pixels.")
@click.option("--shadow", is_flag=True, help="The shadow of the clouds too, by the sun's angles.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@scene_options
def mask_command(
    scene: tuple[str, ...],
    out: str,
    method: str,
    threshold: float | None,
    dilate: int,
    shadow: bool,
    dry_run: bool,
    quiet: bool,
    **said: Any,
) -> None:
    """Write the mask of a SCENE to OUT, 1 where the ground is hidden.

    SCENE is a Zarr store, one or more GeoTIFFs on one grid, or a STAC address; OUT ends in .zarr
    (run again to resume) or .tif.
    """
    check_output(out)
    opened = open_scene(scene, SceneWords.taken(said))
    if dry_run:
        click.echo(plan_mask_text(opened, method, out))
        return
    found = opened.cloudfree.mask(method, threshold=threshold, dilate=dilate, shadow=shadow)
    if not is_store(out):
        found = found.astype(np.uint8)
    write(found.to_dataset(name="mask"), out, progress=not quiet)
