"""Kernel fusion: a regression on the area's own series, corrected by a Gaussian process.

The regression (:mod:`.prior`) predicts a date from the other dates and from radar. The Gaussian
process (:mod:`.process`) corrects it with the visible pixels of the date itself. All of this works
on arrays of one window of the scene, and :mod:`.engine` joins the parts; the class here is the
method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from xcloudfree.core.devices import chosen, computing, memory_error, resolved
from xcloudfree.core.predictor import Doubles, Prediction, Series
from xcloudfree.core.windows import Halo, Plan
from xcloudfree.methods.base import Method, Option
from xcloudfree.methods.kernel_fusion.sample import Sample, merged, size_of
from xcloudfree.methods.kernel_fusion.settings import WINDOWS, Settings

if TYPE_CHECKING:  # torch is imported when a block is processed
    from xcloudfree.methods.kernel_fusion.engine import Window
    from xcloudfree.methods.kernel_fusion.prior import Statistics

HALO = 91
"""Pixels around a block that its tiles read; a test compares it with the engine."""


class Samples(NamedTuple):
    """Samples of a block or scene, one for each series."""

    series: tuple[Sample, ...]
    days: Doubles  # day number of each date (time,)


class Concluded(NamedTuple):
    """Statistics of a scene, for each series."""

    series: tuple[Statistics, ...]


@dataclass(frozen=True)
class KernelFusion(Method):
    """A regression on the area's own series, corrected by a Gaussian process on visible pixels.

    For a scene with one date, the regression is its mean spectrum and its map from radar.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "gate": Option("True or False", lambda value: isinstance(value, bool)),
    }
    passes: ClassVar[int] = 1
    derived: ClassVar[int] = 3  # the reflectance, the answer and panels
    reads_parts: ClassVar[bool] = True
    flags: ClassVar[tuple[str, ...]] = (
        "predicted_without_radar",
        "bounded",
        "visible_but_set_aside",
    )

    name: str = "kernel-fusion"
    temporal: bool = True
    reach: int = HALO
    polarisations: tuple[str, ...] = ("VV", "VH")
    deviation: bool = True
    takes_any_radar: bool = True
    takes_single_images: bool = True
    device: str = "cpu"
    uncertainty: bool = True
    settings: Settings = field(default=Settings())

    @property
    def measured(self) -> Plan:
        """Local means of backscatter are all that its sample needs."""
        return Halo(max(WINDOWS) // 2)

    def set(self, **options: Any) -> Self:
        """See :meth:`Method.set`."""
        return replace(self, name=self.named(options), settings=replace(self.settings, **options))

    def for_run(self, device: Any, uncertainty: bool) -> Self:
        """See :meth:`Method.for_run`."""
        return replace(self, device=chosen(device), uncertainty=uncertainty)

    def measure(self, series: Series, statistics: Sequence[Any]) -> Samples:
        """Draw the part of the scene's sample that lies in the core."""
        from xcloudfree.methods.kernel_fusion.engine import sample_of

        core = np.zeros(series.hidden.shape[1:], bool)
        core[series.core] = True
        windows = list(_windows(series))
        with computing("cpu"):
            samples = tuple(sample_of(window, core, self.settings) for window in windows)
        return Samples(samples, windows[0].days)

    def combine(self, parts: Sequence[Samples]) -> Samples:
        """Join samples by the hash of the place, in any order of the blocks."""
        first = parts[0]
        size = size_of(len(first.days), self.settings.rows)
        each = zip(*(part.series for part in parts), strict=True)
        return first._replace(series=tuple(merged(same, size) for same in each))

    def conclude(self, total: Samples, statistics: Sequence[Any]) -> Concluded:
        """Learn the regression of every requested date."""
        from xcloudfree.methods.kernel_fusion import prior

        # All dates, also those that are not requested: they show how much the ground varies.
        targets = prior.Targets(total.days, np.arange(len(total.days)))
        with computing("cpu"):
            found = tuple(
                prior.conclude(sample, total.days, targets, self.settings.mix)
                for sample in total.series
            )
        return Concluded(found)

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        import torch

        device = resolved(self.device)
        try:
            with computing(device):
                return self._predict(series, statistics[0], device)
        except torch.OutOfMemoryError as error:
            dates, _, height, width = series.reflectance.shape
            raise memory_error(f"{dates} dates of {height} x {width} pixels", device) from error

    def _predict(self, series: Series, concluded: Concluded, device: str) -> Prediction:
        from xcloudfree.methods.kernel_fusion import engine, prior

        found: list[Prediction] = []
        for number, (window, known) in enumerate(
            zip(_windows(series), concluded.series, strict=True)
        ):
            dates = slice(None) if series.days is not None else slice(number, number + 1)
            targets = prior.Targets(window.days, np.arange(len(window.days)))
            answer = engine.predict(
                window,
                series.wanted[dates],
                targets,
                known,
                self.settings,
                core=series.core,
                deviation=self.uncertainty,
                device=device,
            )
            found.append(Prediction(answer.mean, answer.deviation, answer.flags))
        if len(found) == 1:
            return found[0]
        spread = [f.deviation for f in found if f.deviation is not None]
        return Prediction(
            np.concatenate([f.mean for f in found]),
            np.concatenate(spread) if spread else None,
            np.concatenate([f.flags for f in found if f.flags is not None]),
        )


def _windows(series: Series) -> Iterator[Window]:
    """The series, or without dates each image as one."""
    from xcloudfree.methods.kernel_fusion.engine import Window

    clear, radar = series.clear, series.backscatter
    if series.days is not None:
        yield Window(series.reflectance, clear, radar, series.days, series.origin)
        return
    for n in range(len(clear)):
        one = slice(n, n + 1)
        yield Window(
            series.reflectance[one],
            clear[one],
            None if radar is None else radar[one],
            np.zeros(1),
            series.origin,
        )
