"""Cloud weights of a labelled scene."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.masks.masking import where_occluded
from xcloudfree.masks.resolve import Mask, plan_mask


def weights(
    obj: xr.Dataset | xr.DataArray, *, alpha: float = 0.8, method: Mask = "score", dilate: int = 0
) -> xr.DataArray:
    """Weights of eq. 17: `alpha` where occluded, ``1 - alpha`` elsewhere.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene with the bands that the mask method reads.
    alpha : float
        Weight of occluded pixels, 0 to 1.
    method, dilate
        See :func:`xcloudfree.masks.mask`.

    Returns
    -------
    DataArray of float32
        Dimensions as the bands (..., y, x), no unit.

    Raises
    ------
    CloudFreeError
        If `alpha` is not between 0 and 1; also the errors of :func:`xcloudfree.masks.mask`.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 17.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudfree
    >>> bands = ("B01", "B02", "B03", "B04", "B10", "B11")
    >>> ds = xr.Dataset({b: (("y", "x"), np.array([[0.4, 0.05]], "float32")) for b in bands})
    >>> [round(float(w), 2) for w in ds.cloudfree.weights().values.ravel()]
    [0.8, 0.2]
    """
    if not isinstance(alpha, (int, float, np.number)) or not 0 <= alpha <= 1:
        raise CloudFreeError(
            f"alpha is {alpha!r} and must lie between 0 and 1",
            fix="call weights(alpha=0.8), as the paper does",
        )
    scene = read(obj)
    plan = plan_mask(scene, method, None, dilate)
    attrs = {"long_name": "cloud weights, eq. 17", "alpha": alpha}
    return where_occluded(scene, plan, "weights", attrs, values=(1 - alpha, alpha))
