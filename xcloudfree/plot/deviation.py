"""Pictures of the standard deviation that ``reconstruct(uncertainty=True)`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import optical_band
from xcloudfree.plot.frame import Frame
from xcloudfree.plot.view import Spatial

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def mean_deviation(obj: Spatial, names: Sequence[str]) -> xr.DataArray | None:
    """Standard deviation (y, x), the mean over some bands, where an object carries it."""
    if isinstance(obj, xr.DataArray):
        stacked = obj.coords.get("std")
        return None if stacked is None else _over(stacked, names)
    for variable in obj.data_vars:
        if str(variable).lower() == "s2_std":
            return _over(obj[variable], names)
    found = [
        obj[v]
        for v in obj.data_vars
        if str(v).endswith("_std") and optical_band(str(v).removesuffix("_std")) in names
    ]
    if not found:
        return None
    total = found[0]
    for other in found[1:]:
        total = total + other
    return total / len(found)


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
    """Draw a standard deviation with its scale; what was observed has none and is light grey."""
    from xcloudfree.plot.canvas import draw_image

    known = values[np.isfinite(values)]
    top = float(np.percentile(known, 98)) if known.size else 1.0
    axis.set_facecolor("#e6e6e6")
    image = draw_image(
        axis, values, place, cmap=cmap, vmin=0 if vmin is None else vmin,
        vmax=top if vmax is None else vmax,
    )  # fmt: skip
    bar = axis.figure.colorbar(image, ax=axis, fraction=0.045, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return image
