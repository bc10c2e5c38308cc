"""OmniCloudMask: cloud and shadow by a network for sensors with red, green and near infrared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xcloudfree.exceptions import PluginError

LEAST = 50
"""Smallest number of rows and columns of its network; smaller images get a border without data."""


class OmniCloudMask:
    """Mask of the package omnicloudmask: thick cloud, thin cloud and shadow, for both levels."""

    bands = ("B04", "B03", "B8A")
    level = None
    reach = None
    threshold = 0.5
    """Not used, because it returns classes."""

    def __call__(self, reflectance: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
        """Mask (y, x) of reflectance (band, y, x)."""
        from omnicloudmask import predict_from_array

        rows, columns = reflectance.shape[1:]
        around = [(0, 0), (0, max(0, LEAST - rows)), (0, max(0, LEAST - columns))]
        images = np.ascontiguousarray(np.pad(np.nan_to_num(reflectance), around))
        side = min(images.shape[1:])
        try:
            classes = predict_from_array(
                images, patch_size=side, patch_overlap=min(300, side // 2), no_data_value=0
            )
        except Exception as error:  # from any library that failed to fetch the weights
            raise PluginError(
                "OmniCloudMask, which downloads its weights on first use, failed with "
                f"{type(error).__name__}: {error}",
                fix="run it once where the network reaches the Hugging Face Hub, then copy the "
                "folder that omnicloudmask.download_models.get_models() fills to this machine, "
                'or call mask("l2a")',
                option="use --mask l2a, or run the command once where the network reaches "
                "the Hugging Face Hub, then copy the folder of weights that it "
                "downloads",
            ) from error
        return np.asarray(np.asarray(classes)[0, :rows, :columns] > 0)


MASK = OmniCloudMask()
