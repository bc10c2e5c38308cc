"""How far off a predictor is on a scene, from its own clear ground: pieces, tables, attributes.

Another pass over the scene, lazy where it is. The pieces are drawn by a hash of their place, and
each is one block whatever the chunks are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.blocks import (
    Output,
    SceneValue,
    Stage,
    Together,
    call_once,
    for_each,
    is_lazy,
    map_windows,
    reduce_windows,
    side_of,
    spread,
)
from xcloudfree.core.predictor import Dates, Predictor, gathered
from xcloudfree.core.scene import Scene
from xcloudfree.core.times import utc_times
from xcloudfree.core.windows import Area, Halo, Tiles, ranks, widened
from xcloudfree.exceptions import DataError
from xcloudfree.reconstruct.conformal import DISTANCES, GAPS, Scores, Table, learn
from xcloudfree.reconstruct.dates import EPOCH
from xcloudfree.reconstruct.hiding import Part, levels_of, reads_dates, scores
from xcloudfree.reconstruct.observe import BYTE, Arrays, Reader

SIDE: Final = 64
"""Pixels of the side of a piece, like the tiles of ``kernel-fusion``."""

PIECES: Final = 4
"""Pieces of a scene in which ground is hidden."""

NOMINAL: Final = 0.9
"""Level used for deviations without an interval; they do not depend on it."""


@dataclass(frozen=True)
class Calibrated:
    """What a scene taught of a predictor, and what the blocks need to apply it."""

    table: SceneValue  # one table for each series, shared by its dates
    windows: list[list[Any]]  # classes of gaps, and positions of the dates in order of time


def calibrate(
    scene: Scene,
    predictor: Predictor,
    reader: Reader,
    groups: Sequence[Sequence[Any]],
    interval: float | None,
    blend: bool,
) -> Calibrated:
    """Hide ground of some pieces again, compare, and conclude; groups of arrays as for `reader`."""
    lead, like = len(scene.lead), scene.template().data
    axis = lead_axis(scene)
    when = None if axis is None else np.array(reader.days or _days(scene))
    count = 1 if axis is None else like.shape[axis]
    levels: Any = spread(np.zeros((1,) * like.ndim, np.uint8), like)
    asked: Sequence[int] = range(len(GAPS))
    if axis is None or count == 1 or not reads_dates(predictor):
        asked = [0]
    else:
        assert when is not None
        bands = len(reader.look.picked)
        levels, wanted = map_windows(
            Levels(replace(reader, time=axis, days=tuple(when.tolist()), sar=None, coarse=None)),
            groups[: 1 + reader.look.mask.separate],
            [Output(BYTE), Output(np.dtype(bool))],
            lead=lead,
            plan=Halo(reader.margin),
            together=Together(axis, side_of(count, bands, 0)),
        )
        if not is_lazy(levels):
            asked = np.unique(levels[wanted]).tolist()
    side = max(SIDE, predictor.plan.side) if isinstance(predictor.plan, Tiles) else SIDE
    areas = pieces(like.shape[-2:], side)
    days = None if when is None else tuple(when.tolist())
    found = []
    for number, area in enumerate(areas):
        area, core = widened(area, reader.margin, like.shape[-2:])  # so that masks are whole
        start = (area[0].start, area[1].start)
        hide = Hide(
            predictor, reader, Dates(axis, days), blend, tuple(asked),
            Part(number, len(areas)), start, core,
        )  # fmt: skip
        found.append(
            reduce_windows(
                hide,
                gather,
                [[_cut(array, area) for array in group] for group in groups],
                lead=lead,
                scene=[],
                together=None if axis is None else Together(axis, side + 2 * reader.margin),
            )
        )
    conclude = Learn(NOMINAL if interval is None else interval, days, predictor.name)
    table = call_once(conclude, found)
    order = np.zeros(1) if when is None else np.argsort(np.argsort(when, kind="stable"))
    shape = tuple(count if k == axis else 1 for k in range(lead))
    places = spread(order.astype(np.int32).reshape(*shape, 1, 1), like)
    own = axis if reader.time is None else None  # blocks with all dates share one table anyway
    return Calibrated(for_each(table, own, count), [[levels], [places]])


def pieces(shape: tuple[int, ...], side: int) -> list[Area]:
    """Rows and columns of the pieces of a scene, drawn by a hash of their place."""
    starts = [range(0, max(1, n - side + 1), side) for n in shape]
    corners = [(y, x) for y in starts[0] for x in starts[1]]
    corners.sort(key=lambda corner: int(ranks(corner, (1, 1))[0, 0]))
    ends = [[min(start + side, n) for start, n in zip(c, shape, strict=True)] for c in corners]
    return [
        (slice(y, bottom), slice(x, right))
        for (y, x), (bottom, right) in zip(corners[:PIECES], ends, strict=False)
    ]


def described(table: SceneValue, interval: float, bands: Sequence[str]) -> dict[str, Any]:
    """Attributes of bounds; what the pieces taught only where it was computed already."""
    said: dict[str, Any] = {"interval": interval, "interval_method": "conformal, hidden dates"}
    if is_lazy(table):
        return said
    tables = [one for each in table.values() for one in each]  # type: ignore[union-attr]
    if tables:
        said["interval_dates"] = int(min(one.dates.max() for one in tables))
    if len({id(one) for one in tables}) == 1:
        one = tables[0]
        means = {
            f"gap over {gap:g} days": {
                band: [round(float(v), 4) for v in np.nanmean(one.half[:, k, :, b], 0)]
                for b, band in enumerate(bands)
            }
            for k, gap in enumerate(GAPS)
            if one.dates[k].any()
        }
        said["interval_quantiles"] = json.dumps(means)
        said["interval_distances"] = list(DISTANCES)
    return said


def lead_axis(scene: Scene) -> int | None:
    """Which leading dimension is time, where it holds several dates."""
    return scene.lead.index("time") if scene.is_series else None


def _days(scene: Scene) -> NDArray[np.float64]:
    """The day of each image of a series, or its number where that is not known."""
    template = scene.template()
    if "time" not in template.coords or template["time"].dtype.kind != "M":
        return np.arange(template.sizes["time"], dtype=np.float64)
    days: NDArray[np.float64] = (utc_times(template["time"]) - EPOCH) / np.timedelta64(1, "D")
    return days


def _cut(array: Any, area: Area) -> Any:
    """A piece of an array, in one chunk of y and x."""
    piece = array[..., *area]
    return piece.rechunk({piece.ndim - 2: -1, piece.ndim - 1: -1}) if is_lazy(piece) else piece


# ------------------------------------------------------------------ stages


@dataclass(frozen=True)
class Levels:
    """Class of the gap of each pixel of the core of a block, and whether it is wanted."""

    reader: Reader

    joins = True

    def __call__(self, *windows: Any, core: Area) -> Arrays:
        """Both (*lead, y, x)."""
        found, head = [], windows[0].shape[:-3]
        for planes in self.reader.places(windows):
            series = self.reader.series(planes, core, parts=True)
            assert series.days is not None
            levels = levels_of(series.clear[..., *core], series.days)
            found.append((levels, series.wanted[..., *core]))
        return tuple(self.reader.join(same, head) for same in zip(*found, strict=True))


@dataclass(frozen=True)
class Hide(Stage):
    """Scores of a piece, for each series or image without dates."""

    predictor: Predictor
    reader: Reader
    dates: Dates
    blend: bool
    levels: tuple[int, ...]
    part: Part
    start: tuple[int, int]  # row and column of the windows
    core: Area  # the piece in these

    joins = True

    def __call__(
        self, *windows: Any, core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> list[Scores]:
        """Those of each place along the other dimensions."""
        lead, days = windows[0].ndim - 3, self.dates.days
        reader = replace(self.reader, time=self.dates.time, days=days)
        if days is None:  # each image by itself
            windows = tuple(w.each(lambda a: a.reshape(-1, 1, *a.shape[lead:])) for w in windows)
            days = (0.0,)
            reader = replace(self.reader, time=1, days=days)
        when, found = np.sort(np.array(days), kind="stable"), []
        for planes in reader.places(windows):
            series = reader.series(planes, self.core, self.start).cut(self.core)
            if self.reader.time is None:  # a predictor of single images gets no days
                series = replace(series, days=None)
            found.append(scores(series, when, self.predictor, self.blend, self.levels, self.part))
        return found


def gather(parts: Sequence[list[Scores]]) -> list[Scores]:
    """Scores of several blocks as one, for each series."""
    return [gathered(same) for same in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Learn:
    """Scores of all pieces to a table."""

    interval: float
    days: tuple[float, ...] | None
    name: str

    def __call__(self, *pieces: list[Scores]) -> list[Table]:
        """Those of each series."""
        days = np.zeros(1) if self.days is None else np.sort(self.days, kind="stable")
        return [self._table(gathered(same), days) for same in zip(*pieces, strict=True)]

    def _table(self, found: Scores, days: NDArray[np.float64]) -> Table:
        if not len(found.rank):
            raise DataError(
                f"nothing of the scene is clear that {self.name!r} could be judged on, and "
                "intervals come from hidden clear ground",
                fix="call reconstruct(interval=None, uncertainty=False), or load a longer series",
                option="leave out --interval and --uncertainty, or load a longer series",
            )
        return learn(found, days, self.interval)
