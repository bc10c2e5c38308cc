"""A network as a predictor: selects the parts of a window to read, and batches them on a device."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.devices import chosen, memory_error, resolved
from xcloudfree.core.predictor import DERIVED, Prediction, Series, added
from xcloudfree.core.windows import Area, Halo, Span, Tiles, boxes
from xcloudfree.exceptions import ModelError, SeamWarning, WeightsError
from xcloudfree.methods.kernel_fusion import KernelFusion
from xcloudfree.methods.temporal_context import planes
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.series_network import SeriesNetwork

if TYPE_CHECKING:
    from pathlib import Path

    from xcloudfree.models.cache import Reference
    from xcloudfree.models.model import Model

Precision = Literal["float32", "bfloat16"]

MICRO_BATCH = {"cpu": 1, "cuda": 8}
"""Images in one forward pass, by kind of device; a CPU gains nothing from more."""

ALONE_FROM = 20480
"""Pixels from which an image runs through the network alone. Torch convolves smaller single images
by another method, which rounds differently: a small window would differ from the whole."""


FUSION: Final = KernelFusion.name
"""Base of a network that corrects kernel fusion, and the part of its context."""

Planes = list[NDArray[np.float32]]
"""Mean and, if requested, standard deviation, (band, y, x)."""


class Window(NamedTuple):
    """Inputs of the network for one image."""

    # (band, y, x) in the order of the specification, preceded by dates if it reads several
    reflectance: NDArray[np.float32]
    backscatter: NDArray[np.float32]  # in dB; NaN is no data
    hidden: NDArray[np.bool_]  # occluded pixels, (y, x)
    wanted: NDArray[np.bool_]  # pixels whose prediction is used, (y, x)
    days: NDArray[np.float32] | None = None  # day number of each date
    context: NDArray[np.float32] | None = None  # what other dates show, (plane, y, x)

    def cut(self, area: Area) -> Window:
        """Some rows and columns of it."""
        return Window(
            self.reflectance[..., *area],
            self.backscatter[..., *area],
            self.hidden[area],
            self.wanted[area],
            self.days,
            None if self.context is None else self.context[..., *area],
        )


@dataclass(frozen=True)
class Network:
    """A network on a device, as a :class:`~xcloudfree.core.predictor.Predictor`."""

    reference: Reference  # where to find the model
    spec: ModelSpec = field(repr=False)  # its requirements
    device: str  # torch device, see resolved
    # how to cut windows: with the halo of the network, or into fixed tiles if it has no reach
    plan: Halo | Tiles
    uncertainty: bool = False  # whether to predict the standard deviation too
    precision: Precision = "float32"  # of the network's arithmetic

    temporal = False
    passes, derived = 0, DERIVED

    @property
    def fused(self) -> bool:
        """Whether it corrects kernel fusion, and so has its flags and predicts what that does."""
        return bool(self.spec.options.get("base") == FUSION)

    @property
    def flags(self) -> tuple[str, ...]:
        """See :class:`Predictor`."""
        return KernelFusion.flags if self.fused else ()

    @property
    def needs_radar(self) -> bool:
        """Whether a pixel without backscatter has no prediction."""
        return bool(self.spec.polarisations)

    @property
    def measured(self) -> Halo | Tiles:
        """See :class:`Predictor`: a network has no passes over the scene."""
        return self.plan

    @property
    def name(self) -> str:
        """Name for users."""
        return self.spec.name

    @property
    def digest(self) -> str:
        """Hash of specification and weights."""
        return self.reference.digest

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands in the order of the network."""
        return self.spec.optical_bands

    @property
    def polarisations(self) -> tuple[str, ...]:
        """Backscatter in the order of the network."""
        return self.spec.polarisations

    @property
    def deviation(self) -> bool:
        """Whether the network estimates its uncertainty."""
        return self.spec.variance

    def __dask_tokenize__(self) -> Any:
        """Everything that determines the result; the digest includes the specification."""
        return self.reference.digest, self.device, self.plan, self.uncertainty, self.precision

    def measure(self, series: Series, statistics: Sequence[Any]) -> Any:
        """Nothing: a network has no passes over the scene."""
        raise NotImplementedError

    combine = staticmethod(added)

    def conclude(self, total: Any, statistics: Sequence[Any]) -> Any:
        """Nothing, see :meth:`measure`."""
        raise NotImplementedError

    def predict(self, series: Series, statistics: Sequence[Any] = ()) -> Prediction:
        """Predict the wanted pixels of images; other pixels have undefined values."""
        flags, context = None, series.context
        if self.fused and context is not None:
            count = planes(self.spec.context, len(self.bands))
            if context.shape[1] > count:  # flags follow the planes that the network reads
                flags, context = context[:, count].astype(np.uint8), context[:, :count]
            start = planes(self.spec.context[: self.spec.context.index(FUSION)], len(self.bands))
            known = np.isfinite(context[:, start : start + len(self.bands)]).all(1)
            series = replace(series, context=context, wanted=series.wanted & known)
        windows = [self._window(series, n) for n in range(len(series.wanted))]
        none = [np.full_like(windows[0].reflectance, np.nan)] * (1 + self.uncertainty)
        each = [found or none for found in self._predict(windows)]
        found = [np.stack(same) for same in zip(*each, strict=True)]
        if self.fused:
            for values in found:
                values[~np.broadcast_to(series.wanted[:, None], values.shape)] = np.nan
        return Prediction(found[0], found[1] if self.uncertainty else None, flags)

    def _window(self, series: Series, n: int) -> Window:
        days, optical = None, series.reflectance[n]
        sar = optical[:0] if series.backscatter is None else series.backscatter[n]
        if series.nearest is not None:
            optical = np.concatenate([optical[None], series.nearest.reflectance[n]])
            sar = np.concatenate([sar[None], series.nearest.backscatter[n]])
            days = series.nearest.days[n]
        context = None if series.context is None else series.context[n]
        return Window(optical, sar, ~series.clear[n], series.wanted[n], days, context)

    def _predict(self, windows: Sequence[Window]) -> list[Planes]:
        device = resolved(self.device)
        jobs = [_Job(n, y, x) for n, w in enumerate(windows) for y, x in self._cuts(w.wanted)]
        jobs.sort(key=lambda job: (job.size, job.window, job.rows.start, job.columns.start))
        joined = [_Joined(self.plan) for _ in windows]
        batch = MICRO_BATCH.get(device.partition(":")[0], 1)
        while jobs:
            alike = [job for job in jobs[:batch] if job.size == jobs[0].size]
            parts = [windows[job.window].cut(job.read) for job in alike]
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
        return [j.planes() for j in joined]

    def _cuts(self, wanted: NDArray[np.bool_]) -> list[tuple[Span, Span]]:
        """Parts of a window that contain its wanted pixels."""
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

    def _forward(self, windows: Sequence[Window], device: str) -> list[Planes]:
        """One forward pass, once the device is free."""
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
                place.gate(),
                torch.inference_mode(),
                torch.autocast(kind, torch.bfloat16, enabled=low),
            ):
                out = place.model.network(x, r, **extra)
        except torch.OutOfMemoryError as error:
            raise memory_error(
                f"{count} image(s) of {x.shape[-2]} x {x.shape[-1]} pixels", device
            ) from error
        means = place.model.denormalise((out[0] if self.uncertainty else out)[:count])
        if not np.isfinite(means).all():
            raise WeightsError(
                f"model {self.spec.name!r} returned values that are not finite, so its weights "
                "are damaged or their fit diverged",
                fix="fit again with xcloudfree.fit(...), or call reconstruct(model=...) with "
                "another",
                option="fit again, or choose another with --model",
            )
        if not self.uncertainty:
            return [[mean] for mean in means]
        deviations = place.model.deviation(out[1][:count])
        return [[m, d] for m, d in zip(means, deviations, strict=True)]


@dataclass(frozen=True)
class _Job:
    """A part of one of the windows."""

    window: int
    rows: Span
    columns: Span

    @property
    def read(self) -> Area:
        """Rows and columns to read."""
        return tuple(slice(s.read_start, s.read_stop) for s in (self.rows, self.columns))  # type: ignore[return-value]

    @property
    def write(self) -> Area:
        """Rows and columns of the result."""
        return tuple(slice(s.start, s.stop) for s in (self.rows, self.columns))  # type: ignore[return-value]

    @property
    def size(self) -> tuple[int, int]:
        """Shape of the pixels that are read."""
        y, x = self.read
        return y.stop - y.start, x.stop - x.start


class _Joined:
    """The prediction of a window, gathered from its parts."""

    def __init__(self, plan: Halo | Tiles) -> None:
        self._tiles = plan if isinstance(plan, Tiles) else None
        self._sums: list[NDArray[np.float32]] = []
        self._weight: NDArray[np.float32] = np.zeros((), np.float32)

    def add(self, values: Planes, job: _Job, shape: tuple[int, int]) -> None:
        if not self._sums:
            self._sums = [np.zeros((len(v), *shape), np.float32) for v in values]
            self._weight = np.zeros(shape, np.float32)
        if self._tiles is None:
            core = job.rows.core, job.columns.core
            for total, value in zip(self._sums, values, strict=True):
                total[:, *job.write] = value[:, *core]
            return
        rows, columns = (self._tiles.weights(n) for n in values[0].shape[-2:])
        weight = rows[:, None] * columns
        self._weight[job.write] += weight
        for total, value in zip(self._sums, values, strict=True):
            total[:, *job.write] += weight * value

    def planes(self) -> Planes:
        if self._tiles is None:
            return self._sums
        weight = np.where(self._weight > 0, self._weight, np.float32(1))
        return [np.asarray(total / weight, np.float32) for total in self._sums]


def network_of(
    model: str | Path | Model,
    device: Any,
    halo: Literal["exact"] | int,
    uncertainty: bool,
    precision: Precision,
    bands: Sequence[str] = (),
) -> Network | SeriesNetwork:
    """A model as a predictor, on an available device; named weights for any bands read `bands`."""
    from xcloudfree.models.cache import reference

    place = chosen(device)
    ref, loaded = reference(model)
    config: Any = loaded.network.config
    if config.reads_series:
        return SeriesNetwork.of(ref, loaded.spec, device)
    other = bool(bands) and {*bands} != {*loaded.spec.optical_bands}
    if other and isinstance(model, str) and config.any_bands:
        ref, loaded = reference(loaded.for_bands(bands))
    stated = uncertainty and loaded.spec.variance
    return Network(ref, loaded.spec, place, _plan(loaded.spec, halo), stated, precision)


def _plan(spec: ModelSpec, halo: Literal["exact"] | int) -> Halo | Tiles:
    """Pixels that the network reads around a pixel: a halo, or the fixed tiles that contain it."""
    if halo != "exact" and (
        isinstance(halo, bool) or not isinstance(halo, (int, np.integer)) or halo < 0
    ):
        raise ModelError(
            f"halo is {halo!r}", fix="call reconstruct(halo='exact') or with pixels >= 0"
        )
    if spec.reach is not None:
        return Halo(spec.reach if halo == "exact" else int(halo), spec.stride)
    side = spec.tile or 256
    overlap = side // 4 if halo == "exact" else int(halo)
    if overlap > side // 2:
        raise ModelError(
            f"model {spec.name!r} runs in tiles of {side} pixels, which cannot share {overlap} "
            "with each neighbour",
            fix=f"call reconstruct(halo={side // 4}) or up to {side // 2}",
        )
    warnings.warn(
        f"model {spec.name!r} reads its whole input, so no halo is exact: it runs in fixed tiles "
        f"of {side} x {side} pixels that overlap by {overlap} and are blended; seams can show",
        SeamWarning,
        stacklevel=5,
    )
    return Tiles(side, overlap)
