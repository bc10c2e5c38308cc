"""Prediction of a scene: in stages, or with all stages in one task per block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.core.blocks import (
    Output,
    SceneValue,
    call_once,
    is_lazy,
    map_windows,
    reduce_windows,
)
from xcloudfree.core.predictor import Booleans, Floats, Nearest, Prediction, Predictor, Series
from xcloudfree.core.radiometry import SarCalibration
from xcloudfree.core.windows import Area, widened
from xcloudfree.methods.base import Method
from xcloudfree.reconstruct.compose import Compose, OfDate
from xcloudfree.reconstruct.inputs import Inputs, reach_of
from xcloudfree.reconstruct.observe import FLOAT, Arrays, Observe, Reader, strips

if TYPE_CHECKING:
    from xcloudfree.reconstruct.calibration import Calibrated


def measured(work: Inputs) -> list[SceneValue]:
    """Statistics of a scene, whole values next to the windows and never per pixel."""
    method, reader, groups, lead = work
    asked = _asked(work)
    statistics: list[SceneValue] = []
    for _ in range(method.passes):
        total = reduce_windows(
            Measure(method, reader, bool(asked)), Combine(method), groups, lead=lead,
            scene=asked + statistics, plan=method.measured.around(reader.margin),
            together=work.together(0),
        )  # fmt: skip
        statistics.append(call_once(Conclude(method), [total, *statistics]))
    return statistics


def _asked(work: Inputs) -> list[SceneValue]:
    """Images with any hidden pixel, if that is known without computing and others do not matter."""
    look, time = work.reader.look, work.reader.time
    known = look.around is not None and look.mask.method is None
    if not known or any(is_lazy(array) for group in work.groups for array in group):
        return []
    found = look.mask.groups[0][0].any((-2, -1))
    counts = [1 if axis == time else n for axis, n in enumerate(found.shape)]
    whole = slice(None)
    return [
        {
            index: found[
                tuple(whole if k == time else slice(i, i + 1) for k, i in enumerate(index))
            ]
            for index in np.ndindex(*counts)
        }
    ]


def reconstructed(
    work: Inputs,
    compose: Compose,
    outputs: Sequence[Output],
    errors: Calibrated | None = None,
) -> tuple[Any, ...]:
    """The results of :class:`Compose` for a scene: one task per block after the statistics."""
    scene = measured(work)
    groups, sight = work.groups, compose.sight
    if errors is not None:
        groups, scene = groups + errors.windows, [*scene, errors.table]
    function = ReconstructSeries(work.method, work.reader, compose)
    plan = work.method.plan.around(sight + work.reader.look.mask.reach)
    results = map_windows(
        function, groups, outputs, lead=work.lead, scene=scene, plan=plan,
        together=work.together(sight),
    )  # fmt: skip
    like = next(filter(is_lazy, (array for group in groups for array in group)), None)
    if like is None:
        return results
    first, last = like.chunks[: work.lead], like.chunks[-2:]  # those of the input again
    return tuple(r.rechunk((*first, *r.chunks[work.lead : -2], *last)) for r in results)


def estimated(work: Inputs, uncertainty: bool) -> tuple[Any, ...]:
    """Mean, and if requested deviation, of the wanted pixels of a scene (*lead, band, y, x)."""
    outputs = [Output(FLOAT, len(work.reader.look.picked))] * (1 + uncertainty)
    function = Predict(work.method, work.reader, uncertainty)
    plan = work.method.plan.around(work.reader.margin)
    return map_windows(
        function, work.groups, outputs, lead=work.lead, scene=measured(work), plan=plan,
        together=work.together(0),
    )  # fmt: skip


# -------------------------------------------------------------- stages, one task per block each


@dataclass(frozen=True)
class Measure:
    """Measurements of the core of a block, one for each series."""

    method: Method
    reader: Reader
    asked: bool  # whether the first value of the scene says which images are wanted

    joins = True

    def __call__(
        self, *windows: Any, core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> list[Any]:
        """Measurements of each series."""
        asked, found = None, []
        if self.asked:
            asked, *scene = scene
            asked = self.reader.split(asked, asked.ndim)
        for number, planes in enumerate(self.reader.places(windows)):
            wanted = None if asked is None else asked[number]
            series = self.reader.series(planes, core, origin, wanted)
            known = [s[number] for s in scene]
            parts = [self.method.measure(s, known) for s in _parts(self.method, series)]
            found.append(self.method.combine(parts))
        return found


@dataclass(frozen=True)
class Combine:
    """Join the measurements of several blocks."""

    method: Method

    def __call__(self, parts: Sequence[list[Any]]) -> list[Any]:
        """Joined measurements of each series."""
        return [self.method.combine(same) for same in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Conclude:
    """Conclude statistics from the measurements of the whole scene."""

    method: Method

    def __call__(self, total: list[Any], *statistics: list[Any]) -> list[Any]:
        """Statistics of each series."""
        known = zip(*statistics, strict=True) if statistics else [()] * len(total)
        return [self.method.conclude(t, k) for t, k in zip(total, known, strict=True)]


@dataclass(frozen=True)
class Predict:
    """The prediction of the core of a block."""

    method: Method
    reader: Reader
    uncertainty: bool

    joins = True

    def __call__(
        self, *windows: Any, core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> Arrays:
        """Mean (*lead, band, y, x), and if requested deviation, of the core."""
        head, found = windows[0].shape[:-3], []
        for number, planes in enumerate(self.reader.places(windows)):
            series = self.reader.series(planes, core, origin, parts=self.method.reads_parts)
            answer = predicted(self.method, series, [s[number] for s in scene], self.uncertainty)
            if answer is None:
                empty = np.full(series.reflectance[..., *core].shape, np.nan, np.float32)
                answer = Prediction(empty, empty if self.uncertainty else None)
            found.append([a for a in (answer.mean, answer.deviation) if a is not None])
        return tuple(self.reader.join(same, head) for same in zip(*found, strict=True))


@dataclass(frozen=True)
class ReconstructSeries:
    """Observe, predict and compose the core of a block with all dates of a place, in one task."""

    method: Method
    reader: Reader
    compose: Compose

    joins = True

    def __call__(
        self, *windows: Any, core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> Arrays:
        """The results of :class:`Compose` for the core, (*lead, ...)."""
        head, tables = windows[0].shape[:-3], []
        looks: Sequence[Any] = ()
        if self.compose.calibrated:
            *windows, gaps, dates = windows  # type: ignore[assignment]
            *scene, tables = scene
            looks = gaps, dates
        images = self.reader.split(np.arange(prod(head)).reshape(head), len(head))
        places = list(np.ndindex(head))
        wide, inner = widened(core, self.compose.sight, windows[0].shape[-2:])
        results: list[NDArray[Any]] = []
        for number, planes in enumerate(self.reader.places(windows)):
            series = self.reader.series(planes, wide, origin, parts=self.method.reads_parts)
            valid = series.clear | series.hidden
            answer = predicted(self.method, series, [s[number] for s in scene], self.compose.stated)
            for date, image in enumerate(images[number]):
                place = places[image]
                known = None
                if looks:
                    shown = [look[*place, ..., *core] for look in looks]
                    known = self.compose.of_date(tables, head, place, shown)
                parts = self.compose.image(
                    planes[0][date, ..., *wide], series.hidden[date, *wide], valid[date, *wide],
                    None if answer is None else answer.at(date), inner, known=known,
                )  # fmt: skip
                if not results:
                    results = [np.empty((*head, *p.shape), p.dtype) for p in parts]
                for result, part in zip(results, parts, strict=True):
                    result[place] = part
        return tuple(results)


def predicted(
    method: Method, series: Series, statistics: Sequence[Any], uncertainty: bool
) -> Prediction | None:
    """Mean, and if requested deviation and flags, of the core; None if nothing is wanted."""
    wanted = np.zeros_like(series.wanted)
    wanted[..., *series.core] = series.wanted[..., *series.core]
    series = replace(series, wanted=wanted)
    asked = wanted[..., *series.core]
    if not asked.any():
        return None
    first = series.origin[0] + series.core[0].indices(wanted.shape[-2])[0]
    results: list[NDArray[Any] | None] = []
    for part in _parts(method, series):
        if not part.wanted.any():
            continue
        answer = method.predict(part, statistics)
        deviation = answer.deviation if uncertainty else None
        found = [a if a is None else a[..., *part.core]
                 for a in (answer.mean, deviation, answer.flags)]  # fmt: skip
        if part is series:
            results = found
            break
        results = results or [_empty(a, asked.shape[-2]) for a in found]
        start, stop, _ = part.core[0].indices(part.hidden.shape[-2])
        top = part.origin[0] + start - first
        for result, values in zip(results, found, strict=True):
            if result is not None:
                result[..., top : top + stop - start, :] = values
    mean, deviation, flags = results
    assert mean is not None
    if flags is not None:  # elsewhere they would depend on which blocks are skipped
        flags = np.where(asked, flags, np.uint8(0))
    if method.needs_radar and series.backscatter is not None:
        heard = np.isfinite(series.backscatter[..., *series.core]).all(1, keepdims=True)
        mean[~np.broadcast_to(heard, mean.shape)] = np.nan
    return Prediction(mean, deviation, flags)


def _empty(part: NDArray[Any] | None, rows: int) -> NDArray[Any] | None:
    """Array for all rows of a block of which some are predicted: NaN, or no flag."""
    if part is None:
        return None
    shape = (*part.shape[:-2], rows, part.shape[-1])
    return np.full(shape, np.nan if part.dtype.kind == "f" else 0, part.dtype)


def _parts(method: Method, series: Series) -> Sequence[Series]:
    """Pieces to process at a time: strips, unless pixels around are needed."""
    return [series] if reach_of(method) else list(strips(series))


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
                shown = gaps[*place, *core], dates[place]
                known[n] = self.compose.of_date(scene[0], lead, place, shown)
        images = [w.reshape(-1, *w.shape[len(lead) :]) for w in windows]
        every = list(zip(*images, strict=True))
        looks = [self._look(planes, core) for planes in every]
        chosen = [n for n, look in enumerate(looks) if look.fillable.any()]
        series = [self._decode(every[n], looks[n].fillable, core, origin) for n in chosen]
        predictions = {}
        if series:
            answer = self.predictor.predict(_joined(series), ())
            for k, n in enumerate(chosen):
                predictions[n] = answer.at(k)
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
            wanted = scipy.ndimage.maximum_filter(wanted, 2 * self.compose.sight + 1)
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
