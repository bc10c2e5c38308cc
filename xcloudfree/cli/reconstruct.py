"""``xcloudfree reconstruct``."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

from xcloudfree.cli.group import examples
from xcloudfree.cli.output import check_output, is_store, write
from xcloudfree.cli.plan import plan_text
from xcloudfree.cli.scene import SceneWords, open_scene, scene_argument, scene_options
from xcloudfree.exceptions import DataError

_EXAMPLES = examples(
    "xcloudfree reconstruct scene.zarr out.zarr",
    "xcloudfree reconstruct scene.zarr out.zarr --model area-regression --mask l2a",
    "xcloudfree reconstruct s2.tif s1.tif out.tif --scale 1e-4 --offset 0 --level TOA --sar dB",
    "xcloudfree reconstruct https://planetarycomputer.microsoft.com/api/stac/v1 out.zarr \\",
    "    --bbox 11.2,47.9,11.4,48.0 --datetime 2025-05/2025-07 --mask scl \\",
    "    --model mine.safetensors --sign planetary_computer:sign --dry-run",
)


@click.command("reconstruct", epilog=_EXAMPLES, short_help="Fill what clouds hide.")
@scene_argument
@click.argument("out")
@click.option(
    "--model", default="carf-small-demo", show_default=True,
    help="Name (xcloudfree models list), file, or a classical method: area-regression, ...",
)  # fmt: skip
@click.option(
    "--mask", "--method", "mask", default="score", show_default=True,
    help="What is hidden: score, l2a, scl, s2cloudless, ...",
)  # fmt: skip
@click.option("--dilate", default=0, show_default=True, help="Radius to extend the mask by.")
@click.option(
    "--shadow/--no-shadow", default=None,
    help="Whether shadow is hidden too; by default where the sun's angles are known.",
)  # fmt: skip
@click.option("--no-blend", is_flag=True, help="The network's output everywhere (eq. 12).")
@click.option("--uncertainty", is_flag=True, help="Standard deviations too, where estimated.")
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True
)
@click.option("--device", help="cpu, cuda, cuda:1; by default CUDA where there is one.")
@click.option(
    "--encoding", type=click.Choice(["int16", "uint16"]), help="Store reflectance as integers."
)
@click.option("--dry-run", is_flag=True, help="Tell blocks, memory, arithmetic and size.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@scene_options
def reconstruct_command(
    scene: tuple[str, ...],
    out: str,
    model: str,
    mask: str,
    dilate: int,
    shadow: bool | None,
    no_blend: bool,
    uncertainty: bool,
    precision: str,
    device: str | None,
    encoding: str | None,
    dry_run: bool,
    quiet: bool,
    **said: Any,
) -> None:
    """Reconstruct what clouds hide in a SCENE, into OUT.

    SCENE is a Zarr store, one or more GeoTIFFs on one grid, or a STAC address; OUT ends in .zarr
    (run again to resume) or .tif. Clear pixels leave as they came in.
    """
    check_output(out)
    if encoding is not None and not is_store(out):
        raise DataError(
            f"--encoding is for Zarr and {out} is a GeoTIFF; name OUT .zarr, or leave it out"
        )
    opened = open_scene(scene, SceneWords.taken(said))
    result = opened.cloudfree.reconstruct(
        model=model,
        mask=mask,
        dilate=dilate,
        shadow=shadow,
        blend=None if no_blend else "feather",
        uncertainty=uncertainty,
        precision=precision,
        device=device,
    )  # lazy: what the data or the model lacks is refused before a dry run tells what it costs
    if dry_run:
        click.echo(plan_text(opened, model, out, mask=mask, dilate=dilate, shadow=shadow))
        return
    if isinstance(result, xr.DataArray):
        result = result.to_dataset(name=str(result.name or "data")).reset_coords("provenance")
    write(result, out, progress=not quiet, encoding=encoding)
