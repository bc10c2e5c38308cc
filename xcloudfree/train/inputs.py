"""From the user's data to scenes: pairs, series, and held-out parts."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import product
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.models.spec import ModelSpec
from xcloudfree.models.variants import ANY_LEVEL
from xcloudfree.train.splits import check_apart, regions, split

if TYPE_CHECKING:
    from xcloudfree.models.model import Model

Target = str | xr.Dataset | Sequence[xr.Dataset] | None
Given = tuple[Scene, Scene | None]
"""A scene and its truth; no truth for a series that is fitted on its own clear pixels."""


def datasets(data: xr.Dataset | Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """The user's data as a list of Datasets."""
    alone = isinstance(data, (str, PathLike, xr.Dataset, xr.DataArray))
    several: list[Any] = [data] if alone else list(data)
    if not several:
        raise DataError("there is no data to fit on", fix="call fit(dataset, ...)")
    if wrong := [one for one in several if not isinstance(one, xr.Dataset)]:
        raise DataError(
            f"fit() takes one or more Datasets, not a {type(wrong[0]).__name__}",
            fix="call fit(xcloudfree.io.open_zarr(path), ...), or "
            "fit(array.to_dataset(name='s2'), ...)",
        )
    return several


def recognised(data: Sequence[xr.Dataset], target: Target) -> list[Given]:
    """Scenes with their truth, or series without."""
    if target is None:
        return [_with_own_target(ds) for ds in data]
    if isinstance(target, str):
        return [pair(ds, target) for ds in data]
    truths = [target] if isinstance(target, xr.Dataset) else list(target)
    if len(truths) != len(data):
        raise DataError(
            f"there are {len(data)} datasets and {len(truths)} targets",
            fix="call fit(..., target=[one for each])",
        )
    return [pair(ds, truth) for ds, truth in zip(data, truths, strict=True)]


def held_out_data(
    data: list[xr.Dataset], validation: float | xr.Dataset | Sequence[xr.Dataset], seed: int
) -> tuple[list[xr.Dataset], list[xr.Dataset]]:
    """Data to fit on and data to validate on, which share no ground."""
    if not isinstance(validation, (int, float)):
        others = datasets(validation)
        for one, other in product(data, others):
            check_apart(one, other)
        return data, others
    share = float(validation)
    if not 0 < share < 1:
        raise DataError(
            f"validation is {share}",
            fix="call fit(..., validation=0.1) or another share below 1",
            option="--validation 0.1",
        )
    if len(data) > 1:
        count = min(max(1, round(share * len(data))), len(data) - 1)
        drawn = set(np.random.default_rng(seed).permutation(len(data))[:count].tolist())
        fitted_on = [ds for i, ds in enumerate(data) if i not in drawn]
        judged_on = [data[i] for i in sorted(drawn)]
        for one, other in product(fitted_on, judged_on):
            check_apart(one, other)
        return fitted_on, judged_on
    (ds,) = data
    if "time" in ds.dims and "target" not in ds:
        parts = split(ds, "date", shares=(1 - share, share, 0))
        if min(parts.train.sizes["time"], parts.validation.sizes["time"]) < 2:
            raise DataError(
                f"validation={share} of {ds.sizes['time']} dates leaves a part with less than two",
                fix="call fit(..., validation=0.5), or load a longer series",
                option="--validation 0.5, or a longer series",
            )
    else:
        regions(ds)
        parts = split(ds, "region", shares=(1 - share, share, 0), seed=seed)
    return [parts.train], [parts.validation]


def copy_to_fit(model: Model, scenes: Sequence[Scene]) -> Model:
    """Copy of a model with the level and backscatter quantity that the data declares."""
    from xcloudfree.models.model import Model

    return Model(spec_to_fit(model.spec, scenes), deepcopy(model.network))


def spec_to_fit(spec: ModelSpec, scenes: Sequence[Scene]) -> ModelSpec:
    """Specification with the level and backscatter quantity that the data declares."""
    if spec.dates > 1:
        raise ModelError(
            f"{spec.name} reads {spec.dates} dates but a fit makes samples of one",
            fix='fit a network of one date, such as fit(..., model="uncrtaints")',
            option="--model uncrtaints",
        )
    levels = {s.level for s in scenes}
    if len(levels) > 1 or None in levels:
        declared = ", ".join(sorted(level or "not declared" for level in levels))
        raise DataError(
            f"the data mixes levels or does not declare them ({declared})",
            fix='declare what it is with ds.cloudfree.calibrate(level="TOA"), or fit on one level',
            option="--level TOA",
        )
    changes: dict[str, Any] = {"level": levels.pop()}
    quantities = {s.quantity for s in scenes} - {None}
    if len(quantities) == 1:
        changes["sar_quantity"] = quantities.pop()
    if spec.trained:
        changes.pop("sar_quantity", None)
        any_level = spec.architecture in ANY_LEVEL
        if not any_level and changes.pop("level") != spec.level:
            raise ModelError(
                f"{spec.name} was fitted on {spec.level} but the data is not",
                fix="start from an untrained model with xcloudfree.models.create(...)",
                option="--model with an untrained one, such as carf-small",
            )
    return spec.replace(**changes)


def _with_own_target(ds: xr.Dataset) -> Given:
    """A dataset with the variable ``target``, or a series fitted on its own clear pixels."""
    if "target" in ds:
        return pair(ds, "target")
    if "time" not in ds.dims:
        raise DataError(
            "the data has no variable 'target' with the cloud-free reflectance, and no "
            "dimension 'time' whose clear pixels could be one, but "
            f"{list(map(str, ds.data_vars))}",
            fix="call fit(..., target=...) with its name or a Dataset",
            option="give a series, or a folder in the layout of SEN12MS-CR",
        )
    if ds.sizes["time"] < 2:
        raise DataError(
            "there is only one date, so no other date shows the hidden pixels",
            fix="load a longer series, or where it is clear call fit(ds, target=ds), which "
            "puts simulated clouds over it",
            option="give a longer series",
        )
    return read(ds), None


def pair(ds: xr.Dataset, target: str | xr.Dataset) -> tuple[Scene, Scene]:
    """Scene and truth of one dataset."""
    if not isinstance(target, str):
        return read(ds), read(target)
    if target not in ds:
        raise DataError(
            f"the data has no variable {target!r} with the cloud-free reflectance, but "
            f"{list(map(str, ds.data_vars))}",
            fix="call fit(..., target=...) with its name or a Dataset",
        )
    scene = read(ds.drop_vars(target))
    declared = {} if scene.optical is None else scene.optical.arrays[0].attrs
    truth = ds[target].assign_attrs(declared | ds[target].attrs)
    return scene, read(truth.to_dataset(name="s2"))


def paired_arrays(
    scene: Scene, truth: Scene, spec: ModelSpec, bands: Sequence[str], mask: str
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Cloudy reflectance, target and backscatter, (sample, band, y, x), lazy for lazy data."""
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
            f"scene, target and backscatter differ in shape ({sizes})",
            fix="put them on one grid and the same dates, with truth.reindex_like(ds)",
            option="warp all inputs to one grid first, for example with gdalwarp",
        )
    for dim in scene.spatial:
        here, there = (part.template().coords.get(dim) for part in (scene, truth))
        if here is None or there is None:
            continue
        if here.dtype.kind in "fiu" and not np.allclose(here.values, there.values, rtol=1e-9):
            raise DataError(
                f"scene and target show different ground: coordinates along {dim!r} differ",
                fix="put them on one grid, with truth.reindex_like(ds)",
                option="warp all inputs to one grid first, for example with gdalwarp",
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
    """Names of the samples along the dimension before the spatial ones."""
    coordinates = scene.source.coords
    if len(scene.lead) == 1 and scene.lead[0] in coordinates:
        return tuple(f"{scene.lead[0]} {v}" for v in coordinates[scene.lead[0]].values)
    return tuple(f"sample {i}" for i in range(count))
