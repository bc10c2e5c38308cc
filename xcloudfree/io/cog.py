"""Cloud-optimised GeoTIFF: files for each date, with flags apart from measurements."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from xcloudfree.core.grid import coordinate_system, evenly_spaced
from xcloudfree.core.progress import Progress
from xcloudfree.core.recognise import spatial_dims
from xcloudfree.core.scene import BAND_DIMS
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError, GridError
from xcloudfree.io.encoding import Encoding, encode_reflectance, flagged
from xcloudfree.io.geotiff import count, geotiff_disk, write
from xcloudfree.io.passport import tags_of, write_collection, write_passport
from xcloudfree.io.storable import made, regular_chunks
from xcloudfree.io.streaming import blocks_share_work
from xcloudfree.io.zarr_store import Spatial, dataset_of, to_zarr

BESIDE: Final = ("std", "lower", "upper", "age")
"""Coordinates that a reconstructed DataArray has beside its flags."""


def to_cog(
    obj: Spatial,
    path: str | os.PathLike[str],
    *,
    per: Literal["date", "band"] = "date",
    encoding: Encoding | None = None,
    progress: bool | None = None,
) -> list[Path]:
    """Write cloud-optimised GeoTIFFs, one per date with all bands, or one per band.

    Flags, such as ``provenance`` and ``quality``, and masks have files of their own beside the
    bands, with their own integer type; also those that are coordinates. Their tags say what the
    numbers mean (``flag_values``, ``flag_masks``, ``flag_meanings``), and so does the STAC item
    (``classification:classes`` or ``classification:bitfields``). The deviations, bounds and ages
    of a DataArray, which are coordinates too, become bands such as ``std_B02``.

    A few blocks at a time go into a temporary file, which then gets overviews and is renamed when
    it is complete, so memory does not grow with the scene. If blocks share work, as those of a
    reconstruction do, they first go to a temporary store next to the target
    (:func:`xcloudfree.io.to_zarr`), which needs disk space and is removed at the end; an
    interrupted write cannot resume. For large scenes, write a Zarr store first and convert that.
    Integers stay integers. Bands of different types take the smallest type that can represent them
    all; if that is a float, an integer's no-data value becomes NaN. Band names become descriptions,
    preceded by the variable name if two variables have bands of the same name; `scale_factor` and
    `add_offset` become the bands' scale. How a reconstruction was made (model, digest,
    mask, parameters, items) becomes the tags of the files; a STAC item next to the files of each
    date, ``<file>.item.json``, says the same, and a STAC collection next to `path`,
    ``<path>.collection.json``, lists the items.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        Variables or a band dimension over y and x, with a coordinate reference system; at most one
        further dimension (time or patch).
    path : str or path-like
        File name, ending in ``.tif``, or a folder: ``maps`` is short for ``maps/maps.tif``. Of
        several dates, each gets its own file: ``out.tif`` becomes ``out_20250601T103021.tif``.
        Flags and, with ``per="band"``, bands follow: ``..._provenance.tif``, ``..._B02.tif``. The
        file of an object with flags alone has no such ending.
    per : {"date", "band"}
        Content of a file: all bands of a date, or one band, which keeps its own type and no-data
        value.
    encoding : {"int16", "uint16"}, optional
        Write floating-point reflectance as integers with a scale, half the size; see
        :func:`xcloudfree.io.encoding.encode_reflectance`. With deviations in the same file its
        type stays a float: write them per band, or leave them out.
    progress : bool, optional
        Whether to show a progress bar; by default in a terminal or notebook only.

    Returns
    -------
    list of Path
        The files of each date; with flags, first the bands of all dates, then their flags. With
        ``per="band"``, the bands of each date.

    Raises
    ------
    GridError
        If there is no coordinate reference system, or coordinates are unevenly spaced.
    DataError
        If the dimensions are not those above, there is nothing to write, or the disk fails.

    Examples
    --------
    >>> import tempfile, rioxarray
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.ones((6, 4), "uint16"))},
    ...                 coords={"y": 10.0 * np.arange(6)[::-1], "x": 10.0 * np.arange(4)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = to_cog(ds.rio.write_crs(32631), folder + "/out.tif", progress=False)
    ...     print([f.name for f in files])
    ['out.tif']
    """
    import rioxarray  # noqa: F401  the rio accessor

    target = Path(os.fspath(path)).absolute()
    if not target.suffix or target.is_dir():
        target = target / f"{target.name}.tif"
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise DataError(
            f"{target.name} is not a GeoTIFF name", fix="call xcf.io.to_cog(obj, 'out.tif')"
        )
    if per not in ("date", "band"):
        raise DataError(f"per is {per!r}", fix="call xcf.io.to_cog(obj, 'out.tif', per='band')")
    whole, _ = dataset_of(obj, "to_cog")
    if encoding is not None:
        whole = encode_reflectance(whole, encoding, "to_cog")
    return _write(whole, target, per, encoding, progress)


def _write(
    whole: xr.Dataset,
    target: Path,
    per: Literal["date", "band"],
    encoding: Encoding | None,
    progress: bool | None,
) -> list[Path]:
    """The files of an object."""
    bands = _bands(whole)
    first = next(iter(bands.values()))
    if not first.size:
        raise DataError(
            f"There is nothing to write among {dict(first.sizes)}",
            fix="select dates and pixels that there are: "
            "xcf.io.to_cog(ds.isel(time=...), 'out.tif')",
            option="choose a scene with dates and pixels",
        )
    lead = list(first.dims[:-2])
    if len(lead) > 1:
        raise DataError(
            f"A file contains one date, but {lead} are too many dimensions",
            fix=f"call xcf.io.to_cog(obj.isel({lead[0]}=0), 'out.tif')",
            option="name the output with the ending .zarr",
        )
    system = coordinate_system(whole, first) or whole.rio.crs
    if system is None:
        code = "EPSG:..." if first.dims[-2] == "y" else "EPSG:4326"
        raise GridError(
            "There is no coordinate reference system",
            fix=f"declare it: ds = ds.rio.write_crs('{code}')",
            option="name the output with the ending .zarr, or give the input one, for example with "
            f"`gdal_edit.py -a_srs {code} FILE`",
        )
    grid = first.rename(dict(zip(first.dims[-2:], ("y", "x"), strict=True)))
    grid = grid.isel(dict.fromkeys(lead, 0), drop=True)
    profile = {
        "crs": system,
        "transform": _transform(grid, first.dims[-2:]),
        "width": grid.sizes["x"],
        "height": grid.sizes["y"],
    }
    with geotiff_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    dates: list[dict[Hashable, int]] = [{}]
    files = [target]
    if lead:
        dates = [{lead[0]: i} for i in range(first.sizes[lead[0]])]
        files = [target] if len(dates) == 1 else _names(first, lead[0], target)
    jobs, products = [], []
    for file, date in zip(files, dates, strict=True):
        image = {name: band.isel(date) for name, band in bands.items()}
        alone = [name for name, band in image.items() if per == "band" or flagged(band)]
        joined = {name: band for name, band in image.items() if name not in alone}
        one = [(file, joined)] if joined else []
        if per == "date" and not joined:  # flags and nothing else
            one, alone = [(file, image)], []
        for name in alone:
            own = file.with_name(f"{file.stem}_{_word(name)}{file.suffix}")
            one.append((own, {name: image[name]}))
        jobs += one
        products.append((file, whole.isel(date), one))
    windows = sum(count(image) for _, image in jobs)
    together = {name: (band.dims, band.data) for name, band in bands.items()}
    if windows > 1 and blocks_share_work(regular_chunks(xr.Dataset(together))):
        return _through_a_store(whole, target, per, encoding, progress)
    facts = made(whole)  # of all dates: each may have been made from all of them
    written = {"format": "cog", "per": per, "encoding": encoding, "path": target.name}
    with Progress(f"writing {target.name}", windows, show=progress) as bar:
        for product, ds, one in products:
            for file, image in one:
                write(image, profile, file, bar.step, tags_of(facts))
            parts = {f.stem: (f, xr.Dataset(image)) for f, image in one}
            with geotiff_disk(target):
                write_passport(product, ds, parts, written, facts, target)
    with geotiff_disk(target):
        write_collection(target, [product for product, *_ in products])
    main = {product for product, *_ in products}  # so that flags do not come between dates
    return sorted((file for file, _ in jobs), key=lambda file: per == "date" and file not in main)


def _through_a_store(
    whole: xr.Dataset,
    target: Path,
    per: Literal["date", "band"],
    encoding: Encoding | None,
    progress: bool | None,
) -> list[Path]:
    """The files, from a temporary store that exists while they are written."""
    with geotiff_disk(target):
        folder = tempfile.mkdtemp(dir=target.parent, prefix=f".{target.stem}-")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Not stored")  # nor would it be in a GeoTIFF
            try:
                stored = to_zarr(whole, Path(folder, target.stem + ".zarr"), progress=progress)
            except DataError as error:
                if isinstance(error.__cause__, OSError):  # its message is about the store
                    with geotiff_disk(target):
                        raise error.__cause__ from None
                raise
        return _write(stored, target, per, encoding, progress)
    finally:
        _remove(Path(folder))


def _remove(folder: Path) -> None:
    """Remove a folder; after a failed write, threads of dask may still add files to it."""
    end = time.monotonic() + 10
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _word(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^\w.-]+", "-", name)


def _bands(whole: xr.Dataset) -> dict[str, xr.DataArray]:
    """Bands by name, each (*lead, y, x) with the same leading dimensions."""
    beside = [
        name for name, array in whole.coords.items()
        if (flagged(array) or name in BESIDE) and name not in whole.dims
    ]  # fmt: skip
    apart = whole.reset_coords(beside)
    bands: dict[str, xr.DataArray] = {}
    for name in [*whole.data_vars, *beside]:
        array = apart[name]
        spatial = spatial_dims(array)
        if spatial is None:
            continue
        dim = next((d for d in BAND_DIMS if d in array.dims), None)
        array = array.transpose(..., *spatial)
        if dim is None:
            bands[str(name)] = array
            continue
        names = array[dim].values if dim in array.coords else range(1, array.sizes[dim] + 1)
        for i, band in enumerate(map(str, names)):
            known = f"{name}_{band}" if band in bands else band  # s2 and s2_std have the same bands
            bands[known] = array.isel({dim: i}, drop=True)
    if not bands:
        raise DataError(
            "Nothing has the dimensions y and x",
            fix="call xcf.io.to_cog(ds.rename({...: 'y', ...: 'x'}), path)",
            option="name the output with the ending .zarr",
        )
    widest = max(bands.values(), key=lambda a: a.ndim)
    lead: dict[Hashable, int] = {d: widest.sizes[d] for d in widest.dims[:-2]}
    for name, array in bands.items():
        missing = {d: n for d, n in lead.items() if d not in array.dims}
        bands[name] = array.expand_dims(missing).transpose(*widest.dims)
    return bands


def _transform(grid: xr.DataArray, names: tuple[Hashable, ...]) -> Any:
    """Affine transform of evenly spaced pixel centres; `names` of y and x in the input."""
    from affine import Affine

    steps, starts = [], []
    for dim, name in (("x", names[1]), ("y", names[0])):
        if dim not in grid.coords:
            raise GridError(
                f"There is no coordinate {name}",
                fix=f"call xcf.io.to_cog(ds.assign_coords({name}=...), path)",
                option="name the output with the ending .zarr",
            )
        centres = grid[dim].values.astype(np.float64)
        if centres.size > 1:
            step = (centres[-1] - centres[0]) / (centres.size - 1)
        else:
            known = grid.rio.transform()
            step = known.a if dim == "x" else known.e
        if not evenly_spaced(grid[dim]):
            raise GridError(
                f"The coordinate {name} is not evenly spaced",
                fix="put the data on an even grid first: "
                f"ds.reindex({name}=numpy.linspace(float(ds.{name}[0]), float(ds.{name}[-1]), "
                f"ds.sizes['{name}']), method='nearest')",
                option="name the output with the ending .zarr",
            )
        steps.append(step)
        starts.append(centres[0] - step / 2)
    return Affine(steps[0], 0, starts[0], 0, steps[1], starts[1])


def _names(array: xr.DataArray, dim: Hashable, target: Path) -> list[Path]:
    """A file name for each date, or for each index if dates are not unique."""
    count = array.sizes[dim]
    labels = [f"{i:04d}" for i in range(count)]
    if dim in array.coords and array[dim].dtype.kind == "M":
        stamps = np.datetime_as_string(utc_times(array[dim]), unit="s")
        dated = [s.replace("-", "").replace(":", "") for s in stamps]
        labels = dated if len(set(dated)) == count else labels
    return [target.with_name(f"{target.stem}_{label}{target.suffix}") for label in labels]
