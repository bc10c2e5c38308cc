"""Fractions of clear, occluded and missing pixels of each date."""

from __future__ import annotations

from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.masks.masking import mask
from xcloudfree.masks.resolve import Mask


def clearness(
    obj: xr.Dataset | xr.DataArray,
    method: Mask = "auto",
    *,
    dilate: int = 0,
    sample: int | None = None,
) -> xr.Dataset:
    """Return the fractions of clear, occluded and missing pixels of each image.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene with the bands that the mask reads.
    method : str, DataArray or callable
        The occluded pixels, see :func:`xcloudfree.masks.mask`.
    dilate : int
        Radius in pixels by which to extend the mask.
    sample : int, optional
        Side in pixels of a square in the middle of the scene to use; by default the whole
        scene.

    Returns
    -------
    Dataset of float32
        ``clear``, ``occluded`` and ``nodata``, which add up to 1, along the leading dimensions of
        the scene; lazy for lazy scenes.

    Raises
    ------
    CloudFreeError
        If `sample` is no positive whole number; also what :func:`xcloudfree.masks.mask` raises.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_scene((64, 64), dates=2, cover=[0.0, 0.6], seed=1)
    >>> shares = ds.cloudfree.clearness("score")
    >>> bool(shares.clear[0] > shares.clear[1])
    True
    """
    if sample is not None:
        if isinstance(sample, bool) or not isinstance(sample, (int, np.integer)) or sample < 1:
            raise CloudFreeError(
                f"sample is {sample!r} and must be a side in pixels",
                fix="call clearness(sample=512)",
            )
        obj = middle(obj, int(sample))
    scene = read(obj)
    hidden = mask(obj, method, dilate=dilate)
    optical = scene.need_bands("clearness")
    rule = scene.calibration()
    planes = [
        xr.apply_ufunc(rule.valid, array, dask="parallelized", output_dtypes=[bool])
        for array in optical.arrays
    ]
    measured = planes[0].all("band") if optical.stacked else reduce(and_, planes)
    spatial = list(scene.spatial)
    shares = {
        "clear": (measured & ~hidden).mean(spatial),
        "occluded": (measured & hidden).mean(spatial),
        "nodata": (~measured).mean(spatial),
    }
    out = xr.Dataset({name: share.astype("float32") for name, share in shares.items()})
    for name, long_name in (
        ("clear", "share of clear pixels"),
        ("occluded", "share of occluded pixels"),
        ("nodata", "share of pixels without data"),
    ):
        out[name].attrs = {"long_name": long_name, "units": "1"}
    return out.assign_attrs({k: v for k, v in hidden.attrs.items() if k in ("method", "reason")})


def middle(obj: Any, side: int) -> Any:
    """A square in the middle of a scene."""
    starts = {d: max(0, (obj.sizes[d] - side) // 2) for d in read(obj).spatial}
    return obj.isel({d: slice(start, start + side) for d, start in starts.items()})
