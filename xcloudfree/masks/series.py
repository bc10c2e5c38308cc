"""The series mask, over the blocks of a labelled scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.blocks import (
    Output,
    Stage,
    Together,
    call_once,
    map_windows,
    reduce_windows,
    side_of,
)
from xcloudfree.core.predictor import Dates, gathered
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.scene import Scene
from xcloudfree.core.times import utc_times
from xcloudfree.core.windows import WHOLE, Area, Encoded, Halo, Mosaic, ranks
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.masks import matched_filter, transients
from xcloudfree.masks.plan import MaskPlan, apply_plan

ENOUGH: Final = 5
"""Number of dates from which a series finds more than each date alone."""

DOUBTFUL_CLASSES: Final = (1, 2, 7)
"""Scene classification: saturated, dark and unclassified, which contain much missed cloud."""

EXAMPLES: Final = 100_000
"""Approximate number of pairs of a pixel and a date that measure how the ground changes."""

CALL: Final = 'mask("scl"), mask("score") or mask("l2a"), which look at each date by itself'


def dates_of(scene: Scene) -> tuple[int, NDArray[np.float64]] | None:
    """Which leading dimension is time, and the day number of each date; None without dates."""
    template = scene.template()
    if "time" not in scene.lead or "time" not in template.coords:
        return None
    times = utc_times(template["time"])
    first = times.min() if times.size else times
    return scene.lead.index("time"), (times - first) / np.timedelta64(1, "D")


def series_mask(scene: Scene, start: MaskPlan | None) -> Any:
    """Mask (*lead, y, x) of the start, and of what the series adds."""
    dates = dates_of(scene)
    if dates is None or len(dates[1]) < ENOUGH:
        found = "no time coordinate" if dates is None else f"{len(dates[1])} dates"
        raise DataError(
            f'mask method "series" compares at least {ENOUGH} dates and the data has {found}',
            fix=f"load a longer interval, or call {CALL}",
            option="load a longer interval, or use --mask l2a",
        )
    optical = scene.optical
    bands = tuple(b for b in matched_filter.CLOUD if optical and b in optical.names)
    if optical is None or len(bands) < 2:
        raise MissingBandError(
            'mask method "series" needs two bands of '
            f"{', '.join(matched_filter.CLOUD)} and the data has {len(bands)}",
            fix="load them, for example B02, B03, B04 and B08",
        )
    axis, days = dates

    # Inputs: reflectance, the mask to start from, and classes that may be wrong.
    classes = scene.classes if start is not None and start.bands == ("SCL",) else None
    groups = [optical.select(bands).planes()]
    groups += [] if start is None else [[apply_plan(start, len(scene.lead))]]
    groups += [] if classes is None else [[classes.data]]
    reader = _Reader(
        axis, tuple(days.tolist()), scene.calibration(), start is not None, classes is not None
    )
    reach = transients.reach()
    work: dict[str, Any] = {
        "lead": len(scene.lead),
        "together": Together(axis, side_of(len(days), len(bands), reach)),
    }

    # Measure on a sample how the ground differs from date to date; then test every pixel.
    size = max(1000, EXAMPLES // len(days))
    sample = reduce_windows(_Draw(reader, size), _Join(size), groups, scene=[], **work)
    spread = call_once(_Learn(reader, bands), [sample])
    (mask,) = map_windows(
        _Judge(reader, bands),
        groups,
        [Output(np.dtype(bool))],
        scene=[spread],
        plan=Halo(reach),
        **work,
    )
    return mask


class _Block(NamedTuple):
    """A series of one place along the dimensions other than time."""

    values: NDArray[np.float32]  # (time, band, y, x), NaN is no data
    given: NDArray[np.bool_]  # (time, y, x)
    doubtful: NDArray[np.bool_]

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """Pixels that are trusted."""
        return np.asarray(np.isfinite(self.values).all(1) & ~self.given & ~self.doubtful)


@dataclass(frozen=True)
class _Reader(Stage, Dates):
    """Convert windows of stored numbers, starting mask and classes to series, and back."""

    calibration: Calibration
    given: bool
    classes: bool

    def series(self, windows: Sequence[Mosaic]) -> Iterator[_Block]:
        """One for each place along the other leading dimensions; decoded image by image."""
        for stored, *others in self.places(windows):
            values = Encoded(stored, self.calibration.decode, stored.shape[1]).decoded()
            masks = [other[..., *WHOLE] for other in others]
            given = masks.pop(0) if self.given else np.zeros(values[:, 0].shape, bool)
            if self.classes:
                doubtful = np.isin(masks.pop(0), DOUBTFUL_CLASSES)
            elif self.given:
                doubtful = np.zeros_like(given)
            else:
                doubtful = transients.doubtful_at_first(values)
            yield _Block(values, given, doubtful)


class _Sample(NamedTuple):
    """Series of the drawn pixels, in the order of the hashes of their places."""

    rank: NDArray[np.uint64]
    values: NDArray[np.float32]  # (pixel, time, band)
    trusted: NDArray[np.bool_]  # (pixel, time)


@dataclass(frozen=True)
class _Draw:
    """The part of the sample that lies in the core of a block, for each series."""

    reader: _Reader
    size: int

    joins = True

    def __call__(
        self, *windows: Mosaic, core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> list[_Sample]:
        """Samples."""
        out = []
        for block in self.reader.series([Mosaic([[[w[..., *core]]]]) for w in windows]):
            shape = block.given.shape[1:]
            rows, columns = (o + (s.start or 0) for o, s in zip(origin, core, strict=True))
            rank = ranks((rows, columns), (shape[0], shape[1])).ravel()
            trusted = block.trusted.reshape(len(block.given), -1)
            able = np.flatnonzero(trusted.sum(0) > matched_filter.FEWEST)
            best = able[np.argsort(rank[able])[: self.size]]
            values = block.values.reshape(*block.values.shape[:2], -1)[..., best]
            out.append(_Sample(rank[best], np.moveaxis(values, -1, 0), trusted[:, best].T))
        return out


@dataclass(frozen=True)
class _Join:
    """Samples of several blocks as one, for each series."""

    size: int

    def __call__(self, parts: Sequence[list[_Sample]]) -> list[_Sample]:
        """Samples."""
        return [gathered(same, self.size) for same in zip(*parts, strict=True)]


@dataclass(frozen=True)
class _Learn:
    """Measure how the ground of each series differs from date to date."""

    reader: _Reader
    bands: tuple[str, ...]

    def __call__(self, samples: list[_Sample]) -> list[matched_filter.Spread]:
        """Spreads."""
        out = []
        for sample in samples:
            values = np.nan_to_num(np.ascontiguousarray(sample.values.transpose(1, 2, 0)))
            trusted = np.ascontiguousarray(sample.trusted.T)
            out.append(matched_filter.spread_of(values, trusted, self.reader.ordered, self.bands))
        return out


@dataclass(frozen=True)
class _Judge(Stage):
    """The mask of the core of a block."""

    reader: _Reader
    bands: tuple[str, ...]

    joins = True

    def __call__(
        self, *windows: Mosaic, core: Area, origin: tuple[int, int], scene: Sequence[Any]
    ) -> tuple[NDArray[np.bool_]]:
        """Mask (*lead, y, x)."""
        masks = [
            transients.occluded(*block, self.reader.ordered, self.bands, spread)[..., *core]
            for block, spread in zip(self.reader.series(windows), scene[0], strict=True)
        ]
        return (self.reader.join(masks, windows[0].shape[:-3]),)
