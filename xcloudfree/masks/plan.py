"""How to find occluded pixels inside a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, is_lazy, map_windows
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.windows import Halo
from xcloudfree.masks import scores as kernel
from xcloudfree.masks.adapters import mask_method

NEAR: Final = 30
"""Pixels from cloud within which haze counts as occlusion."""


@dataclass(frozen=True)
class MaskPlan:
    """How to compute a mask inside a block."""

    label: str  # name of the method for attributes
    bands: tuple[str, ...]  # names of the planes of the window
    method: kernel.MaskMethod | None  # None if the window contains the mask itself
    calibration: Calibration  # from stored numbers to reflectance
    threshold: float  # for the method
    dilation: int  # radius in pixels
    groups: list[list[Any]]  # arrays that the window is read from; they are not pickled
    haze: float | None = None  # threshold near cloud
    classes: tuple[int, ...] = ()  # of the scene classification to hide, if not the default
    reason: str = ""  # why this method, if it was chosen automatically

    def __dask_tokenize__(self) -> Any:
        """Everything but the arrays, whose names enter the graph separately."""
        return (
            self.label, self.bands, self.calibration, self.threshold, self.dilation, self.haze,
            self.classes,
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "method": self.label, "groups": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        method = mask_method(state["label"]) if state["bands"] else None
        for key, value in {**state, "method": method}.items():
            object.__setattr__(self, key, value)

    @property
    def separate(self) -> bool:
        """Whether the mask is read from its own arrays, and not from reflectance."""
        return self.method is None or self.bands == ("SCL",)

    @property
    def is_plain(self) -> bool:
        """Whether its window contains the mask itself, as it is."""
        return self.method is None and not self.dilation

    @property
    def reach(self) -> int:
        """Pixels around a pixel that influence its value."""
        own = 0 if self.method is None else self.method.reach
        return self.dilation + own + (0 if self.haze is None else NEAR)

    def finished(self, lead: int) -> MaskPlan:
        """The same with a mask that is computed now, if all of its arrays are in memory."""
        arrays = [array for group in self.groups for array in group]
        if self.method is None or any(map(is_lazy, arrays)):
            return self
        mask = apply_plan(self, lead)
        return replace(self, bands=(), method=None, dilation=0, haze=None, classes=(),
                       groups=[[mask]])  # fmt: skip

    def compute(self, window: NDArray[Any] | Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
        """Mask of one image: planes by band or, for a mask or classes as arrays, (y, x)."""
        if self.method is None:
            out = np.asarray(window).astype(bool)
        else:
            alone = isinstance(window, np.ndarray) and window.ndim == 2
            bands = dict(zip(self.bands, [window] if alone else window, strict=True))
            if self.bands != ("SCL",):
                bands = {n: self.calibration.unified(p) for n, p in bands.items()}
            if "B02" in bands:
                self.calibration.check(bands["B02"])
            out = self.method.kernel(bands, self.calibration, self.threshold)
            if self.classes:
                out = np.isin(bands["SCL"], (*self.classes, kernel.UNCLASSED))
            if self.haze is not None and out.any():
                thin = self.method.kernel(bands, self.calibration, self.haze)
                out = out | (thin & kernel.dilate(out, NEAR))
        return kernel.dilate(out, self.dilation)


def apply_plan(plan: MaskPlan, lead: int, values: tuple[float, float] | None = None) -> Any:
    """Mask (*lead, y, x) of a scene (bool), or with `values` (float32) clear and occluded ones."""
    (data,) = map_windows(
        _Apply(plan, values),
        [[array] for array in plan.groups[0]],  # nothing is copied to stack them
        [Output(np.dtype(bool if values is None else np.float32))],
        lead=lead,
        plan=Halo(plan.reach),
    )
    return data


@dataclass(frozen=True)
class _Apply(Stage):
    plan: MaskPlan
    values: tuple[float, float] | None

    def __call__(self, *windows: NDArray[Any], core: tuple[slice, slice]) -> tuple[NDArray[Any]]:
        planes = planes_of(windows, max(1, len(self.plan.bands)))
        shape = planes[0][(..., *core)].shape
        out = np.empty(shape, bool)
        for place in np.ndindex(shape[:-2]):
            image = [plane[place] for plane in planes]
            out[place] = self.plan.compute(image if len(image) > 1 else image[0])[core]
        if self.values is None:
            return (out,)
        return (np.take(np.array(self.values, np.float32), out.view(np.uint8)),)


def planes_of(windows: Sequence[NDArray[Any]], bands: int) -> list[NDArray[Any]]:
    """One array (*lead, y, x) for each band, from separate or stacked bands."""
    if len(windows) == bands:
        return list(windows)
    return list(np.moveaxis(windows[0], -3, 0))
