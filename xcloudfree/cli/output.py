"""Where results go: a Zarr store or a GeoTIFF, by the ending of the name."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

from xcloudfree.exceptions import DataError


def is_store(out: str) -> bool:
    """Whether a name is that of a Zarr store, also with the slash that a shell completes."""
    return out.rstrip("/").lower().endswith(".zarr")


def check_output(out: str) -> None:
    """Refuse a name before anything is computed.

    Parameters
    ----------
    out : str
        As typed.

    Raises
    ------
    DataError
        If it ends in neither ``.zarr`` nor ``.tif``.
    """
    if not is_store(out) and not out.lower().endswith((".tif", ".tiff")):
        raise DataError(f"{out} tells no format; name it with the ending .zarr or .tif")


def write(result: xr.Dataset, out: str, *, progress: bool, encoding: Any = None) -> None:
    """Write a result and say where it is.

    Parameters
    ----------
    result : Dataset
        Lazy.
    out : str
        Ending in ``.zarr`` (resumable) or ``.tif``.
    progress : bool
        Show how far it is.
    encoding : {"int16", "uint16"}, optional
        See :func:`xcloudfree.io.to_zarr`.
    """
    import xcloudfree as xcf

    if is_store(out):
        xcf.io.to_zarr(result, out, progress=progress, encoding=encoding)
        click.echo(f"written: {out}")
        return
    for path in xcf.io.to_cog(result, out, progress=progress):
        click.echo(f"written: {path}")
