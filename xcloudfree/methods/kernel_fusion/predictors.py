"""Predictors of a pixel: its other dates, and radar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.methods.kernel_fusion.products import padded
from xcloudfree.methods.kernel_fusion.settings import MEMORIES, RADAR_DAYS, WINDOWS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Places = NDArray[np.int64]

TINY = 1e-30
"""Sums of weights below this count as zero."""


class Pixels(NamedTuple):
    """Series of pixels, ascending in time."""

    # (time, pixel, band + plane): reflectance, 0 where not clear, then local means of backscatter,
    # 0 where missing
    values: Tensor
    clear: Tensor  # where a date shows the ground, (time, pixel)
    heard: Tensor  # where it has radar, (time, pixel)
    days: Doubles
    bands: int  # number of optical bands

    @property
    def planes(self) -> int:
        """Planes of radar."""
        return int(self.values.shape[2]) - self.bands


class Rows(NamedTuple):
    """Predictors of a date."""

    # (pixel, 1 + predictor): a constant; reflectance between the clear dates before and after;
    # running means; season; nearness of these dates; radar; its change since these dates. Missing
    # values are 0.
    z: Tensor
    wait: Tensor  # days to the nearest clear date, infinite without one, (pixel,)
    heard: Tensor  # whether radar and its change are available, (pixel,)


def optical_width(bands: int) -> int:
    """Number of predictors without radar, with the constant."""
    return 1 + bands * (1 + len(MEMORIES)) + 4


def local_means(backscatter: Tensor) -> tuple[Tensor, Tensor]:
    """Backscatter and its means around each pixel, as (time, pixel, plane); and where available.

    A pixel without a value takes the mean around it; a date with one polarisation missing
    there too has no radar.
    """
    times, _, height, width = backscatter.shape
    valid = torch.isfinite(backscatter)
    values = torch.where(valid, backscatter, 0.0)
    # if nothing is missing, one plane gives the share of each square inside the window
    shown = (valid if not bool(valid.all()) else valid[:1, :1]).to(values.dtype)
    found = []
    for side in WINDOWS:
        share, total = _box(shown, side), _box(values, side)
        found.append(torch.where(share > 0, total / share.clamp(min=TINY), torch.nan))
    planes = torch.stack(_filled(found), 1).reshape(times, -1, height * width).mT
    known = torch.isfinite(planes).all(2)
    return torch.where(known[..., None], planes, 0.0).contiguous(), known


def means_at(backscatter: Floats, rows: Places, columns: Places) -> tuple[Floats, Booleans]:
    """The same at some pixels of one date (polarisation, y, x), as (pixel, plane)."""
    half = max(WINDOWS) // 2
    wide = np.pad(backscatter, ((0, 0), (half, half), (half, half)), constant_values=np.nan)
    step = np.arange(2 * half + 1)
    around = wide[:, rows[:, None, None] + step[:, None], columns[:, None, None] + step]
    patches = torch.from_numpy(np.where(np.isfinite(around), around, np.float32(np.nan)))
    inner = [slice(half - side // 2, half + side // 2 + 1) for side in WINDOWS]
    found = _filled([patches[..., s, s].nanmean((-1, -2)) for s in inner])
    planes = torch.cat(found).mT
    known = torch.isfinite(planes).all(1)
    return torch.where(known[:, None], planes, 0.0).numpy(), known.numpy()


def _filled(means: list[Tensor]) -> list[Tensor]:
    """Local means of rising width, where a gap takes the next wider one."""
    for k in range(len(means) - 2, -1, -1):
        means[k] = torch.where(torch.isfinite(means[k]), means[k], means[k + 1])
    return means


def _box(planes: Tensor, side: int) -> Tensor:
    """Means over a square around each pixel; beyond the border there is 0."""
    if side == 1:
        return planes
    for axis in (-2, -1):  # sums of shifted planes take a tenth of the time of pooling
        count, half = planes.shape[axis], side // 2
        ends = (0, 0, half, half) if axis == -2 else (half, half)
        wide = torch.nn.functional.pad(planes, ends)
        planes = wide.narrow(axis, 0, count).clone()
        for shift in range(1, side):
            planes += wide.narrow(axis, shift, count)
        planes /= side
    return planes


def nearest_pass(radar: Tensor, heard: Tensor, days: Doubles, day: float) -> tuple[Tensor, Tensor]:
    """Radar of a day (pixel, plane) from the nearest pass, and where available."""
    order = np.argsort(np.abs(days - day), kind="stable")
    near = order[np.abs(days[order] - day) <= RADAR_DAYS].tolist()
    if not near:
        return torch.zeros_like(radar[0]), torch.zeros_like(heard[0])
    values, known = radar[near[0]], heard[near[0]]
    for date in near[1:]:
        if bool(known.all()):
            break
        take = heard[date] & ~known
        values, known = torch.where(take[:, None], radar[date], values), known | take
    return values, known


def filled_passes(radar: Tensor, heard: Tensor, days: Doubles) -> tuple[Tensor, Tensor]:
    """The same for every date of the series."""
    if not radar.shape[2] or bool(heard.all()):
        return radar, heard
    found = [nearest_pass(radar, heard, days, float(day)) for day in days]
    return torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])


class Reader:
    """Makes the predictors of any day from a series."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        times, count = pixels.clear.shape
        place = torch.arange(times, device=pixels.clear.device)[:, None]
        none = torch.full((1, count), -1, device=place.device)
        last = torch.where(pixels.clear, place, -1).cummax(0).values
        self._last = torch.cat([none, last]).to(torch.int32)
        late = torch.where(pixels.clear, place, times).flip(0).cummin(0).values.flip(0)
        self._next = torch.cat([torch.where(late == times, -1, late), none]).to(torch.int32)
        self._shown = padded(pixels.clear.to(pixels.values.dtype))
        shown = pixels.values[..., : pixels.bands]  # 0 where not clear
        self._values = padded(shown.reshape(times, -1))
        self._offset = torch.arange(count, device=place.device)

    def rows(self, day: float, gap: float, radar: Tensor, heard: Tensor) -> Rows:
        """Predictors of a day from the dates further away than the gap, and from its radar."""
        values, clear, _, days, bands = self.pixels
        times, count = clear.shape
        before = self._last[int(np.searchsorted(days, day - gap, "left"))].long()
        after = self._next[int(np.searchsorted(days, day + gap, "right"))].long()
        dates = torch.as_tensor(days, dtype=torch.float64, device=values.device)
        since = torch.where(before < 0, torch.inf, day - dates[before]).to(values.dtype)
        until = torch.where(after < 0, torch.inf, dates[after] - day).to(values.dtype)
        wait = torch.minimum(since, until)
        # if one side is missing, the other replaces it
        first, second = (
            torch.where(before < 0, after, before),
            torch.where(after < 0, before, after),
        )
        share = torch.where(torch.isinf(since) | torch.isinf(until), 0.0, since / (since + until))
        flat = values.reshape(times * count, -1)
        places = [p.clamp(min=0) * count + self._offset for p in (first, second)]
        left, right = (flat.index_select(0, p) for p in places)
        line = torch.lerp(left, right, share[:, None])
        line = torch.where(torch.isinf(wait)[:, None], 0.0, line)
        weights = self._weights(day, gap)
        total = (weights @ self._shown)[:, :count, None]
        sums = (weights @ self._values)[:, : count * bands].reshape(len(MEMORIES), count, bands)
        means = torch.where(total > TINY, sums / total.clamp(min=TINY), line[None, :, :bands])
        season = 2 * np.pi * day / 365.25
        constants = line.new_tensor([np.sin(season), np.cos(season)]).expand(count, 2)
        near = torch.stack([1 / (1 + w / MEMORIES[0]) for w in (since, until)], 1)
        parts = [torch.ones_like(near[:, :1]), line[:, :bands], *means, constants, near]
        if self.pixels.planes:
            sides = self.pixels.heard.reshape(-1)
            heard = heard.clone()
            for p in places:
                heard &= sides[p]
            heard &= ~torch.isinf(wait)
            parts += [radar, torch.where(heard[:, None], radar - line[:, bands:], 0.0)]
        return Rows(torch.cat(parts, 1), wait, heard)

    def _weights(self, day: float, gap: float) -> Tensor:
        """Weights of each date in the running means, (memory, time)."""
        days = self.pixels.days
        far = np.abs(days - day)
        use = far > gap
        nearest = far[use].min() if use.any() else 0.0
        table = [np.where(use, np.exp(-(far - nearest) / m), 0) for m in MEMORIES]
        return torch.as_tensor(np.stack(table), dtype=self._shown.dtype, device=self._shown.device)
