"""Pictures of the quality of a reconstruction: provenance and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import RGB, optical_band
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import provenance_of, stacked_beside
from xcloudfree.core.scene import BAND_DIMS
from xcloudfree.exceptions import DataError
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import PROVENANCE, composite
from xcloudfree.plot.view import Spatial, title, together, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def provenance(
    obj: Spatial,
    *,
    time: Any = None,
    index: int = 0,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    max_size: int = 1024,
) -> Figure:
    """Draw the provenance of each pixel of a reconstruction, with a legend of percentages.

    Parameters
    ----------
    obj : Dataset or DataArray
        A reconstruction.
    time, index
        Date to show, by time (the nearest) or number.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.
    figsize, max_size
        See :func:`rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `obj` has no provenance.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((48, 48), cover=0.4)
    >>> figure = scene.cloudfree.reconstruct(model="idw").cloudfree.plot.provenance()
    >>> len(figure.axes) > 0
    True
    """
    if provenance_of(obj) is None:
        raise DataError(
            "there is no provenance here", fix="call ds.cloudfree.reconstruct(), which returns it"
        )
    whole = read(obj)
    seen = view(whole, time, index, max_size)
    small = seen(obj)
    flags = provenance_of(small)
    assert flags is not None
    values = together({"flags": flags})["flags"]
    place = canvas.frame(small, seen.dims)
    figure, (axis,) = canvas.axes_for(1, 1, ax, figsize, values.shape)
    canvas.draw_flags(axis, values, PROVENANCE, place)
    return canvas.finish_one(figure, axis, place, title(whole, seen.index))


def uncertainty(
    obj: Spatial,
    bands: str | Sequence[str] = RGB,
    *,
    time: Any = None,
    index: int = 0,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str = "magma",
    max_size: int = 1024,
) -> Figure:
    """Draw the standard deviation of the reconstructed pixels, as the mean of some bands.

    Parameters
    ----------
    obj : Dataset or DataArray
        Output of ``reconstruct(uncertainty=True)``.
    bands : str or sequence of str
        Three bands, see :func:`rgb`.
    time, index
        Date to show, by time (the nearest) or number.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.
    vmin, vmax : float, optional
        Ends of the scale, reflectance; 0 and the 98th percentile by default.
    cmap : str
        Colours.
    figsize, max_size
        See :func:`rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `obj` has no standard deviation.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((48, 48), cover=0.4)
    >>> out = scene.cloudfree.reconstruct(model="kriging", uncertainty=True)
    >>> figure = out.cloudfree.plot.uncertainty()
    >>> len(figure.axes) > 0
    True
    """
    whole = read(obj)
    seen = view(whole, time, index, max_size)
    small = seen(obj)
    deviation = mean_deviation(small, composite(bands))
    if deviation is None:
        raise DataError(
            "there is no standard deviation here",
            fix='call ds.cloudfree.reconstruct(model="kriging", uncertainty=True), or with another '
            "model that estimates it",
        )
    values, place = together({"deviation": deviation})["deviation"], canvas.frame(small, seen.dims)
    figure, (axis,) = canvas.axes_for(1, 1, ax, figsize, values.shape)
    draw_deviation(axis, values, place, vmin, vmax, cmap)
    return canvas.finish_one(figure, axis, place, title(whole, seen.index))


def reliability(
    obj: Spatial,
    truth: Spatial,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw how much of the truth lies within multiples of the stated deviation, and within bounds.

    On the line: as much as if errors were Gaussian and the deviation right. Below it the deviation
    is too small. A line for each band, over all dates; bounds of ``reconstruct(interval=0.9)`` are
    a point for each band at their own level.

    Parameters
    ----------
    obj : Dataset or DataArray
        What ``reconstruct(uncertainty=True)`` returned, with bounds or without.
    truth : Dataset or DataArray
        The clear image on the same grid, with bands of `obj`, and its dates if it has several.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    figsize
        See :func:`rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `obj` carries no deviation.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> options = {"dates": 5, "cover": 0.4, "seed": 1}
    >>> scene = xcf.datasets.simulate_scene((48, 48), **options)
    >>> out = scene.cloudfree.reconstruct(model="median", interval=0.9, uncertainty=True)
    >>> figure = out.cloudfree.plot.reliability(xcf.datasets.simulate_truth((48, 48), **options))
    >>> figure.axes[0].get_xlabel()
    'expected share'
    """
    scene = read(obj)
    scene.need_bands("plot.reliability()")
    deviation, lower, upper = (stacked_beside(scene, kind) for kind in ("std", "lower", "upper"))
    if deviation is None:
        raise DataError(
            "there is no standard deviation here",
            fix="call ds.cloudfree.reconstruct(interval=0.9, uncertainty=True)",
        )
    clear = read(truth).reflectance()
    bands = [name for name in deviation.band.values.tolist() if name in clear.band]
    clear = clear.sel(band=bands)
    ratio = abs(scene.reflectance().sel(band=bands) - clear) / deviation
    shares = np.linspace(0.02, 0.98, 25)
    figure, (axis,) = canvas.axes_for(1, 1, ax, figsize, (1, 1))
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, zorder=0)
    for band in bands:
        values = np.ravel(ratio.sel(band=band).values)
        values = np.sort(values[np.isfinite(values)])
        if not values.size:
            continue
        inside = np.searchsorted(values, scipy.special.ndtri((1 + shares) / 2)) / values.size
        (line,) = axis.plot(shares, inside, linewidth=1, label=band)
        if lower is not None and upper is not None and "interval" in lower.attrs:
            low, high, seen = (a.sel(band=band).values for a in (lower, upper, clear))
            use = np.isfinite(ratio.sel(band=band).values)
            share = ((low <= seen) & (seen <= high))[use].mean()
            axis.plot(lower.attrs["interval"], share, "o", color=line.get_color(), markersize=4)
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xlabel("expected share", fontsize=8)
    axis.set_ylabel("share of the truth inside", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6, frameon=False, ncols=2)
    return canvas.finish(figure)


def mean_deviation(obj: Spatial, names: Sequence[str]) -> xr.DataArray | None:
    """Standard deviation (y, x), the mean over those of some bands that an object has."""
    planes: list[xr.DataArray] = []
    for name, array in (obj.coords if isinstance(obj, xr.DataArray) else obj.data_vars).items():
        dim = next((d for d in BAND_DIMS if d in array.dims), None)
        if dim is not None and str(name).lower() in ("std", "s2_std"):
            where = [n for n, band in enumerate(array[dim].values) if optical_band(band) in names]
            planes += [array.isel({dim: n}, drop=True) for n in where]
        elif str(name).endswith("_std") and optical_band(str(name).removesuffix("_std")) in names:
            planes.append(array)
    return sum(planes[1:], start=planes[0]) / len(planes) if planes else None


def draw_deviation(
    axis: Axes,
    values: NDArray[Any],
    place: canvas.Frame,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str = "magma",
) -> Any:
    """Draw a standard deviation with its scale; observed pixels have none and are light grey."""
    finite = values[np.isfinite(values)]
    top = float(np.percentile(finite, 98)) if finite.size else 1.0
    axis.set_facecolor("#e6e6e6")
    image = canvas.draw_image(
        axis, values, place, cmap=cmap, vmin=0 if vmin is None else vmin,
        vmax=top if vmax is None else vmax,
    )  # fmt: skip
    bar = axis.figure.colorbar(image, ax=axis, fraction=0.045, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return image
