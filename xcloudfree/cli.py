"""The command line: each command reads its words and makes one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import xarray as xr

import xcloudfree as xcf
from xcloudfree.exceptions import CloudFreeError


class _Group(click.Group):
    """Errors that we raise on purpose are shown as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CloudFreeError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(xcf.__version__)
def main() -> None:
    """Cloud-free Sentinel-2 from Sentinel-1 and cloudy Sentinel-2."""


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default="out/demo", show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder in the layout of SEN12MS-CR, instead of a simulated scene.",
)
@click.option("--model", default="carf-small-demo", show_default=True)
def demo(out: Path, data: Path | None, model: str) -> None:
    """Run the whole path offline and leave pictures, Zarr, COG and a table in a folder."""
    from xcloudfree import demo as demonstration

    demonstration.run(out, data=data, model=model, say=click.echo)


@main.group(invoke_without_command=True)
@click.pass_context
def models(ctx: click.Context) -> None:
    """What can be loaded by name; lists it without a further word."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command("list")
@click.argument("pattern", default="*")
def list_models(pattern: str) -> None:
    """List names."""
    for name in xcf.models.list(pattern):
        click.echo(name)


@models.command("show")
@click.argument("name")
def show_model(name: str) -> None:
    """Show the specification of a model, by name or path."""
    import dataclasses

    model = xcf.models.load(name)
    click.echo(repr(model))
    for key, value in dataclasses.asdict(model.spec).items():
        click.echo(f"  {key}: {value}")


@models.command("convert")
@click.argument("checkpoint", nargs=-1, required=True, type=click.Path())
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--architecture", required=True, help="Or a variant, see `xcloudfree models`.")
@click.option("--name", help="Of the model; by default that of variant and file.")
@click.option("--optical-bands", help="Comma-separated, in the order of the weights.")
@click.option("--polarisations", help="Comma-separated, in the order of the weights.")
@click.option("--level", type=click.Choice(["TOA", "BOA"]), default="TOA", show_default=True)
@click.option(
    "--sar-quantity",
    type=click.Choice(["sigma0", "gamma0"]),
    default="sigma0",
    show_default=True,
)
def convert_model(
    checkpoint: tuple[str, ...],
    out: Path,
    architecture: str,
    name: str | None,
    optical_bands: str | None,
    polarisations: str | None,
    level: str,
    sar_quantity: str,
) -> None:
    """Turn a published CHECKPOINT (or the two of a pair) into a model file OUT (.safetensors)."""
    model = xcf.models.convert(
        checkpoint if len(checkpoint) > 1 else checkpoint[0],
        architecture,
        name=name,
        optical_bands=_words(optical_bands),
        polarisations=_words(polarisations),
        level=level,
        sar_quantity=sar_quantity,
    )
    model.save(out)
    click.echo(repr(model))


@main.command()
@click.argument("scene", type=click.Path(exists=True))
@click.argument("out", type=click.Path())
@click.option("--method", default="score", show_default=True)
@click.option("--dilate", default=0, show_default=True, help="Radius in pixels.")
def mask(scene: str, out: str, method: str, dilate: int) -> None:
    """Write the mask of a SCENE (Zarr) to a Zarr store OUT."""
    found = _open(scene).cloudfree.mask(method, dilate=dilate)
    xcf.io.to_zarr(found.to_dataset(name="mask"), out)


@main.command()
@click.argument("scene", type=click.Path(exists=True))
@click.argument("out", type=click.Path())
@click.option("--model", default="carf-small-demo", show_default=True)
@click.option("--method", default="score", show_default=True, help="Of the mask.")
@click.option("--device", help="Torch device.")
def reconstruct(scene: str, out: str, model: str, method: str, device: str | None) -> None:
    """Reconstruct a SCENE (Zarr) into a Zarr store OUT; run again to resume."""
    result = _open(scene).cloudfree.reconstruct(model=model, mask=method, device=device)
    xcf.io.to_zarr(result, out)


@main.command()
@click.argument("root", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", default="carf-small", show_default=True)
@click.option("--steps", default=2000, show_default=True)
@click.option("--loss", default="paper", show_default=True)
@click.option("--seed", default=0, show_default=True)
def fit(root: str, out: Path, model: str, steps: int, loss: str, seed: int) -> None:
    """Fit a model on patches in ROOT (SEN12MS-CR layout) and save it as OUT (.safetensors)."""
    patches = xcf.datasets.sen12mscr(root)
    xcf.fit(patches, model, steps=steps, loss=loss, seed=seed).save(out)


@main.command()
@click.argument("prediction", type=click.Path(exists=True))
@click.argument("truth", type=click.Path(exists=True))
@click.option("--observed", type=click.Path(exists=True), help="The cloudy input (Zarr).")
def evaluate(prediction: str, truth: str, observed: str | None) -> None:
    """Compare a reconstruction with the truth (Zarr stores), over all, cloudy and clear pixels."""
    from xcloudfree.tables import table

    result = xcf.evaluate(
        _open(prediction), _open(truth), observed=None if observed is None else _open(observed)
    )
    click.echo(table(result.compute()))


@main.command()
def doctor() -> None:
    """Show versions, devices and shipped models."""
    import importlib.metadata as metadata

    import torch

    click.echo(f"xcloudfree {xcf.__version__}")
    for name in ("xarray", "dask", "numpy", "torch", "odc-stac", "pystac-client", "rioxarray"):
        click.echo(f"{name} {metadata.version(name)}")
    for name in ("matplotlib", "rustac", "stackstac"):
        try:
            click.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            click.echo(f"{name} not installed: pip install 'xcloudfree[plot,demo,stackstac]'")
    count = torch.cuda.device_count()
    devices = ", ".join(torch.cuda.get_device_name(i) for i in range(count)) or "CPU only"
    click.echo(f"devices: {devices}, {torch.get_num_threads()} CPU threads")
    click.echo(f"models: {', '.join(xcf.models.list())}")


def _words(text: str | None) -> list[str] | None:
    """What stands between the commas."""
    return None if text is None else [word.strip() for word in text.split(",")]


def _open(path: str) -> xr.Dataset | xr.DataArray:
    """A scene from a Zarr store; the one array with bands where that is all there is."""
    opened: xr.Dataset | xr.DataArray = xcf.io.open_zarr(path)
    if isinstance(opened, xr.Dataset) and len(opened.data_vars) == 1:
        (array,) = opened.data_vars.values()
        return array if "band" in array.dims else opened
    return opened
