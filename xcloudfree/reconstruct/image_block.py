"""A block of single images, observed, predicted and composed in one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.blocks import Stage
from xcloudfree.core.predictor import Booleans, Floats, Nearest, Predictor, Series
from xcloudfree.core.radiometry import SarCalibration
from xcloudfree.core.windows import Area, widened
from xcloudfree.reconstruct.compose import Compose, OfDate
from xcloudfree.reconstruct.observe import Arrays, Observe


@dataclass(frozen=True)
class ReconstructBlock(Stage):
    """Observe, predict and compose the core of a block of single images, in one task."""

    observe: Observe
    predictor: Predictor
    compose: Compose
    sar: SarCalibration | None  # of the second window, if the predictor reads backscatter
    context: int = 0  # windows with parts of the context

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
