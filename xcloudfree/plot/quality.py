"""Pictures of the quality of a reconstruction: provenance and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import RGB, optical_band
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import PROVENANCE, composite
from xcloudfree.plot.flags import carried_provenance
from xcloudfree.plot.frame import Frame, frame
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
    if carried_provenance(obj) is None:
        raise DataError(
            "there is no provenance here", fix="call ds.cloudfree.reconstruct(), which returns it"
        )
    whole = read(obj)
    seen = view(whole, time, index, max_size)
    small = seen(obj)
    flags = carried_provenance(small)
    assert flags is not None
    values = together({"flags": flags})["flags"]
    place = frame(small, seen.dims)
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
    values, place = together({"deviation": deviation})["deviation"], frame(small, seen.dims)
    figure, (axis,) = canvas.axes_for(1, 1, ax, figsize, values.shape)
    draw_deviation(axis, values, place, vmin, vmax, cmap)
    return canvas.finish_one(figure, axis, place, title(whole, seen.index))


def mean_deviation(obj: Spatial, names: Sequence[str]) -> xr.DataArray | None:
    """Standard deviation (y, x), the mean over some bands, if an object has it."""
    if isinstance(obj, xr.DataArray):
        stacked = obj.coords.get("std")
        return None if stacked is None else _over(stacked, names)
    for variable in obj.data_vars:
        if str(variable).lower() == "s2_std":
            return _over(obj[variable], names)
    planes = [
        obj[v]
        for v in obj.data_vars
        if str(v).endswith("_std") and optical_band(str(v).removesuffix("_std")) in names
    ]
    if not planes:
        return None
    total = planes[0]
    for other in planes[1:]:
        total = total + other
    return total / len(planes)


def _over(stacked: xr.DataArray, names: Sequence[str]) -> xr.DataArray | None:
    dim = next(str(d) for d in stacked.dims if "band" in str(d))
    where = [i for i, name in enumerate(stacked[dim].values) if optical_band(name) in names]
    return stacked.isel({dim: where}).mean(dim) if where else None


def draw_deviation(
    axis: Axes,
    values: NDArray[Any],
    place: Frame,
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
