"""Which pixels of a picture are hidden, and the provenance of a reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.blocks import is_lazy
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import provenance_of
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.masks import masking as masks
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.scores import METHODS
from xcloudfree.plot.colours import MASK, PROVENANCE
from xcloudfree.plot.help.findings import SAMPLE, cloud_shares, sample
from xcloudfree.plot.help.suitability import judge_masks
from xcloudfree.plot.view import Spatial, View
from xcloudfree.reconstruct.compose import Provenance

Legend = dict[int, tuple[str, str]]


def occlusion(
    obj: Spatial, small: Spatial, seen: View, mask: Mask | Any | None
) -> tuple[xr.DataArray | None, Legend]:
    """Flags of the pixels, lazy, and their meanings."""
    if mask is None:
        return None, MASK
    if not isinstance(mask, str):
        made = mask(obj) if callable(mask) and not isinstance(mask, xr.DataArray) else mask
        return seen.of_array(made).astype(np.uint8), MASK
    if mask != "auto":
        if mask in METHODS and not METHODS[mask].reach:
            return masks.mask(small, mask).astype(np.uint8), MASK
        return seen(masks.mask(obj, mask)).astype(np.uint8), MASK
    carried = provenance_of(small)
    if carried is not None:
        return carried, PROVENANCE
    ready = _ready_mask(read(small))
    if ready is None:
        return None, MASK
    try:
        return masks.mask(small, ready).astype(np.uint8), MASK
    except CloudFreeError:  # the mask is optional and was not requested
        return None, MASK


def partly_hidden(scene: Scene) -> int:
    """Number of the date that is nearest to half hidden, without computing; 0 if unknown."""
    if len(scene.lead) != 1:
        return 0
    (dim,) = scene.lead
    shares = None
    provenance = provenance_of(scene.source)
    try:
        if provenance is not None:
            flags = sample(provenance.transpose(dim, ..., missing_dims="ignore"))
            if flags is not None and flags.ndim == 3:
                shares = (flags >= Provenance.RECONSTRUCTED).mean((1, 2))
        elif (ready := _ready_mask(scene)) is not None:
            shares = cloud_shares(scene, ready)
    except CloudFreeError:  # drawing will raise the error
        return 0
    if shares is None:
        return _half_cloudy(scene, str(dim))
    if not len(shares):
        return 0
    every = -(-scene.source.sizes[dim] // SAMPLE)  # only a sample of many dates is used
    return every * int(np.abs(shares - 0.5).argmin())


def _half_cloudy(scene: Scene, dim: str) -> int:
    """The same from the cloud cover of the products, as catalogs state it; 0 if none is stated."""
    for name in ("cloud_cover", "eo:cloud_cover"):
        cover = scene.source.coords.get(name)
        if cover is not None and cover.dims == (dim,) and not is_lazy(cover.data):
            distance = np.abs(cover.values.astype(float) - 50)
            return 0 if np.isnan(distance).all() else int(np.nanargmin(distance))
    return 0


def _ready_mask(scene: Scene) -> str | None:
    """The first built-in mask that reads single pixels and finds its bands."""
    fitting = (v.name for v in judge_masks(scene) if v.fits)
    return next((n for n in fitting if n in METHODS and not METHODS[n].reach), None)
