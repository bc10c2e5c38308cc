"""Planes next to the bands of a reconstruction: deviations, bounds, and provenance."""

from __future__ import annotations

import xarray as xr

from xcloudfree.core.bands import optical_band
from xcloudfree.core.scene import Layer, Scene, band_dim


def provenance_of(obj: xr.Dataset | xr.DataArray) -> xr.DataArray | None:
    """Provenance flags of an object; None without them."""
    return (obj if isinstance(obj, xr.Dataset) else obj.coords).get("provenance")


def beside(scene: Scene, kind: str) -> list[xr.DataArray] | None:
    """The "std", "lower" or "upper" of each optical band in reflectance, (*lead, y, x), if any."""
    assert scene.optical is not None
    source, variables = scene.source, scene.optical.variables
    if scene.form == "bands":
        names = [f"{v}_{kind}" for v in variables]
        if not set(names) <= set(map(str, source.variables)):
            return None
        planes = [source[name] for name in names]
    else:
        name = kind if scene.form == "array" else f"{variables[0]}_{kind}"
        if name not in source.coords and (scene.form == "array" or name not in source):
            return None
        whole = source[name]
        dim = band_dim(whole)
        where = {optical_band(n): i for i, n in enumerate(whole[dim].values)}
        planes = [whole.isel({dim: where[n]}, drop=True) for n in scene.optical.names]
    planes = [p.transpose(*scene.lead, *scene.spatial) for p in planes]
    # bounds are stored as their bands are, deviations in reflectance
    return planes if kind == "std" else [scene.decoded(p) for p in planes]


def stacked_beside(scene: Scene, kind: str) -> xr.DataArray | None:
    """The same as one array (*lead, band, y, x), with the nominal level of bounds."""
    planes = beside(scene, kind)
    if planes is None:
        return None
    assert scene.optical is not None
    whole = Layer(scene.optical.names, tuple(planes), scene.optical.variables).stack()
    return whole.assign_attrs({k: v for k, v in planes[0].attrs.items() if k == "interval"})
