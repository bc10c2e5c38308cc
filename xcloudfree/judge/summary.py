"""Means of a benchmark by group of cases, the best method, and where a network loses."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError
from xcloudfree.judge.metrics import BETTER, DIGITS, NAMES
from xcloudfree.judge.result import check_names
from xcloudfree.judge.scene_table import as_result

KEYS: Final = ("case", "region", "gap", "protocol", "kind", "distance", "band")
"""Coordinates to group cases by; only the table of one scene has the last two."""

WHOLE: Final = 0.99
"""Share of a group's pixels that a method must have reconstructed to be ranked."""


def summary(result: xr.Dataset, by: Sequence[str] = ("region",)) -> xr.Dataset:
    """Average over the cases of each group.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`, or from ``ds.cloudfree.judge()``.
    by : sequence of str
        Coordinates of the cases whose common values make a group: of ``case``, ``region``,
        ``gap``, ``protocol``, ``kind``, and of a table of ``judge()`` ``distance`` and ``band``;
        none for a single group.

    Returns
    -------
    Dataset
        ``value`` (method, group, metric, pixels): the mean over the cases that the method completed
        and that contain such pixels; ``cases`` (method, group, pixels): their number;
        ``reconstructed`` (method, group, pixels): the fraction of the pixels for which the method
        has a value, with failures counted as none; ``ranked`` (method, group, pixels): whether this
        is at least 0.99, as only then are the means of two methods over the same pixels. Medians
        over the cases of ``cpu_seconds``, ``wall_seconds`` and ``peak_memory`` (method, group);
        ``failed`` (method, group). Coordinates ``group`` (a label) and the `by` along it.

    Raises
    ------
    DataError
        If there is no such coordinate.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> cases = xcf.benchmarking.hidden_dates(series, clear="score", gaps=[0], kinds=["full"])
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> summary(result).value.sel(metric="mae", pixels="cloudy").squeeze().values < 0.1
    array([False,  True])
    """
    result = as_result(result, by)
    keys_here = tuple(key for key in KEYS if key in result.coords)
    if unknown := [key for key in by if key not in keys_here]:
        raise DataError(
            f"cases have no {unknown[0]!r}{did_you_mean(unknown[0], keys_here)}",
            fix=f"call summary(by=...) with some of {keys_here}",
        )
    columns = [result[key].values for key in by]
    keys = list(zip(*columns, strict=True)) if by else [()] * result.sizes["case"]
    labels = [_label(by, key) for key in keys]
    groups = list(dict.fromkeys(labels))
    parts = [_group(result.isel(case=[n for n, x in enumerate(labels) if x == g])) for g in groups]
    out = xr.concat(parts, xr.Variable("group", groups), join="override")
    for place, key in enumerate(by):
        firsts = [keys[labels.index(g)][place] for g in groups]
        out = out.assign_coords({key: ("group", np.array(firsts))})
    out = out.transpose("method", "group", "metric", "pixels")
    return out.assign_attrs(result.attrs | {"title": "Means over the cases of each group"})


_COSTS: Final = ("cpu_seconds", "wall_seconds", "peak_memory")


def _group(part: xr.Dataset) -> xr.Dataset:
    finite = part.value.sel(metric="mae", drop=True).notnull()
    total = part["count"] + part.left_out
    pixels = total.max("method").sum("case")  # a failed method has no counts of its own
    done = part["count"].where(finite, 0).sum("case")
    share = (done / pixels.where(pixels > 0)).fillna(0.0)
    pair, many = ("method",), ("method", "metric", "pixels")
    ordered = part.transpose("case", "method", "metric", "pixels", ...)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Mean of empty|All-NaN) slice", RuntimeWarning)
        value = np.nanmean(ordered.value.values, axis=0)
        costs = {name: (pair, np.nanmedian(ordered[name].values, axis=0)) for name in _COSTS}
    labels = part.drop_dims("case").assign_coords({d: part[d] for d in many})
    return labels.assign(costs).assign(
        value=(many, value),
        cases=finite.sum("case"),
        reconstructed=share,
        ranked=share >= WHOLE,
        failed=(part.failure != "").sum("case"),
    )


def _label(by: Sequence[str], key: Iterable[Any]) -> str:
    words = []
    for name, value in zip(by, key, strict=True):
        if name == "gap":
            words.append("" if np.isnan(value) else f"gap {value:g}")
        else:
            words.append(str(value))
    return ", ".join(w for w in words if w)


def winners(means: xr.Dataset) -> xr.DataArray:
    """Return the best method in each column of a summary, or several if they tie.

    Parameters
    ----------
    means : Dataset
        From :func:`summary`.

    Returns
    -------
    DataArray of bool
        (method, group, metric, pixels). Methods that are not ``ranked`` cannot win.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> cases = xcf.benchmarking.hidden_dates(series, clear="score", gaps=[0], kinds=["full"])
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> best = winners(summary(result)).sel(metric="mae", pixels="cloudy").squeeze()
    >>> best.method.values[best.values].tolist()
    ['linear-time']
    """
    sign = xr.DataArray([BETTER.get(str(m), -1) for m in means.metric.values], dims="metric")
    value = means.value.where(means.metric != "bias", abs(means.value))
    score = (value * sign).where(means.ranked)
    best = score.max("method", skipna=True)
    out: xr.DataArray = (score == best) & score.notnull()
    return out.transpose("method", "group", "metric", "pixels")


def upsets(
    result: xr.Dataset,
    methods: Sequence[str],
    *,
    by: Sequence[str] = ("region",),
    metrics: Sequence[str] = ("psnr", "ssim", "mae", "rmse", "sam"),
    pixels: Sequence[str] = ("all", "cloudy"),
    rivals: Sequence[str] | None = None,
) -> list[str]:
    """List every place where a rival beats the methods that should win.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`.
    methods : sequence of str
        Methods that should win, for example networks; each is compared with all rivals.
    by, metrics, pixels
        Places to compare, see :func:`summary`.
    rivals : sequence of str, optional
        By default all other methods.

    Returns
    -------
    list of str
        A sentence per place and method. A rival that left too much without data is ignored.

    Raises
    ------
    DataError
        If the result has no such method, metric or selection of pixels.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> cases = xcf.benchmarking.hidden_dates(series, clear="score", gaps=[0], kinds=["full"])
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> len(upsets(result, ["do nothing"], metrics=["mae"], pixels=["cloudy"]))
    1
    """
    result = as_result(result, by)
    named = {"method": [*methods, *(rivals or ())], "metric": metrics, "pixels": pixels}
    check_names(result, "upsets()", named)
    means = summary(result, by)
    others = [str(m) for m in means.method.values if m not in methods] if rivals is None else rivals
    out = []
    for group, metric, kind in product(means.group.values, metrics, pixels):
        at = means.sel(group=group, metric=metric, pixels=kind)
        sign, digits = BETTER[metric], DIGITS[metric]
        every = zip(at.method.values.tolist(), at.value.values.tolist(), at.ranked, strict=True)
        values = {name: value for name, value, ranked in every if ranked}
        place = f"{group}, " if str(group) else ""
        for method in (m for m in methods if m in values):
            ahead = [o for o in others if o in values and sign * values[o] > sign * values[method]]
            if ahead:
                ahead.sort(key=lambda other: -sign * values[other])
                rows = ", ".join(f"{other} {values[other]:.{digits}f}" for other in ahead)
                out.append(
                    f"{place}{NAMES[metric]} of {kind} pixels: {method} "
                    f"{values[method]:.{digits}f} is beaten by {rows}"
                )
    return out
