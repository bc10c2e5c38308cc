"""Which dates a predictor reads, and when they were acquired."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.predictor import Predictor
from xcloudfree.core.scene import Scene
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError
from xcloudfree.models.spec import ModelSpec

EPOCH = np.datetime64("2014-04-03", "ns")
"""Day 0 of the networks: the launch of Sentinel-1A."""

ADD_TIME = "give it one with ds.expand_dims(time=...) or ds.assign_coords(time=...)"


def dates_read(predictor: Predictor, mask: Any, label: str, others: bool) -> str:
    """The dates on which a value of the result depends: "own", "earlier" or "all"."""
    # A mask passed as an array may come from all dates; `others` are layers that compare dates.
    compares = mask == "auto" if isinstance(mask, str) else True
    if compares or "series" in label or others:
        return "all"
    spec: Any = getattr(predictor, "spec", None)
    if predictor.temporal:
        return "earlier" if getattr(predictor, "looks_back", False) else "all"
    return "all" if spec is not None and (spec.context or spec.dates > 1) else "own"


def nearest_dates(days: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """For each date, its own index and those of the nearest dates."""
    distance = np.abs(days[:, None] - days)
    np.fill_diagonal(distance, -1)
    return np.argsort(distance, axis=1, kind="stable")[:, :count]


def nearest_groups(scene: Scene, spec: ModelSpec) -> list[list[Any]]:
    """Groups of arrays with the other dates that a network reads."""
    why = f"model {spec.name!r}"
    optical, sar = scene.need_bands(why), scene.need_sar(spec.polarisations, why)
    template = scene.template()
    if "time" not in scene.lead or "time" not in template.coords:
        raise DataError(
            f"model {spec.name!r} reads {spec.dates} dates and the data has no time coordinate",
            fix=f'{ADD_TIME}, or choose model="uncrtaints"',
            option="use --model uncrtaints, or write the dates into the file",
        )
    days = _days(scene)
    if len(days) < spec.dates:
        raise DataError(
            f"model {spec.name!r} reads {spec.dates} dates and the data has {len(days)}",
            fix="load a "
            'longer interval, or choose a network of one date such as model="uncrtaints"',
            option="use --model uncrtaints, or load a longer interval",
        )
    chosen = nearest_dates(days, spec.dates)
    axis = scene.lead.index("time")
    like = xr.ones_like(template, dtype=np.float32)
    when = [
        (like * xr.DataArray(days[chosen[:, k]].astype(np.float32), dims="time")).transpose(
            *template.dims
        )
        for k in range(spec.dates)
    ]
    groups = [[day.data for day in when]]
    for k in range(1, spec.dates):
        for layer in (optical, sar):
            groups.append([a[(slice(None),) * axis + (chosen[:, k],)] for a in layer.planes()])
    return groups


def dates_of(scene: Scene, why: str, without: str) -> tuple[int, tuple[float, ...]]:
    """Which leading dimension is time, and the acquisition days of the images."""
    template = scene.template()
    if "time" not in scene.lead or "time" not in template.coords:
        raise DataError(
            "reads a series and the data has no time coordinate",
            fix=f"{ADD_TIME}, or call {without}",
            subject=why,
            option="write the dates into the file, or choose another with --model",
        )
    days = _day_numbers(template["time"])
    if len(days) < 2:
        raise DataError(
            "reads other dates and the data has one",
            fix=f"load a longer interval, or call {without}",
            subject=why,
            option="load a longer interval, or choose another with --model",
        )
    return scene.lead.index("time"), tuple(days.tolist())


def _days(scene: Scene) -> NDArray[np.float64]:
    """Day number of each date: halfway between the two sensors if both times are known."""
    days = _day_numbers(scene.template()["time"])
    gap = scene.source.coords.get("time_gap")
    if gap is not None and gap.dims == ("time",):
        half = gap.values.astype("timedelta64[ns]") / np.timedelta64(2, "D")
        days = days + np.nan_to_num(half)
    return np.asarray(days, np.float64)


def _day_numbers(times: xr.DataArray) -> NDArray[np.float64]:
    """Days since :data:`EPOCH`; raises an error for values that are no dates."""
    return np.asarray((utc_times(times) - EPOCH) / np.timedelta64(1, "D"))
