"""A look at values that are in memory already: never more than a few, never computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.scene import Scene
from xcloudfree.masks.scores import METHODS

SAMPLE = 128
"""Rows and columns of which values in memory are looked at, and the most dates."""


def cloud_shares(scene: Scene, name: str) -> NDArray[np.float64] | None:
    """Share of occluded pixels of each image, estimated on a grid of pixels.

    Parameters
    ----------
    scene : Scene
        What was recognised.
    name : str
        Built-in mask method of which the scene has the bands.

    Returns
    -------
    ndarray of float64 or None
        One share an image; None where the values are not in memory.
    """
    method = METHODS[name]
    if method.bands == ("SCL",):
        assert scene.classes is not None
        sources, rule = {"SCL": scene.classes}, Calibration()
    else:
        layer = scene.need_optical(method.bands, "the page")
        arrays = list(layer.arrays)
        if layer.stacked:
            arrays = [arrays[0].isel(band=i) for i in range(len(layer.names))]
        sources, rule = dict(zip(layer.names, arrays, strict=True)), scene.calibration()
    planes = {}
    for band, array in sources.items():
        values = sample(array)
        if values is None:
            return None
        if band == "B02":
            rule.decode(values)  # refuses numbers of another unit
        planes[band] = values.reshape(-1, *values.shape[-2:])
    images = (dict(zip(planes, image, strict=True)) for image in zip(*planes.values(), strict=True))
    return np.array([method.kernel(image, rule, method.threshold).mean() for image in images])


def sample(array: xr.DataArray) -> NDArray[Any] | None:
    """Every so many pixels and dates of an array in memory.

    Parameters
    ----------
    array : DataArray
        (..., y, x).

    Returns
    -------
    ndarray or None
        None for dask arrays and files that are not read yet: nothing is computed for a page.
    """
    if array.chunks is not None or not array.variable._in_memory:
        return None
    steps = {d: slice(None, None, max(1, -(-n // SAMPLE))) for d, n in array.sizes.items()}
    return np.asarray(array.variable.isel(steps).values)
