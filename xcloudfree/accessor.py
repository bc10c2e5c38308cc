"""``ds.cloudfree``: each method is a function of the scene, with its signature and help."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from xcloudfree.core import calibrate as radiometry
from xcloudfree.core.documented import like, method_of
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

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

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

    calibrate = method_of(radiometry.calibrate)
    score = method_of(masks.score)
    mask = method_of(masks.mask)
    clearness = method_of(shares.clearness)
    context = method_of(temporal.context)
    weights = method_of(cloud_weights.weights)
    composite = method_of(composites.composite)
    indices = method_of(spectral.indices)
    shift = method_of(misalignment.shift)
    remove_speckle = method_of(speckle.remove_speckle)

    @like(reconstruction.reconstruct)
    def reconstruct(self, model: Any = AUTO, **options: Any) -> Any:
        """Judge first if the winner is requested, and remember the input."""
        if isinstance(model, str) and model == JUDGED:
            model = self.judge(
                **{k: options[k] for k in ("mask", "dilate", "shadow") if k in options}
            )
        out = reconstruction.reconstruct(self._obj, model, **options)
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
