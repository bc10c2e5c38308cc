"""Constants of kernel fusion. All were chosen on one site, Belgium at 20 m."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

GAPS: Final = (0.0, 15.0, 30.0, 45.0)
"""Days around a date without anything clear, for each of which there is a regression."""

MEMORIES: Final = (12.0, 40.0)
"""Days after which the weight of a date in the running means falls to 1/e."""

WINDOWS: Final = (1, 3, 9)
"""Widths in pixels of the local means of backscatter."""

RADAR_DAYS: Final = 15.0
"""Days within which the nearest radar pass stands for one that is missing."""


@dataclass(frozen=True)
class Settings:
    """What may be chosen.

    Parameters
    ----------
    rows : int
        Pairs of a pixel and a date that teach the regression, about.
    side, margin, blend : int
        Pixels: period of the tiles, how far around one its evidence is taken from, and half the
        width over which neighbouring tiles are blended.
    support : int
        Visible pixels of a tile and date that the Gaussian process holds.
    edge, edge_weight : int, float
        Visible pixels within `edge` pixels of what is hidden are `edge_weight` times as likely
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
        Deviations of the prior that a residual counts at most.
    scores : int
        Numbers that tell how a pixel runs through the nearest dates, and as many for all others.
    nearest : int
        Dates that are the nearest.
    rounds : int
        Iterations that fill what is missing.
    gate : bool
        Whether visible pixels that look like a missed cloud are set aside.
    mix : tuple of float
        Share of the 30-day median on dates wholly hidden, for each of :data:`GAPS`.
    bound : float
        Deviations by which an answer may leave what the place showed on all clear dates.
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
        """Those for a date alone, whose prior is its own mean and radar: space tells most."""
        return replace(self, constant=1.0, wide=1.0, narrow=0.4, spectral=0.5, largest=50.0)
