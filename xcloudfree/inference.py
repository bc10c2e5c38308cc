"""Windows of physical values through a network, on a device: batches, tiles, precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xcloudfree.kernels.tiles import Tiles
from xcloudfree.models.spec import ModelSpec

if TYPE_CHECKING:
    from xcloudfree.models.cache import Reference

Precision = Literal["float32", "bfloat16"]
Area = tuple[slice, slice]

MICRO_BATCH = {"cpu": 1, "cuda": 8}
"""Images in one forward pass, by kind of device; a CPU gains nothing from more."""

ALONE_FROM = 20480
"""Pixels from which an image goes through the network alone. Torch convolves single images below
this size by another method, which rounds otherwise: a small window would differ from the whole."""


@dataclass(frozen=True)
class Window:
    """What the network reads for one image.

    Parameters
    ----------
    reflectance, backscatter : ndarray
        Reflectance and dB, (band, y, x) in the order of the specification, with dates before them
        where it reads several; NaN is no data.
    hidden : ndarray of bool
        Pixels that show no ground, (y, x).
    wanted : ndarray of bool
        Pixels whose prediction is used, (y, x).
    days : ndarray or None
        Day number of each date.
    """

    reflectance: NDArray[np.float32]
    backscatter: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    wanted: NDArray[np.bool_]
    days: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Prediction:
    """Reflectance and, if asked for, its standard deviation, (band, y, x)."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Inference:
    """A network as a function of windows.

    Parameters
    ----------
    reference : Reference
        Where to find the model.
    spec : ModelSpec
        What it needs.
    device : str
        Torch device.
    tiles : Tiles or None
        How to cut windows for a network that has no finite reach.
    uncertainty : bool
        Whether to return the standard deviation too.
    precision : {"float32", "bfloat16"}
        Of the network's arithmetic.
    """

    reference: Reference
    spec: ModelSpec = field(repr=False)
    device: str
    tiles: Tiles | None = None
    uncertainty: bool = False
    precision: Precision = "float32"

    def __dask_tokenize__(self) -> Any:
        """What decides the result; the specification is part of the digest."""
        return self.reference.digest, self.device, self.tiles, self.uncertainty, self.precision

    def __call__(self, windows: Sequence[Window]) -> list[Prediction]:
        """Predict every window; pixels that no wanted tile touches are 0.

        Parameters
        ----------
        windows : sequence of Window
            All of one size.

        Returns
        -------
        list of Prediction
        """
        if self.tiles is None:
            jobs: list[tuple[int, Area]] = [
                (n, (slice(None), slice(None))) for n in range(len(windows))
            ]
        else:
            jobs = [(n, area) for n, w in enumerate(windows) for area in self._areas(w.wanted)]
        joined = [_Joined(self.tiles) for _ in windows]
        size = MICRO_BATCH.get(self.device.partition(":")[0], 1)
        for start in range(0, len(jobs), size):
            batch = jobs[start : start + size]
            forward = self._forward([_cut(windows[n], area) for n, area in batch])
            for (n, area), result in zip(batch, forward, strict=True):
                joined[n].add(result, area, windows[n].wanted.shape)
        return [j.prediction() for j in joined]

    def _areas(self, wanted: NDArray[np.bool_]) -> Iterator[Area]:
        """Tiles of a window that hold a wanted pixel."""
        assert self.tiles is not None
        side = self.tiles.side
        for y, x in product(*(self.tiles.origins(n) for n in wanted.shape)):
            area = slice(y, y + side), slice(x, x + side)
            if wanted[area].any():
                yield area

    def _forward(self, windows: Sequence[Window]) -> list[Prediction]:
        """One forward pass; no two at a time on a device."""
        import torch

        from xcloudfree.models.cache import slot

        place = slot(self.reference, self.device)
        count = len(windows)
        if count == 1 and windows[0].wanted.size <= ALONE_FROM:
            windows = [*windows, *windows]
        x, r = place.model.normalise(
            np.stack([w.reflectance for w in windows]),
            np.stack([w.backscatter for w in windows]),
            self.device,
        )
        extra: dict[str, Any] = {}
        if self.spec.needs_mask:
            hidden = np.stack([w.hidden[None] for w in windows]).astype(np.float32)
            extra["mask"] = torch.from_numpy(hidden).to(self.device)
        if self.spec.dates > 1:
            days = np.stack([w.days for w in windows if w.days is not None])
            extra["dates"] = torch.from_numpy(days).to(self.device)
        if self.uncertainty:
            extra["variance"] = True
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        low = self.precision == "bfloat16"
        kind = torch.device(self.device).type
        with (
            place.lock,
            torch.inference_mode(),
            torch.autocast(kind, torch.bfloat16, enabled=low),
        ):
            out = place.model.network(x, r, **extra)
        if not self.uncertainty:
            return [Prediction(mean) for mean in place.model.denormalise(out[:count])]
        means = place.model.denormalise(out[0][:count])
        deviations = place.model.deviation(out[1][:count])
        return [Prediction(m, d) for m, d in zip(means, deviations, strict=True)]


class _Joined:
    """The prediction of a window, whole or gathered from tiles."""

    def __init__(self, tiles: Tiles | None) -> None:
        self._tiles = tiles
        self._sums: list[NDArray[np.float32]] = []
        self._weight: NDArray[np.float32] = np.zeros((), np.float32)

    def add(self, part: Prediction, area: Area, shape: tuple[int, int]) -> None:
        values = [part.mean] if part.deviation is None else [part.mean, part.deviation]
        if self._tiles is None:
            self._sums = values
            return
        if not self._sums:
            self._sums = [np.zeros((len(v), *shape), np.float32) for v in values]
            self._weight = np.zeros(shape, np.float32)
        rows, columns = (self._tiles.weights(n) for n in part.mean.shape[-2:])
        weight = rows[:, None] * columns
        self._weight[area] += weight
        for total, value in zip(self._sums, values, strict=True):
            total[:, *area] += weight * value

    def prediction(self) -> Prediction:
        if self._tiles is None:
            return Prediction(*self._sums)
        weight = np.where(self._weight > 0, self._weight, np.float32(1))
        return Prediction(*(np.asarray(total / weight, np.float32) for total in self._sums))


def _cut(window: Window, area: Area) -> Window:
    return Window(
        window.reflectance[..., *area],
        window.backscatter[..., *area],
        window.hidden[area],
        window.wanted[area],
        window.days,
    )
