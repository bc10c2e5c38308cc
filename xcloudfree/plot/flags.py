"""Which pixels of a picture are hidden, and where those of a reconstruction come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.masks import masking as masks
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.scores import METHODS
from xcloudfree.plot.colours import MASK, PROVENANCE
from xcloudfree.plot.help.suitability import judge_masks
from xcloudfree.plot.view import Spatial, View

Legend = dict[int, tuple[str, str]]


def occlusion(
    obj: Spatial, small: Spatial, seen: View, mask: Mask | Any | None
) -> tuple[xr.DataArray | None, Legend]:
    """Flags of the pixels, lazy, and what they mean."""
    if mask is None:
        return None, MASK
    if not isinstance(mask, str):
        made = mask(obj) if callable(mask) and not isinstance(mask, xr.DataArray) else mask
        return seen.of_array(made).astype(np.uint8), MASK
    if mask != "auto":
        if mask in METHODS and not METHODS[mask].reach:
            return masks.mask(small, mask).astype(np.uint8), MASK
        return seen(masks.mask(obj, mask)).astype(np.uint8), MASK
    carried = carried_provenance(small)
    if carried is not None:
        return carried, PROVENANCE
    scene = read(small)
    fitting = (v.name for v in judge_masks(scene) if v.fits)
    ready = next((n for n in fitting if n in METHODS and not METHODS[n].reach), None)
    if ready is None:
        return None, MASK
    try:
        return masks.mask(small, ready).astype(np.uint8), MASK
    except CloudFreeError:  # nobody asked for it
        return None, MASK


def carried_provenance(obj: Spatial) -> xr.DataArray | None:
    """Provenance flags, where an object has them."""
    return (obj if isinstance(obj, xr.Dataset) else obj.coords).get("provenance")
