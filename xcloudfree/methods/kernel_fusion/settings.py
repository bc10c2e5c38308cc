"""Constants of kernel fusion. Those of series were chosen on one site, Belgium at 20 m."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

GAPS: Final = (0.0, 15.0, 30.0, 45.0)
"""Days around a date without clear observations, with one regression for each."""

MEMORIES: Final = (12.0, 40.0)
"""Days after which the weight of a date in the running means falls to 1/e."""

WINDOWS: Final = (1, 3, 9)
"""Widths in pixels of the local means of backscatter."""

RADAR_DAYS: Final = 15.0
"""Days within which the nearest radar pass replaces a missing one."""


@dataclass(frozen=True)
class Settings:
    """Settings of kernel fusion.

    Parameters
    ----------
    rows : int
        Approximate number of pairs of a pixel and a date to learn from.
    side, margin, blend : int
        Pixels: period of the tiles, distance around one from which evidence is used, and half the
        width over which neighbouring tiles are blended.
    support : int
        Visible pixels of a tile and date that support the Gaussian process.
    edge, edge_weight : int, float
        Visible pixels within `edge` pixels of hidden ones are `edge_weight` times as likely
        to be among them.
    constant, wide, narrow, spectral, temporal : float
        Variances of the parts of the covariance, in variances of the prior: offset of the date,
        wide and narrow fields, likeness of predictors, likeness in time.
    wide_range : float
        Pixels at which the wide field has fallen to a quarter.
    spectral_range, temporal_range : float
        Mean squared distances at which these parts have fallen to one half.
    noise : float
        Variance that no part explains.
    largest : float
        Deviations of the prior at which residuals are clipped.
    scores : int
        Number of scores for the nearest dates, and for all others.
    nearest : int
        Number of dates that count as nearest.
    rounds : int
        Iterations that fill missing values.
    gate : bool
        Whether visible pixels that look like a missed cloud are discarded.
    mix : tuple of float
        Share of the 30-day median on wholly hidden dates, for each of :data:`GAPS`, if the series
        has too few clear dates to say; see :mod:`.mixing`.
    bound : float
        Deviations by which a result may leave the range of the place on all clear dates.
    """

    rows: int = 24000
    side: int = 64
    margin: int = 16
    blend: int = 4
    support: int = 512
    edge: int = 6
    edge_weight: float = 1.0
    constant: float = 3.0
    wide: float = 0.3
    narrow: float = 0.2
    spectral: float = 2.0
    temporal: float = 1.0
    wide_range: float = 10.0
    spectral_range: float = 4.5
    temporal_range: float = 0.5
    noise: float = 0.05
    largest: float = 5.0
    scores: int = 12
    nearest: int = 8
    rounds: int = 10
    gate: bool = True
    mix: tuple[float, float, float, float] = (0.35, 0.2, 0.2, 0.15)
    bound: float = 3.0

    def single(self) -> Settings:
        """Settings for a single date, whose prior is its own mean and a linear map from radar.

        Chosen on five of the ten SEN12MS-CR patches that `examples/single_dates.py` reads.
        """
        space = replace(self, constant=1.0, wide=1.0, narrow=0.4, noise=0.2, largest=50.0)
        return replace(space, spectral=8.0, spectral_range=1.5)
