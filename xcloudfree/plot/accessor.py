"""``ds.cloudfree.plot``: each method is a signature and one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xcloudfree.core.bands import RGB
from xcloudfree.plot import overview, quality, single, strip
from xcloudfree.plot.colours import Limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xcloudfree.plot.view import Spatial


class Plots:
    """Pictures of a scene: call it for an overview, or one of its methods.

    Parameters
    ----------
    obj : Dataset or DataArray
        What to show.
    observed : Dataset or DataArray, optional
        The cloudy input that it was made from, where that is known.
    """

    def __init__(self, obj: Spatial, observed: Spatial | None = None) -> None:
        self._obj = obj
        self._observed = observed

    def __repr__(self) -> str:
        return (
            "<pictures of a scene: plot(), plot.rgb(), plot.mask(), plot.provenance(), "
            "plot.uncertainty(), plot.series()>"
        )

    def __call__(
        self,
        *,
        observed: Spatial | None = None,
        truth: Spatial | None = None,
        mask: Any = "auto",
        time: Any = None,
        index: int = 0,
        bands: str | Sequence[str] = RGB,
        vmin: Limit = None,
        vmax: Limit = None,
        outline: bool = True,
        col_wrap: int | None = None,
        figsize: tuple[float, float] | None = None,
        max_size: int = 1024,
    ) -> Figure:
        """Show before, radar, mask, after, uncertainty, see :func:`xcloudfree.plot.plot`."""
        return overview.plot(
            self._obj,
            observed=self._observed if observed is None else observed,
            truth=truth,
            mask=mask,
            time=time,
            index=index,
            bands=bands,
            vmin=vmin,
            vmax=vmax,
            outline=outline,
            col_wrap=col_wrap,
            figsize=figsize,
            max_size=max_size,
        )

    def rgb(
        self,
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
        """Draw true or false colours, see :func:`xcloudfree.plot.rgb`."""
        return single.rgb(
            self._obj,
            bands,
            time=time,
            index=index,
            mask=mask,
            outline=outline,
            col=col,
            col_wrap=col_wrap,
            ax=ax,
            figsize=figsize,
            vmin=vmin,
            vmax=vmax,
            max_size=max_size,
        )

    def mask(
        self,
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
        """Draw a mask over the colours, see :func:`xcloudfree.plot.mask`."""
        return single.mask(
            self._obj,
            method,
            time=time,
            index=index,
            bands=bands,
            ax=ax,
            figsize=figsize,
            vmin=vmin,
            vmax=vmax,
            max_size=max_size,
        )

    def provenance(
        self,
        *,
        time: Any = None,
        index: int = 0,
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
        max_size: int = 1024,
    ) -> Figure:
        """Draw where each pixel comes from, see :func:`xcloudfree.plot.provenance`."""
        return quality.provenance(
            self._obj, time=time, index=index, ax=ax, figsize=figsize, max_size=max_size
        )

    def uncertainty(
        self,
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
        """Draw the standard deviation, see :func:`xcloudfree.plot.uncertainty`."""
        return quality.uncertainty(
            self._obj,
            bands,
            time=time,
            index=index,
            ax=ax,
            figsize=figsize,
            vmin=vmin,
            vmax=vmax,
            cmap=cmap,
            max_size=max_size,
        )

    def series(
        self,
        *,
        observed: Spatial | None = None,
        mask: Any = "auto",
        bands: str | Sequence[str] = RGB,
        dates: int | Sequence[Any] = 10,
        figsize: tuple[float, float] | None = None,
        vmin: Limit = None,
        vmax: Limit = None,
        max_size: int = 256,
    ) -> Figure:
        """Draw a strip of dates, see :func:`xcloudfree.plot.series`."""
        return strip.series(
            self._obj,
            observed=self._observed if observed is None else observed,
            mask=mask,
            bands=bands,
            dates=dates,
            figsize=figsize,
            vmin=vmin,
            vmax=vmax,
            max_size=max_size,
        )
