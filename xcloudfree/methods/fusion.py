"""Methods that fuse images: fine and coarse ones (STARFM), optical and SAR ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np

from xcloudfree.kernels import coarse, component_substitution, idw, local_regression, wavelets
from xcloudfree.kernels import starfm as starfm_kernel
from xcloudfree.kernels.box_sums import fading_sums
from xcloudfree.methods.method import Area, Booleans, Doubles, Floats, Method, Prediction, Series


@dataclass(frozen=True)
class Starfm(Method):
    """The nearest clear dates, changed by what the date's own clear pixels say changed.

    The nearest date before and the nearest after make two pairs; where only one shows the ground
    it stands alone, and where neither does the next two serve. Where the date itself shows nothing
    within reach nothing is predicted.
    """

    temporal: bool = True
    reach: int = coarse.REACH + starfm_kernel.REACH

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        clear = series.clear
        images = np.where(clear[:, None], series.reflectance, np.float32(np.nan))
        out = np.full(images.shape, np.nan, np.float32)
        for date, wanted in enumerate(series.wanted):
            seen = fading_sums(clear[date].astype(np.float64)) > 0
            left = wanted & seen  # without any clear pixel around, the change is not known
            for dates in _around(series, date):
                use = [d for d in dates if (clear[d] & left).any()]
                if not use:
                    continue
                pairs = [coarse.coarse_pair(images[d], images[date], clear[date]) for d in use]
                result = starfm_kernel.starfm(
                    images[use],
                    np.stack([p.then for p in pairs]),
                    np.stack([p.now for p in pairs]),
                    left,
                )
                out[date][:, left] = result[:, left]
                left &= np.isnan(out[date]).any(axis=0)
        return Prediction(out)


@dataclass(frozen=True)
class LocalRegression(Method):
    """Regression of optical on SAR in a moving window."""

    reach: int = local_regression.REACH
    polarisations: tuple[str, ...] = ("VV", "VH")

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        assert series.backscatter is not None
        images = zip(series.reflectance, series.backscatter, series.clear, strict=True)
        return Prediction(np.stack([local_regression.local_regression(*i) for i in images]))


@dataclass(frozen=True)
class Substitution(Method):
    """Inverse-distance fill, a component of which gives way to backscatter.

    Parameters
    ----------
    component : {"ihs", "pca"}
        Which one.
    match : {"spread", "regression"}
        How backscatter is brought to it.
    """

    reach: int = idw.REACH
    polarisations: tuple[str, ...] = ("VV", "VH")
    component: component_substitution.Component = "ihs"
    match: component_substitution.Match = "spread"

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
    """Inverse-distance fill, which takes the details of backscatter.

    Parameters
    ----------
    match : {"spread", "regression"}
        How details of backscatter are brought to those of reflectance.
    """

    reach: int = max(idw.REACH, wavelets.REACH)
    polarisations: tuple[str, ...] = ("VV", "VH")
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


def _around(series: Series, date: int) -> Iterator[list[int]]:
    """The nearest dates before and after a date, then the next two, and so on."""
    assert series.days is not None
    place = [(float(day), number) for number, day in enumerate(series.days)]
    before = sorted((p for p in place if p < place[date]), reverse=True)
    after = sorted(p for p in place if p > place[date])
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
