"""The cloud detector of Sentinel Hub, one pixel at a time by boosted trees; works offline."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

AVERAGE_OVER = 4
DILATION = 2
"""Radii in pixels of the mean and of the dilation, as the masks of SEN12MS-CR-TS were made."""


class S2Cloudless:
    """Mask of the package s2cloudless, for Level-1C."""

    bands = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
    level = "TOA"
    reach = AVERAGE_OVER + DILATION
    threshold = 0.4

    def __call__(self, reflectance: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
        """Mask (y, x) of reflectance (band, y, x)."""
        detector = _detector()
        images = np.moveaxis(np.nan_to_num(reflectance), 0, -1)[np.newaxis]
        probability = detector.get_cloud_probability_maps(images)
        return np.asarray(detector.get_mask_from_prob(probability, threshold)[0], bool)


@cache
def _detector() -> Any:
    from s2cloudless import S2PixelCloudDetector

    return S2PixelCloudDetector(average_over=AVERAGE_OVER, dilation_size=DILATION)


MASK = S2Cloudless()
