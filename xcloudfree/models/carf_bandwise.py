"""CARF with temporal context, one band at a time, so its weights work for any bands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xcloudfree.methods import nearby
from xcloudfree.methods.temporal_context import ESTIMATES, SIDES, STEADY
from xcloudfree.models.carf import Carf, CarfConfig
from xcloudfree.models.other_dates import (
    WIDTHS,
    correction,
    estimate,
    parts_of,
    standardise,
    visible,
)

UNKNOWN = 0.1
"""Scaled reflectance from which the network starts if no other date is available."""


@dataclass(frozen=True, kw_only=True)
class BandwiseConfig(CarfConfig):
    """Hyper-parameters of :class:`CarfBandwise`."""

    # Those of :class:`~xcloudfree.models.carf.CarfConfig` with other defaults. The base comes from
    # other dates, and the mask is always read.

    features: int = 24
    growth: int = 12
    stages: int = 2
    # exchange with the branch of backscatter. With ``"none"`` backscatter enters only through the
    # regression, which uses that of all dates
    cross: str = "none"  # type: ignore[assignment]
    base: str = "regression"  # type: ignore[assignment]  # where the network starts
    context: tuple[str, ...] = (*SIDES, "regression", "median")  # inputs from other dates
    # whether it starts from the base corrected by its errors on the visible pixels nearby: ``area-
    # regression+nearby``, if the base is the regression
    moved: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.filled:
            raise ValueError(
                f"base is {self.base!r}; give 'kernel-fusion', 'regression' or 'context'"
            )

    @property
    def reach(self) -> int:
        """See :attr:`NetworkConfig.reach`."""
        return max(super().reach, nearby.REACH)

    @property
    def any_bands(self) -> bool:
        """See :attr:`NetworkConfig.any_bands`."""
        return True

    @property
    def rivals(self) -> tuple[str, ...]:
        """Estimates that may be mixed into the base."""
        return tuple(name for name in self.context if name not in ESTIMATES)

    @property
    def channels(self) -> int:
        """Planes of the optical branch, for one band."""
        sides = len([name for name in self.context if name in SIDES])
        per_band = 3 + len(WIDTHS) + len(self.rivals)  # base, deviation, difference of the input
        shared = len(WIDTHS) + len(self.rivals)
        return per_band + shared + len(WIDTHS) + 1 + sides + len(self.context)

    @property
    def outputs(self) -> int:
        """Planes that come out of the last convolution, for one band."""
        return 1 + len(self.rivals)


class CarfBandwise(Carf):
    """Correct the estimate from other dates for each band, with the same weights for all bands."""

    # Each band is a separate image for the network, which reads how much the other estimates
    # differ from the base there and on the mean over all bands, in units of the deviation that the
    # regression estimates. It returns shares of these differences and a residual in that unit:
    # ``base + deviation x (moved + residual + sum of share x difference)``
    # The last convolution and all shares start at zero, so the untrained network returns its base,
    # corrected by the visible pixels nearby. No weight belongs to a band: see
    # :func:`xcloudfree.models.load` for other bands.

    def __init__(self, config: BandwiseConfig) -> None:
        super().__init__(config)
        self.prior = None
        self.unknown = nn.Parameter(torch.tensor(UNKNOWN))
        self.nearby = nn.Parameter(torch.zeros(len(WIDTHS)))
        self.shares = nn.Parameter(torch.zeros(len(config.rivals)))

    def forward(
        self,
        optical: Tensor,
        sar: Tensor,
        *,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Reconstruct, see :meth:`xcloudfree.models.carf.Carf.forward`."""
        c: BandwiseConfig = self.config  # type: ignore[assignment]
        if mask is None or context is None:
            raise ValueError("this network reads both: network(optical, sar, mask=, context=)")
        n, bands, height, width = optical.shape
        base, size = estimate(context, c.context, c.base, self.unknown.expand_as(optical))
        anomaly, around = visible(optical, base, size, mask)
        near = torch.stack([mean for mean, _ in around])
        different, beside = _differences(context, c.context, base, size)
        alone = torch.stack([base, STEADY * size, anomaly, *near, *different], 2)
        together = torch.cat([x.mean(1, keepdim=True) for x in (*near, *different)], 1)
        common = torch.cat([together, *(share for _, share in around), mask, *beside], 1)
        common = common[:, None].expand(n, bands, *common.shape[1:])
        planes = torch.cat([alone, common], 2).flatten(0, 1)
        if self.fused:
            sar = sar[:, None].expand(n, bands, *sar.shape[1:]).flatten(0, 1)
        out = self._residual(planes, sar)
        out = out[..., :height, :width].reshape(n, bands, -1, height, width)
        mixed = (STEADY * self.nearby[:, None, None, None, None] * near).sum(0)
        if c.moved:
            mixed = mixed + correction(anomaly, (mask <= 0.5).to(anomaly.dtype), near[-1])
        for k, difference in enumerate(different):
            mixed = mixed + (STEADY * self.shares[k] + out[:, :, 1 + k]) * difference
        return base + size * (out[:, :, 0] + mixed)


def _differences(
    context: Tensor, names: tuple[str, ...], base: Tensor, size: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Differences from the base (n, bands, h, w), 0 where unknown; what is known, and ages."""
    bands = base.shape[1]
    different, beside = [], []
    for name, part in parts_of(context, names, bands).items():
        is_known = part[:, -1:]
        beside.append(is_known)
        if name not in ESTIMATES:
            beside += [part[:, bands : bands + 1]] * (name in SIDES)
            different.append(torch.where(is_known > 0, standardise(part[:, :bands], base, size), 0))
    return different, beside
