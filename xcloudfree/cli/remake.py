"""Make a product again from its passport and the catalog that it came from."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.cli.group import add_options, examples, main
from xcloudfree.cli.inputs import imported
from xcloudfree.cli.outputs import progress_option
from xcloudfree.exceptions import DataError

NEEDED = ("request", "parameters", "written", "item_id")
"""What a passport must tell, each after ``xcloudfree:``."""


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
    for path in remake(item, folder, catalog, model, sign, progress=progress):
        click.echo(f"written: {path}, as {item.name} says")


def remake(
    item: Path,
    folder: Path,
    catalog: str | None = None,
    model: str | None = None,
    sign: str | None = None,
    *,
    progress: bool | None = None,
) -> list[Path]:
    """The files or the store of a product, made again."""
    import xcloudfree as xcf
    from xcloudfree.io.passport import passport_of
    from xcloudfree.reconstruct.parameters import not_repeatable
    from xcloudfree.stac.search.request import arguments

    told = _passport(item)
    facts: dict[str, Any] = {
        k.removeprefix("xcloudfree:"): v for k, v in told["properties"].items()
    }
    parameters, written, request = (facts[k] for k in ("parameters", "written", "request"))
    if model is not None:
        parameters = {**parameters, "model": model}
    if given := not_repeatable(parameters):
        raise DataError(
            f"{item.name} cannot be made again: {', '.join(given)} was an object of its own",
            fix="name weights with --model FILE; for a mask or a method of your own, repeat "
            "the call in Python",
        )
    version = facts.get("xcloudfree_version")
    if version != __version__:
        warnings.warn(
            f"{item.name} was made by xcloudfree {version}, and this is {__version__}: numbers may "
            "differ",
            stacklevel=2,
        )
    address = catalog or request["catalog"]
    if address is None:
        raise DataError(
            f"{item.name} was loaded from items and names no catalog",
            fix="name one with --catalog ADDRESS",
        )
    ds = xcf.stac.load(
        address,
        sign=None if sign is None else imported(sign),
        sar_catalog=request["sar_catalog"],
        **arguments(request),
    )
    _check_items(ds, facts)
    out = ds.cloudfree.reconstruct(**parameters)
    digest = out.provenance.attrs.get("model_digest")
    if digest != facts.get("model_digest"):
        raise DataError(
            f"the weights have the digest {digest}, and {item.name} says "
            f"{facts.get('model_digest')}",
            fix="name the file of those weights with --model FILE",
        )
    folder.mkdir(parents=True, exist_ok=True)
    if written["format"] == "zarr":
        made = [folder / told["id"]]
        xcf.io.to_zarr(
            out,
            made[0],
            encoding=written["encoding"],
            chunks=written["chunks"],
            multiscales=written.get("multiscales", False),
            progress=progress,
        )
    else:
        made = xcf.io.to_cog(
            out,
            folder / written["path"],
            per=written["per"],
            encoding=written["encoding"],
            progress=progress,
        )
    _compare(told, _passport(passport_of(folder / told["id"])))
    return made


def _passport(path: Path) -> dict[str, Any]:
    """The item in a file, if it is the passport of a reconstruction."""
    try:
        item: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [k for k in NEEDED if f"xcloudfree:{k}" not in item["properties"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no STAC item", fix="name the .item.json beside a product"
        ) from error
    if missing:
        raise DataError(
            f"{path.name} does not tell {', '.join(missing)}",
            fix="name the item of what was loaded by xcf.stac.load and then reconstructed",
        )
    return item


def _check_items(ds: xr.Dataset, facts: dict[str, Any]) -> None:
    """Raise an error if the catalog has other items than the product was made from."""
    for name in ("item_id", "s1_item_id"):
        was = facts.get(name, [])
        now = np.ravel(ds[name].values).tolist() if name in ds.coords else []
        if was != now:
            gone, new = (sorted(set(a) - set(b)) for a, b in ((was, now), (now, was)))
            raise DataError(
                f"the catalog has other items now: without {gone or 'none'}, and with "
                f"{new or 'none'} beside those of the product",
                fix="name a catalog that has them alone with --catalog ADDRESS",
            )


def _compare(told: dict[str, Any], made: dict[str, Any]) -> None:
    """Raise an error if the product differs from its passport."""
    places = ("catalog", "sar_catalog")
    differing = []
    for key in sorted({*told["properties"], *made["properties"]}):
        was, now = (part["properties"].get(key) for part in (told, made))
        if key == "xcloudfree:request":
            was, now = ({k: v for k, v in r.items() if k not in places} for r in (was, now))
        if key == "xcloudfree:parameters":
            was, now = ({k: v for k, v in p.items() if k != "model"} for p in (was, now))
        if was != now:
            differing.append(key)
    differing += [n for n in told["assets"] if told["assets"][n] != made["assets"].get(n)]
    if differing:
        raise DataError(
            f"the new product differs from what {told['id']} was in {', '.join(differing)}",
            fix="compare the two: data behind the catalog has changed, or something was done "
            "between loading and writing that no passport knows",
        )
