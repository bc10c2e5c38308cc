"""Prediction of a scene: in stages, or with all stages in one task per block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.core.blocks import (
    Output,
    SceneValue,
    Together,
    call_once,
    map_windows,
    reduce_windows,
    side_of,
)
from xcloudfree.core.predictor import Booleans, Floats, Nearest, Prediction, Predictor, Series
from xcloudfree.core.radiometry import SarCalibration
from xcloudfree.core.windows import Area, widened
from xcloudfree.reconstruct.compose import Compose, OfDate
from xcloudfree.reconstruct.observe import BYTE, FLOAT, WANTED, Arrays, Observe, Reader, strips


def predict(
    predictor: Predictor, reader: Reader, windows: Sequence[Any], lead: int, uncertainty: bool
) -> tuple[Any, ...]:
    """Mean, and if requested deviation and flags, from physical values (*lead, [band,] y, x)."""
    bands, groups = windows[0].shape[lead], [[w] for w in windows]
    together = None
    if reader.time is not None:
        assert reader.days is not None
        side = side_of(len(reader.days), bands, _reach(predictor), predictor.derived)
        together = Together(reader.time, side)
    work: dict[str, Any] = {"lead": lead, "together": together}

    # Statistics of the scene are passed as whole values next to the windows, never per pixel.
    asked = _asked(windows, lead, reader.time)
    statistics: list[SceneValue] = []
    for _ in range(predictor.passes):
        measure = Measure(predictor, reader, bool(asked))
        total = reduce_windows(
            measure, Combine(predictor), groups,
            scene=asked + statistics, plan=predictor.measured, **work,
        )  # fmt: skip
        statistics.append(call_once(Conclude(predictor), [total, *statistics]))

    outputs = [Output(FLOAT, bands)] * (1 + uncertainty)
    outputs += [Output(BYTE)] * bool(predictor.flags)
    function = Predict(predictor, reader, uncertainty)
    return map_windows(function, groups, outputs, scene=statistics, plan=predictor.plan, **work)


def _asked(windows: Sequence[Any], lead: int, time: int | None) -> list[SceneValue]:
    """Images with any wanted pixel, if that is known without computing."""
    state = windows[1]
    if not all(isinstance(w, np.ndarray) for w in windows):
        return []
    found = ((state & WANTED) > 0).any((-2, -1))
    counts = [1 if axis == time else n for axis, n in enumerate(state.shape[:lead])]
    whole = slice(None)
    return [
        {
            index: found[
                tuple(whole if k == time else slice(i, i + 1) for k, i in enumerate(index))
            ]
            for index in np.ndindex(*counts)
        }
    ]


def _reach(predictor: Predictor) -> int:
    """Pixels that a predictor reads around a block."""
    (span,) = predictor.plan.spans((1 << 16, 1, 1 << 16))[1:2]
    return max(span.start - span.read_start, span.read_stop - span.stop)


# -------------------------------------------------------------- stages, one task per block each


@dataclass(frozen=True)
class Measure:
    """Measurements of the core of a block, one for each series."""

    predictor: Predictor
    reader: Reader
    asked: bool  # whether the first value of the scene says which images are wanted

    def __call__(
        self, *windows: NDArray[Any], core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> list[Any]:
        """Measurements of each series."""
        asked, statistics = (scene[0], scene[1:]) if self.asked else (None, scene)
        found = []
        for number, series in enumerate(self.reader.series(windows, core, origin, asked)):
            known = [s[number] for s in statistics]
            parts = [self.predictor.measure(s, known) for s in _parts(self.predictor, series)]
            found.append(self.predictor.combine(parts))
        return found


@dataclass(frozen=True)
class Combine:
    """Join the measurements of several blocks."""

    predictor: Predictor

    def __call__(self, parts: Sequence[list[Any]]) -> list[Any]:
        """Joined measurements of each series."""
        return [self.predictor.combine(same) for same in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Conclude:
    """Conclude statistics from the measurements of the whole scene."""

    predictor: Predictor

    def __call__(self, total: list[Any], *statistics: list[Any]) -> list[Any]:
        """Statistics of each series."""
        known = zip(*statistics, strict=True) if statistics else [()] * len(total)
        return [self.predictor.conclude(t, k) for t, k in zip(total, known, strict=True)]


@dataclass(frozen=True)
class Predict:
    """The prediction of the core of a block."""

    predictor: Predictor
    reader: Reader
    uncertainty: bool

    def __call__(
        self, *windows: NDArray[Any], core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> Arrays:
        """Mean (*lead, band, y, x), and if requested deviation and flags, of the core."""
        head, found = windows[1].shape[:-2], []
        for number, series in enumerate(self.reader.series(windows, core, origin)):
            found.append(self._series(series, [s[number] for s in scene]))
        return tuple(self.reader.join(same, head) for same in zip(*found, strict=True))

    def _series(self, series: Series, statistics: list[Any]) -> Arrays:
        wanted = np.zeros_like(series.wanted)
        wanted[..., *series.core] = series.wanted[..., *series.core]
        series = replace(series, wanted=wanted)
        mean = np.full(series.reflectance[..., *series.core].shape, np.nan, np.float32)
        results: list[NDArray[Any]] = [mean]
        if self.uncertainty:
            results.append(np.full_like(mean, np.nan))
        if self.predictor.flags:
            results.append(np.zeros((len(mean), *mean.shape[2:]), np.uint8))
        first = series.origin[0] + series.core[0].indices(wanted.shape[-2])[0]
        for part in _parts(self.predictor, series):
            if not part.wanted.any():
                continue
            answer = self.predictor.predict(part, statistics)
            start, stop, _ = part.core[0].indices(part.hidden.shape[-2])
            top = part.origin[0] + start - first
            parts = [answer.mean, answer.deviation if self.uncertainty else None, answer.flags]
            for result, values in zip(results, [p for p in parts if p is not None], strict=True):
                result[..., top : top + stop - start, :] = values[..., *part.core]
        if self.predictor.flags:  # elsewhere they would depend on which blocks are skipped
            results[-1][~series.wanted[..., *series.core]] = 0
        if self.predictor.needs_radar and series.backscatter is not None:
            measured = np.isfinite(series.backscatter[..., *series.core]).all(1, keepdims=True)
            mean[~np.broadcast_to(measured, mean.shape)] = np.nan
        return tuple(results)


def _parts(predictor: Predictor, series: Series) -> Sequence[Series]:
    """Pieces to process at a time: strips, unless pixels around are needed."""
    return [series] if _reach(predictor) else list(strips(series))


# ------------------------------------------------------------------ all stages in one task


@dataclass(frozen=True)
class ReconstructBlock:
    """Observe, predict and compose the core of a block of single images, in one task.

    For predictors that look at each date separately and measure nothing. Images without anything
    to fill are not decoded.
    """

    observe: Observe
    predictor: Predictor
    compose: Compose
    sar: SarCalibration | None  # of the second window, if the predictor reads backscatter
    context: int = 0  # windows with parts of the context

    def __dask_tokenize__(self) -> Any:
        # dask takes the text of objects in here, and that of a mask contains addresses
        look = self.observe.__dask_tokenize__()
        return __version__, look, self.predictor, self.compose, self.sar, self.context

    def __call__(
        self, *windows: NDArray[Any], core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> Arrays:
        """The results of :class:`Compose` for the core."""
        lead = windows[0].shape[:-3]
        known: dict[int, OfDate | None] = {}
        if self.compose.calibrated:
            *windows, gaps, dates = windows  # type: ignore[assignment]
            for n, place in enumerate(np.ndindex(lead)):
                planes = gaps[place], dates[place]
                known[n] = self.compose.of_date(scene, lead, place, planes, core)
        images = [w.reshape(-1, *w.shape[len(lead) :]) for w in windows]
        every = list(zip(*images, strict=True))
        looks = [self._look(planes, core) for planes in every]
        chosen = [n for n, look in enumerate(looks) if look.fillable.any()]
        series = [self._decode(every[n], looks[n].fillable, core, origin) for n in chosen]
        predictions = {}
        if series:
            answer = self.predictor.predict(_joined(series), ())
            for k, n in enumerate(chosen):
                each = (answer.mean, answer.deviation, answer.flags)
                predictions[n] = Prediction(*(None if p is None else p[k] for p in each))  # type: ignore[arg-type]
        results = []
        for n, (planes, look) in enumerate(zip(every, looks, strict=True)):
            if n not in predictions:
                inner = planes[0][:, *core]
                whole = (slice(None), slice(None))
                results.append(self.compose.image(
                    inner, look.hidden, look.valid, None, whole, look.fillable
                ))  # fmt: skip
                continue
            one = series[chosen.index(n)]
            seen = one.reflectance[0]
            valid = np.asarray(np.isfinite(seen).all(0))
            results.append(self.compose.image(
                planes[0], one.hidden[0], valid, predictions[n], core, look.fillable, seen,
                known.get(n),
            ))  # fmt: skip
        return tuple(
            np.stack(parts).reshape(*lead, *parts[0].shape) for parts in zip(*results, strict=True)
        )

    def _look(self, planes: Sequence[NDArray[Any]], core: Area) -> _Look:
        """Find the pixels to fill, from the core and the surroundings that its mask needs."""
        stored, backscatter, given = self._given(planes)
        inner = stored[:, *core]
        valid = self.observe.valid(inner)
        near, within = widened(core, self.observe.mask.reach, stored.shape[-2:])
        hidden = self.observe.occluded(stored[:, *near], [g[..., *near] for g in given])[within]
        fillable = hidden & valid if self.compose.blend else valid
        if self.predictor.needs_radar and self.sar is not None and backscatter is not None:
            fillable = fillable & self.sar.valid(backscatter[:, *core]).all(0)
        if not fillable.any():  # values of another unit raise an error here too
            self.observe.calibration.check(inner)
            if self.sar is not None and backscatter is not None:
                self.sar.decode(backscatter[:, *core])
        return _Look(hidden & valid, valid, fillable)

    def _decode(
        self,
        planes: Sequence[NDArray[Any]],
        fillable: Booleans,
        core: Area,
        origin: tuple[int, int],
    ) -> Series:
        """Inputs of the predictor for one image."""
        stored, backscatter, given = self._given(planes)
        reflectance, sar = self._physical(stored, backscatter)
        hidden = self.observe.occluded(stored, given) & np.isfinite(reflectance).all(0)
        wanted = np.zeros_like(hidden)
        wanted[core] = fillable
        if self.compose.blend:
            wanted = scipy.ndimage.maximum_filter(wanted, 2 * self.compose.around + 1)
        start = 1 + (self.sar is not None) + len(given)
        others = planes[start + self.context :]
        return Series(
            reflectance[None],
            hidden[None],
            wanted[None],
            None if sar is None else sar[None],
            context=np.concatenate(planes[start : start + self.context])[None]
            if self.context
            else None,
            nearest=self._nearest(others) if others else None,
            origin=origin,
            core=core,
        )

    def _nearest(self, planes: Sequence[NDArray[Any]]) -> Nearest:
        """The other dates: a plane of days for each date, then pairs of stored numbers."""
        pairs = [self._physical(*planes[i : i + 2]) for i in range(1, len(planes), 2)]
        reflectance, sar = (np.stack(same)[None] for same in zip(*pairs, strict=True))
        return Nearest(reflectance, sar, planes[0][:, 0, 0][None])

    def _physical(
        self, stored: NDArray[Any], backscatter: NDArray[Any] | None
    ) -> tuple[Floats, Floats | None]:
        reflectance = self.observe.decode(stored)
        if self.sar is None or backscatter is None:
            return reflectance, None
        return reflectance, self.sar.decode(backscatter)

    def _given(
        self, planes: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[Any], NDArray[Any] | None, Sequence[NDArray[Any]]]:
        """Stored numbers, backscatter, and the mask if it is not made from these numbers."""
        start = 1 + (self.sar is not None)
        stop = start + self.observe.mask.separate
        return planes[0], planes[1] if start == 2 else None, planes[start:stop]


class _Look(NamedTuple):
    """The core of an image: pixels that are hidden, measured, and to be filled."""

    hidden: Booleans
    valid: Booleans
    fillable: Booleans


def _joined(images: Sequence[Series]) -> Series:
    """Single images as those of one series."""
    if len(images) == 1:
        return images[0]
    joined: dict[str, Any] = {}
    for name in ("reflectance", "hidden", "wanted", "backscatter", "context"):
        parts = [getattr(image, name) for image in images]
        joined[name] = None if parts[0] is None else np.concatenate(parts)
    nearest = [image.nearest for image in images if image.nearest is not None]
    if nearest:
        joined["nearest"] = Nearest(*map(np.concatenate, zip(*nearest, strict=True)))
    return replace(images[0], **joined)
