"""``ds.cloudfree``: each method is a signature and one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xcloudfree import describe, masks, radiometry
from xcloudfree import reconstruct as reconstruction
from xcloudfree import weights as cloud_weights
from xcloudfree.masks import Mask

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    from matplotlib.figure import Figure

    from xcloudfree.models.model import Model


@xr.register_dataset_accessor("cloudfree")
@xr.register_dataarray_accessor("cloudfree")
class CloudFreeAccessor:
    """Cloud masks, weights and cloud-free reconstruction of a Sentinel-1 and Sentinel-2 scene.

    Show it (``ds.cloudfree``) to see what was recognised, what is missing, and what to call.
    """

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __repr__(self) -> str:
        return describe.text(self._obj)

    def _repr_html_(self) -> str:
        return describe.html(self._obj)

    def calibrate(
        self,
        *,
        scale: float | None = None,
        offset: float | Sequence[float] | xr.DataArray | None = None,
        nodata: float | None = None,
        level: str | None = None,
        sar: str | None = None,
        quantity: str | None = None,
    ) -> Any:
        """Declare units and level, see :func:`xcloudfree.radiometry.calibrate`."""
        return radiometry.calibrate(
            self._obj,
            scale=scale,
            offset=offset,
            nodata=nodata,
            level=level,
            sar=sar,
            quantity=quantity,
        )

    def score(self) -> xr.DataArray:
        """Cloud score S_c of eq. 13, see :func:`xcloudfree.masks.score`."""
        return masks.score(self._obj)

    def mask(
        self, method: Mask = "score", *, threshold: float | None = None, dilate: int = 0
    ) -> xr.DataArray:
        """Mask of occluded pixels, True = occluded, see :func:`xcloudfree.masks.mask`."""
        return masks.mask(self._obj, method, threshold=threshold, dilate=dilate)

    def weights(
        self, *, alpha: float = 0.8, method: Mask = "score", dilate: int = 0
    ) -> xr.DataArray:
        """Cloud weights of eq. 17, see :func:`xcloudfree.weights.weights`."""
        return cloud_weights.weights(self._obj, alpha=alpha, method=method, dilate=dilate)

    def reconstruct(
        self,
        *,
        model: str | Path | Model = "carf-small-demo",
        mask: Mask = "score",
        dilate: int = 0,
        halo: Literal["exact"] | int = "exact",
        blend: Literal["feather"] | None = "feather",
        uncertainty: bool = False,
        precision: Literal["float32", "bfloat16"] = "float32",
        device: str | None = None,
    ) -> Any:
        """Reconstruct what clouds hide, see :func:`xcloudfree.reconstruct.reconstruct`."""
        return reconstruction.reconstruct(
            self._obj,
            model=model,
            mask=mask,
            dilate=dilate,
            halo=halo,
            blend=blend,
            uncertainty=uncertainty,
            precision=precision,
            device=device,
        )

    def report(self) -> pd.DataFrame:
        """List what could not be read of a catalog, see :func:`xcloudfree.stac.status.report`."""
        from xcloudfree.stac.status import report

        return report(self._obj)

    def plot(self, **options: Any) -> Figure:
        """Show before, after, mask and backscatter, see :func:`xcloudfree.plot.plot`."""
        from xcloudfree.plot import plot

        return plot(self._obj, **options)
