"""Single pictures: true and false colours, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudfree.core.bands import RGB
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import MASK, PROVENANCE, Limit, composite, limits_of, stretch
from xcloudfree.plot.flags import occlusion
from xcloudfree.plot.view import Spatial, title, together, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rgb(
    obj: Spatial,
    bands: str | Sequence[str] = RGB,
    *,
    time: Any = None,
    index: int = 0,
    mask: Any = "auto",
    outline: bool = False,
    col: str | None = None,
    col_wrap: int = 4,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    vmin: Limit = None,
    vmax: Limit = None,
    max_size: int = 1024,
) -> Figure:
    """Draw true or false colours.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene.
    bands : str or sequence of str
        Three bands for red, green and blue, or ``"true"``, ``"infrared"`` (vegetation red),
        ``"shortwave"`` (SWIR, NIR, red: clouds stand out less).
    time, index
        Date to show, by time (the nearest) or number.
    mask : str, DataArray, array, callable or None
        Mask whose clear pixels set the stretch and whose border is drawn; see
        :func:`xcloudfree.plot.plot`.
    outline : bool
        Whether to draw the border of the mask.
    col : str, optional
        Dimension with one picture for each step, ``"time"``; all share one stretch.
    col_wrap : int
        Pictures per row, with `col`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on, without `col`.
    figsize : tuple of float, optional
        Width and height in inches.
    vmin, vmax : float or sequence of float, optional
        Reflectance of black and of full colour, one or three; by default the 2nd and
        98th percentile of each band over clear pixels.
    max_size : int
        Larger images are reduced to at most this many rows and columns.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `bands` are not three, or there is no dimension `col`.
    MissingBandError
        If one of the bands is missing.
    CloudFreeError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((48, 48), dates=3)
    >>> figure = scene.cloudfree.plot.rgb("shortwave", col="time")
    >>> len(figure.axes)
    3
    """
    names, whole = composite(bands), read(obj)
    if col is not None and col not in whole.lead:
        have = list(map(str, whole.lead))
        raise DataError(
            f"there is no dimension {col!r} among {have}", fix="call plot.rgb(col='time')"
        )
    if col is not None and ax is not None:
        raise DataError(
            "ax has room for one picture but col needs several", fix="call plot.rgb(col='time')"
        )
    indices = [index] if col is None else list(range(whole.source.sizes[col]))
    views = [view(whole, time if col is None else None, i, max_size) for i in indices]
    lazy: dict[str, xr.DataArray] = {}
    for number, seen in enumerate(views):
        small = seen(obj)
        scene = read(small)
        scene.need_optical(names, "the picture")
        lazy[f"colour {number}"] = scene.reflectance(names)
        flags, legend = occlusion(obj, small, seen, mask)
        if flags is not None:
            lazy[f"hidden {number}"] = flags != (1 if legend is PROVENANCE else 0)
    values = together(lazy)
    images = [values[f"colour {n}"] for n in range(len(views))]
    hidden = [values.get(f"hidden {n}") for n in range(len(views))]
    limits = limits_of(images, hidden, vmin, vmax)
    small = views[0](obj)
    place = canvas.frame(small, views[0].dims)
    figure, axes = canvas.axes_for(len(views), col_wrap, ax, figsize, images[0].shape[-2:])
    for number, axis in enumerate(axes):
        canvas.draw_image(axis, stretch(images[number], limits), place)
        border = hidden[number]
        if outline and border is not None:
            canvas.draw_outline(axis, border, place)
        axis.set_title(title(whole, views[number].index), fontsize=9)
    canvas.label_axes(axes, place, min(col_wrap, len(views)))
    return canvas.finish(figure)


def mask(
    obj: Spatial,
    method: Any = "auto",
    *,
    time: Any = None,
    index: int = 0,
    bands: str | Sequence[str] | None = RGB,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    vmin: Limit = None,
    vmax: Limit = None,
    max_size: int = 1024,
) -> Figure:
    """Draw a mask: its border over the colours, with the rest of the picture toned down.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene.
    method : str, DataArray, array or callable
        See :func:`xcloudfree.masks.mask`; ``"auto"`` as in :func:`xcloudfree.plot.plot`.
    time, index
        Date to show, by time (the nearest) or number.
    bands : str, sequence of str or None
        Background, see :func:`rgb`; None draws only the mask.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.
    figsize, vmin, vmax, max_size
        See :func:`rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there is no mask to show.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((48, 48), seed=1)
    >>> scene.cloudfree.plot.mask("score").axes[0].get_title()
    '2025-06-10 10:06'
    """
    whole = read(obj)
    seen = view(whole, time, index, max_size)
    small = seen(obj)
    flags, legend = occlusion(obj, small, seen, method)
    if flags is None:
        raise DataError(
            "no built-in mask finds its bands here", fix="call plot.mask(method=your_array)"
        )
    lazy = {"hidden": flags != (1 if legend is PROVENANCE else 0)}
    names = None if bands is None else composite(bands)
    scene = read(small)
    if names is not None and scene.optical is not None and set(names) <= set(scene.optical.names):
        lazy["colour"] = scene.reflectance(names)
    values = together(lazy)
    hidden, place = values["hidden"], canvas.frame(small, seen.dims)
    figure, (axis,) = canvas.axes_for(1, 1, ax, figsize, hidden.shape)
    if "colour" not in values:
        canvas.draw_flags(axis, hidden.astype(np.uint8), MASK, place)
    else:
        from matplotlib.colors import to_rgba

        image = values["colour"]
        colours = stretch(image, limits_of([image], [hidden], vmin, vmax))
        canvas.draw_image(axis, colours, place)
        tint = np.zeros((*hidden.shape, 4))
        tint[hidden] = to_rgba(MASK[1][1], 0.45)
        canvas.draw_image(axis, tint, place)
        canvas.draw_outline(axis, hidden, place, colour=MASK[1][1])
        canvas.explain(axis, hidden.astype(np.uint8), {1: MASK[1]})
    return canvas.finish_one(figure, axis, place, title(whole, seen.index))
