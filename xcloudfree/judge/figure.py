"""A benchmark as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xcloudfree.judge.result import check_names
from xcloudfree.judge.summary import NAMES, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    result: xr.Dataset,
    *,
    metric: str = "psnr",
    pixels: str = "cloudy",
    by: Sequence[str] = ("region",),
) -> Figure:
    """A panel for each region: lines over the gap where there are several, else a point a group.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`.
    metric, pixels : str
        What to draw.
    by : sequence of str
        A panel for each group, see :func:`xcloudfree.judge.summary`; not ``gap``.

    Returns
    -------
    matplotlib.figure.Figure
        Hollow points are means of methods that did not reconstruct everything.

    Raises
    ------
    DataError
        If the result has no such metric or selection of pixels.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> options = {"clear": "score", "gaps": [0], "kinds": ["full"], "count": 1}
    >>> cases = xcf.benchmarking.hidden_dates(series, **options)
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> len(plot(result).axes)
    1
    """
    from matplotlib.figure import Figure

    check_names(result, "plot()", {"metric": [metric], "pixels": [pixels]})
    gaps = np.unique(result.gap.values[~np.isnan(result.gap.values)])
    lines = len(gaps) > 1
    means = summary(result, [*by, "gap"] if lines else list(by))
    panels = summary(result, list(by)) if lines else summary(result, ())
    count = panels.sizes["group"]
    figure = Figure(figsize=(1.5 + 3.2 * count, 1.2 + 0.24 * result.sizes["method"]))
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for number, axis in enumerate(axes):
        own = np.ones(means.sizes["group"], bool)
        for key in by if lines else ():
            own &= means[key].values == panels[key].values[number]
        part = means.isel(group=own)
        for row, method in enumerate(means.method.values):
            at = part.sel({"method": method, "pixels": pixels})
            values, whole = at.value.sel(metric=metric).values, at.ranked.values
            places = at.gap.values if lines else values
            heights = values if lines else np.full(len(values), -row)
            colour = f"C{row % 10}" if lines else "C0"
            if lines:
                axis.plot(places, heights, lw=1, color=colour, label=str(method))
            axis.plot(places[whole], heights[whole], "o", ms=4, color=colour)
            axis.plot(places[~whole], heights[~whole], "o", ms=4, color=colour, mfc="white")
        axis.set_title(str(panels.group.values[number]), fontsize=9)
        axis.grid(alpha=0.3)
    what = f"{NAMES[metric]}, {pixels} pixels"
    if lines:
        axes[0].set_ylabel(what)
        axes[0].set_xlabel("gap, days")
        axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    else:
        axes[0].set_yticks(range(0, -result.sizes["method"], -1), result.method.values.tolist())
        axes[0].set_xlabel(what)
    figure.set_layout_engine("constrained")
    return figure
