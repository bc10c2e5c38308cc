"""Single pictures of what a reconstruction tells about itself: provenance and uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xcloudfree.core.bands import RGB
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import PROVENANCE, composite
from xcloudfree.plot.deviation import draw_deviation, mean_deviation
from xcloudfree.plot.flags import carried_provenance
from xcloudfree.plot.frame import frame
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
    """Draw where each pixel of a reconstruction comes from, with a legend of the shares.

    Parameters
    ----------
    obj : Dataset or DataArray
        A reconstruction.
    time, index
        Which date, by time (the nearest) or number.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    figsize, max_size
        See :func:`rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `obj` carries none.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((48, 48), cover=0.4)
    >>> figure = scene.cloudfree.reconstruct(model="idw").cloudfree.plot.provenance()
    >>> len(figure.axes) > 0
    True
    """
    if carried_provenance(obj) is None:
        raise DataError("there is no provenance here", fix="ds.cloudfree.reconstruct() returns it")
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
    """Draw the standard deviation of what was reconstructed, the mean of some bands.

    Parameters
    ----------
    obj : Dataset or DataArray
        What ``reconstruct(uncertainty=True)`` returned.
    bands : str or sequence of str
        Three bands, see :func:`rgb`.
    time, index
        Which date, by time (the nearest) or number.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
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
        If `obj` carries none.

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
    found = mean_deviation(small, composite(bands))
    if found is None:
        raise DataError(
            "there is no standard deviation here",
            fix="call ds.cloudfree.reconstruct(uncertainty=True) with a model that estimates it, "
            'such as model="uncrtaints"',
        )
    values, place = together({"deviation": found})["deviation"], frame(small, seen.dims)
    figure, (axis,) = canvas.axes_for(1, 1, ax, figsize, values.shape)
    draw_deviation(axis, values, place, vmin, vmax, cmap)
    return canvas.finish_one(figure, axis, place, title(whole, seen.index))
