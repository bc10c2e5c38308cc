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
    """Settings of kernel fusion."""

    rows: int = 24000  # approximate number of pairs of a pixel and a date to learn from
    side: int = 64  # pixels: period of the tiles
    margin: int = 16  # pixels around a tile from which evidence is used
    blend: int = 4  # half the pixels over which neighbouring tiles are blended
    support: int = 512  # visible pixels of a tile and date that support the Gaussian process
    edge: int = 6  # pixels around hidden ones within which visible ones are ...
    edge_weight: float = 1.0  # ... so many times as likely to be among them
    # variances of the parts of the covariance, in those of the prior: offset of the date
    constant: float = 3.0
    wide: float = 0.3  # wide field
    narrow: float = 0.2  # narrow field
    spectral: float = 2.0  # likeness of predictors
    temporal: float = 1.0  # likeness in time
    wide_range: float = 10.0  # pixels at which the wide field has fallen to a quarter
    spectral_range: float = 4.5  # mean squared distance at which this part has fallen to one half
    temporal_range: float = 0.5  # the same
    noise: float = 0.05  # variance that no part explains
    largest: float = 5.0  # deviations of the prior at which residuals are clipped
    scores: int = 12  # number of scores for the nearest dates, and for all others
    nearest: int = 8  # number of dates that count as nearest
    rounds: int = 10  # iterations that fill missing values
    gate: bool = True  # whether visible pixels that look like a missed cloud are discarded
    # Share of the 30-day median on wholly hidden dates, for each of GAPS, if the series has too few
    # clear dates to say.
    mix: tuple[float, float, float, float] = (0.35, 0.2, 0.2, 0.15)
    # deviations by which a result may leave the range of the place on all clear dates
    bound: float = 3.0

    def single(self) -> Settings:
        """Settings for a single date, whose prior is its own mean and a linear map from radar.

        Chosen on five of the ten SEN12MS-CR patches that `examples/single_dates.py` reads.
        """
        space = replace(self, constant=1.0, wide=1.0, narrow=0.4, noise=0.2, largest=50.0)
        return replace(space, spectral=8.0, spectral_range=1.5)
