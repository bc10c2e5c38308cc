"""Whether one method is better than another: paired comparison over regions."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.judge.metrics import BETTER
from xcloudfree.judge.result import check_names

_ENUMERATED: Final = 8
"""With at most so many regions there are 6435 different resamples, and all of them are used."""

_FEW: Final = 6
"""With fewer regions, even unanimity would happen by chance more often than once in twenty."""


def compare(
    result: xr.Dataset,
    reference: str,
    *,
    metric: str = "psnr",
    pixels: str = "cloudy",
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """Compare each method with a reference, with an interval from a bootstrap over regions.

    Pixels of one image and images of one region resemble each other, so neither counts as a
    repetition: the mean difference of a region is one number, and regions are drawn with
    replacement. Only cases that both methods completed and finite differences count. For few
    regions all resamples are enumerated, which makes the interval exact.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`.
    reference : str
        Method to compare the others with.
    metric, pixels : str
        Metric and pixels to compare.
    level : float
        Level of the interval, between its percentiles.
    resamples : int
        Number of resamples, if they are not enumerated.
    seed : int
        Seed of the draw.

    Returns
    -------
    Dataset
        By method: ``difference`` (mean over regions of method minus reference, in units of the
        metric), ``low`` and ``high``, ``better`` (fraction of resamples in which the method is
        ahead, with ties counted half), ``regions_ahead`` (regions in which it is ahead),
        ``regions`` and ``cases`` used. The attribute ``statement`` says which conclusions are
        possible, and which methods have fewer regions than others.

    Raises
    ------
    DataError
        If the reference, metric or pixels are not in the result.

    Examples
    --------
    >>> result = xr.Dataset(
    ...     {"value": (("method", "case", "metric", "pixels"),
    ...                np.array([[20.0, 22.0], [21.0, 25.0]])[..., None, None])},
    ...     {"method": ["a", "b"], "case": ["1", "2"], "metric": ["psnr"], "pixels": ["cloudy"],
    ...      "region": ("case", ["R", "S"])})
    >>> found = compare(result, "a").sel({"method": "b"})
    >>> float(found.difference), float(found.low), float(found.high), int(found.regions)
    (2.0, 1.0, 3.0, 2)
    """
    named = {"method": [reference], "metric": [metric], "pixels": [pixels]}
    check_names(result, "compare()", named)
    values = result.value.sel(metric=metric, pixels=pixels).transpose("method", "case").values
    own = int(np.flatnonzero(result.method.values == reference)[0])
    regions = result.region.values
    rows = []
    for row in values:
        with np.errstate(invalid="ignore"):
            difference = row - values[own]
        finite = np.isfinite(difference)
        found = list(dict.fromkeys(regions[finite]))
        means = np.array([difference[finite & (regions == n)].mean() for n in found])
        rows.append((*_interval(means, metric, level, resamples, seed), int(finite.sum())))
    names = ("difference", "low", "high", "better", "regions_ahead", "regions", "cases")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    out = xr.Dataset(
        {name: ("method", np.array(column)) for name, column in columns.items()},
        {"method": result.method.values},
    )
    out.attrs = {
        "title": f"{metric}, {pixels} pixels, minus {reference}",
        "method": f"percentile bootstrap over regions, {100 * level:g} %",
        "statement": _statement(out, reference),
    }
    return out


def _statement(found: xr.Dataset, reference: str) -> str:
    """The statement for the regions of most methods, and the methods with fewer."""
    counts = {
        str(m): int(n) for m, n in zip(found.method.values, found.regions.values, strict=True)
    }
    most = max((n for m, n in counts.items() if m != reference), default=counts[reference])
    fewer = [f"{m} in {n}" for m, n in counts.items() if 0 < n < most]
    rest = f" Not compared in all of them: {', '.join(fewer)}." if fewer else ""
    return statement(most) + rest


def statement(regions: int) -> str:
    """State which conclusions so many regions allow.

    Parameters
    ----------
    regions : int
        Number of regions.

    Returns
    -------
    str

    Examples
    --------
    >>> statement(4)
    '4 regions are too few for a claim: if two methods were equally good, one of them would be ahead in all 4 by chance with probability 0.125. The intervals describe these regions and no others.'
    """  # noqa: E501
    if regions < 2:
        return (
            f"{regions} region cannot separate differences of methods from differences of "
            "regions: there is no interval."
        )
    chance = 2.0 ** (1 - regions)
    if regions < _FEW:
        return (
            f"{regions} regions are too few for a claim: if two methods were equally good, one of "
            f"them would be ahead in all {regions} by chance with probability {chance:.3g}. The "
            "intervals describe these regions and no others."
        )
    return (
        f"{regions} regions: the intervals hold for regions drawn like these; with so few they "
        "tend to be too narrow, and each further comparison raises the chance of a false one."
    )


def _interval(
    means: NDArray[np.float64], metric: str, level: float, resamples: int, seed: int
) -> tuple[float, float, float, float, int, int]:
    """Mean, its bounds, share of resamples ahead, regions ahead, regions."""
    number = len(means)
    if number == 0:
        return (np.nan,) * 4 + (0, 0)
    sign = BETTER.get(metric, 1)
    ahead = int((sign * means > 0).sum())
    if number == 1:
        return float(means[0]), np.nan, np.nan, np.nan, ahead, 1
    draws, weights = _resampled(means, resamples, seed)
    bounds = ((1 - level) / 2, (1 + level) / 2)
    # the least value at or below which such a share of the resamples lies
    low, high = np.quantile(draws, bounds, method="inverted_cdf", weights=weights)
    better = float(weights[sign * draws > 0].sum() + weights[draws == 0].sum() / 2)
    return float(means.mean()), float(low), float(high), better, ahead, number


def _resampled(
    means: NDArray[np.float64], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of resamples with replacement, and the probability of each."""
    n = len(means)
    if n <= _ENUMERATED:  # scipy.stats.bootstrap has no exact enumeration
        chosen = combinations_with_replacement(range(n), n)
        counts = np.array([np.bincount(c, minlength=n) for c in chosen])
        ways = scipy.special.factorial(n) / scipy.special.factorial(counts).prod(axis=1)
        return np.array([c @ means / n for c in counts]), ways / n**n
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    return means[drawn].mean(axis=1), np.full(resamples, 1 / resamples)
