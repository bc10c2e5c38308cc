"""Cloudy and cloud-free images on one another: recognised, checked, brought into one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError
from xcloudfree.models.spec import ModelSpec


def pair(ds: xr.Dataset, target: str | xr.Dataset) -> tuple[Scene, Scene]:
    """Scene and truth of one dataset."""
    if not isinstance(target, str):
        return read(ds), read(target)
    if target not in ds:
        raise DataError(
            f"the data has no variable {target!r} with the cloud-free reflectance, but "
            f"{list(map(str, ds.data_vars))}; call fit(..., target=...) with its name or a Dataset"
        )
    scene = read(ds.drop_vars(target))
    declared = {} if scene.optical is None else scene.optical.arrays[0].attrs
    truth = ds[target].assign_attrs(declared | ds[target].attrs)
    return scene, read(truth.to_dataset(name="s2"))


def paired_arrays(
    scene: Scene, truth: Scene, spec: ModelSpec, bands: Sequence[str], mask: str
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Cloudy reflectance, target and backscatter, (sample, band, y, x), lazy where they were."""
    why = f"fitting {spec.name!r} with fit(..., mask={mask!r})"
    for part in (scene, truth):
        part.need_optical(bands, why)
    scene.need_sar(spec.polarisations, why)
    arrays = (
        scene.reflectance(bands),
        truth.reflectance(bands),
        scene.backscatter(spec.polarisations),
    )
    sizes = {a.shape[:-3] + a.shape[-2:] for a in arrays}
    if len(sizes) > 1:
        raise DataError(
            f"scene, target and backscatter differ in shape ({sizes}); "
            "bring them on one grid and the same dates, with truth.reindex_like(ds)"
        )
    for dim in scene.spatial:
        here, there = (part.template().coords.get(dim) for part in (scene, truth))
        if here is None or there is None:
            continue
        if here.dtype.kind in "fiu" and not np.allclose(here.values, there.values, rtol=1e-9):
            raise DataError(
                f"scene and target lie on other ground: coordinates along {dim!r} differ; "
                "bring them on one grid, with truth.reindex_like(ds)"
            )
    return tuple(_samples(a, list(scene.lead)) for a in arrays)  # type: ignore[return-value]


def _samples(array: xr.DataArray, lead: list[Any]) -> xr.DataArray:
    bare = array.reset_coords(drop=True).drop_vars(list(array.coords), errors="ignore")
    bare = bare.rename(dict(zip(bare.dims[-2:], ("y", "x"), strict=True)))
    if len(lead) == 1:
        return bare.rename({lead[0]: "sample"})
    bare = bare.expand_dims("sample") if not lead else bare.stack(sample=lead, create_index=False)
    return bare.transpose("sample", "band", ...)


def sample_names(scene: Scene, count: int) -> tuple[str, ...]:
    """What the samples are called along the dimension before the spatial ones."""
    coordinates = scene.source.coords
    if len(scene.lead) == 1 and scene.lead[0] in coordinates:
        return tuple(f"{scene.lead[0]} {v}" for v in coordinates[scene.lead[0]].values)
    return tuple(f"sample {i}" for i in range(count))
