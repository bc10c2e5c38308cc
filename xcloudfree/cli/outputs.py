"""Output of a command: Zarr or GeoTIFF, by its name."""

from __future__ import annotations

from typing import Any

import click
import xarray as xr

import xcloudfree as xcf
from xcloudfree.exceptions import DataError

progress_option = click.option(
    "--progress/--quiet", default=None, help="Progress bar; by default only in a terminal."
)


def is_store(out: str) -> bool:
    """Whether a name is that of a Zarr store, also with a trailing slash."""
    return out.rstrip("/").lower().endswith(".zarr")


def check_output(out: str) -> None:
    """Check a name before anything is computed."""
    if not is_store(out) and not out.lower().endswith((".tif", ".tiff")):
        raise DataError(
            f"the ending of {out} is not a known format", fix="use the ending .zarr or .tif"
        )


def write(
    result: xr.Dataset | xr.DataArray, out: str, *, progress: bool | None, encoding: Any = None
) -> None:
    """Write a lazy result as Zarr (resumable) or GeoTIFF, and print its path."""
    if isinstance(result, xr.DataArray):  # planes next to its bands become variables
        planes = [n for n, c in result.coords.items() if {"y", "x"} <= set(c.dims)]
        result = result.to_dataset(name=str(result.name or "data")).reset_coords(planes)
    if is_store(out):
        xcf.io.to_zarr(result, out, progress=progress, encoding=encoding)
        click.echo(f"written: {out}")
        return
    for path in xcf.io.to_cog(result, out, encoding=encoding, progress=progress):
        click.echo(f"written: {path}")
