"""What a classical method reads of a scene."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from xcloudfree.core.blocks import Together, side_of
from xcloudfree.core.scene import Layer, Scene
from xcloudfree.core.windows import rim
from xcloudfree.methods.base import Method
from xcloudfree.reconstruct.checks import coarse_images
from xcloudfree.reconstruct.dates import dates_of
from xcloudfree.reconstruct.observe import Observe, Reader


class Inputs(NamedTuple):
    """A method without its images, how windows become series, and the arrays of these windows."""

    method: Method
    reader: Reader
    groups: list[list[Any]]
    lead: int

    def together(self, margin: int) -> Together | None:
        """Blocks with all dates, if there are dates, that also read so many pixels around."""
        if self.reader.time is None:
            return None
        assert self.reader.days is not None
        dates, bands = len(self.reader.days), len(self.reader.look.picked)
        around = rim(self.method.plan) + margin
        return Together(self.reader.time, side_of(dates, bands, around, self.method.derived))


def inputs_of(scene: Scene, method: Method, optical: Layer, look: Observe) -> Inputs:
    """What a method reads of the bands, masks, backscatter and coarse images of a scene."""
    axis, days, why = None, None, f"method {method.name!r}"
    look = replace(look, mask=look.mask.finished(len(scene.lead)))
    groups = [optical.planes(), *(look.mask.groups if look.mask.separate else [])]
    if method.temporal and (scene.is_series or not method.takes_single_images):
        axis, days = dates_of(scene, why, 'reconstruct(model="idw")')
        method.check(days)
    polarisations = method.polarisations
    if method.takes_any_radar:
        there = () if scene.sar is None else scene.sar.names
        polarisations = tuple(name for name in polarisations if name in there)
    sar, coarse = None, None
    if polarisations:
        groups.append(scene.need_sar(polarisations, why).planes())
        sar = scene.sar_calibration()
    if method.images is not None:
        layer, coarse = coarse_images(scene, method.images)
        groups.append(layer.planes())
        method = replace(method, images=None)  # they do not travel with every task
    return Inputs(method, Reader(axis, days, look, sar, coarse), groups, len(scene.lead))
