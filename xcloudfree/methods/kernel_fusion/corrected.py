"""The prior of a panel: the regression, corrected by its errors on the dates around."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xcloudfree.methods.kernel_fusion import persistence, prior
from xcloudfree.methods.kernel_fusion.predictors import Pixels, Reader, Rows, nearest_pass
from xcloudfree.methods.kernel_fusion.settings import GAPS


class Corrected:
    """Predicts the targets of a panel; keeps the errors of dates for the next targets."""

    def __init__(
        self, pixels: Pixels, statistics: prior.Statistics, targets: prior.Targets
    ) -> None:
        self.pixels, self.statistics, self.targets = pixels, statistics, targets
        self.reader = Reader(pixels)
        self._errors: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def predict(self, k: int) -> tuple[Rows, Tensor, Tensor]:
        """Predictors, mean and deviation of a target."""
        day, own = float(self.targets.days[k]), int(self.targets.own[k])
        rows = self.reader.rows(day, 0.0, *self._radar(day, own))
        mean, sigma = prior.predict(rows, self.statistics, k)
        levels = prior.classes(rows) // 2
        for level, share in enumerate(self.statistics.persistence.tolist()):
            here = (levels == level)[:, None]
            if not share or not bool(here.any()):
                continue
            part = persistence.persistent(self.pixels.days, day, level, self._error)
            if part is not None:
                mean = torch.where(here, mean + share * part, mean)
        for date, level in list(self._errors):  # targets are in order of time
            if self.pixels.days[date] < day - GAPS[-1]:
                del self._errors[date, level]
        return rows, mean, sigma

    def _error(self, date: int, level: int) -> tuple[Tensor, Tensor] | None:
        """See :data:`.persistence.Error`."""
        (same,) = np.nonzero(self.targets.own == date)
        if not len(same) or not self.statistics.open[date]:
            return None
        if (date, level) not in self._errors:
            apart = self.statistics._replace(coefficients=self.statistics.apart)
            day = float(self.pixels.days[date])
            rows = self.reader.rows(day, GAPS[level], *self._radar(day, date))
            mean, sigma = prior.predict(rows, apart, int(same[0]))
            shown = self.pixels.values[date, :, : self.pixels.bands]
            error = persistence.error(shown, mean, sigma)
            error -= torch.as_tensor(self.statistics.offsets[level, date]).to(error)
            known = self.pixels.clear[date] & torch.isfinite(error).all(1)
            self._errors[date, level] = torch.where(known[:, None], error, 0.0), known
        return self._errors[date, level]

    def _radar(self, day: float, own: int) -> tuple[Tensor, Tensor]:
        """Radar of a day, from the date itself if it has one."""
        bands = self.pixels.bands
        if own >= 0 or not self.pixels.planes:
            own = max(own, 0)
            return self.pixels.values[own, :, bands:], self.pixels.heard[own]
        radar = self.pixels.values[..., bands:]
        return nearest_pass(radar, self.pixels.heard, self.pixels.days, day)
