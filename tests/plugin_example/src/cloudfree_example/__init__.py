"""Masks as another package would bring them."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

VERSION = "1.2"


@dataclass(frozen=True)
class BrightBlue:
    """Bright in blue, on average over a square."""

    bands: tuple[str, ...] = ("B02",)
    level: str | None = None
    reach: int | None = 0
    threshold: float = 0.3

    def __call__(self, reflectance: np.ndarray, threshold: float) -> np.ndarray:
        blue = np.nan_to_num(reflectance[0])
        if self.reach is None:
            return blue > blue.mean()
        return ndimage.uniform_filter(blue, 2 * self.reach + 1, mode="nearest") > threshold


@dataclass(frozen=True)
class Floats(BrightBlue):
    """Returns numbers instead of a mask."""

    def __call__(self, reflectance: np.ndarray, threshold: float) -> np.ndarray:
        return reflectance[0]


MASK = BrightBlue()
SMOOTHED = BrightBlue(reach=3)
WHOLE = BrightBlue(level="TOA", reach=None)
FLOATS = Floats()
