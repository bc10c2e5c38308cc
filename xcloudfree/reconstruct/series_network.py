"""A network of a series as a predictor: it corrects what kernel fusion estimates in a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.devices import chosen, resolved
from xcloudfree.core.predictor import PASS, Prediction, Series
from xcloudfree.core.windows import Area, Encoded, Plan
from xcloudfree.methods.base import Method
from xcloudfree.methods.kernel_fusion import HALO, KernelFusion
from xcloudfree.methods.temporal_context import scale

if TYPE_CHECKING:
    from xcloudfree.models.cache import Reference
    from xcloudfree.models.spec import ModelSpec

SIDE: Final = 64
"""Pixels of a side that the network processes at once, so that little memory is needed."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SeriesNetwork(Method):
    """Kernel fusion, corrected by a network that reads the other dates of each block."""

    passes: ClassVar[int] = KernelFusion.passes
    derived: ClassVar[int] = KernelFusion.derived
    flags: ClassVar[tuple[str, ...]] = KernelFusion.flags

    temporal: bool = True
    polarisations: tuple[str, ...] = ("VV", "VH")
    deviation: bool = True
    takes_any_radar: bool = True
    takes_single_images: bool = True
    reference: Reference | None = None  # where to find the model
    spec: ModelSpec | None = field(default=None, repr=False)
    engine: KernelFusion = field(default=KernelFusion())

    @classmethod
    def of(cls, reference: Reference, spec: ModelSpec, device: Any, uncertainty: bool) -> Self:
        """The predictor of a model for one call of ``reconstruct``."""
        engine = KernelFusion().for_run(device, True)
        engine = replace(engine, device=chosen(device), uncertainty=True)
        return cls(
            spec.name, reach=HALO + int(spec.reach or 0), reference=reference, spec=spec,
            engine=engine,
        )  # fmt: skip

    @property
    def digest(self) -> str:
        """Hash of specification and weights."""
        assert self.reference is not None
        return self.reference.digest

    @property
    def measured(self) -> Plan:
        """See :class:`Method`: the statistics are those of kernel fusion."""
        return self.engine.measured

    def measure(self, series: Series, statistics: Sequence[Any]) -> Any:
        """See :meth:`KernelFusion.measure`."""
        return self.engine.measure(series, statistics)

    def combine(self, parts: Sequence[Any]) -> Any:
        """See :meth:`KernelFusion.combine`."""
        return self.engine.combine(parts)

    def conclude(self, total: Any, statistics: Sequence[Any]) -> Any:
        """See :meth:`KernelFusion.conclude`."""
        return self.engine.conclude(total, statistics)

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        if series.days is None:  # a single image has no other dates
            return self.engine.predict(series, statistics)
        assert self.spec is not None
        around = int(self.spec.reach or 0)
        core = tuple(
            slice(max(0, part.indices(n)[0] - around), min(n, part.indices(n)[1] + around))
            for part, n in zip(series.core, series.hidden.shape[1:], strict=True)
        )
        wide = np.zeros_like(series.wanted)
        asked = series.wanted.any((1, 2), keepdims=True)
        wide[..., *core] = (asked & series.hidden)[..., *core]
        base = self.engine.predict(
            replace(series, wanted=series.wanted | wide, core=core), statistics
        )
        for date in np.flatnonzero(asked):
            self._correct(series, base, int(date), core, around)
        return base

    def _correct(
        self, series: Series, base: Prediction, date: int, core: Area, around: int
    ) -> None:
        """Change the mean of a date in the core, in tiles."""
        assert series.days is not None
        assert base.deviation is not None
        hidden, clear = series.hidden[date], series.clear
        apart = series.days - series.days[date]
        order = np.argsort(np.abs(apart), kind="stable")
        order = order[np.abs(apart[order]) > PASS]
        rows, columns = (
            range(s.indices(n)[0], s.indices(n)[1], SIDE)
            for s, n in zip(series.core, hidden.shape, strict=True)
        )
        mean = base.mean[date].copy()
        for top, left in product(rows, columns):
            inner, read = [], []
            for start, part, n in zip((top, left), series.core, hidden.shape, strict=True):
                stop = min(start + SIDE, part.indices(n)[1])
                inner.append(slice(start, stop))
                read.append(slice(max(0, start - around), min(n, stop + around)))
            ask = series.hidden[date, *inner] & series.wanted[date, *inner]
            if not ask.any():
                continue
            found = self._tile(
                series.reflectance[order][..., *read], clear[order][..., *read], apart[order],
                mean[:, *read], base.deviation[date][:, *read], hidden[*read],
            )  # fmt: skip
            here = tuple(
                slice(i.start - r.start, i.stop - r.start)
                for i, r in zip(inner, read, strict=True)
            )
            target = base.mean[date][:, *inner]
            np.copyto(target, found[:, *here], where=ask & np.isfinite(target))

    def _tile(
        self,
        others: Floats | Encoded,
        shown: NDArray[np.bool_],
        apart: NDArray[np.float64],
        mean: Floats,
        deviation: Floats,
        hidden: NDArray[np.bool_],
    ) -> Floats:
        """The network on one tile of a date."""
        import torch

        from xcloudfree.core.devices import computing
        from xcloudfree.core.normalisation import PRESETS
        from xcloudfree.models.cache import slot

        assert self.reference is not None
        assert self.spec is not None
        device = resolved(self.engine.device)
        model = slot(self.reference, device).model
        planes = np.concatenate([mean, deviation])[None]
        context = scale(planes, self.spec.context, len(mean), PRESETS[self.spec.normalisation])
        arrays = (mean, hidden[None], context[0], np.where(shown[:, None], others, 0.0), shown)
        given = [torch.as_tensor(np.asarray(a, np.float32)[None], device=device) for a in arrays]
        days = torch.as_tensor(apart[None], device=device)
        with computing(device):
            out = model.network(
                given[0].nan_to_num(), given[0][:, :0], mask=given[1], context=given[2],
                others=given[3], shown=given[4], apart=days,
            )  # fmt: skip
        return np.asarray(out[0].cpu().numpy(), np.float32)
