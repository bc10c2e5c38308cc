"""Overview of a series: each date, its hidden fraction, and its reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import RGB
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import provenance_of
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import MASK, PROVENANCE, Limit, composite, limits_of, stretch
from xcloudfree.plot.curve import curve
from xcloudfree.plot.flags import occlusion
from xcloudfree.plot.view import Spatial, View, nearest, title, together, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def series(
    obj: Spatial,
    *,
    at: tuple[float, float] | None = None,
    of: str = "B08",
    observed: Spatial | None = None,
    mask: Any = "auto",
    bands: str | Sequence[str] = RGB,
    dates: int | Sequence[Any] = 10,
    figsize: tuple[float, float] | None = None,
    vmin: Limit = None,
    vmax: Limit = None,
    max_size: int = 256,
) -> Figure:
    """Draw a strip of dates, or the curve of one place.

    The strip shows the cloudy input, the fraction of hidden pixels and the reconstruction. The
    curve shows the observed and reconstructed values of a pixel, their interval, and radar below.

    Parameters
    ----------
    obj : Dataset or DataArray
        A reconstruction, or any input, with a ``time`` dimension.
    at : tuple of float, optional
        x and y of the place whose curve to draw, in the coordinates of the scene.
    of : str
        Band or spectral index of the curve, such as ``"NDVI"``.
    observed : Dataset or DataArray, optional
        The cloudy input of `obj`, see :func:`xcloudfree.plot.plot`.
    mask : str, DataArray, callable or None
        See :func:`xcloudfree.plot.plot`.
    bands : str or sequence of str
        Of the strip, see :func:`xcloudfree.plot.rgb`.
    dates : int or sequence of datetime-like
        Largest number of dates in the strip, evenly chosen and including the first and the last;
        or the dates.
    figsize : tuple of float, optional
        Width and height in inches.
    vmin, vmax : float or sequence of float, optional
        Reflectance of black and of full colour; percentiles of clear pixels by default.
    max_size : int
        Largest number of rows and columns of each image.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there is no ``time`` dimension, or `at` lies outside the scene.
    MissingBandError
        If one of the bands is missing.
    CloudFreeError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), dates=4, cover=[0.1, 0.4, 0.7, 0.3])
    >>> figure = scene.cloudfree.plot.series()
    >>> len(figure.axes)
    5
    >>> place = float(scene.x[16]), float(scene.y[16])
    >>> scene.cloudfree.plot.series(at=place, of="B8A", mask="score").axes[0].get_ylabel()
    'B8A'
    """
    if at is not None:
        return curve(obj, at, of, observed=observed, mask=mask, figsize=figsize)
    names, whole = composite(bands), read(obj)
    if "time" not in whole.lead:
        raise DataError(
            "there is no time dimension",
            fix="call plot.series() of xcf.stac.load(...)",
            option="give a scene with several dates",
        )
    views = [view(whole, None, i, max_size) for i in _indices(whole, dates)]
    made = provenance_of(obj) is not None or observed is not None
    rows: list[tuple[str, Spatial]] = []
    if observed is not None:
        rows.append(("observed", observed))
    rows.append(("reconstructed" if made else "observed", obj))
    hidden, images = pixels(obj, rows, views, names, mask)
    limits = limits_of(images[rows[0][0]], hidden, vmin, vmax)
    return _draw(whole, views, images, hidden, limits, figsize)


def pixels(
    obj: Spatial,
    rows: list[tuple[str, Spatial]],
    views: list[View],
    names: list[str],
    mask: Any,
) -> tuple[list[NDArray[Any] | None], dict[str, list[NDArray[Any]]]]:
    """For each date: 0 clear, 1 hidden, 2 no data; and by row the images of the dates."""
    lazy: dict[str, xr.DataArray] = {}
    for number, seen in enumerate(views):
        for row, source in rows:
            scene = read(seen(source) if source is obj else seen.of_other(source, row))
            scene.need_optical(names, "the picture")
            lazy[f"{row} {number}"] = scene.reflectance(names)
        flags, legend = occlusion(obj, seen(obj), seen, mask)
        if flags is not None:
            lost = xr.where(flags == 0, 2, 1).where(flags != 1, 0)
            lazy[f"flags {number}"] = lost if legend is PROVENANCE else flags
    values = together(lazy)
    hidden = [values.get(f"flags {n}") for n in range(len(views))]
    return hidden, {row: [values[f"{row} {n}"] for n in range(len(views))] for row, _ in rows}


def _indices(scene: Scene, dates: int | Sequence[Any]) -> list[int]:
    size = scene.source.sizes["time"]
    if isinstance(dates, int):
        return sorted({round(i) for i in np.linspace(0, size - 1, max(1, min(dates, size)))})
    return nearest(scene.source.coords["time"], dates)


def _draw(
    whole: Scene,
    views: list[View],
    images: dict[str, list[NDArray[Any]]],
    hidden: list[NDArray[Any] | None],
    limits: NDArray[Any],
    figsize: tuple[float, float] | None,
) -> Figure:
    count, height = len(views), len(images)
    tall = min(max(whole.shape[0] / whole.shape[1], 0.4), 2.5)
    size = figsize or (1.35 * count + 0.9, 1.3 * tall * height + 1.15)
    figure = canvas.pyplot().figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    grid = figure.add_gridspec(height + 1, count, height_ratios=[tall] * height + [0.42])
    for r, (row, pictures) in enumerate(images.items()):
        for c, picture in enumerate(pictures):
            axis = figure.add_subplot(grid[r, c])
            axis.imshow(stretch(picture, limits), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_color("#bbbbbb")
            if c == 0:
                axis.set_ylabel(row, fontsize=8)
            if r == 0:
                day = title(whole, views[c].index).partition(" ")[0]
                axis.set_title(day or str(views[c].index), fontsize=8)
    _bars(figure.add_subplot(grid[height, :]), hidden)
    return canvas.finish(figure)


def _bars(axis: Axes, hidden: list[NDArray[Any] | None]) -> None:
    """Fractions of each date that are hidden and that have no data."""
    known = [(n, h) for n, h in enumerate(hidden) if h is not None]
    axis.set_xlim(-0.5, len(hidden) - 0.5)
    axis.set_ylim(0, 1)
    axis.set_xticks([])
    axis.set_yticks([0, 1], ["0", "100 %"], fontsize=7)
    axis.set_ylabel("hidden", fontsize=8)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.bar(range(len(hidden)), 1, width=0.62, color="#7f7f7f22")
    for number, flags in known:
        cloud, lost = float((flags == 1).mean()), float((flags == 2).mean())
        axis.bar(number, cloud, width=0.62, color=MASK[1][1])
        axis.bar(number, lost, bottom=cloud, width=0.62, color=PROVENANCE[0][1])
        axis.text(
            number, min(cloud + lost, 0.72) + 0.06, f"{cloud:.0%}", ha="center", va="bottom",
            fontsize=7, color="#555555",
        )  # fmt: skip
