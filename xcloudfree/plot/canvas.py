"""Drawing: images with map axes, outlines of masks, legends of flags."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.grid import coordinate_system, is_geographic
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.plot.flags import Legend
from xcloudfree.plot.view import Spatial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTLINE = "#ffe24d"
BELOW = 16
"""Points between an image and its legend, to leave room for the numbers at the axis."""


@dataclass(frozen=True)
class Frame:
    """Position of a picture on the ground."""

    extent: tuple[float, float, float, float]  # left, right, bottom, top
    labels: tuple[str, str]  # of the x and the y axis
    flip: bool = False  # whether the rows go up


def frame(small: Spatial, dims: tuple[str, str]) -> Frame:
    """Borders and labels of the axes: kilometres, degrees, or pixels without coordinates."""
    rows, columns = (small.sizes[d] for d in dims)
    if any(d not in small.coords or small.sizes[d] < 2 for d in dims):
        return Frame((-0.5, columns - 0.5, rows - 0.5, -0.5), ("column", "row"))
    layer = next(iter(small.data_vars.values())) if isinstance(small, xr.Dataset) else small
    system = coordinate_system(small, layer)
    scale, names = 1.0, (dims[1], dims[0])
    if dims[0] != "y" or is_geographic(system):
        names = ("longitude (°)", "latitude (°)")
    elif system is not None:
        scale, names = 1e-3, ("easting (km)", "northing (km)")
    left, right = _edges(small[dims[1]], scale)
    top, bottom = _edges(small[dims[0]], scale)
    low, high = min(top, bottom), max(top, bottom)
    return Frame((left, right, low, high), names, flip=bottom > top)


def _edges(coordinate: xr.DataArray, scale: float) -> tuple[float, float]:
    """Outer borders of the first and the last pixel."""
    first, last = (float(coordinate.values[i]) * scale for i in (0, -1))
    half = (last - first) / (coordinate.size - 1) / 2
    return first - half, last + half


def pyplot() -> ModuleType:
    """Matplotlib, imported when first needed."""
    try:
        from matplotlib import pyplot as module
    except ImportError as error:
        raise CloudFreeError(
            "pictures need matplotlib", fix="install it with pip install 'xcloudfree[plot]'"
        ) from error
    return module  # type: ignore[no-any-return]


def grid_of_axes(
    count: int, columns: int, figsize: tuple[float, float] | None, shape: tuple[int, int]
) -> tuple[Figure, list[Axes]]:
    """A figure with as many axes as there are panels."""
    columns = min(columns, count)
    rows = -(-count // columns)
    tall = min(max(shape[0] / max(1, shape[1]), 0.4), 2.5)
    size = figsize or (3.2 * columns + 0.4, (2.9 * tall + 0.45) * rows + 0.4)
    figure, axes = pyplot().subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", sharex=True, sharey=True
    )
    for axis in axes.ravel()[count:]:
        axis.set_visible(False)
    return figure, list(axes.ravel()[:count])


def axes_for(
    count: int,
    columns: int,
    ax: Axes | None,
    figsize: tuple[float, float] | None,
    shape: tuple[int, ...],
) -> tuple[Figure, list[Axes]]:
    """The axes of the user, or a figure of new ones."""
    if ax is not None:
        figure: Figure = ax.figure  # type: ignore[assignment]  # a subfigure works too
        return figure, [ax]
    size = figsize or ((4.6, 4.6) if count == 1 else None)
    return grid_of_axes(count, columns, size, (shape[-2], shape[-1]))


def short_dates(axis: Axes) -> None:
    """Write dates along x as briefly as they allow, so that they do not overlap."""
    from matplotlib.dates import ConciseDateFormatter

    axis.xaxis.set_major_formatter(ConciseDateFormatter(axis.xaxis.get_major_locator()))


def draw_image(axis: Axes, image: NDArray[Any], place: Frame, **options: Any) -> Any:
    """Draw (y, x) or (y, x, colour) at its position."""
    shown = image[::-1] if place.flip else image
    return axis.imshow(shown, extent=place.extent, interpolation="nearest", **options)


def draw_flags(axis: Axes, flags: NDArray[Any], legend: Legend, place: Frame) -> Any:
    """Draw flags in their colours, with a legend of their percentages."""
    from matplotlib.colors import ListedColormap

    colours = ListedColormap([colour for _, colour in legend.values()])
    top = len(legend) - 0.5
    image = draw_image(axis, flags, place, cmap=colours, vmin=-0.5, vmax=top)
    explain(axis, flags, legend)
    return image


def explain(axis: Axes, flags: NDArray[Any], legend: Legend) -> None:
    """Legend of flags, with the percentage of each, below the axes."""
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    patches = [
        Patch(color=colour, label=f"{label} {_share(flags == flag)}")
        for flag, (label, colour) in legend.items()
        if (flags == flag).any()
    ]
    below = ScaledTranslation(0, -BELOW / 72, axis.figure.dpi_scale_trans)
    axis.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(0, 0), ncols=2, fontsize=7,
        bbox_transform=axis.transAxes + below, frameon=False, borderaxespad=0, borderpad=0,
        handlelength=1, handleheight=1, columnspacing=1,
    )  # fmt: skip


def finish_one(figure: Figure, axis: Axes, place: Frame, words: str) -> Figure:
    """Finish a figure of one picture."""
    axis.set_title(words, fontsize=9)
    label_axes([axis], place, 1)
    return finish(figure)


def draw_outline(axis: Axes, mask: NDArray[np.bool_], place: Frame, colour: str = OUTLINE) -> None:
    """Border of a mask, without specks that would cover the picture."""
    labels, count = scipy.ndimage.label(mask)
    if not count:
        return
    sizes = np.bincount(labels.ravel())
    least = max(4, mask.size // 2500)
    kept = np.pad((sizes >= least)[labels] & mask, 1).astype(float)
    left, right, bottom, top = place.extent
    wide, high = (right - left) / mask.shape[1], (top - bottom) / mask.shape[0]
    x = left + wide * (np.arange(kept.shape[1]) - 0.5)
    y = top - high * (np.arange(kept.shape[0]) - 0.5)
    shown = np.pad(kept[1:-1, 1:-1][::-1], 1) if place.flip else kept
    limits = axis.get_xlim(), axis.get_ylim()
    for line, thick in (("#00000090", 1.76), (colour, 0.8)):
        axis.contour(x, y, shown, levels=[0.5], colors=line, linewidths=thick)
    axis.set_xlim(limits[0])
    axis.set_ylim(limits[1])


def label_axes(axes: list[Axes], place: Frame, columns: int) -> None:
    """Few ticks; labels only at the left and at the bottom."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    for number, axis in enumerate(axes):
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            side.set_major_formatter(ScalarFormatter(useOffset=False))
        axis.tick_params(labelsize=7, length=2.5, color="#999999")
        for spine in axis.spines.values():
            spine.set_color("#999999")
        axis.label_outer()
        if number % columns == 0:
            axis.set_ylabel(place.labels[1], fontsize=8)
        if number + columns >= len(axes) and axis.get_legend() is None:
            axis.set_xlabel(place.labels[0], fontsize=8)


def finish(figure: Figure) -> Figure:
    """Return a figure with its layout settled, which a notebook shows once."""
    import matplotlib

    if figure.get_layout_engine() is not None:
        # the first pass does not know yet how small images of fixed aspect become
        figure.canvas.figure.draw_without_rendering()
    if "inline" in matplotlib.get_backend().lower():
        vars(figure)["_ipython_display_"] = partial(_show, figure)
    return figure


def _show(figure: Figure) -> None:
    """Show a figure, unless it is the value of the cell whose end shows every open figure."""
    shell = import_module("IPython").get_ipython()
    running = shell.displayhook.exec_result is not None
    if running and getattr(figure, "number", 0) in pyplot().get_fignums():
        return
    own = vars(figure).pop("_ipython_display_")
    import_module("IPython.display").display(figure)
    vars(figure)["_ipython_display_"] = own


def _share(where: NDArray[np.bool_]) -> str:
    share = float(where.mean())
    return f"{share:.0%}" if share >= 0.005 else "< 1%"
