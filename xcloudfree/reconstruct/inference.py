"""Windows of physical values through a network, on a device: batches, tiles, precision."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.tiles import Tiles
from xcloudfree.core.windows import Area, Halo, Span
from xcloudfree.exceptions import DeviceMemoryError, WeightsError
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.boxes import boxes

if TYPE_CHECKING:
    from xcloudfree.models.cache import Reference

Precision = Literal["float32", "bfloat16"]

MICRO_BATCH = {"cpu": 1, "cuda": 8}
"""Images in one forward pass, by kind of device; a CPU gains nothing from more."""

ALONE_FROM = 20480
"""Pixels from which an image goes through the network alone. Torch convolves single images below
this size by another method, which rounds otherwise: a small window would differ from the whole."""


@dataclass(frozen=True)
class Window:
    """What the network reads for one image."""

    # reflectance and dB, (band, y, x) in the order of the specification, with dates before them
    # where it reads several; NaN is no data
    reflectance: NDArray[np.float32]
    # reflectance and dB, (band, y, x) in the order of the specification, with dates before them
    # where it reads several; NaN is no data
    backscatter: NDArray[np.float32]
    hidden: NDArray[np.bool_]  # pixels that show no ground, (y, x)
    wanted: NDArray[np.bool_]  # pixels whose prediction is used, (y, x)
    days: NDArray[np.float32] | None = None  # day number of each date
    context: NDArray[np.float32] | None = None  # what other dates show, (plane, y, x), see planes


@dataclass(frozen=True)
class Prediction:
    """Reflectance and, if asked for, its standard deviation, (band, y, x)."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Inference:
    """A network as a function of windows."""

    reference: Reference  # where to find the model
    spec: ModelSpec = field(repr=False)  # what it needs
    device: str  # torch device, see resolved
    # how to cut windows: with the halo of the network, or into fixed tiles where it has no reach
    plan: Halo | Tiles
    uncertainty: bool = False  # whether to return the standard deviation too
    precision: Precision = "float32"  # of the network's arithmetic

    def __dask_tokenize__(self) -> Any:
        """What decides the result; the specification is part of the digest."""
        return self.reference.digest, self.device, self.plan, self.uncertainty, self.precision

    def __call__(self, windows: Sequence[Window]) -> list[Prediction]:
        """Predict every window where pixels are wanted; elsewhere the values mean nothing."""
        device = resolved(self.device)
        jobs = [_Job(n, y, x) for n, w in enumerate(windows) for y, x in self._cuts(w.wanted)]
        jobs.sort(key=lambda job: (job.size, job.window, job.rows.start, job.columns.start))
        joined = [_Joined(self.plan) for _ in windows]
        batch = MICRO_BATCH.get(device.partition(":")[0], 1)
        while jobs:
            alike = [job for job in jobs[:batch] if job.size == jobs[0].size]
            parts = [_cut(windows[job.window], job.read) for job in alike]
            try:
                results = self._forward(parts, device)
            except MemoryError as error:
                if len(alike) == 1:
                    raise
                batch = len(alike) // 2
                warnings.warn(f"{error}; going on with {batch} at a time", stacklevel=2)
                continue
            for job, result in zip(alike, results, strict=True):
                joined[job.window].add(result, job, windows[job.window].wanted.shape)
            del jobs[: len(alike)]
        return [j.prediction() for j in joined]

    def _cuts(self, wanted: NDArray[np.bool_]) -> list[tuple[Span, Span]]:
        """Parts of a window that hold its wanted pixels."""
        if isinstance(self.plan, Halo):
            return boxes(wanted, self.plan.pixels, self.plan.stride)
        found = []
        for origins in product(*(self.plan.origins(n) for n in wanted.shape)):
            stops = (o + self.plan.side for o in origins)
            ends = (min(s, n) for s, n in zip(stops, wanted.shape, strict=True))
            rows, columns = (Span(a, b, a, b) for a, b in zip(origins, ends, strict=True))
            if wanted[rows.start : rows.stop, columns.start : columns.stop].any():
                found.append((rows, columns))
        return found

    def _forward(self, windows: Sequence[Window], device: str) -> list[Prediction]:
        """One forward pass, when the device admits it."""
        import torch

        from xcloudfree.models.cache import slot

        place = slot(self.reference, device)
        count = len(windows)
        if count == 1 and windows[0].wanted.size <= ALONE_FROM:
            windows = [*windows, *windows]
        x, r = place.model.normalise(
            np.stack([w.reflectance for w in windows]),
            np.stack([w.backscatter for w in windows]),
            device,
        )
        extra: dict[str, Any] = {}
        if self.spec.needs_mask:
            hidden = np.stack([w.hidden[None] for w in windows]).astype(np.float32)
            extra["mask"] = torch.from_numpy(hidden).to(device)
        if self.spec.dates > 1:
            days = np.stack([w.days for w in windows if w.days is not None])
            extra["dates"] = torch.from_numpy(days).to(device)
        if self.spec.context:
            planes = np.stack([w.context for w in windows if w.context is not None])
            extra["context"] = place.model.scale_context(planes, device)
        if self.uncertainty:
            extra["variance"] = True
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        low = self.precision == "bfloat16"
        kind = torch.device(device).type
        try:
            with (
                place.admission(),
                torch.inference_mode(),
                torch.autocast(kind, torch.bfloat16, enabled=low),
            ):
                out = place.model.network(x, r, **extra)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"{count} image(s) of {x.shape[-2]} x {x.shape[-1]} pixels do not fit into the "
                f"memory of {device}; use smaller chunks, ds.chunk(y=512, x=512), or call "
                "reconstruct(device='cpu')"
            ) from error
        means = place.model.denormalise((out[0] if self.uncertainty else out)[:count])
        if not np.isfinite(means).all():
            raise WeightsError(
                f"model {self.spec.name!r} returned values that are no numbers, so its weights are "
                "damaged or their fit diverged; fit again with xcloudfree.fit(...), or call "
                "reconstruct(model=...) with another"
            )
        if not self.uncertainty:
            return [Prediction(mean) for mean in means]
        deviations = place.model.deviation(out[1][:count])
        return [Prediction(m, d) for m, d in zip(means, deviations, strict=True)]


@dataclass(frozen=True)
class _Job:
    """A part of one of the windows."""

    window: int
    rows: Span
    columns: Span

    @property
    def read(self) -> Area:
        """What the network reads."""
        return tuple(slice(s.read_start, s.read_stop) for s in (self.rows, self.columns))  # type: ignore[return-value]

    @property
    def write(self) -> Area:
        """Where its result belongs."""
        return tuple(slice(s.start, s.stop) for s in (self.rows, self.columns))  # type: ignore[return-value]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that are read."""
        y, x = self.read
        return y.stop - y.start, x.stop - x.start


class _Joined:
    """The prediction of a window, gathered from its parts."""

    def __init__(self, plan: Halo | Tiles) -> None:
        self._tiles = plan if isinstance(plan, Tiles) else None
        self._sums: list[NDArray[np.float32]] = []
        self._weight: NDArray[np.float32] = np.zeros((), np.float32)

    def add(self, part: Prediction, job: _Job, shape: tuple[int, int]) -> None:
        values = [part.mean] if part.deviation is None else [part.mean, part.deviation]
        if not self._sums:
            self._sums = [np.zeros((len(v), *shape), np.float32) for v in values]
            self._weight = np.zeros(shape, np.float32)
        if self._tiles is None:
            core = job.rows.core, job.columns.core
            for total, value in zip(self._sums, values, strict=True):
                total[:, *job.write] = value[:, *core]
            return
        rows, columns = (self._tiles.weights(n) for n in part.mean.shape[-2:])
        weight = rows[:, None] * columns
        self._weight[job.write] += weight
        for total, value in zip(self._sums, values, strict=True):
            total[:, *job.write] += weight * value

    def prediction(self) -> Prediction:
        if self._tiles is None:
            return Prediction(*self._sums)
        weight = np.where(self._weight > 0, self._weight, np.float32(1))
        return Prediction(*(np.asarray(total / weight, np.float32) for total in self._sums))


def resolved(device: str) -> str:
    """The device where this process computes."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _cut(window: Window, area: Area) -> Window:
    return Window(
        window.reflectance[..., *area],
        window.backscatter[..., *area],
        window.hidden[area],
        window.wanted[area],
        window.days,
        None if window.context is None else window.context[..., *area],
    )
