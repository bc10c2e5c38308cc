"""Commands on scenes: info, mask, reconstruct, evaluate, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr

import xcloudfree as xcf
from xcloudfree.cli.group import add_options, examples, main
from xcloudfree.cli.inputs import SceneOptions, open_scene, scene_argument, scene_options
from xcloudfree.cli.outputs import check_output, is_store, progress_option, write
from xcloudfree.exceptions import DataError

_dry_run = click.option(
    "--dry-run", is_flag=True, help="Print blocks, memory, output size and time."
)


@main.command(
    "info",
    short_help="Show what is recognised and what is missing.",
    epilog=examples(
        "xcloudfree info scene.zarr",
        "xcloudfree info s2.tif s1.tif --scale 1e-4 --offset 0 --level TOA --sar dB",
    ),
)
@scene_argument
@scene_options
def info_command(scene: tuple[str, ...], **options: Any) -> None:
    """Show the help page of a SCENE: what is recognised, what is missing, which models fit.

    SCENE is a Zarr store, a NetCDF file, GeoTIFFs on one grid, or a STAC address.
    """
    from xcloudfree.plot import help as help_page

    click.echo(help_page.text(open_scene(scene, SceneOptions.pop_from(options)), as_options=True))


@main.command(
    "mask",
    short_help="Write a cloud mask.",
    epilog=examples(
        "xcloudfree mask scene.zarr mask.zarr",
        "xcloudfree mask B02.tif B03.tif B04.tif B01.tif B11.tif mask.tif \\",
        "    --method l2a --scale 1e-4 --offset -0.1 --level BOA",
        "xcloudfree mask https://earth-search.aws.element84.com/v1 mask.zarr --method scl \\",
        "    --bbox 11.2,47.9,11.4,48.0 --datetime 2025-06",
    ),
)
@scene_argument
@click.argument("out")
@click.option(
    "--method", "--mask", "method", default="auto", show_default=True,
    help="Also series, score, l2a, scl, s2cloudless, ...",
)  # fmt: skip
@click.option("--threshold", type=float, help="Score above which a pixel is cloud.")
@click.option("--dilate", default=0, show_default=True, help="Radius in pixels.")
@click.option("--shadow/--no-shadow", help="Also mask cloud shadow, from the sun's angles.")
@add_options(_dry_run, progress_option, scene_options)
def mask_command(
    scene: tuple[str, ...],
    out: str,
    method: str,
    dry_run: bool,
    progress: bool | None,
    **options: Any,
) -> None:
    """Write the mask of a SCENE to OUT, 1 where the ground is hidden.

    SCENE is a Zarr store, a NetCDF file, GeoTIFFs on one grid, or a STAC address; OUT ends in .zarr
    (run again to resume) or .tif.
    """
    check_output(out)
    opened = open_scene(scene, SceneOptions.pop_from(options))  # the others are those of mask()
    if dry_run:
        from xcloudfree.cli.plan import plan_mask_text, time_text

        click.echo(plan_mask_text(opened, method, out))
        click.echo(time_text(opened, lambda ds: ds.cloudfree.mask(method, **options)))
        return
    made = opened.cloudfree.mask(method, **options)
    if not is_store(out):
        made = made.astype(np.uint8)
    write(made.to_dataset(name="mask"), out, progress=progress)


@main.command(
    "reconstruct",
    short_help="Reconstruct occluded pixels.",
    epilog=examples(
        "xcloudfree reconstruct scene.zarr out.zarr",
        "xcloudfree reconstruct scene.zarr out.zarr --model area-regression --mask l2a",
        "xcloudfree reconstruct s2.tif s1.tif out.tif --scale 1e-4 --offset 0 --level TOA --sar dB",
        "xcloudfree reconstruct https://planetarycomputer.microsoft.com/api/stac/v1 out.zarr \\",
        "    --bbox 11.2,47.9,11.4,48.0 --datetime 2025-05/2025-07 --mask scl \\",
        "    --model mine.safetensors --sign planetary_computer:sign --dry-run",
    ),
)
@scene_argument
@click.argument("out")
@click.option(
    "--model", default="auto", show_default=True,
    help="auto, judged (the winner of xcloudfree judge), a name (xcloudfree models), file, or a "
    "classical method (xcloudfree methods).",
)  # fmt: skip
@click.option(
    "--mask", "--method", "mask", default="auto", show_default=True,
    help="Mask: auto, series, score, l2a, scl, s2cloudless, ...",
)  # fmt: skip
@click.option("--dilate", default=0, show_default=True, help="Radius to extend the mask by.")
@click.option(
    "--shadow/--no-shadow", default=None,
    help="Whether to mask shadow too; by default if the sun's angles are known.",
)  # fmt: skip
@click.option("--no-blend", is_flag=True, help="Return the network's output everywhere (eq. 12).")
@click.option("--fill-missing", is_flag=True, help="Fill pixels without data too.")
@click.option("--interval", type=float, help="Also write bounds that hold this share, e.g. 0.9.")
@click.option("--uncertainty", is_flag=True, help="Also write standard deviations.")
@click.option("--quality", is_flag=True, help="Also write quality flags for each pixel.")
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True
)
@click.option("--device", help="cpu, cuda, cuda:1; by default CUDA if available.")
@click.option(
    "--encoding", type=click.Choice(["int16", "uint16"]), help="Store reflectance as integers."
)
@add_options(_dry_run, progress_option, scene_options)
def reconstruct_command(
    scene: tuple[str, ...],
    out: str,
    model: str,
    no_blend: bool,
    encoding: str | None,
    dry_run: bool,
    progress: bool | None,
    **options: Any,
) -> None:
    """Reconstruct the occluded pixels of a SCENE, and write them to OUT.

    SCENE is a Zarr store, a NetCDF file, GeoTIFFs on one grid, or a STAC address; OUT ends in .zarr
    (run again to resume) or .tif. Clear pixels are returned unchanged.
    """
    check_output(out)
    opened = open_scene(scene, SceneOptions.pop_from(options))
    options["blend"] = None if no_blend else "feather"  # the others are those of reconstruct()
    # lazy: missing data raises an error before a dry run prints its estimates
    result = opened.cloudfree.reconstruct(model, **options)
    if dry_run:
        from xcloudfree.cli.plan import plan_text, time_text

        told, words = result["provenance"].attrs, ""
        if "model_reason" in told:  # it was not named but chosen
            words = f"{model} takes {told['model']}: {told['model_reason']}"
            model = told["model"]
        masked = {name: options[name] for name in ("mask", "dilate", "shadow")}
        click.echo(plan_text(opened, model, out, chosen_by=words, **masked))
        device = options["device"]
        click.echo(time_text(opened, lambda ds: ds.cloudfree.reconstruct(model, **options), device))
        return
    write(result, out, progress=progress, encoding=encoding)


@main.command(
    "evaluate",
    short_help="Compare a result with the truth.",
    epilog=examples(
        "xcloudfree evaluate out.zarr truth.zarr --observed scene.zarr --mask score",
        "xcloudfree evaluate out.tif truth.tif --observed s2.tif --scale 1e-4 --offset 0 \\",
        "    --mask clouds.zarr --table metrics.md",
    ),
)
@click.argument("prediction")
@click.argument("truth")
@click.option("--observed", help="The cloudy input; it is evaluated too, as doing nothing.")
@click.option("--mask", help="What was hidden: a method for the cloudy input, or a Zarr store.")
@click.option("--per-image", is_flag=True, help="Show a block of rows for every date or patch.")
@click.option("--table", type=click.Path(path_type=Path), help="Also write the table to this file.")
@scene_options
def evaluate_command(
    prediction: str,
    truth: str,
    observed: str | None,
    mask: str | None,
    per_image: bool,
    table: Path | None,
    **options: Any,
) -> None:
    """Compare a PREDICTION with the TRUTH: PSNR, SSIM, MAE, RMSE and spectral angle.

    The metrics cover all, cloudy and clear pixels. Each input is a Zarr store or a GeoTIFF; the
    options for bands and units apply to all of them.
    """
    from xcloudfree.judge.evaluation import table as as_table

    said = SceneOptions.pop_from(options)
    cloudy = None if observed is None else open_scene([observed], said)
    result = xcf.evaluate(
        open_scene([prediction], said),
        open_scene([truth], said),
        mask=None if mask is None else _hidden(mask, cloudy),
        observed=cloudy,
    )
    text = as_table(result.compute(), per_image=per_image)
    click.echo(text)
    if table is not None:
        table.write_text(text + "\n", encoding="utf-8")


def _hidden(mask: str, cloudy: Any) -> xr.DataArray:
    """The hidden pixels: from a store written by ``xcloudfree mask``, or by a method."""
    if not Path(mask).exists():
        if cloudy is None:
            raise DataError(
                f"--mask {mask} is computed from the cloudy input", fix="give --observed too"
            )
        hidden: xr.DataArray = cloudy.cloudfree.mask(mask)
        return hidden
    store = xcf.io.open_zarr(mask) if Path(mask).is_dir() else {}
    if "mask" not in store:
        raise DataError(
            f"{mask} is not a Zarr store with a variable 'mask'",
            fix="write one: xcloudfree mask SCENE mask.zarr",
        )
    return store["mask"].astype(bool)


@main.command(
    "demo",
    short_help="Run everything once, offline, with pictures.",
    epilog=examples("xcloudfree demo", "xcloudfree demo --out out/mine --model median"),
)
@click.option("--out", type=click.Path(path_type=Path), default="out/demo", show_default=True)
@click.option("--model", default="kernel-fusion", show_default=True, help="Name or file.")
def demo_command(out: Path, model: str) -> None:
    """Run the whole path offline, and write pictures, Zarr, COG and a table to a folder.

    On a simulated series; for your own see xcloudfree judge.
    """
    from xcloudfree.cli import demonstration

    demonstration.run(out, model=model, say=click.echo)
