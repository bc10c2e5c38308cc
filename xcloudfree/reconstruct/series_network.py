"""A network of a series as a predictor: it corrects what kernel fusion estimates in a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.devices import computing, resolved
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.core.predictor import DERIVED, PASS, Booleans, Doubles, Floats, Prediction, Series
from xcloudfree.core.windows import Area, widened
from xcloudfree.methods.kernel_fusion import HALO, KernelFusion
from xcloudfree.methods.temporal_context import scale

if TYPE_CHECKING:
    from xcloudfree.models.cache import Reference
    from xcloudfree.models.spec import ModelSpec

SIDE: Final = 64
"""Side in pixels of the parts that the network processes at once, so that it takes little memory.
"""


@dataclass(frozen=True, kw_only=True)
class SeriesNetwork(KernelFusion):
    """Kernel fusion, corrected by a network that reads the other dates of a block."""

    derived: ClassVar[int] = DERIVED
    reads_parts: ClassVar[bool] = False

    reference: Reference  # where to find the model
    spec: ModelSpec = field(repr=False)

    @classmethod
    def of(cls, reference: Reference, spec: ModelSpec, device: Any) -> Self:
        """The predictor of a model for one call of ``reconstruct``."""
        assert spec.reach is not None
        made = cls(name=spec.name, reach=HALO + spec.reach, reference=reference, spec=spec)
        return made.for_run(device, True)  # the network reads the deviation

    @property
    def digest(self) -> str:
        """Hash of specification and weights."""
        return self.reference.digest

    @property
    def around(self) -> int:
        """Pixels that the network reads around a pixel."""
        return self.reach - HALO

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """Predict the wanted pixels of a series; a single image as kernel fusion does."""
        if series.days is None:
            return super().predict(series, statistics)
        core, _ = widened(series.core, self.around, series.hidden.shape[1:])
        wanted = series.wanted.copy()
        dates = np.flatnonzero(wanted[..., *series.core].any((1, 2))).tolist()
        for date in dates:  # the network compares the estimates around a pixel
            wanted[date, *core] |= series.hidden[date, *core]
        base = super().predict(replace(series, wanted=wanted, core=core), statistics)
        mean = base.mean.copy()
        for inner in self._squares(series.core, wanted.shape[1:]):
            read, within = widened(inner, self.around, wanted.shape[1:])
            part = series.cut(read)
            for date in dates:
                ask = (series.hidden & series.wanted)[date, *inner]
                ask &= np.isfinite(base.mean[date][:, *inner]).all(0)
                if ask.any():
                    found = self._corrected(part, series.days, base, date, read)
                    np.copyto(mean[date, :, *inner], found[:, *within], where=ask)
        return replace(base, mean=mean)

    @staticmethod
    def _squares(core: Area, shape: tuple[int, ...]) -> Iterator[Area]:
        """Parts of the core."""
        ends = (part.indices(n)[:2] for part, n in zip(core, shape, strict=True))
        sides = ([slice(k, min(k + SIDE, b)) for k in range(a, b, SIDE)] for a, b in ends)
        yield from product(*sides)

    def _corrected(
        self, series: Series, days: Doubles, base: Prediction, date: int, area: Area
    ) -> Floats:
        """Mean of a date from the network, for a part of the window."""
        import torch

        from xcloudfree.models.cache import slot

        assert base.deviation is not None
        apart = days - days[date]
        order = np.argsort(np.abs(apart), kind="stable")
        order = order[np.abs(apart[order]) > PASS]  # images of the same pass show the same clouds
        mean, spread = base.mean[date][:, *area], base.deviation[date][:, *area]
        preset = PRESETS[self.spec.normalisation]
        context = scale(np.concatenate([mean, spread])[None], self.spec.context, len(mean), preset)
        shown: Booleans = series.clear[order]
        others = np.where(shown[:, None], series.reflectance[order], np.float32(0))
        device = resolved(self.device)
        network = slot(self.reference, device).model.network

        def tensor(array: NDArray[Any]) -> torch.Tensor:
            return torch.as_tensor(array[None].astype(np.float32), device=device)

        with computing(device):
            out = network(
                tensor(mean), tensor(mean[:0]), mask=tensor(series.hidden[date][None]),
                context=tensor(context[0]), others=tensor(others), shown=tensor(shown),
                apart=torch.as_tensor(apart[order][None], device=device),
            )  # fmt: skip
            return np.asarray(out[0].cpu().numpy(), np.float32)
