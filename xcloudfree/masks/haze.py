"""The mask "haze" of single dates, over the blocks of a labelled scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, map_windows
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Area, Halo
from xcloudfree.exceptions import MissingBandError, UnitsError
from xcloudfree.masks import haze_network as kernel
from xcloudfree.masks.plan import MaskPlan, apply_plan
from xcloudfree.masks.scores import HAZE


def takes_haze(scene: Scene) -> bool:
    """Whether the default mask of single dates looks for haze: at Level-2A, with enough bands.

    At Level-1C no gain was shown over the score with its margin.
    """
    return scene.level == "BOA" and kernel.possible(scene.bands)


def haze_mask(scene: Scene, start: MaskPlan | None) -> Any:
    """Mask (*lead, y, x) of the start, and of the haze, thin cloud and shadow that it misses."""
    layer = scene.need_bands(f'mask method "{HAZE}"')
    names = tuple(name for name in kernel.channels(layer.names) if name is not None)
    if not kernel.possible(names):
        raise MissingBandError(
            f'mask method "{HAZE}" needs red (B04 or B05) and near infrared (B08 or B8A)',
            fix="load B02, B03, B04 and B08",
        )
    if scene.level is None:
        raise UnitsError(
            f'mask method "{HAZE}" needs the processing level of the reflectance',
            fix="declare it with ds.cloudfree.calibrate(level='BOA') for Level-2A, or 'TOA' for "
            "Level-1C",
            option="--level BOA, or --level TOA",
        )
    groups = [[plane] for plane in layer.select(names).by_band()]
    if start is not None:
        groups.append([apply_plan(start, len(scene.lead))])
    (mask,) = map_windows(
        _FindHaze(names, scene.calibration(), start is not None, scene.level == "TOA"),
        groups,
        [Output(np.dtype(bool))],
        lead=len(scene.lead),
        plan=Halo(kernel.SHARE + kernel.GROWN),
    )
    return mask


@dataclass(frozen=True)
class _FindHaze(Stage):
    """The mask of the core of a block."""

    names: tuple[str, ...]
    calibration: Calibration
    given: bool
    top: bool

    def __call__(self, *windows: NDArray[Any], core: Area) -> tuple[NDArray[np.bool_]]:
        planes = dict(zip(self.names, windows, strict=False))
        out = np.empty(windows[0][..., *core].shape, bool)
        for place in np.ndindex(out.shape[:-2]):
            image = {n: self.calibration.decode(plane[place]) for n, plane in planes.items()}
            start = windows[-1][place] if self.given else kernel.bright(image)
            out[place] = (start | kernel.hazy(image, start, self.top))[core]
        return (out,)
