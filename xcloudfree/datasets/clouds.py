"""Simulated clouds and their shadows over clear reflectance: exact pairs to fit and test on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.bands import S2_BANDS, optical_band
from xcloudfree.datasets.cloud_layers import CloudKind, check_kind
from xcloudfree.datasets.overcast import CloudField, lay
from xcloudfree.datasets.sky import draw_sky, offset_on
from xcloudfree.exceptions import DataError, MissingBandError

__all__ = ["CloudField", "CloudKind", "shadow_offset", "simulate_clouds"]


def simulate_clouds(
    reflectance: NDArray[np.floating],
    *,
    rng: np.random.Generator,
    cover: float,
    bands: Sequence[str] = S2_BANDS,
    kind: CloudKind = "mixed",
    sun: tuple[float, float] = (150.0, 50.0),
    shadow: bool = True,
    resolution: float = 10.0,
    native: bool = True,
    surface: bool = False,
) -> CloudField:
    """Put simulated clouds and their shadows over clear reflectance."""
    names = _checked(reflectance, bands, cover, kind, sun, resolution)
    shape = (reflectance.shape[1], reflectance.shape[2])
    if cover == 0 or reflectance.size == 0:
        free = np.zeros(shape, np.float32)
        return CloudField(np.array(reflectance, np.float32), free, free.copy())
    axes = (0.0, 1 / resolution), (-1 / resolution, 0.0)
    sky = draw_sky(rng, shape, cover=cover, kind=kind, sun=sun, axes=axes, resolution=resolution)
    step = resolution if native else None
    return lay(sky, reflectance, names, shadow=shadow, resolution=step, surface=surface)


def shadow_offset(
    height: float, sun: tuple[float, float], resolution: float = 10.0
) -> tuple[float, float]:
    """Where the shadow of a cloud falls on flat ground."""
    return offset_on(height, sun, ((0.0, 1 / resolution), (-1 / resolution, 0.0)))


def _checked(
    reflectance: NDArray[np.floating],
    bands: Sequence[str],
    cover: float,
    kind: CloudKind,
    sun: tuple[float, float],
    resolution: float,
) -> list[str]:
    call = "simulate_clouds(reflectance, rng=numpy.random.default_rng(0), cover=0.4, bands=bands)"
    if reflectance.ndim != 3 or reflectance.shape[0] != len(bands):
        raise DataError(
            f"reflectance has the shape {reflectance.shape}, but {len(bands)} bands are named; "
            f"give (band, y, x) with one plane a band: {call}"
        )
    if not (0 <= cover <= 1 and 0 < sun[1] <= 90 and resolution > 0):
        raise DataError(
            f"cover={cover} must be 0..1, the sun's elevation {sun[1]} 0..90 degrees, "
            f"resolution={resolution} positive; for example {call}"
        )
    check_kind(kind, call)
    names = [optical_band(band) for band in bands]
    known = [name for name in names if name is not None]
    if len(known) != len(names):
        raise MissingBandError(
            f"{[b for b, n in zip(bands, names, strict=True) if n is None]} are no Sentinel-2 "
            'bands; name each plane as in simulate_clouds(..., bands=("B02", "B03", "B04"))'
        )
    return known
