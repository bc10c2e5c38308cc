"""From what the user gives to scenes: pairs, series, and what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import product
from os import PathLike
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.models.model import Model
from xcloudfree.train.pairs import pair
from xcloudfree.train.partition import check_apart, regions, split

Target = str | xr.Dataset | Sequence[xr.Dataset] | None
Given = tuple[Scene, Scene | None]
"""A scene and its truth; no truth for a series that is fitted on its own clear pixels."""


def datasets(data: xr.Dataset | Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """The given data as a list of Datasets."""
    found = [data] if isinstance(data, (str, PathLike, xr.Dataset, xr.DataArray)) else list(data)
    if not found:
        raise DataError("there is no data to fit on; call fit(dataset, ...)")
    if wrong := [one for one in found if not isinstance(one, xr.Dataset)]:
        raise DataError(
            f"a Dataset, or several, is fitted on, not a {type(wrong[0]).__name__}; call "
            "fit(xcloudfree.io.open_zarr(path), ...), or fit(array.to_dataset(name='s2'), ...)"
        )
    return found


def recognised(data: Sequence[xr.Dataset], target: Target) -> list[Given]:
    """Scenes with their truth, or series without."""
    if target is None:
        return [_own(ds) for ds in data]
    if isinstance(target, str):
        return [pair(ds, target) for ds in data]
    truths = [target] if isinstance(target, xr.Dataset) else list(target)
    if len(truths) != len(data):
        raise DataError(
            f"there are {len(data)} datasets and {len(truths)} targets; "
            "call fit(..., target=[one for each])"
        )
    return [pair(ds, truth) for ds, truth in zip(data, truths, strict=True)]


def held_out_data(
    data: list[xr.Dataset], validation: float | xr.Dataset | Sequence[xr.Dataset], seed: int
) -> tuple[list[xr.Dataset], list[xr.Dataset]]:
    """Data to fit on and data to validate on, which share no ground."""
    if not isinstance(validation, (int, float)):
        others = datasets(validation)
        for one in data:
            for other in others:
                check_apart(one, other)
        return data, others
    share = float(validation)
    if not 0 < share < 1:
        raise DataError(
            f"validation is {share}; call fit(..., validation=0.1) or another share below 1"
        )
    if len(data) > 1:
        count = min(max(1, round(share * len(data))), len(data) - 1)
        out = set(np.random.default_rng(seed).permutation(len(data))[:count].tolist())
        kept = [ds for i, ds in enumerate(data) if i not in out]
        held = [data[i] for i in sorted(out)]
        for one, other in product(kept, held):
            check_apart(one, other)
        return kept, held
    (ds,) = data
    if "time" in ds.dims and "target" not in ds:
        parts = split(ds, "date", shares=(1 - share, share, 0))
        if min(parts.train.sizes["time"], parts.validation.sizes["time"]) < 2:
            raise DataError(
                f"validation={share} of {ds.sizes['time']} dates leaves a part with less than two; "
                "call fit(..., validation=0.5), or load a longer series"
            )
    else:
        regions(ds)
        parts = split(ds, "region", shares=(1 - share, share, 0), seed=seed)
    return [parts.train], [parts.validation]


def copy_to_fit(model: Model, scenes: Sequence[Scene]) -> Model:
    """Copy of a model with the level and backscatter quantity that the data declares."""
    if model.spec.dates > 1:
        raise ModelError(
            f"{model.spec.name} reads {model.spec.dates} dates and fit() makes samples of one; "
            'fit a network of one date, such as fit(..., model="uncrtaints")'
        )
    levels = {s.level for s in scenes}
    if len(levels) > 1 or None in levels:
        raise DataError(
            f"the data mixes levels or does not declare them ({_told(levels)}); declare what it "
            'is with ds.cloudfree.calibrate(level="TOA"), or fit on one level'
        )
    changes: dict[str, Any] = {"level": levels.pop()}
    quantities = {s.quantity for s in scenes} - {None}
    if len(quantities) == 1:
        changes["sar_quantity"] = quantities.pop()
    if model.spec.trained:
        changes.pop("sar_quantity", None)
        if changes.pop("level", model.spec.level) != model.spec.level:
            raise ModelError(
                f"{model.spec.name} was fitted on {model.spec.level} and the data is not; "
                "start from an untrained model with xcloudfree.models.create(...)"
            )
    return Model(model.spec.replace(**changes), deepcopy(model.network))


def _own(ds: xr.Dataset) -> Given:
    if "target" in ds:
        return pair(ds, "target")
    if "time" not in ds.dims:
        raise DataError(
            "the data has no variable 'target' with the cloud-free reflectance, and no dimension "
            f"'time' whose clear pixels could be one, but {list(map(str, ds.data_vars))}; call "
            "fit(..., target=...) with its name or a Dataset"
        )
    if ds.sizes["time"] < 2:
        raise DataError(
            "there is one date only, so no other one shows what clouds hide; load a longer series, "
            "or where it is clear call fit(ds, target=ds), which puts simulated clouds over it"
        )
    return read(ds), None


def _told(levels: set[str | None]) -> str:
    return ", ".join(sorted(level or "not declared" for level in levels))
