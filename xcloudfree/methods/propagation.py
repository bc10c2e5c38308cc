"""Errors through a formula, to first order: the delta method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from xcloudfree.core.predictor import Doubles

STEP: Final = 1e-4
"""Step in reflectance, to both sides, for a numerical derivative."""

Formula = Callable[[Mapping[str, Doubles]], Doubles]


def gradient(formula: Formula, values: Mapping[str, Doubles]) -> dict[str, Doubles]:
    """Derivative by each input, from central differences."""
    found = {}
    for name, value in values.items():
        above, below = (formula({**values, name: value + sign * STEP}) for sign in (1, -1))
        found[name] = (above - below) / (2 * STEP)
    return found


def spread(slopes: Mapping[str, Doubles], deviations: Mapping[str, Doubles]) -> Doubles:
    """Deviation of the result, for independent errors of the inputs."""
    variance = sum((slopes[name] * deviations[name]) ** 2 for name in slopes)
    return np.asarray(np.sqrt(variance))


def reaches(
    slopes: Mapping[str, Doubles], below: Mapping[str, Doubles], above: Mapping[str, Doubles]
) -> tuple[Doubles, Doubles]:
    """Half widths of the interval of the result, below and above, from those of the inputs."""
    # Half widths add like deviations; a negative slope swaps those of its input. If the bounds are
    # a multiple of the deviation, those of the result are the same multiple of its deviation.
    rises = {name: slope > 0 for name, slope in slopes.items()}
    down = {name: np.where(rises[name], below[name], above[name]) for name in slopes}
    up = {name: np.where(rises[name], above[name], below[name]) for name in slopes}
    return spread(slopes, down), spread(slopes, up)
