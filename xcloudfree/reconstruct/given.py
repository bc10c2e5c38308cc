"""Whether images of a coarse sensor that a method was given fit the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.layer import Layer
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene, listed
from xcloudfree.exceptions import DataError, GridError, MissingBandError
from xcloudfree.methods.base import Method


def coarse_images(scene: Scene, method: Method) -> tuple[Layer, Calibration]:
    """The bands of a scene as the coarse sensor saw them, in the order of the scene."""
    assert scene.optical is not None
    images, names = method.images, scene.optical.names
    if all(isinstance(a.data, np.ndarray) for a in scene.optical.arrays):
        images = images.compute()
    coarse = read(images)
    have = () if coarse.optical is None else coarse.optical.names
    missing = [n for n in names if n not in have]
    if missing:
        raise MissingBandError(
            f"the scene has {listed(missing)} and the coarse images have {listed(have)}; rename "
            "bands of the sensor to those nearest in wavelength, for example with "
            f"coarse.rename({{'name': {missing[0]!r}}}), or leave bands of the scene out with "
            f"ds.drop_vars({missing})"
        )
    layer = coarse.need_optical(names, "the method")
    if coarse.optical is not None and layer.names != names:
        layer = coarse.optical.select(names)
    _check_dates(scene, coarse)
    _check_grid(scene, coarse)
    layer.dtype("coarse")
    return layer, coarse.calibration()


def _check_dates(scene: Scene, coarse: Scene) -> None:
    same = coarse.lead == scene.lead
    ours, theirs = (s.template() for s in (scene, coarse))
    for dim in scene.lead:
        same = same and ours.sizes[dim] == theirs.sizes[dim]
        if same and dim in ours.coords:
            same = dim in theirs.coords and bool((ours[dim].values == theirs[dim].values).all())
    if not same:
        raise DataError(
            f"the coarse images run along {_lead(coarse, theirs)} and the scene along "
            f"{_lead(scene, ours)}, and they must be of the same dates; take those nearest with "
            "coarse.sel(time=ds.time, method='nearest').assign_coords(time=ds.time)"
        )


def _lead(scene: Scene, template: xr.DataArray) -> str:
    return listed([f"{d} ({template.sizes[d]})" for d in scene.lead])


def _check_grid(scene: Scene, coarse: Scene) -> None:
    ours, theirs = (_grid(s) for s in (scene, coarse))
    same = scene.shape == coarse.shape and ours.keys() == theirs.keys()
    for name, axis in ours.items():
        if same and len(axis) > 1:
            step = abs(float(axis[1] - axis[0]))
            same = bool((np.abs(axis - theirs[name]) < 0.01 * step).all())
    systems = [coordinate_system(s.source, s.template()) for s in (scene, coarse)]
    if None not in systems and systems[0] != systems[1]:
        same = False
    if not same:
        raise GridError(
            f"the coarse images ({_size(coarse)}) are not on the grid of the scene "
            f"({_size(scene)}); put them there with "
            "coarse.odc.reproject(ds.odc.geobox, resampling='bilinear')"
        )


def _grid(scene: Scene) -> dict[Any, Any]:
    """Coordinates of rows and columns, where there are any."""
    template = scene.template()
    return {d: template[d].values for d in scene.spatial if d in template.coords}


def _size(scene: Scene) -> str:
    height, width = scene.shape
    return f"{height} x {width} px"
