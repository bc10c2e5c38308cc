"""What a classical method reads of a scene, and its prediction from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xcloudfree.core.scene import Scene
from xcloudfree.methods.base import Method
from xcloudfree.reconstruct.checks import coarse_images
from xcloudfree.reconstruct.dates import dates_of
from xcloudfree.reconstruct.observe import Reader, decode
from xcloudfree.reconstruct.predict import predict


def inputs(
    scene: Scene, method: Method, reflectance: Any, state: Any
) -> tuple[Method, Reader, list[Any]]:
    """What a method reads: itself without its images, how windows become series, the windows."""
    axis, days, why = None, None, f"method {method.name!r}"
    windows = [reflectance, state]
    if method.temporal and (scene.is_series or not method.takes_single_images):
        axis, days = dates_of(scene, why, 'reconstruct(model="idw")')
        method.check(days)
    polarisations = method.polarisations
    if method.takes_any_radar:
        there = () if scene.sar is None else scene.sar.names
        polarisations = tuple(name for name in polarisations if name in there)
    if polarisations:
        layer = scene.need_sar(polarisations, why)
        windows.append(decode(scene, layer, scene.sar_calibration()))
    given = method.images is not None
    if given:
        windows.append(decode(scene, *coarse_images(scene, method.images)))
        method = replace(method, images=None)  # they do not travel with every task
    return method, Reader(axis, days, bool(polarisations), given), windows


def estimate(
    scene: Scene, method: Method, reflectance: Any, state: Any, uncertainty: bool
) -> tuple[Any, ...]:
    """Mean, and if requested deviation and flags, of the wanted pixels of a scene."""
    work = inputs(scene, method, reflectance, state)
    return predict(*work, len(scene.lead), uncertainty)
