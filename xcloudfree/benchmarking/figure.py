"""A benchmark as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xcloudfree.benchmarking.summary import NAMES, summary

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
        From :func:`xcloudfree.benchmarking.benchmark`.
    metric, pixels : str
        What to draw.
    by : sequence of str
        A panel for each group, see :func:`xcloudfree.benchmarking.summary`; not ``gap``.

    Returns
    -------
    matplotlib.figure.Figure
        Hollow points are means of methods that did not reconstruct everything.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudfree.benchmarking import Case, benchmark
    >>> truth = xr.Dataset({"B02": (("y", "x"), np.full((4, 4), 0.1))})
    >>> hidden = xr.DataArray(np.eye(4, dtype=bool), dims=("y", "x"))
    >>> case = Case("eye", truth.where(~hidden, 0.5), hidden, truth, region="A")
    >>> result = benchmark([case], ["do nothing", "clear mean"])
    >>> len(plot(result).axes)
    1
    """
    from matplotlib.figure import Figure

    gaps = np.unique(result.gap.values[~np.isnan(result.gap.values)])
    lines = len(gaps) > 1
    means = summary(result, [*by, "gap"] if lines else list(by))
    panels = summary(result, list(by)).group.values.tolist() if lines else [""]
    figure = Figure(figsize=(1.5 + 3.2 * len(panels), 1.2 + 0.24 * result.sizes["method"]))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        for row, method in enumerate(means.method.values):
            at = means.sel({"method": method, "pixels": pixels})
            values, ranked = at.value.sel(metric=metric).values, at.ranked.values
            if lines:
                own = [g.startswith(panel) for g in at.group.values.tolist()]
                places, shown = at.gap.values[own], values[own]
                axis.plot(places, shown, "o-", ms=3, lw=1, label=str(method))
            else:
                for value, whole in zip(values, ranked, strict=True):
                    axis.plot(value, -row, "o", ms=4, color="C0", mfc="C0" if whole else "none")
        axis.set_title(panel, fontsize=9)
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
