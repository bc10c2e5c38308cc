"""A calendar of clear dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xcloudfree.core.recognise import read
from xcloudfree.core.times import utc_times
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.shares import clearness
from xcloudfree.plot import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xcloudfree.plot.view import Spatial

DAYS = 31
"""Columns: days of a month."""


def calendar(
    obj: Spatial,
    mask: Mask = "auto",
    *,
    sample: int | None = 512,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    cmap: str = "viridis",
) -> Figure:
    """Draw how clear each date is, with one row per month and one column per day.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene with dates.
    mask : str, DataArray or callable
        The occluded pixels, see :func:`xcloudfree.masks.mask`.
    sample : int, optional
        Side in pixels of a square in the middle to use; None: the whole scene.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.
    figsize : tuple of float, optional
        Inches; by default enough for all months.
    cmap : str
        Colours from fully hidden to fully clear.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If the scene has no dates; also what :func:`xcloudfree.masks.mask` raises.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_scene((32, 32), dates=6, cover=0.4, seed=1)
    >>> ds.cloudfree.plot.calendar().axes[0].get_ylabel()
    'month'
    """
    read(obj).need_times("a calendar")
    shares = clearness(obj, mask, sample=sample).compute()
    others = [d for d in shares.clear.dims if d != "time"]
    table, months = _table(utc_times(obj["time"]), shares.clear.mean(others).values)

    size = figsize or (9.0, 1.3 + 0.28 * len(months))
    figure, (axis,) = canvas.axes_for(1, 1, ax, size, table.shape)
    image = axis.imshow(table, cmap=cmap, vmin=0, vmax=1, aspect="equal")
    axis.set_yticks(range(len(months)), months)
    axis.set_xticks(range(0, DAYS, 5), [str(day) for day in range(1, DAYS + 1, 5)])
    axis.set_xlabel("day")
    axis.set_ylabel("month")
    for place in axis.spines.values():
        place.set_visible(False)
    figure.colorbar(image, ax=axis, label="share of clear pixels", shrink=0.8)
    return canvas.finish(figure)


def _table(times: Any, clear: Any) -> tuple[Any, list[str]]:
    """Clear fraction by month and day, NaN without an image, and the names of the months."""
    month = times.astype("datetime64[M]")
    first = month.min()
    count = int((month.max() - first) / np.timedelta64(1, "M")) + 1
    table = np.full((count, DAYS), np.nan)
    day = (times.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int)
    for row, column, share in zip((month - first).astype(int), day, clear, strict=True):
        table[row, column] = np.fmax(table[row, column], share)  # two images on a day: the clearer
    return table, [str(first + k) for k in range(count)]
