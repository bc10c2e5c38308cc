"""Make a product again from its passport and the catalog that it came from."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.core.restore import provenance_of
from xcloudfree.exceptions import DataError
from xcloudfree.io.cog import to_cog
from xcloudfree.io.passport import passport_of
from xcloudfree.io.zarr_store import to_zarr
from xcloudfree.reconstruct.parameters import not_repeatable
from xcloudfree.reconstruct.pipeline import reconstruct
from xcloudfree.stac.load import load
from xcloudfree.stac.search.request import arguments

NEEDED: Final = ("request", "parameters", "written", "item_id")
"""What a passport must contain, each after ``xcloudfree:``."""

CHOICE: Final = ("model_reason", "judge_table")
"""Why the model was chosen, which no second run repeats: it names the model instead."""


def remake(
    item: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    catalog: str | None = None,
    model: str | os.PathLike[str] | None = None,
    sign: Callable[..., Any] | None = None,
    progress: bool | None = None,
) -> list[Path]:
    """Make a product again from its STAC item, and compare the two.

    The request to the catalog, the reconstruction and the writing are repeated as the item beside
    the product describes them. With the same versions of all packages the bytes are the same.

    Parameters
    ----------
    item : path-like
        STAC item beside a product of :func:`xcloudfree.io.to_zarr` or
        :func:`xcloudfree.io.to_cog` that was loaded by :func:`xcloudfree.stac.load`, reconstructed
        and written, with nothing in between.
    folder : path-like
        Folder for the new product, which gets its old name.
    catalog : str, optional
        Address of a catalog that has the items now; by default the one of the item.
    model : path-like, optional
        File of weights, if the model was an object in memory; its digest is compared.
    sign : callable, optional
        As for :func:`xcloudfree.stac.load`.
    progress : bool, optional
        Whether to show a progress bar; by default in a terminal or notebook only.

    Returns
    -------
    list of Path
        The store, or the files.

    Raises
    ------
    DataError
        If the item is not that of such a product or lies in `folder`, a mask or a method was an
        object, the catalog has other items, the weights another digest, or the new product (which
        is kept) differs.

    Warns
    -----
    UserWarning
        If another version of this library made the product.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), dates=3, cover=0.3, seed=1)
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _, items = xcf.stac.publish(scene, place + "/catalog")
    ...     with xcf.stac.serve(place + "/catalog") as served:
    ...         ds = xcf.stac.load(served.url, bbox=items[0]["bbox"])
    ...         out = ds.cloudfree.reconstruct("median", mask="score", shadow=False)
    ...         _ = xcf.io.to_zarr(out, place + "/out.zarr", progress=False)
    ...         again = xcf.remake(place + "/out.zarr.item.json", place + "/again", progress=False)
    >>> [path.name for path in again]
    ['out.zarr']
    """
    item, folder = Path(item), Path(folder)
    told = _passport(item)
    if folder.resolve() == item.resolve().parent:
        raise DataError(
            f"{folder} contains the product of {item.name}, which the new one would replace",
            fix=f"name another folder: xcf.remake({str(item)!r}, {str(folder / 'again')!r})",
            option="another FOLDER",
        )
    facts: dict[str, Any] = {
        k.removeprefix("xcloudfree:"): v for k, v in told["properties"].items()
    }
    parameters, written, request = (facts[k] for k in ("parameters", "written", "request"))
    if model is not None:
        parameters = {**parameters, "model": os.fspath(model)}
    if given := not_repeatable(parameters):
        raise DataError(
            f"{item.name} cannot be made again: {', '.join(given)} was an object of its own",
            fix="name a file of weights with xcf.remake(..., model='mine.safetensors'); for a mask "
            "or a method of your own, repeat the calls",
            option="--model FILE for weights; for a mask or a method of your own, repeat the calls "
            "in Python",
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
            fix="name one: xcf.remake(..., catalog='https://...')",
            option="--catalog ADDRESS",
        )
    ds = load(address, sign=sign, sar_catalog=request["sar_catalog"], **arguments(request))
    _check_items(ds, facts)
    out = reconstruct(ds, **parameters)
    provenance = provenance_of(out)
    assert provenance is not None
    digest = provenance.attrs.get("model_digest")
    if digest != facts.get("model_digest"):
        raise DataError(
            f"the weights have the digest {digest}, and {item.name} says "
            f"{facts.get('model_digest')}",
            fix="name the file of those weights: xcf.remake(..., model='mine.safetensors')",
            option="--model FILE with the file of those weights",
        )
    now = provenance.attrs
    now |= {k: _text(facts[k]) for k in CHOICE if k in facts}
    order = [k for k in now if k not in facts] + [k for k in facts if k in now]
    provenance.attrs = {key: now[key] for key in order}  # the same bytes
    made = _written(out, folder, told["id"], written, progress)
    _compare(told, _passport(passport_of(folder / told["id"])))
    return made


def _text(value: Any) -> str:
    """A fact as the attribute that it was."""
    return value if isinstance(value, str) else json.dumps(value)


def _written(
    out: Any, folder: Path, name: str, written: dict[str, Any], progress: bool | None
) -> list[Path]:
    """The store or the files, written as before."""
    folder.mkdir(parents=True, exist_ok=True)
    encoding = written["encoding"]
    if written["format"] != "zarr":
        target = folder / written["path"]
        return to_cog(out, target, per=written["per"], encoding=encoding, progress=progress)
    to_zarr(
        out,
        folder / name,
        encoding=encoding,
        chunks=written["chunks"],
        multiscales=written.get("multiscales", False),
        progress=progress,
    )
    return [folder / name]


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
            option="name the item of a product that was loaded from a catalog and reconstructed",
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
                fix="name a catalog that has those alone: xcf.remake(..., catalog='https://...')",
                option="--catalog ADDRESS with a catalog that has those alone",
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
