"""Overview: before, radar, mask, after, uncertainty, truth."""

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
from xcloudfree.plot.colours import (
    PROVENANCE,
    Floats,
    Limit,
    chosen_limits,
    composite,
    percentile_limits,
    stretch,
)
from xcloudfree.plot.flags import occlusion, partly_hidden
from xcloudfree.plot.quality import draw_deviation, mean_deviation
from xcloudfree.plot.view import Spatial, title, together, view

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_OPTICAL = ("cloudy input", "Sentinel-2", "reconstruction", "truth")
_DUAL = "Sentinel-1: VV, VH, VV-VH"


def plot(
    obj: Spatial,
    *,
    observed: Spatial | None = None,
    truth: Spatial | None = None,
    mask: Any = "auto",
    time: Any = None,
    index: int | None = None,
    bands: str | Sequence[str] = RGB,
    vmin: Limit = None,
    vmax: Limit = None,
    outline: bool = True,
    col_wrap: int | None = None,
    figsize: tuple[float, float] | None = None,
    max_size: int = 1024,
) -> Figure:
    """Draw an overview: cloudy input, backscatter, mask, reconstruction, uncertainty, truth.

    All optical panels share one stretch per band, from 2 to 98 % of the truth and of the clear
    pixels, so that clouds do not affect it. Backscatter is shown as VV, VH and VV - VH in dB, each
    from 2 to 98 %. Pixels without data are light grey. Only one date is read, at reduced
    resolution, and all panels are computed together.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        A reconstruction, or any input.
    observed : xarray.Dataset or xarray.DataArray, optional
        The cloudy input of `obj`, matched by time, or by day if the hours differ.
        ``out.cloudfree.plot()`` finds it by itself as long as
        `out` is the object that ``ds.cloudfree.reconstruct()`` returned and `ds` still exists.
    truth : xarray.Dataset or xarray.DataArray, optional
        Clear images of the same place, matched by date; a single image is used
        for any date.
    mask : str, xarray.DataArray, array, callable or None
        Boolean, True = occluded, or the name of a method. ``"auto"``: the `provenance` of `obj`,
        else a mask that its bands allow. None: no mask.
    time : datetime-like, optional
        Date to show; the nearest is used and named in the title.
    index : int, optional
        Number of the date or patch to show, instead of `time`. Default: the date that is
        nearest to half hidden, by its pixels in memory, or for lazy values by the coordinate
        ``cloud_cover`` of the catalog; else the first.
    bands : str or sequence of str
        Three bands for red, green and blue, or ``"true"``, ``"infrared"``, ``"shortwave"``.
    vmin, vmax : float or sequence of float, optional
        Reflectance of black and of full colour, one or three; percentiles by default.
    outline : bool
        Whether to draw the border of the mask over the optical panels.
    col_wrap : int, optional
        Panels per row; all by default.
    figsize : tuple of float, optional
        Width and height in inches.
    max_size : int
        Larger images are reduced to at most this many rows and columns.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `bands` are not three, or `observed` lacks the date or has other pixels.
    MissingBandError
        If one of the bands is missing.
    CloudFreeError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((48, 48), seed=1)
    >>> figure = scene.cloudfree.plot(bands="infrared")
    >>> [axis.get_title() for axis in figure.axes]
    ['Sentinel-2', 'Sentinel-1: VV, VH, VV-VH', 'mask']
    """
    names = composite(bands)
    whole = read(obj)
    if index is None:
        index = partly_hidden(whole) if time is None else 0
    seen = view(whole, time, index, max_size)
    small = seen(obj)
    scene = read(small)
    before = None if observed is None else read(seen.of_other(observed, "observed"))
    flags, legend = occlusion(obj, small, seen, mask)
    reconstructed = observed is not None or provenance_of(small) is not None
    radar = next((s for s in (scene, before) if s and s.sar), None)
    spread = mean_deviation(small, names)

    lazy: dict[str, xr.DataArray] = {}  # content of each panel, by title and in order
    if before is not None:
        lazy["cloudy input"] = _optical(before, names)
    if scene.optical is not None and not reconstructed:
        lazy["Sentinel-2"] = _optical(scene, names)
    if radar is not None:
        dual = radar.sar is not None and {"VV", "VH"} <= set(radar.sar.names)
        lazy[_DUAL if dual else "Sentinel-1"] = radar.backscatter(("VV", "VH") if dual else None)
    if flags is not None:
        lazy["provenance" if legend is PROVENANCE else "mask"] = flags
    if scene.optical is not None and reconstructed:
        lazy["reconstruction"] = _optical(scene, names)
    if spread is not None:
        lazy["standard deviation"] = spread
    if truth is not None:
        lazy["truth"] = _optical(read(seen.of_other(truth, "truth", any_date=True)), names)
    if not lazy:
        raise DataError(
            "there is nothing to show",
            fix="call plot(ds[['B04', 'B03', 'B02']])",
            option="add B04, B03 and B02 to the input",
        )
    panels = together(lazy)

    shown = next((panels[name] for name in ("provenance", "mask") if name in panels), None)
    clear = None if shown is None else shown == (1 if legend is PROVENANCE else 0)
    coloured = {name: panels[name] for name in _OPTICAL if name in panels}
    limits = chosen_limits(_reference(coloured, clear), vmin, vmax) if coloured else None
    place = canvas.frame(small, seen.dims)
    columns = col_wrap or len(panels)
    figure, axes = canvas.grid_of_axes(len(panels), columns, figsize, scene.shape)
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        axis.set_title(name, fontsize=10)
        if name in coloured and limits is not None:
            canvas.draw_image(axis, stretch(values, limits), place)
            if outline and clear is not None and shown is not None and name != "truth":
                canvas.draw_outline(axis, ~clear & (shown > 0), place)
        elif name == "standard deviation":
            draw_deviation(axis, values, place)
        elif name in ("provenance", "mask"):
            canvas.draw_flags(axis, values, legend, place)
        else:
            canvas.draw_image(axis, _radar(values), place)
    canvas.label_axes(axes, place, columns)
    if text := title(whole, seen.index):
        figure.suptitle(text, fontsize=10)
    return canvas.finish(figure)


def _optical(scene: Scene, names: Sequence[str]) -> xr.DataArray:
    scene.need_optical(names, "the picture")
    return scene.reflectance(names)


def _radar(planes: Floats) -> Floats:
    """Colours of VV, VH and their ratio, or grey of one polarisation."""
    planes = np.stack([*planes, planes[0] - planes[1]]) if len(planes) == 2 else planes[:1]
    limits = percentile_limits(planes.reshape(len(planes), -1))
    return stretch(np.resize(planes, (3, *planes.shape[1:])), np.resize(limits, (3, 2)))


def _reference(images: dict[str, Floats], clear: NDArray[np.bool_] | None) -> Floats:
    """Values (band, pixel) that set the stretch: truth and clear pixels; without both, all."""
    parts = [images["truth"].reshape(3, -1)] if "truth" in images else []
    if clear is not None and clear.any():
        parts.append(next(iter(images.values()))[:, clear])
    return np.concatenate(parts or [list(images.values())[-1].reshape(3, -1)], axis=1)
