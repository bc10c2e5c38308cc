"""``ds.cloudfree``: each method is a signature and one call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xcloudfree.core import calibrate as radiometry
from xcloudfree.core.documented import documented_by
from xcloudfree.masks import masking as masks
from xcloudfree.masks import shares
from xcloudfree.masks import weights as cloud_weights
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.shadow import Shadow
from xcloudfree.reconstruct import composite as composites
from xcloudfree.reconstruct import context as temporal
from xcloudfree.reconstruct import indices as spectral
from xcloudfree.reconstruct import pipeline as reconstruction
from xcloudfree.reconstruct import shift as misalignment
from xcloudfree.reconstruct import speckle
from xcloudfree.reconstruct.choice import AUTO, JUDGED
from xcloudfree.reconstruct.speckle import Filter

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

    from xcloudfree.methods.base import Method
    from xcloudfree.models.model import Model
    from xcloudfree.plot.accessor import Plots


@xr.register_datatree_accessor("cloudfree")  # raises an error that names how to choose a Dataset
@xr.register_dataset_accessor("cloudfree")
@xr.register_dataarray_accessor("cloudfree")
class CloudFreeAccessor:
    """Cloud masks, weights and cloud-free reconstruction of a Sentinel-1 and Sentinel-2 scene.

    Display it (``ds.cloudfree``) to see what was recognised, what is missing, and next steps.
    """

    def __init__(self, obj: Any) -> None:
        self._obj = obj
        self._made_from: Callable[[], Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_obj": self._obj, "_made_from": None}  # weak references cannot travel

    def __repr__(self) -> str:
        from xcloudfree.plot import help as describe

        return describe.text(self._obj)

    def _repr_html_(self) -> str:
        from xcloudfree.plot import help as describe

        return describe.html(self._obj)

    @documented_by(radiometry.calibrate)
    def calibrate(
        self,
        *,
        scale: float | None = None,
        offset: float | Sequence[float] | xr.DataArray | None = None,
        nodata: float | None = None,
        level: str | None = None,
        sar: str | None = None,
        quantity: str | None = None,
        sar_nodata: float | None = None,
    ) -> Any:
        """Declare units and level, see :func:`xcloudfree.core.calibrate.calibrate`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((64, 64), cover=0.4, seed=1)
        >>> numbers = ds.isel(x=slice(0, 4)).drop_attrs().cloudfree.calibrate(level="TOA", sar="dB")
        >>> numbers.B02.attrs["processing_level"], numbers.VV.attrs["units"]
        ('TOA', 'dB')
        """
        return radiometry.calibrate(
            self._obj, scale=scale, offset=offset, nodata=nodata, level=level, sar=sar,
            quantity=quantity, sar_nodata=sar_nodata,
        )  # fmt: skip

    @documented_by(masks.score)
    def score(self) -> xr.DataArray:
        """Cloud score S_c of eq. 13, see :func:`xcloudfree.masks.score`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((64, 64), cover=0.4, seed=1)
        >>> ds.cloudfree.score().dtype.name
        'float32'
        """
        return masks.score(self._obj)

    @documented_by(masks.mask)
    def mask(
        self,
        method: Mask = "auto",
        *,
        threshold: float | None = None,
        dilate: int = 0,
        shadow: Shadow = False,
        haze: float | None = None,
        classes: Sequence[int] | None = None,
    ) -> xr.DataArray:
        """Mask of occluded pixels, True = occluded, see :func:`xcloudfree.masks.mask`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((64, 64), cover=0.4, seed=1)
        >>> bool(ds.cloudfree.mask(dilate=8).sum() > ds.cloudfree.mask().sum())
        True
        """
        return masks.mask(
            self._obj, method, threshold=threshold, dilate=dilate, shadow=shadow, haze=haze,
            classes=classes,
        )  # fmt: skip

    @documented_by(shares.clearness)
    def clearness(
        self, method: Mask = "auto", *, dilate: int = 0, sample: int | None = None
    ) -> xr.Dataset:
        """Fractions of clear, occluded and missing pixels, see :func:`xcloudfree.masks.clearness`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((64, 64), dates=5, cover=0.4, seed=1)
        >>> ds.cloudfree.clearness().clear.dims
        ('time',)
        """
        return shares.clearness(self._obj, method, dilate=dilate, sample=sample)

    @documented_by(temporal.context)
    def context(
        self,
        *,
        mask: Mask = "score",
        dilate: int = 0,
        shadow: Shadow = None,
        least: float = 0.0,
    ) -> xr.Dataset:
        """Last and next clear observation, see :func:`xcloudfree.reconstruct.context.context`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((32, 32), dates=3, cover=0.2, seed=1)
        >>> ds.cloudfree.context().before_age.isel(time=1).max().item()
        5.0
        """
        return temporal.context(self._obj, mask=mask, dilate=dilate, shadow=shadow, least=least)

    @documented_by(cloud_weights.weights)
    def weights(
        self, *, alpha: float = 0.8, method: Mask = "score", dilate: int = 0
    ) -> xr.DataArray:
        """Cloud weights of eq. 17, see :func:`xcloudfree.masks.weights.weights`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((64, 64), cover=0.4, seed=1)
        >>> sorted({round(float(w), 1) for w in ds.cloudfree.weights(alpha=0.7).values.ravel()})
        [0.3, 0.7]
        """
        return cloud_weights.weights(self._obj, alpha=alpha, method=method, dilate=dilate)

    @documented_by(reconstruction.reconstruct)
    def reconstruct(
        self,
        model: str | Path | Model | Method | xr.Dataset = AUTO,
        *,
        mask: Mask = "auto",
        dilate: int = 0,
        shadow: Shadow = None,
        halo: Literal["exact"] | int = "exact",
        blend: Literal["feather"] | None = "feather",
        fill_missing: bool = False,
        times: Any = None,
        interval: float | None = None,
        uncertainty: bool = False,
        quality: bool = False,
        age: bool = False,
        align: Literal["check", "correct"] | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        device: str | None = None,
    ) -> Any:
        """Reconstruct occluded pixels, see :func:`xcloudfree.reconstruct.reconstruct`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((64, 64), cover=0.4, seed=1)
        >>> out = ds.cloudfree.reconstruct(model="idw", dilate=2, shadow=False)
        >>> bool(((out.provenance > 1) == ds.cloudfree.mask(dilate=2)).all())
        True
        """
        if isinstance(model, str) and model == JUDGED:
            model = self.judge(mask=mask, dilate=dilate, shadow=shadow)
        out = reconstruction.reconstruct(
            self._obj, model=model, mask=mask, dilate=dilate, shadow=shadow, halo=halo, blend=blend,
            fill_missing=fill_missing, times=times, interval=interval, uncertainty=uncertainty,
            quality=quality, age=age, align=align, precision=precision, device=device,
        )  # fmt: skip
        out.cloudfree._made_from = weakref.ref(self._obj)  # the "before" of pictures
        return out

    def judge(
        self,
        models: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        gaps: Sequence[float] = (0, 15, 30),
        cases: int = 6,
        seed: int = 0,
        mask: Mask = "auto",
        dilate: int = 0,
        shadow: Shadow = None,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Compare models on this scene, see :func:`xcloudfree.judge.own_scene.judge_scene`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> cover = [0, 0.6, 0, 0.5, 0, 0.6]
        >>> ds = xcf.datasets.simulate_scene((48, 48), dates=6, cover=cover, level="BOA", seed=1)
        >>> rivals = ["median", "linear-time"]
        >>> table = ds.cloudfree.judge(rivals, gaps=[0, 90], cases=2, mask="l2a", progress=False)
        >>> out = ds.cloudfree.reconstruct(model=table)
        >>> out.provenance.attrs["model"] == table.attrs["winner"]
        True
        """
        from xcloudfree.judge.own_scene import judge_scene

        return judge_scene(
            self._obj, models, gaps=gaps, cases=cases, seed=seed, mask=mask, dilate=dilate,
            shadow=shadow, progress=progress,
        )  # fmt: skip

    @documented_by(composites.composite)
    def composite(
        self,
        freq: Any,
        method: composites.How = "geomedian",
        *,
        mask: Mask = "auto",
        fill: bool = False,
    ) -> Any:
        """Compute one image per period, see :func:`xcloudfree.reconstruct.composite.composite`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((32, 32), dates=8, cover=0.4, seed=1)
        >>> ds.cloudfree.composite([("2025-06", "2025-07")]).sizes["time"]
        1
        """
        return composites.composite(self._obj, freq, method, mask=mask, fill=fill)

    @documented_by(spectral.indices)
    def indices(self, names: str | Sequence[str]) -> Any:
        """Compute spectral indices, see :func:`xcloudfree.reconstruct.indices.indices`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((32, 32), dates=6, cover=0.4, seed=1)
        >>> out = ds.cloudfree.reconstruct("area-regression", uncertainty=True)
        >>> list(out.cloudfree.indices("NDVI"))
        ['NDVI', 'NDVI_std', 'provenance']
        """
        return spectral.indices(self._obj, names)

    @documented_by(misalignment.shift)
    def shift(self, *, by: str = "scene", block: int = 128, mask: Mask = "auto") -> xr.Dataset:
        """Estimate the shift of Sentinel-1, see :func:`xcloudfree.reconstruct.shift.shift`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((128, 128), dates=3, cover=0.1, seed=1)
        >>> found = ds.cloudfree.shift()  # the two sensors agree
        >>> float(abs(found.dy).max()) < 1
        True
        """
        return misalignment.shift(self._obj, by=by, block=block, mask=mask)

    @documented_by(speckle.remove_speckle)
    def remove_speckle(
        self, method: Filter = "refined-lee", *, looks: float = speckle.LOOKS
    ) -> Any:
        """Reduce speckle, see :func:`xcloudfree.reconstruct.speckle.remove_speckle`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((64, 64), dates=8, seed=1)
        >>> calm = ds.cloudfree.remove_speckle("quegan")
        >>> bool(calm.VV.diff("x").std() < 0.6 * ds.VV.diff("x").std())
        True
        """
        return speckle.remove_speckle(self._obj, method, looks=looks)

    def report(self) -> pd.DataFrame:
        """List unreadable files, see :func:`xcloudfree.stac.series.status.report`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> import tempfile
        >>> scene = xcf.datasets.simulate_scene((32, 32), seed=1)[["B02", "VV", "VH"]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _, items = xcf.stac.publish(scene, folder, base_url=folder)
        ...     ds = xcf.stac.load(items, on_error="report").compute()
        >>> len(ds.cloudfree.report())  # no fault
        0
        """
        from xcloudfree.stac.series.status import report

        return report(self._obj)

    @property
    def plot(self) -> Plots:
        """Pictures: ``plot()``, ``plot.rgb()``, ``plot.series()``, see :mod:`xcloudfree.plot`.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> ds = xcf.datasets.simulate_scene((32, 32), cover=0.4, seed=1)
        >>> len(ds.cloudfree.plot().axes) > 1
        True
        """
        from xcloudfree.plot.accessor import Plots

        return Plots(self._obj, self._made_from() if self._made_from else None)
