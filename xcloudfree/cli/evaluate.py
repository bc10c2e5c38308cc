"""``xcloudfree evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xcloudfree.cli.group import examples
from xcloudfree.cli.scene import SceneWords, open_scene, scene_options

_EXAMPLES = examples(
    "xcloudfree evaluate out.zarr truth.zarr --observed scene.zarr --mask score",
    "xcloudfree evaluate out.tif truth.tif --observed s2.tif --scale 1e-4 --offset 0 \\",
    "    --mask clouds.zarr --table metrics.md",
)


@click.command("evaluate", epilog=_EXAMPLES, short_help="Compare a result with the truth.")
@click.argument("prediction")
@click.argument("truth")
@click.option("--observed", help="The cloudy input: judged as well, as doing nothing.")
@click.option("--mask", help="What was hidden: a method for the cloudy input, or a Zarr store.")
@click.option("--per-image", is_flag=True, help="A block of rows for every date or patch.")
@click.option("--table", type=click.Path(path_type=Path), help="Write the table here too.")
@scene_options
def evaluate_command(
    prediction: str,
    truth: str,
    observed: str | None,
    mask: str | None,
    per_image: bool,
    table: Path | None,
    **said: Any,
) -> None:
    """Compare a PREDICTION with the TRUTH: PSNR, SSIM, MAE, RMSE and spectral angle.

    Over all, cloudy and clear pixels. Each is a Zarr store or a GeoTIFF; the options about bands
    and units hold for all of them.
    """
    import xcloudfree as xcf
    from xcloudfree.exceptions import DataError
    from xcloudfree.judge.evaluation import table as as_table

    words = SceneWords.taken(said)
    cloudy = None if observed is None else open_scene([observed], words)
    hidden: Any = None
    if mask is not None and Path(mask).exists():
        if Path(mask).is_file():
            raise DataError(f"{mask} is no Zarr store; write one: xcloudfree mask SCENE mask.zarr")
        store = xcf.io.open_zarr(mask)
        if "mask" not in store:
            raise DataError(
                f"{mask} holds no variable 'mask'; write one with: xcloudfree mask SCENE mask.zarr"
            )
        hidden = store["mask"].astype(bool)
    elif mask is not None and cloudy is None:
        raise DataError(f"--mask {mask} is computed from the cloudy input; give --observed too")
    elif mask is not None and cloudy is not None:
        hidden = cloudy.cloudfree.mask(mask)
    result = xcf.evaluate(
        open_scene([prediction], words), open_scene([truth], words), mask=hidden, observed=cloudy
    )
    text = as_table(result.compute(), per_image=per_image)
    click.echo(text)
    if table is not None:
        table.write_text(text + "\n", encoding="utf-8")
