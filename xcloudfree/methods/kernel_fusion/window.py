"""A window of a series, as read and as rows of pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from xcloudfree.methods.kernel_fusion.predictors import Pixels, filled_passes, local_means
from xcloudfree.methods.kernel_fusion.sample import Sample, drawn, size_of
from xcloudfree.methods.kernel_fusion.settings import WINDOWS, Settings

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class Window(NamedTuple):
    """A window of a series.

    Parameters
    ----------
    reflectance : ndarray of float32
        (time, band, y, x).
    clear : ndarray of bool
        Where a date shows the ground, (time, y, x).
    backscatter : ndarray of float32 or None
        (time, polarisation, y, x) in dB, NaN or infinite is no data.
    days : ndarray of float64
        Day number of each date, ascending, (time,).
    origin : tuple of int
        Row and column on the scene of the first pixel.
    """

    reflectance: Floats
    clear: Booleans
    backscatter: Floats | None
    days: Doubles
    origin: tuple[int, int] = (0, 0)


def sample_of(window: Window, core: Booleans, settings: Settings) -> Sample:
    """The part of the scene's sample that lies in the core of a window.

    Parameters
    ----------
    window : Window
        With the pixels around the core that the local means of backscatter read.
    core : ndarray of bool
        Pixels that belong to the block, (y, x); each pixel of a scene is in one core.
    settings : Settings
        Number of rows.

    Returns
    -------
    Sample
        To be joined by :func:`.sample.merged`.
    """
    pixels = pixels_of(window, torch.device("cpu"), fill=False)
    bands = pixels.bands
    series = (
        pixels.values[..., :bands].numpy(),
        pixels.clear.numpy(),
        pixels.values[..., bands:].numpy(),
        pixels.heard.numpy(),
    )
    return drawn(series, core, window.origin, size_of(len(window.days), settings.rows))


def pixels_of(window: Window, device: torch.device, fill: bool = True) -> Pixels:
    """The window as rows of pixels, with radar filled in time or not."""
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
            radar, known = local_means(torch.as_tensor(sar[date : date + 1], device=device))
            values[date, :, bands:], heard[date] = radar[0], known[0]
    if fill and planes and not bool(heard.all()):
        values[..., bands:], heard = filled_passes(values[..., bands:], heard, window.days)
    return Pixels(values, clear, heard, window.days, bands)
