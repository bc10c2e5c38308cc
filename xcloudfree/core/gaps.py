"""What is missing from a scene in memory: sensors that never meet, bands without data on dates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.core.scene import Layer, Scene, listed

SIDE = 64
"""Rows and columns that are looked at."""


def in_memory(scene: Scene) -> bool:
    """Whether the values of a series are in memory, so that gaps in it are seen."""
    layers = [layer for layer in (scene.optical, scene.sar) if layer is not None]
    return all(a.variable._in_memory for layer in layers for a in layer.arrays)


def gaps(scene: Scene) -> list[tuple[str, str]]:
    """Problems, each with the call that fixes it, of dates and bands of a scene in memory."""
    if scene.optical is None or len(scene.lead) != 1 or scene.lead[0] != "time":
        return []
    seen = _present(scene.optical, scene.calibration())
    if seen is None or not seen.size:
        return []
    found = []
    images: Any = seen.any(axis=1)
    heard = None if scene.sar is None else _present(scene.sar, scene.sar_calibration())
    if heard is not None:
        lacking = images & ~heard.all(axis=1)
        if (lacking == images).all():
            call = 'xcf.pair(s2, s1, max_gap="6D")'
            found.append(("no date has both Sentinel-2 and Sentinel-1", f"pair them with {call}"))
        elif lacking.any():
            problem = f"Sentinel-1 is missing on {lacking.sum()} of {images.sum()} dates"
            fix = 'look further for passes with xcf.pair(s2, s1, max_gap="12D"), or call '
            fix += 'reconstruct(model="kernel-fusion"), which reads dates without radar too'
            found.append((problem, fix))
    absent = images[:, None] & ~seen
    dates = np.flatnonzero(absent.any(axis=1)).tolist()
    if dates:
        bands = [n for n, gone in zip(scene.optical.names, absent.any(axis=0), strict=True) if gone]
        variables = [v for n, v in zip(scene.optical.names, scene.optical.variables, strict=False)
                     if n in bands]  # fmt: skip
        leave = f"ds.drop_vars({[str(v) for v in variables]})"
        if scene.optical.stacked:
            leave = f"ds.drop_sel(band={bands})"
        count = f"{len(dates)} date{'s' * (len(dates) > 1)}, which stay{'s' * (len(dates) == 1)}"
        problem = f"there is no data of {listed(bands)} on {count} as it came"
        found.append((problem, f"leave them out with {leave} or ds.drop_isel(time={dates})"))
    return found


def _present(layer: Layer, rule: Calibration | SarCalibration) -> NDArray[np.bool_] | None:
    """Whether bands have data (date, band), on a grid of pixels; None where it must be read."""
    planes = layer.arrays
    if not all(a.variable._in_memory for a in planes):
        return None
    found = []
    for array in planes:
        y, x = (slice(None, None, max(1, -(-n // SIDE))) for n in array.shape[-2:])
        values = array.variable.values[..., y, x]
        found.append(np.asarray(rule.valid(values).any((-2, -1))))
    return found[0] if layer.stacked else np.stack(found, axis=1)
