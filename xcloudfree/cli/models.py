"""Commands on models: models, methods, fit, doctor."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import click
import xarray as xr

import xcloudfree as xcf
from xcloudfree import methods as classical
from xcloudfree import models
from xcloudfree.cli.group import examples, main, split_list
from xcloudfree.cli.inputs import SceneOptions, open_scene, scene_options
from xcloudfree.cli.outputs import progress_option
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.models.shipped import shipped


@main.group(
    "models",
    short_help="List, show or convert models.",
    invoke_without_command=True,
    epilog=examples(
        "xcloudfree models list 'carf*'",
        "xcloudfree models show carf-small-demo",
        "xcloudfree models convert glf_cr.pth glf_cr.safetensors --architecture glfcr",
    ),
)
@click.pass_context
def models_command(ctx: click.Context) -> None:
    """List models that can be loaded by name, show or convert them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models_command.command("list", epilog=examples("xcloudfree models list 'carf*'"))
@click.argument("pattern", default="*")
@click.option("--methods", is_flag=True, help="Also list the classical methods.")
def list_models(pattern: str, methods: bool = False) -> None:
    """List names that match PATTERN, as in a shell."""
    ready = shipped()
    for name in models.list(pattern):
        click.echo(f"{name}{'  (shipped weights)' if name in ready else ''}")
    for name in fnmatch.filter(classical.names(), pattern) if methods else []:
        click.echo(f"{name}  (method, no weights)")


@models_command.command("show", epilog=examples("xcloudfree models show carf-small --cost"))
@click.argument("name")
@click.option("--cost", is_flag=True, help="Also count multiply-adds and memory.")
def show_model(name: str, cost: bool) -> None:
    """Show the specification of a model, by name or path."""
    import dataclasses

    model = models.load(name)
    click.echo(repr(model))
    for key, value in dataclasses.asdict(model.spec).items():
        click.echo(f"  {key}: {value}")
    if cost:
        from xcloudfree.models.cost import multiply_adds, peak_bytes

        click.echo(f"  multiply-adds per pixel: {multiply_adds(model, 256) / 256**2:.4g}")
        click.echo(f"  working bytes per pixel: {peak_bytes(model, 128) / 128**2:.4g}")


@models_command.command(
    "convert",
    epilog=examples(
        "xcloudfree models convert glf_cr.pth glf_cr.safetensors --architecture glfcr",
        "xcloudfree models convert weights.h5 dsen2cr.safetensors --architecture dsen2cr",
    ),
)
@click.argument("checkpoint", nargs=-1, required=True, type=click.Path())
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--architecture", required=True, help="Name or variant, see `xcloudfree models`.")
@click.option("--name", help="Name of the model; by default from variant and file.")
@click.option("--optical-bands", help="Comma-separated, in the order of the weights.")
@click.option("--polarisations", help="Comma-separated, in the order of the weights.")
@click.option("--level", type=click.Choice(["TOA", "BOA"]), default="TOA", show_default=True)
@click.option(
    "--sar-quantity", type=click.Choice(["sigma0", "gamma0"]), default="sigma0", show_default=True
)
def convert_model(
    checkpoint: tuple[str, ...],
    out: Path,
    architecture: str,
    optical_bands: str | None,
    polarisations: str | None,
    **options: Any,
) -> None:
    """Convert a published CHECKPOINT (or the two of a pair) to a model file OUT (.safetensors)."""
    model = models.convert(
        checkpoint if len(checkpoint) > 1 else checkpoint[0],
        architecture,
        optical_bands=split_list(optical_bands),
        polarisations=split_list(polarisations),
        **options,
    )
    model.save(out)
    click.echo(repr(model))


@main.command(
    "methods",
    short_help="List the classical methods.",
    epilog=examples("xcloudfree methods", "xcloudfree methods '*regression*'"),
)
@click.argument("pattern", default="*")
def methods_command(pattern: str) -> None:
    """List the classical methods that match PATTERN, as in a shell; they need no weights."""
    for name in fnmatch.filter(classical.names(), pattern):
        click.echo(name)


@main.command(
    "fit",
    short_help="Fit a model on your data.",
    epilog=examples(
        "xcloudfree fit SEN12MS-CR/ mine.safetensors --split official --checkpoints kept --log log",
        "xcloudfree fit series.zarr mine.safetensors --crop 64 --validation 0.2",
        "xcloudfree fit l2a.zarr mine.safetensors --optical-bands B02,B03,B04,B08 --mask scl",
        "xcloudfree reconstruct scene.zarr out.zarr --model mine.safetensors",
    ),
)
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", default="carf-small", show_default=True)
@click.option(
    "--optical-bands",
    help="Bands of the network, comma-separated, if not the 13 of Level-1C: "
    "B02,B03,B04,B05,B06,B07,B08,B8A,B11,B12 for Level-2A at 10 and 20 m.",
)
@click.option("--steps", default=2000, show_default=True)
@click.option("--batch", default=8, show_default=True, help="Samples per step.")
@click.option("--crop", default=128, show_default=True, help="Side of a sample in pixels.")
@click.option("--learning-rate", default=2e-4, show_default=True)
@click.option("--loss", help="By default, the loss of the network's publication.")
@click.option(
    "--mask",
    help="Cloud mask, by default score (carf-series: auto); for Level-2A l2a or scl, or simulated "
    "with --simulated 1.",
)  # fmt: skip
@click.option(
    "--simulated", default=0.5, show_default=True, help="Share of samples under simulated clouds."
)
@click.option(
    "--split",
    type=click.Choice(["official", "paper", "region"]),
    help="Split of SEN12MS-CR: fit on its training part, validate on its validation part.",
)
@click.option("--validation", type=float, help="Share of regions, or of the latest dates.")
@click.option("--patience", type=int, help="Validations without improvement until it stops.")
@click.option("--checkpoints", type=click.Path(), help="Folder; run again to resume.")
@click.option("--log", type=click.Path(), help="Folder for metrics.csv, TensorBoard, pictures.")
@click.option("--cache", type=click.Path(), help="Folder for a copy of the decoded patches.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", help="Torch device.")
@progress_option
@scene_options
def fit_command(
    data: tuple[str, ...],
    out: Path,
    model: str,
    optical_bands: str | None,
    split: Any,
    validation: float | xr.Dataset | None,
    progress: bool | None,
    **options: Any,
) -> None:
    """Fit a model on DATA and save it as OUT (.safetensors).

    DATA is a folder in the layout of SEN12MS-CR, or a series: a Zarr store, GeoTIFFs on one grid
    or a STAC address. The model takes the level of the data; if the data does not declare it, use
    --level.
    """
    from xcloudfree import models, train

    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise DataError(
            f"{out} cannot be written", fix="name a .safetensors file in a folder that exists"
        )
    if split is not None and validation is not None:
        raise DataError("--split already selects validation data", fix="leave out --validation")
    said = SceneOptions.pop_from(options)
    if len(data) == 1 and any(Path(data[0]).glob("ROIs*")):
        scene = xcf.datasets.sen12mscr(data[0])
    else:
        opened = open_scene(data, said)
        scene = opened.to_dataset(name="s2") if isinstance(opened, xr.DataArray) else opened
    if split is not None:
        scene, held_out, _ = train.split(scene, split, seed=options["seed"])
        validation = held_out if held_out.sizes["patch"] else None
    # by name, an untrained network gets the bands of the data
    named = split_list(optical_bands)
    start = models.load(model, optical_bands=named) if named else model
    try:
        fitted = train.fit(scene, start, validation=validation, progress=progress, **options)
    except MissingBandError as error:
        if not error.subject or "Sentinel-1" in error.problem:  # other bands would not help
            raise
        raise MissingBandError(
            error.problem,
            fix=error.fix,
            subject=error.subject,
            option="--optical-bands for a network of other bands, and for a mask without B10 "
            "--mask l2a or scl",
        ) from error
    fitted.save(out)


@main.command(
    "doctor",
    short_help="Show versions, devices, plug-ins, and problems.",
    epilog=examples("xcloudfree doctor"),
)
def doctor_command() -> None:
    """Show versions, devices, shipped models and plug-ins, and their problems.

    Paste the output into bug reports. The exit code is 1 if a plug-in is broken.
    """
    import torch

    from xcloudfree import models, show_versions
    from xcloudfree.core import plugins
    from xcloudfree.masks.scores import METHODS
    from xcloudfree.models.variants import ALIASES, VARIANTS

    show_versions()
    count = torch.cuda.device_count()
    devices = ", ".join(torch.cuda.get_device_name(i) for i in range(count)) or "CPU only"
    click.echo(f"\ndevices: {devices}, {torch.get_num_threads()} CPU threads")
    click.echo(f"shipped weights: {', '.join(shipped())}")
    click.echo(f"models: {', '.join(models.list())}")
    click.echo(f"plug-ins, masks: {', '.join(plugins.names('masks')) or 'none'}")
    click.echo(f"plug-ins, models: {', '.join(plugins.names('models')) or 'none'}")
    own_models = {*VARIANTS, *ALIASES, *shipped()}
    problems = plugins.problems("masks", METHODS) + plugins.problems("models", own_models)
    for line in problems:
        click.echo(f"problem: {line}")
    if problems:
        raise SystemExit(1)
