"""Range of reflectance that each place has shown; values far outside it are not ground."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xcloudfree.methods.kernel_fusion.predictors import Pixels
from xcloudfree.methods.kernel_fusion.prior import Statistics

RARE: Final = 0.06
"""Share of the dates whose extreme reflectance at a place is ignored for its range."""


class Range(NamedTuple):
    """Range of values of each place and its neighbours, and of the scene."""

    low: Tensor  # (pixel, band); not the extremes, so that a few missed clouds change nothing
    high: Tensor  # (pixel, band); likewise
    floor: Tensor  # of the scene, (band,)
    top: Tensor  # of the scene, (band,)
    slack: Tensor  # by how much clear ground may leave it, (band,); infinite if that is unknown
    bound: float  # deviations of the prior by which a result may leave it

    @classmethod
    def of(
        cls, pixels: Pixels, shape: tuple[int, int], statistics: Statistics, bound: float
    ) -> Range:
        """The range in a window (y, x)."""
        values, clear = pixels.values[..., : pixels.bands], pixels.clear
        low, high = -_highest(values, clear, shape, -1), _highest(values, clear, shape, 1)
        usual = statistics.deviation.reshape(-1, pixels.bands)
        known = np.isfinite(usual).all(1)
        margin = (
            bound * np.median(usual[known], 0) if known.any() else np.full_like(usual[0], np.inf)
        )
        floor, top, slack = (
            torch.as_tensor(a, dtype=torch.float32, device=low.device)
            for a in (statistics.low, statistics.high, margin)
        )
        return cls(low, high, floor, top, slack, bound)

    def ordinary(self, pixels: Pixels) -> Tensor:
        """Clear pixels that are not far outside the range of their place, (time, pixel)."""
        low, high = self.low - self.slack, self.high + self.slack
        shown = pixels.values[..., : pixels.bands]
        within = [((one >= low) & (one <= high)).all(1) for one in shown]
        return pixels.clear & torch.stack(within)

    def limits(self, where: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Limits of a result: near the range of the place, little beyond that of the scene."""
        wide, slight = self.bound * sigma, sigma / 2
        low, high = self.low.index_select(0, where), self.high.index_select(0, where)
        known = torch.isfinite(low + high)  # a place without clear dates has the scene's range
        low = torch.where(known, low, self.floor)
        high = torch.where(known, high, self.top)
        return (
            torch.maximum(low - wide, torch.minimum(self.floor - slight, low)),
            torch.minimum(high + wide, torch.maximum(self.top + slight, high)),
        )


def _highest(values: Tensor, clear: Tensor, shape: tuple[int, int], sign: int) -> Tensor:
    """Nearly the highest clear value, times a sign, of each pixel and its neighbours."""
    count = min(max(2, round(RARE * len(clear))), len(clear))
    top = [torch.full_like(values[0], -torch.inf) for _ in range(count)]
    for shown, one in zip(clear, values, strict=True):  # faster than topk
        rest = torch.where(shown[:, None], sign * one, -torch.inf)
        for highest in top:
            lower = torch.minimum(highest, rest)
            torch.maximum(highest, rest, out=highest)
            rest = lower
    second = torch.where(torch.isinf(top[-1]), top[0], top[-1])
    if count > 2:  # where few dates are clear
        few = torch.isinf(top[-1]) & torch.isfinite(top[1])
        second = torch.where(few, top[1], second)
    planes = second.mT.reshape(-1, *shape)
    for window, margin in (((5, 1), (2, 0)), ((1, 5), (0, 2))):
        planes = torch.nn.functional.max_pool2d(planes, window, 1, margin)
    return planes.reshape(len(planes), -1).mT
