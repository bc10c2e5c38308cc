"""Numbers that must not tell how a scene was cut: only their significant digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def significant(values: ArrayLike, digits: int) -> NDArray[np.float64]:
    """Values rounded to some significant digits."""
    # Sums over blocks differ in their last digits with the blocks; what follows from them must not.
    exact = np.asarray(values, np.float64)
    return np.reshape([float(f"{v:.{digits}g}") for v in exact.ravel()], exact.shape)
