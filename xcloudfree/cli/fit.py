"""``xcloudfree fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import xarray as xr

from xcloudfree.cli.group import examples, words
from xcloudfree.cli.scene import SceneWords, open_scene, scene_options

_EXAMPLES = examples(
    "xcloudfree fit SEN12MS-CR/ mine.safetensors --split official --checkpoints kept --log log",
    "xcloudfree fit series.zarr mine.safetensors --crop 64 --validation 0.2",
    "xcloudfree fit l2a.zarr mine.safetensors --optical-bands B02,B03,B04,B08 --mask scl",
    "xcloudfree reconstruct scene.zarr out.zarr --model mine.safetensors",
)


@click.command("fit", epilog=_EXAMPLES, short_help="Fit a model on your data.")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", default="carf-small", show_default=True)
@click.option(
    "--optical-bands",
    help="Of the network, comma-separated, where not the 13 of Level-1C: "
    "B02,B03,B04,B05,B06,B07,B08,B8A,B11,B12 for Level-2A at 10 and 20 m.",
)
@click.option("--steps", default=2000, show_default=True)
@click.option("--batch", default=8, show_default=True, help="Samples of a step.")
@click.option("--crop", default=128, show_default=True, help="Side of a sample in pixels.")
@click.option("--learning-rate", default=2e-4, show_default=True)
@click.option("--loss", help="By default that of the network's publication.")
@click.option(
    "--mask", default="score", show_default=True,
    help="Of clouds; for Level-2A l2a or scl, or simulated with --simulated 1.",
)  # fmt: skip
@click.option(
    "--simulated", default=0.5, show_default=True, help="Share of samples under simulated clouds."
)
@click.option(
    "--split",
    type=click.Choice(["official", "paper", "region"]),
    help="Of SEN12MS-CR: fit on its training part, validate on its validation part.",
)
@click.option("--validation", type=float, help="Share of regions or of the latest dates.")
@click.option("--patience", type=int, help="Validations without improvement until it stops.")
@click.option("--checkpoints", type=click.Path(), help="Folder; run again to resume.")
@click.option("--log", type=click.Path(), help="Folder for metrics.csv, TensorBoard, pictures.")
@click.option("--cache", type=click.Path(), help="Folder for a copy of the decoded patches.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", help="Torch device.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@scene_options
def fit_command(
    data: tuple[str, ...],
    out: Path,
    model: str,
    optical_bands: str | None,
    split: Any,
    validation: float | xr.Dataset | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Fit a model on DATA and save it as OUT (.safetensors).

    DATA is a folder in the layout of SEN12MS-CR, or a series: a Zarr store, GeoTIFFs on one grid
    or a STAC address. The model takes over the level of the data; where that is not known, say it
    with --level.
    """
    import xcloudfree as xcf
    from xcloudfree import models, train
    from xcloudfree.exceptions import DataError, MissingBandError

    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise DataError(
            f"{out} cannot be written; name a .safetensors file in a folder that exists"
        )
    if split is not None and validation is not None:
        raise DataError("--split names what to validate on; leave out --validation")
    said = SceneWords.taken(options)
    if len(data) == 1 and any(Path(data[0]).glob("ROIs*")):
        scene = xcf.datasets.sen12mscr(data[0])
    else:
        found = open_scene(data, said)
        scene = found.to_dataset(name="s2") if isinstance(found, xr.DataArray) else found
    if split is not None:
        scene, held_out, _ = train.split(scene, split, seed=options["seed"])
        validation = held_out if held_out.sizes["patch"] else None
    start = models.load(model, optical_bands=words(optical_bands) or None)
    try:
        fitted = train.fit(scene, start, validation=validation, progress=not quiet, **options)
    except MissingBandError as error:
        raise MissingBandError(
            f"{error}. A network of other bands: --optical-bands, and for a mask without B10 "
            "--mask l2a or scl"
        ) from error
    fitted.save(out)
