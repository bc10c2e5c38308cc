"""Pictures: cloudy input, backscatter, mask, reconstruction and truth side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xcloudfree.bands import RGB, optical_band
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.recognise import SPATIAL, read
from xcloudfree.scene import Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_DATA_GREY: Final = 0.85
PERCENTILES: Final = (2.0, 98.0)
PROVENANCE: Final = {
    0: ("no data", "#d9d9d9"),
    1: ("observed", "#4477aa"),
    2: ("reconstructed", "#ddaa33"),
    3: ("unreconstructable", "#bb5566"),
}
MASK: Final = {0: ("clear", "#4477aa"), 1: ("occluded", "#ddaa33")}

Spatial = xr.Dataset | xr.DataArray
Floats = NDArray[np.floating]


def plot(
    obj: Spatial,
    *,
    observed: Spatial | None = None,
    truth: Spatial | None = None,
    mask: xr.DataArray | ArrayLike | None = None,
    time: Any = None,
    index: int = 0,
    bands: Sequence[str] = RGB,
    figsize: tuple[float, float] | None = None,
    max_size: int = 1024,
) -> Figure:
    """Panels of what there is: cloudy, backscatter, mask, reconstruction, truth.

    All optical panels share one stretch per band, 2 to 98 % of the truth and of the clear pixels:
    the clouds have no say. Backscatter is shown as VV, VH and VV - VH in dB, each
    from 2 to 98 %. Pixels without data are light grey.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        A reconstruction, or any input.
    observed : xarray.Dataset or xarray.DataArray, optional
        The cloudy input that `obj` was made from.
    truth : xarray.Dataset or xarray.DataArray, optional
        A clear image of the same place.
    mask : xarray.DataArray or array, optional
        Boolean, True = occluded; by default the `provenance` that `obj` carries.
    time : datetime-like, optional
        Which date; the nearest is taken and named in the title.
    index : int
        Which date or patch by number, without `time`.
    bands : sequence of str
        Three bands for red, green and blue.
    figsize : tuple of float, optional
        Width and height in inches.
    max_size : int
        Larger images are thinned out to at most this many rows and columns.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If `bands` are not three.
    MissingBandError
        If one of the bands is absent.
    CloudFreeError
        If matplotlib is not installed.
    """
    if len(bands) != 3:
        raise DataError(f"{len(bands)} bands do not make a colour: plot(out, bands={RGB}).")
    names = [optical_band(b) or b for b in bands]
    scene = read(obj)
    cut = _Cut(scene, time, index, max_size)
    flags, legend = _occlusion(obj, mask, cut)

    images: dict[str, Floats] = {}
    reconstructed = observed is not None or _provenance(obj) is not None
    if observed is not None:
        images["cloudy input"] = cut.optical(read(observed), names)
    if scene.optical is not None:
        images["reconstruction" if reconstructed else "Sentinel-2"] = cut.optical(scene, names)
    if truth is not None:
        images["truth"] = cut.optical(read(truth), names)
    sar = next(
        (s for s in (scene, None if observed is None else read(observed)) if s and s.sar), None
    )

    panels: list[tuple[str, Any]] = []
    if images:
        clear = None if flags is None or legend is None else np.isin(flags, _clear_flags(legend))
        limits = percentile_limits(_reference(images, clear))
        coloured = {title: stretch(image, limits) for title, image in images.items()}
        panels = [(title, image) for title, image in coloured.items() if title == "cloudy input"]
    if sar is not None:
        panels.append(("Sentinel-1: VV, VH, VV-VH" if _dual(sar) else "Sentinel-1", cut.sar(sar)))
    if flags is not None:
        panels.append(("mask" if legend is MASK else "provenance", flags))
    if images:
        panels += [(t, i) for t, i in coloured.items() if t != "cloudy input"]
    return _draw(panels, legend, cut.title, figsize)


def percentile_limits(reference: Floats) -> Floats:
    """Lower and upper limit of the stretch per band.

    Parameters
    ----------
    reference : numpy.ndarray
        Values (band, pixel), NaN = no data.

    Returns
    -------
    numpy.ndarray
        (band, 2): the 2nd and 98th percentile of each band; 0 and 1 without any value.

    Examples
    --------
    >>> percentile_limits(np.arange(101.0)[None]).tolist()
    [[2.0, 98.0]]
    """
    rows = []
    for values in reference:
        valid = values[np.isfinite(values)]
        rows.append(np.percentile(valid, PERCENTILES) if valid.size else (0.0, 1.0))
    return np.asarray(rows, dtype=np.float64)


def stretch(image: Floats, limits: Floats) -> Floats:
    """Colours in [0, 1] from values, linear between the limits.

    Parameters
    ----------
    image : numpy.ndarray
        Values (band, y, x); NaN in any band = no data, drawn grey.
    limits : numpy.ndarray
        Lower and upper limit (band, 2).

    Returns
    -------
    numpy.ndarray
        Colours (y, x, band).

    Examples
    --------
    >>> stretch(np.array([[[0.1, 0.2, 0.9, np.nan]]]), np.array([[0.1, 0.3]])).round(2).ravel()
    array([0.  , 0.5 , 1.  , 0.85])
    """
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    colours = np.clip((image - low) / np.maximum(high - low, 1e-12), 0, 1)
    colours[:, ~np.isfinite(image).all(axis=0)] = NO_DATA_GREY
    return np.moveaxis(colours, 0, -1)


class _Cut:
    """One date of a scene, thinned out to a size that a screen can show."""

    def __init__(self, scene: Scene, time: Any, index: int, max_size: int) -> None:
        self.step = max(1, -(-max(scene.shape) // max_size))
        self.time, self.index = None, index
        self.title = ""
        coordinate = scene.source.coords.get("time")
        if "time" in scene.lead and coordinate is not None:
            if time is not None:
                self.index = int(coordinate.to_index().get_indexer([time], method="nearest")[0])
            self.time = coordinate.values[self.index]
            self.title = (
                np.datetime_as_string(self.time, "m") if self.time.dtype.kind == "M" else ""
            )
        elif scene.lead:
            self.title = f"{scene.lead[0]} {index}"

    def __call__(self, array: xr.DataArray, scene: Scene | None = None) -> NDArray[Any]:
        """Values (..., y, x) of the date; arrays without dates serve for every one."""
        pair = next(pair for pair in SPATIAL if set(pair) <= set(array.dims))
        lead = [d for d in array.dims if d not in (*pair, "band")]
        for dim in lead:
            array = array.isel({dim: self.index if array.sizes[dim] > 1 else 0})
        array = array.isel({d: slice(None, None, self.step) for d in pair})
        return np.asarray(array.transpose(..., *pair).values)

    def optical(self, scene: Scene, names: list[str]) -> Floats:
        scene.need_optical(names, "the picture")
        return self(scene.reflectance(names))

    def sar(self, scene: Scene) -> Floats:
        assert scene.sar is not None
        if not _dual(scene):
            one = self(scene.backscatter(scene.sar.names[:1]))
            return stretch(
                np.repeat(one, 3, 0), np.repeat(percentile_limits(one.reshape(1, -1)), 3, 0)
            )
        vv, vh = self(scene.backscatter(("VV", "VH")))
        planes = np.stack([vv, vh, vv - vh])
        return stretch(planes, percentile_limits(planes.reshape(3, -1)))


def _dual(scene: Scene) -> bool:
    return scene.sar is not None and {"VV", "VH"} <= set(scene.sar.names)


def _provenance(obj: Spatial) -> xr.DataArray | None:
    carried = obj if isinstance(obj, xr.Dataset) else obj.coords
    return carried.get("provenance")


def _occlusion(
    obj: Spatial, mask: xr.DataArray | ArrayLike | None, cut: _Cut
) -> tuple[NDArray[Any] | None, dict[int, tuple[str, str]] | None]:
    """Flags (y, x) and what they mean."""
    if mask is not None:
        if not isinstance(mask, xr.DataArray):
            values = np.asarray(mask)
            mask = xr.DataArray(values, dims=("lead", "y", "x")[-values.ndim :])
        return cut(mask).astype(np.uint8), MASK
    provenance = _provenance(obj)
    return (None, None) if provenance is None else (cut(provenance), PROVENANCE)


def _clear_flags(legend: dict[int, tuple[str, str]]) -> list[int]:
    return [flag for flag, (label, _) in legend.items() if label in ("clear", "observed")]


def _reference(images: dict[str, Floats], clear: NDArray[np.bool_] | None) -> Floats:
    """Values (band, pixel) that set the stretch: truth and clear pixels; without both, all."""
    parts = [images["truth"].reshape(3, -1)] if "truth" in images else []
    if clear is not None and clear.any():
        parts.append(next(iter(images.values()))[:, clear])
    return np.concatenate(parts or [list(images.values())[-1].reshape(3, -1)], axis=1)


def _share(where: NDArray[np.bool_]) -> str:
    share = float(where.mean())
    return f"{share:.0%}" if share >= 0.005 else "< 1%"


def _draw(
    panels: list[tuple[str, Any]],
    legend: dict[int, tuple[str, str]] | None,
    title: str,
    figsize: tuple[float, float] | None,
) -> Figure:
    try:
        import matplotlib
        from matplotlib import pyplot
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch
    except ImportError as error:
        raise CloudFreeError("Pictures need matplotlib: pip install 'xcloudfree[plot]'.") from error
    if not panels:
        raise DataError("There is nothing to show: plot(ds[['B04', 'B03', 'B02']]).")
    figure: Figure
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=figsize or (3.2 * len(panels), 3.9),
        squeeze=False,
        layout="constrained",
    )
    for axis, (name, image) in zip(axes[0], panels, strict=True):
        axis.set_title(name, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
        if image.ndim == 3:
            axis.imshow(image, interpolation="nearest")
            continue
        assert legend is not None
        colours = ListedColormap([colour for _, colour in legend.values()])
        axis.imshow(image, cmap=colours, vmin=-0.5, vmax=len(legend) - 0.5, interpolation="nearest")
        patches = [
            Patch(color=colour, label=f"{label} {_share(image == flag)}")
            for flag, (label, colour) in legend.items()
            if (image == flag).any()
        ]
        axis.legend(
            handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=7,
            frameon=False,
        )  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=10)
    if "inline" in matplotlib.get_backend().lower():
        pyplot.close(figure)  # a notebook shows what is returned: not twice
    return figure
