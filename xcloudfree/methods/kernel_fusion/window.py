"""A window of a series, as read and as rows of pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from xcloudfree.core.windows import Area, Encoded
from xcloudfree.methods.kernel_fusion.predictors import (
    Pixels,
    filled_passes,
    local_means,
    means_at,
)
from xcloudfree.methods.kernel_fusion.sample import Sample, drawn, size_of
from xcloudfree.methods.kernel_fusion.settings import WINDOWS, Settings

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class Window(NamedTuple):
    """A window of a series."""

    reflectance: Floats | Encoded  # (time, band, y, x)
    clear: Booleans  # where a date shows the ground, (time, y, x)
    # (time, polarisation, y, x) in dB, NaN or infinite is no data
    backscatter: Floats | Encoded | None
    days: Doubles  # day number of each date, ascending, (time,)
    origin: tuple[int, int] = (0, 0)  # row and column on the scene of the first pixel

    def cut(self, area: Area) -> Window:
        """Some rows and columns, as views."""
        values, sar = _cut(self.reflectance, area), None
        if self.backscatter is not None:
            sar = _cut(self.backscatter, area)
        origin = (self.origin[0] + area[0].start, self.origin[1] + area[1].start)
        return Window(values, self.clear[..., *area], sar, self.days, origin)


def _cut(planes: Floats | Encoded, area: Area) -> Floats | Encoded:
    return planes.cut(area) if isinstance(planes, Encoded) else planes[..., *area]


def sample_of(window: Window, core: Booleans, settings: Settings) -> Sample:
    """The part of the scene's sample that lies in the core of a window, a mask (y, x)."""
    assert not isinstance(window.reflectance, Encoded)
    assert not isinstance(window.backscatter, Encoded)
    size = size_of(len(window.days), settings.rows)
    rank, rows, columns = drawn(window.clear, core, window.origin, size)
    place = np.stack([rows, columns], axis=1) + window.origin
    clear = window.clear[:, rows, columns]
    shown = window.reflectance[..., rows, columns].transpose(0, 2, 1)
    values = np.where(clear[..., None], shown, np.float32(0))
    radar, heard = np.zeros((*clear.shape, 0), np.float32), np.zeros_like(clear)
    if window.backscatter is not None:
        found = [means_at(sar, rows, columns) for sar in window.backscatter]
        radar, heard = (np.stack(same) for same in zip(*found, strict=True))
    return Sample(rank, place, values, clear, radar, heard)


def pixels_of(window: Window, device: torch.device) -> Pixels:
    """The window as rows of pixels, with radar filled in time."""
    times, bands = window.reflectance.shape[:2]
    clear = torch.as_tensor(window.clear, device=device).reshape(times, -1)
    heard = torch.zeros_like(clear)
    sar = window.backscatter
    planes = 0 if sar is None else sar.shape[1] * len(WINDOWS)
    values = torch.zeros((*clear.shape, bands + planes), dtype=torch.float32, device=device)
    for date in range(times):  # one at a time, to keep derived arrays small
        shown = torch.as_tensor(window.reflectance[date], device=device).reshape(bands, -1).mT
        values[date, :, :bands] = torch.where(clear[date, :, None], shown, 0.0)
        if sar is not None:
            radar, known = local_means(torch.as_tensor(sar[date], device=device)[None])
            values[date, :, bands:], heard[date] = radar[0], known[0]
    if planes and not bool(heard.all()):
        values[..., bands:], heard = filled_passes(values[..., bands:], heard, window.days)
    return Pixels(values, clear, heard, window.days, bands)
