"""Methods that fuse images: fine and coarse ones (STARFM), reflectance and backscatter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, ClassVar, Final, Self

import numpy as np

from xcloudfree.core.box_sums import fading_sums
from xcloudfree.core.windows import Area
from xcloudfree.methods import coarse, component_substitution, idw, local_regression, wavelets
from xcloudfree.methods import starfm as starfm_kernel
from xcloudfree.methods.base import Booleans, Doubles, Floats, Method, Prediction, Series
from xcloudfree.methods.options import Option, labelled, positive, whole


@dataclass(frozen=True)
class Starfm(Method):
    """The nearest clear dates, changed by what a coarse sensor says changed."""

    # The nearest date before and the nearest after make two pairs; where only one shows the ground
    # it stands alone, and where neither does the next two serve. Without images of a coarse sensor,
    # means of the clear pixels around stand in for it, on the date itself and on the others: then
    # nothing is predicted where the date shows nothing within reach. Images that are given
    # (`methods.get("starfm", coarse=modis)`: MODIS, Sentinel-3) must have the bands, the dates and
    # the grid of the scene, as reflectance; where they have no data on a date nothing is predicted
    # of it.

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "coarse": Option(
            "a Dataset or DataArray of reflectance",
            lambda v: hasattr(v, "dims") and hasattr(v, "coords"),
        ),
        "pairs": whole(1, 2),
        "window": whole(3, 255, odd=True),
        "classes": whole(1, 1000),
        "uncertainty": Option("reflectance above 0, such as 0.005", positive),
    }

    temporal: bool = True
    reach: int = coarse.REACH + starfm_kernel.REACH
    pairs: int = 2  # dates that a value comes from, 1 or 2
    window: int = starfm_kernel.WINDOW  # width in px that similar pixels are sought in, odd
    classes: int = 4  # kinds of land cover: pixels within 2 deviations / classes are similar
    uncertainty: float = 0.005  # standard deviation of reflectance of either sensor

    def set(self, **options: Any) -> Self:
        """See :meth:`Method.set`; given images need nothing beyond the window."""
        name = labelled(self.name, options)
        images = options.pop("coarse", self.images)
        found = replace(self, name=name, images=images, **options)
        around = 0 if images is not None else coarse.REACH
        return replace(found, reach=around + found.window // 2)

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        out = np.full(series.reflectance.shape, np.nan, np.float32)
        for date, wanted in enumerate(series.wanted):
            if wanted.any():
                area = self._around(wanted)
                out[date][:, *area] = self._image(series.cut(area), date)
        return Prediction(out)

    def _around(self, wanted: Booleans) -> Area:
        """The smallest window with all wanted pixels and what influences them."""
        first = [np.flatnonzero(wanted.any(axis)) for axis in (1, 0)]
        rows, columns = (slice(max(i[0] - self.reach, 0), i[-1] + 1 + self.reach) for i in first)
        return rows, columns

    def _image(self, series: Series, date: int) -> Floats:
        """One date, (band, y, x)."""
        clear = series.clear
        if series.coarse is None:
            seen = np.asarray(fading_sums(clear[date].astype(np.float64)) > 0)
        else:
            seen = np.asarray(np.isfinite(series.coarse[date]).all(0))
        left = series.wanted[date] & seen  # elsewhere the change is not known
        out = np.full(series.reflectance.shape[1:], np.nan, np.float32)
        for dates in _nearest(series, date, self.pairs):
            if not left.any():
                break
            use = [d for d in dates if (clear[d] & left).any()]
            if not use:
                continue
            fine = [np.where(clear[d], series.reflectance[d], np.float32(np.nan)) for d in use]
            then, now = zip(
                *(self._coarse(series, f, d, date) for f, d in zip(fine, use, strict=True)),
                strict=True,
            )
            found = starfm_kernel.starfm(
                np.stack(fine), np.stack(then), np.stack(now), left,
                window=self.window, classes=self.classes, uncertainty=self.uncertainty,
            )  # fmt: skip
            out[:, left] = found[:, left]
            left &= np.isnan(out).any(axis=0)
        return out

    def _coarse(self, series: Series, fine: Floats, then: int, now: int) -> coarse.CoarsePair:
        if series.coarse is not None:
            return coarse.CoarsePair(series.coarse[then], series.coarse[now])
        return coarse.coarse_pair(fine, series.reflectance[now], series.clear[now])


@dataclass(frozen=True)
class LocalRegression(Method):
    """Regression of reflectance on backscatter in a moving window."""

    reach: int = local_regression.REACH
    polarisations: tuple[str, ...] = ("VV", "VH")

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        assert series.backscatter is not None
        images = zip(series.reflectance, series.backscatter, series.clear, strict=True)
        return Prediction(np.stack([local_regression.local_regression(*i) for i in images]))


@dataclass(frozen=True)
class Substitution(Method):
    """Inverse-distance fill, a component of which gives way to backscatter."""

    reach: int = idw.REACH
    polarisations: tuple[str, ...] = ("VV", "VH")
    component: component_substitution.Component = "ihs"  # which one
    match: component_substitution.Match = "spread"  # how backscatter is brought to it

    def passes(self, bands: int) -> tuple[tuple[int, int], ...]:
        """One: means and covariances of the bands and backscatter."""
        return (((bands + 2) ** 2, 2 * bands + 2),)

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """See :meth:`Method.measure`."""
        out = []
        for image, radar, clear in _images(series):
            intensity = component_substitution.backscatter_intensity(radar)
            planes = np.concatenate([image, intensity[None]])[:, *core]
            out.append(component_substitution.joint_sums(planes, clear[core]).ravel())
        return np.stack(out)

    def conclude(self, totals: Doubles, known: Sequence[Doubles]) -> Doubles:
        """Weights, injection, offset and gain."""
        side = round(totals.shape[1] ** 0.5)
        fits = [
            component_substitution.fit_substitution(
                row.reshape(side, side), self.component, self.match
            )
            for row in totals
        ]
        return np.stack([[*f.weights, *f.injection, f.offset, f.gain] for f in fits])

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        out = []
        images = zip(_images(series), series.wanted, known[0], strict=True)
        for (image, radar, clear), wanted, numbers in images:
            base = idw.inverse_distance_weighting(image, clear, wanted)
            weights, injection = numbers[:-2].reshape(2, -1)
            fit = component_substitution.Substitution(
                weights, injection, float(numbers[-2]), float(numbers[-1])
            )
            out.append(component_substitution.substitute(base, radar, fit))
        return Prediction(np.stack(out))


@dataclass(frozen=True)
class Wavelets(Method):
    """Inverse-distance fill, which takes the details of backscatter."""

    reach: int = max(idw.REACH, wavelets.REACH)
    polarisations: tuple[str, ...] = ("VV", "VH")
    # how details of backscatter are brought to those of reflectance
    match: component_substitution.Match = "spread"

    def passes(self, bands: int) -> tuple[tuple[int, int], ...]:
        """One: variances and covariances of details."""
        return ((3 * bands * wavelets.LEVELS, bands * wavelets.LEVELS),)

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """See :meth:`Method.measure`."""
        return np.stack([wavelets.detail_sums(*i, core).ravel() for i in _images(series)])

    def conclude(self, totals: Doubles, known: Sequence[Doubles]) -> Doubles:
        """Gains of each band and scale."""
        tables = totals.reshape(len(totals), 3, -1, wavelets.LEVELS)
        return np.stack([wavelets.fit_detail_gains(t, self.match).ravel() for t in tables])

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        out = []
        images = zip(_images(series), series.wanted, known[0], strict=True)
        for (image, radar, clear), wanted, gains in images:
            base = idw.inverse_distance_weighting(image, clear, wanted)
            table = gains.reshape(-1, wavelets.LEVELS)
            out.append(wavelets.inject_details(base, radar, table))
        return Prediction(np.stack(out))


def _nearest(series: Series, date: int, pairs: int) -> Iterator[list[int]]:
    """The nearest dates before and after a date, then the next two; or one by one."""
    assert series.days is not None
    place = [(float(day), number) for number, day in enumerate(series.days)]
    before = sorted((p for p in place if p < place[date]), reverse=True)
    after = sorted(p for p in place if p > place[date])
    if pairs == 1:
        day = place[date][0]
        for one in sorted(before + after, key=lambda p: (abs(p[0] - day), p)):
            yield [one[1]]
        return
    for both in zip_longest(before, after):
        yield [p[1] for p in both if p is not None]


def _images(series: Series) -> Iterator[tuple[Floats, Floats, Booleans]]:
    """Reflectance, backscatter and clear pixels of each date."""
    assert series.backscatter is not None
    yield from zip(series.reflectance, series.backscatter, series.clear, strict=True)


METHODS: Final[tuple[Method, ...]] = (
    Starfm("starfm"),
    LocalRegression("pixel-fusion"),
    Substitution("pixel-fusion-ihs"),
    Substitution("pixel-fusion-pca", component="pca"),
    Wavelets("pixel-fusion-wavelet"),
)
