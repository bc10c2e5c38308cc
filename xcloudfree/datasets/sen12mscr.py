"""SEN12MS-CR in its original folders."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import DataError

KINDS = {"s1": "s1", "s2_cloudy": "s2", "s2": "target"}
"""Folder suffix of each kind of image, and its variable."""

_FILE = re.compile(r"ROIs(\d+)_([a-z]+)_(s1|s2_cloudy|s2)_(\d+)_p(\d+)\.tif$")
_SIZE = 256


def sen12mscr(
    root: str | Path,
    *,
    seasons: Sequence[str] | None = None,
    rois: Sequence[int] | None = None,
    incomplete: Literal["skip", "nodata"] = "skip",
) -> xr.Dataset:
    """Read SEN12MS-CR lazily, one patch per chunk.

    Parameters
    ----------
    root : str or Path
        Folder with ``ROIs<id>_<season>_<s1|s2|s2_cloudy>/<kind>_<roi>/*.tif``.
    seasons : sequence of str, optional
        Some of ``spring``, ``summer``, ``fall``, ``winter``; all by default.
    rois : sequence of int, optional
        Regions of interest; all by default.
    incomplete : {"skip", "nodata"}
        What to do with patches that lack an image: leave them out, with a warning that
        counts them, or fill the missing image with no data.

    Returns
    -------
    Dataset
        ``s2`` (patch, band, y, x) cloudy and ``target`` cloud-free, uint16 reflectance x 10000 at
        top of atmosphere; ``s1`` (patch, polarisation, y, x) sigma0 in dB, float32. Coordinates
        ``patch`` (name), ``season``, ``roi``, ``number``.

    Raises
    ------
    DataError
        If the folder contains no such file, none of these seasons and regions, or no complete
        patch.

    References
    ----------
    Ebel et al. (2021), Multisensor data fusion for cloud removal in global and all-season
    Sentinel-2 imagery, IEEE TGRS 59(7).

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> xcf.datasets.sen12mscr("no/such/folder")
    Traceback (most recent call last):
    ...
    xcloudfree.exceptions.DataError: no SEN12MS-CR file under no/such/folder; ...
    """
    if incomplete not in ("skip", "nodata"):
        raise DataError(
            f"incomplete={incomplete!r} is neither 'skip' nor 'nodata'",
            fix="leave it out: xcf.datasets.sen12mscr(root)",
        )
    found = _find(Path(root), seasons, rois)
    complete = {k: v for k, v in found.items() if set(v) == set(KINDS)}
    if incomplete == "skip":
        if len(complete) < len(found):
            warnings.warn(
                f"{len(found) - len(complete)} of {len(found)} patches lack an image and are left "
                "out; keep them with sen12mscr(..., incomplete='nodata')",
                UserWarning,
                stacklevel=2,
            )
        found = complete
    if not found:
        raise DataError(
            f"no complete patch (s1, s2, s2_cloudy) under {root}",
            fix="use incomplete ones with sen12mscr(..., incomplete='nodata')",
            option="name a folder with complete patches",
        )
    keys = sorted(found)
    names = [f"{i}_{season}_{roi}_p{number}" for i, season, roi, number in keys]
    coords = {
        "patch": names,
        "season": ("patch", [k[1] for k in keys]),
        "roi": ("patch", [k[2] for k in keys]),
        "number": ("patch", [k[3] for k in keys]),
    }
    optical = {
        "units": "1",
        "scale_factor": 1e-4,
        "add_offset": 0.0,
        "nodata": 0,
        "processing_level": "TOA",
    }
    backscatter = {"units": "dB", "quantity": "sigma0"}
    variables = {}
    for kind, variable in KINDS.items():
        paths = xr.DataArray([str(found[k].get(kind, "")) for k in keys], dims="patch")
        if kind == "s1":
            array = _lazy(paths, "polarisation", 2, "float32").assign_attrs(backscatter)
        else:
            array = _lazy(paths, "band", 13, "uint16").assign_attrs(optical)
        variables[variable] = array
    labels = {"band": list(S2_BANDS), "polarisation": ["VV", "VH"]}
    attrs = {"title": "SEN12MS-CR", "source": str(root)}
    order = ("s2", "s1", "target")
    return xr.Dataset({v: variables[v] for v in order}, coords | labels, attrs)


def _find(
    root: Path, seasons: Sequence[str] | None, rois: Sequence[int] | None
) -> dict[tuple[str, str, int, int], dict[str, Path]]:
    """Files by patch (set, season, roi, number) and kind."""
    found: dict[tuple[str, str, int, int], dict[str, Path]] = {}
    there: set[tuple[str, int]] = set()
    for path in root.glob("ROIs*/*/ROIs*_p*.tif"):
        if (match := _FILE.search(path.name)) is None:
            continue
        roi_set, season, kind, roi, number = match.groups()
        there.add((season, int(roi)))
        if (seasons and season not in seasons) or (rois and int(roi) not in rois):
            continue
        found.setdefault((roi_set, season, int(roi), int(number)), {})[kind] = path
    if there and not found:
        some = sorted(there)[:20]
        raise DataError(
            f"no patch under {root} has seasons={seasons} and rois={rois}",
            fix=f"choose others, as {', '.join(f'{season} {roi}' for season, roi in some)}, "
            f"with sen12mscr(root, seasons=[{some[0][0]!r}], rois=[{some[0][1]}])",
        )
    if not found:
        raise DataError(
            f"no SEN12MS-CR file under {root}",
            fix="pass the folder that contains ROIs1158_spring_s1 and similar ones, with "
            "xcloudfree.datasets.sen12mscr(root)",
            option="name the folder that contains ROIs1158_spring_s1 and similar ones",
        )
    return found


def _lazy(paths: xr.DataArray, dim: str, count: int, dtype: DTypeLike) -> xr.DataArray:
    out = xr.apply_ufunc(
        _read,
        paths.chunk(patch=1),
        kwargs={"count": count, "dtype": np.dtype(dtype)},
        output_core_dims=[[dim, "y", "x"]],
        dask="parallelized",
        output_dtypes=[dtype],
        dask_gufunc_kwargs={"output_sizes": {dim: count, "y": _SIZE, "x": _SIZE}},
    )
    return xr.DataArray(out)


def _read(
    paths: NDArray[np.str_], *, count: int, dtype: np.dtype[np.generic]
) -> NDArray[np.generic]:
    """Images of a few patches, (patch, band, y, x)."""
    import rasterio

    empty = np.nan if dtype.kind == "f" else 0
    out = np.full((len(paths), count, _SIZE, _SIZE), empty, dtype)
    for place, path in zip(out, paths, strict=True):
        if path:
            with rasterio.open(path) as source:
                place[...] = source.read()
    return out
