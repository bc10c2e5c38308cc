"""Kernel fusion of one window of a scene: prior, gate, process and bounds, tile by tile.

The result does not depend on where a window ends, if it includes :data:`REACH` pixels around the
wanted pixels, or ends with the scene. Tiles are processed in panels, so that what is derived does
not grow with the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.core.devices import trim
from xcloudfree.core.progress import track
from xcloudfree.core.windows import Area, ranks
from xcloudfree.methods.kernel_fusion import embedding, gate, mixing, prior, process
from xcloudfree.methods.kernel_fusion.bounds import Range
from xcloudfree.methods.kernel_fusion.corrected import Corrected
from xcloudfree.methods.kernel_fusion.layout import Tile, inside_of, own_part, panels
from xcloudfree.methods.kernel_fusion.predictors import Rows
from xcloudfree.methods.kernel_fusion.settings import WINDOWS, Settings
from xcloudfree.methods.kernel_fusion.window import Window, pixels_of, sample_of

__all__ = ["Answer", "Window", "predict", "reach", "sample_of"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]

EVEN: Final = 64
"""Multiple to which the number of rows of matrix products is padded."""

FLAGS: Final = ("predicted_without_radar", "bounded", "visible_but_set_aside")
"""Meanings of the bits of :attr:`Answer.flags`: hidden pixels that were predicted without radar;
that were limited to the range of the place; visible pixels nearby that look like missed cloud."""

LEAST: Final = 5
"""Number of visible pixels of a tile below which the result is the prior."""

AROUND: Final = max(max(WINDOWS) // 2, gate.RINGS + 1)
"""Pixels around its input that a tile needs."""


class Answer(NamedTuple):
    """The prediction, for each target."""

    # (target, band, y, x); NaN where not wanted or unpredictable, undefined beyond the core
    mean: Floats
    deviation: Floats | None  # of the same shape, if requested
    # Visible pixels that were discarded, in tiles with wanted pixels, (target, y, x). They have no
    # mean: nothing should be blended with their values.
    doubted: Booleans
    flags: NDArray[np.uint8]  # bits of FLAGS, (target, y, x)
    visible: NDArray[np.int64]  # visible pixels of the tiles' own ones, (target,)
    aside: NDArray[np.int64]  # discarded ones among them
    bounded: NDArray[np.int64]  # wanted pixels that were limited to the range of the place
    silent: NDArray[np.int64]  # wanted pixels that were predicted without radar

    def of(self, area: Area) -> Answer:
        """Views of a part of the window."""
        planes = (None if a is None else a[..., *area] for a in self[:4])
        return Answer(*planes, *self[4:])  # type: ignore[arg-type,call-arg]


def reach(settings: Settings) -> int:
    """Pixels around wanted ones that a window must include."""
    return settings.side + settings.blend + settings.margin + AROUND


def predict(
    window: Window,
    wanted: Booleans,
    targets: prior.Targets,
    statistics: prior.Statistics,
    settings: Settings,
    *,
    core: Area = (slice(None), slice(None)),
    deviation: bool = False,
    device: torch.device | str = "cpu",
) -> Answer:
    """Predict wanted pixels (target, y, x) of a core that has :func:`reach` pixels around."""
    if len(window.days) == 1:
        settings = settings.single()
    count, bands = len(targets.days), window.reflectance.shape[1]
    # zeros take no memory until something is added, which happens in rows of the core only
    sums = [np.zeros((count, bands, *wanted.shape[1:]), np.float32) for _ in range(1 + deviation)]
    doubted, flags = np.zeros(wanted.shape, bool), np.zeros(wanted.shape, np.uint8)
    answer = Answer(
        sums[0], sums[1] if deviation else None, doubted, flags, *np.zeros((4, count), np.int64)
    )
    every = list(panels(window.origin, np.asarray(wanted.any(0)), AROUND, settings))
    for area, tiles in track(every, "predicting"):
        part, asked, inner = (
            window.cut(area),
            wanted[..., *area],
            _overlap(core, area, wanted.shape),
        )
        work = None  # frees what was derived from the panel before
        trim()
        work = _Work(part, tiles, statistics, settings, torch.device(device), deviation, targets)
        for k in track(np.flatnonzero(asked.any((1, 2))).tolist(), "predicting dates"):
            day, own = float(targets.days[k]), int(targets.own[k])
            work.target(k, day, own, asked[k], answer.of(area), inner)
    for k in np.flatnonzero(wanted.any((1, 2))).tolist():
        told = (wanted[k] & ~doubted[k])[core]
        for planes in sums:
            np.copyto(planes[k][..., *core], np.nan, where=~told)
    return answer


def _overlap(core: Area, area: Area, shape: tuple[int, ...]) -> Area:
    """The part of an area that lies in the core, relative to the area."""
    ends = (s.indices(n)[:2] for s, n in zip(core, shape[-2:], strict=True))
    rows, columns = (
        slice(max(start - part.start, 0), max(min(stop, part.stop) - part.start, 0))
        for (start, stop), part in zip(ends, area, strict=True)
    )
    return rows, columns


class _Work:
    """Data prepared once for a panel and used by all targets."""

    def __init__(
        self,
        window: Window,
        tiles: list[Tile],
        statistics: prior.Statistics,
        settings: Settings,
        device: torch.device,
        deviation: bool,
        targets: prior.Targets,
    ) -> None:
        self.settings, self.statistics, self.deviation = settings, statistics, deviation
        self.shape: tuple[int, int] = window.clear.shape[1:]
        self.pixels = pixels_of(window, device)
        self.shown = self.pixels.clear
        if not statistics.trusted.all():
            trusted = torch.as_tensor(statistics.trusted, device=device)
            self.pixels = self.pixels._replace(clear=self.shown & trusted[:, None])
        self.precision = torch.as_tensor(statistics.precision, dtype=torch.float32, device=device)
        self.range = Range.of(self.pixels, self.shape, statistics, settings.bound)
        self.pixels = self.pixels._replace(clear=self.range.ordinary(self.pixels))
        unknown = ~self.pixels.clear[..., None]
        self.pixels.values[..., : self.pixels.bands].masked_fill_(unknown, 0.0)
        self.window = window
        self.prior = Corrected(self.pixels, statistics, targets)
        self.tiles = tiles
        self.rank = torch.as_tensor(
            (ranks(window.origin, self.shape) >> np.uint64(40)).astype(np.float32), device=device
        )
        self.place = torch.stack(
            torch.meshgrid(*(torch.arange(n, device=device) for n in self.shape), indexing="ij"), -1
        ).float()
        self.index = torch.arange(self.rank.numel(), device=device).reshape(self.shape)
        self._courses: dict[int, embedding.Courses | None] = {}

    def target(
        self, k: int, day: float, own: int, wanted: Booleans, answer: Answer, inner: Area
    ) -> None:
        """Add the answer of one target, of reflectance that in the core alone."""
        bands = self.pixels.bands
        flags = torch.zeros(self.shape, dtype=torch.uint8, device=self.rank.device)
        doubted = torch.zeros(self.shape, dtype=torch.bool, device=self.rank.device)
        total = self.rank.new_zeros((*self.shape, bands))
        spread = torch.zeros_like(total) if self.deviation else total
        ask = torch.as_tensor(wanted, device=total.device)
        shown = self.shown[own] if own >= 0 else torch.zeros_like(ask).ravel()
        rows, *guess = self.prior.predict(k)
        date = self._date(day, own, rows, guess, shown, ask)
        counts = np.zeros(4, np.int64)
        for number, tile in enumerate(self.tiles):
            if bool(ask[tile.core].any()):
                counts += self._tile(number, tile, date, total, spread, doubted, flags)
        for sums, one in zip(answer[4:], counts, strict=True):
            sums[k] += one
        answer.doubted[k] |= doubted.cpu().numpy()
        answer.flags[k] |= (flags | (doubted & ask).byte() << 2).cpu().numpy()
        for planes, values in ((answer.mean, total), (answer.deviation, spread)):
            if planes is not None:
                planes[k, :, *inner] += values[inner].permute(2, 0, 1).cpu().numpy()

    def _date(
        self,
        day: float,
        own: int,
        rows: Rows,
        guess: Sequence[Tensor],
        shown: Tensor,
        ask: Tensor,
    ) -> _Date:
        """Values of a target relative to its prior."""
        mean, sigma = guess
        bands = self.pixels.bands
        left = torch.zeros_like(mean)
        if own >= 0:
            image = torch.as_tensor(self.window.reflectance[own], device=mean.device)
            left = (image.reshape(bands, -1).mT - mean) / sigma
            shown = shown & torch.isfinite(left).all(1)
            left = torch.where(shown[:, None], left, 0.0)
        visible = shown.reshape(self.shape)
        ring = torch.as_tensor(gate.rings(visible.cpu().numpy()), device=mean.device)
        middle = gate.median_band(left).reshape(self.shape)
        left = left.reshape(*self.shape, bands)
        level = prior.classes(rows) // 2
        return _Date(day, rows, level, mean, sigma, visible, left, middle, ring, ask)

    def _tile(
        self,
        number: int,
        tile: Tile,
        date: _Date,
        total: Tensor,
        spread: Tensor,
        doubted: Tensor,
        flags: Tensor,
    ) -> NDArray[np.int64]:
        """Add the result of one tile and its flags; return its counts."""
        settings, bands = self.settings, self.pixels.bands
        index = self.index
        region = index[tile.region]
        visible = date.shown[tile.region]
        ask = date.ask[tile.core]
        where = index[tile.core][ask]
        mean, sigma = date.mean, date.sigma
        base, sigma = mean.index_select(0, where), sigma.index_select(0, where)
        residuals = date.residuals[tile.region]
        told = visible
        if settings.gate and len(self.pixels.days) > 1:  # a single date cannot be tested
            level = date.level[region[visible]].median() if visible.any() else 0
            precision = self.precision[min(int(level), prior.NEVER - 1)]
            around = region.ravel()
            dark = -mean.index_select(0, around) / date.sigma.index_select(0, around)
            told = gate.believed(
                residuals,
                date.middle[tile.region],
                visible,
                date.ring[tile.region],
                precision,
                dark.view_as(residuals),
            )
        inside = own_part(tile, settings).to(total.device)
        doubted[tile.region] |= visible & ~told & inside
        counts = [int((visible & inside).sum()), int((visible & ~told & inside).sum())]
        if int(told.sum()) >= LEAST:
            added, error = self._correct(number, tile, date, region, told, residuals, where)
            answer = base + sigma * added
            error = sigma * error if error is not None else sigma
        else:
            answer, error = self._mixed(base, where, date), sigma
        low, high = self.range.limits(where, sigma)
        bounded = torch.where(torch.isfinite(low + high), answer.clamp(low, high), answer)
        mine = inside_of(tile, inside)[ask]
        changed = ((bounded != answer) & torch.isfinite(answer)).any(1)
        silent = ~date.rows.heard[where]
        counts += [int((changed & mine).sum()), int((silent & mine).sum())]
        bits = silent.byte() | changed.byte() << 1
        flags.view(-1)[where] = torch.where(
            mine & ~date.shown.view(-1)[where], bits, flags.view(-1)[where]
        )
        weight = tile.weight.to(total)[ask][:, None]
        total.view(-1, bands)[where] += weight * bounded
        if self.deviation:
            spread.view(-1, bands)[where] += weight * error
        return np.array(counts)

    def _correct(
        self,
        number: int,
        tile: Tile,
        date: _Date,
        region: Tensor,
        told: Tensor,
        residuals: Tensor,
        where: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """Contribution of the process, in deviations of the prior."""
        settings = self.settings
        support = self._support(told, date.ring[tile.region], self.rank[tile.region])
        chosen = region.ravel()[support]
        # Matrix products may round the rows of an odd end differently from the others, so their
        # number is made even, and the result of a pixel depends on no other wanted pixel.
        every = torch.cat([chosen, where, where[:1].expand(-len(where) % EVEN)])
        spectrum = self._spectrum(date.rows.z, region, every)
        course = self._course(number, tile, date.day, every, region)
        place = self.place.view(-1, 2).index_select(0, every)
        place -= self.place.view(-1, 2)[region[0, 0]]
        points = process.points(place, spectrum, course, settings)
        count = len(chosen)
        known = process.Points(*((a[:count], b[:count]) for a, b in points))
        asked = process.Points(*((a[count:], b[count:]) for a, b in points))
        y = residuals.reshape(-1, self.pixels.bands).index_select(0, support)
        fitted = process.fit(known, y.clamp(-settings.largest, settings.largest), settings)
        mean, error = process.predict(fitted, asked, settings, self.deviation)
        return mean[: len(where)], error if error is None else error[: len(where)]

    def _support(self, told: Tensor, ring: Tensor, rank: Tensor) -> Tensor:
        """Positions in the region of the pixels that support the process, by their hashes."""
        settings = self.settings
        if settings.edge_weight != 1:
            rank = torch.where(ring <= settings.edge, rank / settings.edge_weight, rank)
        able = told.ravel().nonzero().ravel()
        if len(able) <= settings.support:
            return able
        best = rank.ravel()[able].topk(settings.support, largest=False, sorted=False).indices
        return able[best.sort().values]

    def _spectrum(self, z: Tensor, region: Tensor, every: Tensor) -> Tensor:
        """Standardised predictors, without those that do not vary over the tile."""
        thin = z.index_select(0, region.ravel()[:: embedding.THIN])
        centre = thin.mean(0)
        scale = (thin - centre).square_().mean(0).sqrt_()
        varies = scale > 1e-4 * (1e-3 + thin.abs().mean(0))
        found = (z.index_select(0, every) - centre) / torch.where(varies, scale, torch.inf)
        return found[:, 1:]

    def _course(self, number: int, tile: Tile, day: float, every: Tensor, region: Tensor) -> Tensor:
        """Scores of the change over time."""
        if number not in self._courses:
            clear, values = (
                a.view(len(a), *self.shape, *a.shape[2:])[:, *tile.region].flatten(1, 2)
                for a in (self.pixels.clear, self.pixels.values[..., : self.pixels.bands])
            )
            self._courses[number] = embedding.courses(
                values, clear, self.pixels.days, self.settings
            )
        found = self._courses[number]
        if found is None:
            return self.rank.new_zeros((len(every), 0))
        width, top = self.shape[1], (tile.region[0].start, tile.region[1].start)
        inner = (every // width - top[0]) * region.shape[1] + every % width - top[1]
        return embedding.scores(found, day, inner, self.settings)

    def _mixed(self, base: Tensor, where: Tensor, date: _Date) -> Tensor:
        """The prior of a wholly hidden date, mixed with a median and an interpolation."""
        if len(self.pixels.days) == 1:
            return base
        middle = mixing.median(self.pixels, date.day, 0.0, where)
        line = date.rows.z.index_select(0, where)[:, 1 : 1 + base.shape[1]]
        there = torch.isfinite(middle).all(1)
        mix = torch.as_tensor(self.statistics.mix, dtype=base.dtype, device=base.device)
        level = date.level[where]  # without a clear date there is no line either
        share = torch.where(
            level[:, None] < len(mix), mix[level.clamp(max=len(mix) - 1), there.long()], 0.0
        )
        others = torch.stack([torch.where(there[:, None], middle, base), line]) - base
        return base + (share.mT[..., None] * others).sum(0)


class _Date(NamedTuple):
    """One target: its predictors and prior (pixel, ...), visible and wanted pixels (y, x)."""

    day: float
    rows: Rows
    level: Tensor  # of the gap of each pixel, (pixel,)
    mean: Tensor
    sigma: Tensor
    shown: Tensor
    residuals: Tensor  # (y, x, band) in deviations of the prior, 0 where not visible
    middle: Tensor  # the median band of these, (y, x)
    ring: Tensor  # from gate.rings, (y, x)
    ask: Tensor
