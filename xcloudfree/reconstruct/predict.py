"""Series of a scene: what its methods measure, and blocks that are reconstructed in one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.blocks import (
    Output,
    SceneValue,
    call_once,
    is_lazy,
    map_windows,
    reduce_windows,
)
from xcloudfree.core.devices import trim
from xcloudfree.core.predictor import Booleans, Prediction, Series
from xcloudfree.core.windows import LARGEST, Area, rim, widened
from xcloudfree.methods.base import Method
from xcloudfree.reconstruct.compose import Compose
from xcloudfree.reconstruct.inputs import Inputs
from xcloudfree.reconstruct.observe import BYTE, FLOAT, Arrays, Reader, strips

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
    if not known or any(map(is_lazy, chain.from_iterable(work.groups))):
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
    like = next(filter(is_lazy, chain.from_iterable(groups)), None)
    if like is None:
        return results
    first, last = like.chunks[: work.lead], like.chunks[-2:]  # those of the input again
    return tuple(r.rechunk((*first, *r.chunks[work.lead : -2], *last)) for r in results)


def estimated(work: Inputs, uncertainty: bool) -> tuple[Any, ...]:
    """Mean, and if requested deviation and flags, of the wanted pixels (*lead, [band,] y, x)."""
    outputs = [Output(FLOAT, len(work.reader.look.picked))] * (1 + uncertainty)
    outputs += [Output(BYTE)] * bool(work.method.flags)
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
        _trim_for(windows)
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
        """Mean (*lead, band, y, x), and if requested deviation and flags, of the core."""
        head, found = windows[0].shape[:-3], []
        for number, planes in enumerate(self.reader.places(windows)):
            series = self.reader.series(planes, core, origin, parts=self.method.reads_parts)
            answer = predicted(self.method, series, [s[number] for s in scene], self.uncertainty)
            if answer is None:
                hidden = series.hidden[..., *core]
                shape = (len(hidden), series.reflectance.shape[1], *hidden.shape[1:])
                empty = np.full(shape, np.nan, np.float32)
                flags = np.zeros(hidden.shape, np.uint8) if self.method.flags else None
                answer = Prediction(empty, empty if self.uncertainty else None, flags)
            unasked = ~series.wanted[..., *core].any((1, 2))
            answer.mean[unasked] = np.nan
            if answer.deviation is not None:
                answer.deviation[unasked] = np.nan
            planes = (answer.mean, answer.deviation, answer.flags)  # type: ignore[assignment]
            found.append([a for a in planes if a is not None])
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
        _trim_for(windows)
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
            asked = np.asarray(series.wanted[..., *wide].any((1, 2)))
            for date, image in enumerate(images[number]):
                place = places[image]
                known = None
                if looks:
                    shown = [look[*place, ..., *core] for look in looks]
                    known = self.compose.of_date(tables, head, place, shown)
                found = answer.at(date) if answer is not None and asked[date] else None
                parts = self.compose.image(
                    planes[0][date, ..., *wide], series.hidden[date, *wide], valid[date, *wide],
                    found, inner, known=known,
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
        results = results or [_empty(a, asked) for a in found]
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


def _empty(part: NDArray[Any] | None, asked: Booleans) -> NDArray[Any] | None:
    """Array for all rows of a block of which some are predicted: NaN, or no flag."""
    if part is None:
        return None
    out = np.zeros((*part.shape[:-2], *asked.shape[-2:]), part.dtype)
    if part.dtype.kind == "f":
        out[asked.any((1, 2))] = np.nan
    return out


def _trim_for(windows: Sequence[Any]) -> None:
    """Return freed memory before a large block, whose windows others have read."""
    if prod(windows[0].shape) > LARGEST:
        trim()


def _parts(method: Method, series: Series) -> Sequence[Series]:
    """Pieces to process at a time: strips, unless pixels around are needed."""
    return [series] if rim(method.plan) else list(strips(series))
