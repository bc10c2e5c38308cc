"""Where each pixel of a result comes from, with what made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.core.scene import Scene
from xcloudfree.reconstruct.composite import Provenance


def label_provenance(scene: Scene, flags: Any, made_by: Mapping[str, str]) -> xr.DataArray:
    """Name the flags of a reconstruction."""
    template = scene.template()
    return xr.DataArray(
        flags,
        dims=template.dims,
        coords=template.coords,
        name="provenance",
        attrs={
            "long_name": "provenance of the pixel",
            "flag_values": np.array([p.value for p in Provenance], np.uint8),
            "flag_meanings": " ".join(p.name.lower() for p in Provenance),
            **made_by,
            "xcloudfree_version": __version__,
        },
    ).transpose(*scene.dims)
