"""Ordinary kriging: hidden pixels from the nearest clear ones, with kriging variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.base import Method, Option, Prediction, Series, whole
from xcloudfree.methods.idw import Nearest, nearest_points
from xcloudfree.methods.variogram import LagSums, Shape, Variogram, fit_variogram, variogram_sums

REACH: Final = 64
"""Pixels beyond a window that may influence it: the default radius."""

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


class Variograms(NamedTuple):
    """Variogram models of images; one shape serves all bands of an image."""

    nugget: Doubles  # (image,), as are sill and reach
    sill: Doubles
    reach: Doubles
    variance: Doubles  # (image, band)
    mean: Doubles  # (image, band)


@dataclass(frozen=True)
class Kriging(Method):
    """Ordinary kriging with the variogram of the scene."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "shape": Option("'exponential' or 'spherical'", ("exponential", "spherical").__contains__),
        "neighbours": whole(1, 256),
    }

    passes: ClassVar[int] = 1

    reach: int = REACH
    deviation: bool = True
    shape: Shape = "exponential"
    neighbours: int = 32  # clear pixels per estimate

    def measure(self, series: Series, statistics: Sequence[Any]) -> LagSums:
        """Squared differences by distance, which determine the variogram."""
        images = zip(series.reflectance, series.clear, strict=True)
        found = [variogram_sums(*image, series.core) for image in images]
        return LagSums(*map(np.stack, zip(*found, strict=True)))

    def conclude(self, total: LagSums, statistics: Sequence[Any]) -> Variograms:
        """The variogram of each image."""
        models = [fit_variogram(LagSums(*one), self.shape) for one in zip(*total, strict=True)]
        rows = [(m.nugget, m.sill, m.reach, m.variance, m.mean) for m in models]
        return Variograms(*(np.array(column) for column in zip(*rows, strict=True)))

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        images = zip(series.reflectance, series.clear, series.wanted, strict=True)
        found = []
        for n, (image, clear, wanted) in enumerate(images):
            model = self.model(statistics[-1], n)
            found.append(krige(image, clear, model, wanted, neighbours=self.neighbours))
        return joined(found)

    def model(self, found: Variograms, image: int) -> Variogram:
        """Variogram of one image."""
        nugget, sill, reach, variance, mean = (field[image].tolist() for field in found)
        return Variogram(nugget, sill, reach, self.shape, tuple(variance), tuple(mean))


class Kriged(NamedTuple):
    """Estimates and their variances."""

    mean: NDArray[np.floating]  # same shape; the variance in squared units of the mean
    variance: NDArray[np.floating]  # same shape; the variance in squared units of the mean


def joined(images: Sequence[Kriged]) -> Prediction:
    """Images as those of one series, with deviations."""
    return Prediction(
        np.stack([np.asarray(i.mean, np.float32) for i in images]),
        np.sqrt(np.stack([np.asarray(i.variance, np.float32) for i in images])),
    )


def krige_points(
    points: Integers,
    values: Doubles,
    targets: Integers,
    variogram: Variogram,
    *,
    neighbours: int = 16,
    radius: float = np.inf,
) -> Kriged:
    """Ordinary kriging at some places from values at others."""
    # Solves [G 1; 1' 0] [weights; m] = [g; 1] with G the semivariances among the neighbours and g
    # those to the target; the variance is weights' g + m. An observed place keeps its own value,
    # with variance 0.
    # Matheron, "Principles of geostatistics", Economic Geology 58, 1963; Cressie, "Statistics for
    # Spatial Data", Wiley 1993, section 3.2.
    spread = np.asarray(variogram.variance)
    mean = np.tile(np.asarray(variogram.mean), (len(targets), 1))
    variance = np.tile((variogram.nugget + variogram.sill) * spread, (len(targets), 1))
    table: Doubles = np.zeros(0)
    for batch in nearest_points(points, targets, neighbours, radius):
        furthest = int(max(batch.square.max(), 0))
        if 4 * furthest >= len(table):  # two neighbours are at most two radii apart
            table = variogram(np.sqrt(np.arange(4 * furthest + 1)))
        weight, share = _weights(points, batch, table)
        some = batch.found[:, 0]
        total = np.zeros((len(share), values.shape[1]))
        for one, index in zip(weight.T, batch.number.T, strict=True):
            total += one[:, None] * values[np.minimum(index, len(values) - 1)]
        mean[batch.targets][some] = total[some]
        variance[batch.targets][some] = np.maximum(share[some, None], 0) * spread
    return Kriged(mean, variance)


def krige(
    image: NDArray[np.floating],
    clear: NDArray[np.bool_],
    variogram: Variogram,
    wanted: NDArray[np.bool_] | None = None,
    *,
    neighbours: int = 16,
    radius: int = REACH,
) -> Kriged:
    """Fill hidden pixels of a window by ordinary kriging."""
    # One small system is solved per pixel, many at a time: under cloud fields four of five (16
    # neighbours) to nine of ten (32) geometries are distinct, so finding equal ones costs more.
    clear = clear & ~np.isnan(image).any(axis=0)
    mean = np.where(clear, image, np.nan).astype(np.float32)
    variance = np.where(np.broadcast_to(clear, image.shape), np.float32(0), np.float32(np.nan))
    points = np.argwhere(clear)
    holes = np.argwhere(~clear if wanted is None else wanted & ~clear)
    known = image[:, clear].T.astype(np.float64)
    strip = 1 << 18  # bounds the memory of float64 results
    for start in range(0, len(holes), strip):
        part = holes[start : start + strip]
        found = krige_points(points, known, part, variogram, neighbours=neighbours, radius=radius)
        y, x = part.T
        mean[:, y, x] = found.mean.T
        variance[:, y, x] = found.variance.T
    return Kriged(mean, variance)


def _weights(points: Integers, batch: Nearest, table: Doubles) -> tuple[Doubles, Doubles]:
    """Kriging weights (target, neighbour) and variances, from semivariances by squared distance."""
    found = batch.found
    near = points[np.minimum(batch.number, len(points) - 1)]
    square = ((near[:, :, None] - near[:, None]) ** 2).sum(axis=-1)
    both = found[:, :, None] & found[:, None]
    return kriging_weights(
        table[np.where(both, square, 0)], table[np.maximum(batch.square, 0)], found
    )


def kriging_weights(
    between: Doubles, towards: Doubles, found: NDArray[np.bool_]
) -> tuple[Doubles, Doubles]:
    """Solve the system of each target: weights (target, neighbour) and variances."""
    # `between` has the semivariances among the neighbours, `towards` those to the target.
    size, count = found.shape
    system = np.zeros((size, count + 1, count + 1))
    both = found[:, :, None] & found[:, None]
    system[:, :count, :count] = np.where(both, between, 0)
    system[:, :count, count] = system[:, count, :count] = found
    diagonal = np.arange(count)
    system[:, diagonal, diagonal] += ~found  # a missing neighbour gets weight 0
    system[~found.any(axis=1), count, count] = 1
    right = np.zeros((size, count + 1, 1))
    right[:, :count, 0] = np.where(found, towards, 0)
    right[:, count, 0] = found.any(axis=1)
    answer = np.linalg.solve(system, right)[..., 0]
    return answer[:, :count], (answer * right[..., 0]).sum(axis=1)
