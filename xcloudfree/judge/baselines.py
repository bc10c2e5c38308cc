"""The trivial estimates that every table must show beside a network.

A constant spectrum, the neighbours, and a straight line from backscatter: what does not beat them
has learned nothing. All take and return numpy arrays of one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError
from xcloudfree.methods.idw import inverse_distance
from xcloudfree.methods.regression import (
    Moments,
    moments,
    sar_features,
    solve_ridge,
    squared_error,
)

PENALTIES: Final[tuple[float, ...]] = tuple(float(p) for p in 10.0 ** np.arange(-4, 3.1, 0.5))

Floats = NDArray[np.floating]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingImage:
    """One clear image with its backscatter.

    Parameters
    ----------
    optical : numpy.ndarray
        Clear reflectance (band, y, x), NaN = no data.
    sar : numpy.ndarray or None
        Backscatter (2, y, x) in dB, VV then VH, NaN = no data; only ridge regression needs it.
    group : str
        Region: images of one group never stand on both sides of a cross-validation.
    """

    optical: Floats
    sar: Floats | None = None
    group: str = ""


@dataclass(frozen=True)
class Constant:
    """One spectrum for every pixel.

    Parameters
    ----------
    spectrum : numpy.ndarray
        Reflectance per band.
    """

    spectrum: NDArray[np.float64]

    def predict(
        self,
        cloudy: Floats,
        sar: Floats | None = None,
        mask: Booleans | None = None,
        *,
        everywhere: bool = False,
    ) -> Floats:
        """Fill the occluded pixels, or with ``everywhere`` all of them.

        Parameters
        ----------
        cloudy : numpy.ndarray
            Reflectance (band, y, x).
        sar : numpy.ndarray, optional
            Not used: every estimate here is called alike.
        mask : numpy.ndarray, optional
            Boolean (y, x), True = occluded. May be absent with ``everywhere``.
        everywhere : bool
            Replace clear pixels too.

        Returns
        -------
        numpy.ndarray
            Reflectance (band, y, x) of the type that came in.
        """
        where = _where(cloudy, mask, everywhere)
        out = cloudy.copy()
        out[:, where] = self.spectrum[:, None]
        return out


@dataclass(frozen=True)
class Neighbours:
    """Inverse-distance mean of the nearest clear pixels of the same image.

    Parameters
    ----------
    fallback : numpy.ndarray or None
        Spectrum for an image without a clear pixel; None leaves NaN there.
    neighbours : int
        Number of clear pixels that share in one value.
    power : float
        Weight = distance ** -power.
    """

    fallback: NDArray[np.float64] | None = None
    neighbours: int = 12
    power: float = 2.0

    def predict(self, cloudy: Floats, sar: Floats | None, mask: Booleans) -> Floats:
        """Fill the occluded pixels from clear ones.

        Parameters
        ----------
        cloudy : numpy.ndarray
            Reflectance (band, y, x).
        sar : numpy.ndarray, optional
            Not used.
        mask : numpy.ndarray
            Boolean (y, x), True = occluded.

        Returns
        -------
        numpy.ndarray
            Reflectance (band, y, x).
        """
        mask = _where(cloudy, mask, False)
        clear = ~mask & ~np.isnan(cloudy).any(axis=0)
        if self.fallback is not None and not clear.any():
            return Constant(self.fallback).predict(cloudy, sar, mask)
        return inverse_distance(cloudy, mask, neighbours=self.neighbours, power=self.power)


@dataclass(frozen=True)
class Ridge:
    """Reflectance as a linear function of backscatter and its local means.

    Parameters
    ----------
    coefficients : numpy.ndarray
        (1 + feature, band), the intercept first.
    penalty : float
        The ridge penalty that was chosen.
    errors : dict of float to float
        Root mean squared error on the group left out, by penalty; empty with a single group.
    """

    coefficients: NDArray[np.float64]
    penalty: float
    errors: dict[float, float]

    def predict(
        self,
        cloudy: Floats,
        sar: Floats | None,
        mask: Booleans | None = None,
        *,
        everywhere: bool = False,
    ) -> Floats:
        """Fill the occluded pixels from backscatter; NaN where backscatter is missing.

        Takes and returns what :meth:`Constant.predict` does; `sar` is (2, y, x) in dB, VV then VH.

        Raises
        ------
        DataError
            Without backscatter.
        """
        if sar is None:
            raise DataError(
                "Ridge regression needs backscatter: ridge.predict(cloudy, sar, mask) with sar as "
                "(2, y, x) in dB."
            )
        where = _where(cloudy, mask, everywhere)
        out = cloudy.copy()
        slope = self.coefficients[1:]
        out[:, where] = (sar_features(sar)[where] @ slope + self.coefficients[0]).T
        return out


def fit_constant(train: Iterable[TrainingImage]) -> Constant:
    """Mean spectrum of the pixels of clear images.

    Parameters
    ----------
    train : iterable of TrainingImage
        Clear images.

    Returns
    -------
    Constant

    Raises
    ------
    DataError
        If there is no valid pixel.

    Examples
    --------
    >>> images = [TrainingImage(np.full((2, 4, 4), v)) for v in (0.1, 0.3)]
    >>> fit_constant(images).spectrum.round(6).tolist()
    [0.2, 0.2]
    """
    total: NDArray[np.float64] | float = 0.0
    count = 0
    for image in train:
        valid = ~np.isnan(image.optical).any(axis=0)
        total = total + image.optical[:, valid].sum(axis=1, dtype=np.float64)
        count += int(np.count_nonzero(valid))
    if count == 0:
        raise DataError("No valid pixel to average: fit_constant([TrainingImage(optical), ...]).")
    return Constant(np.asarray(total / count))


def fit_ridge(train: Sequence[TrainingImage], penalties: Sequence[float] = PENALTIES) -> Ridge:
    """Ridge regression from backscatter to reflectance, in closed form.

    The penalty is the one with the least squared error on the group left out, over all groups of
    the training images; with a single group it is the least of ``penalties``.

    Parameters
    ----------
    train : sequence of TrainingImage
        Clear images with backscatter and their groups.
    penalties : sequence of float
        Candidates.

    Returns
    -------
    Ridge

    Raises
    ------
    DataError
        If there is no image, or one lacks backscatter.

    References
    ----------
    Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems",
    Technometrics 12(1), 1970, equation 2.1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sar = rng.uniform((-20, -25), (-5, -12), (8, 8, 2)).transpose(2, 0, 1)
    >>> images = [TrainingImage(0.5 + sar[:1] / 50, sar, group) for group in "AB"]
    >>> ridge = fit_ridge(images)
    >>> bool(np.allclose(ridge.predict(images[0].optical, sar, everywhere=True),
    ...                  images[0].optical, atol=1e-3))
    True
    """
    groups: dict[str, Moments] = {}
    for image in train:
        if image.sar is None:
            raise DataError(
                "A training image has no backscatter: fit_ridge([TrainingImage(optical, sar, "
                "group), ...])."
            )
        sums = moments(sar_features(image.sar), image.optical)
        groups[image.group] = groups[image.group].plus(sums) if image.group in groups else sums
    if not groups or sum(s.zz[0, 0] for s in groups.values()) == 0:
        raise DataError(
            "No valid pixel to fit on: fit_ridge([TrainingImage(optical, sar, group), ...])."
        )
    total, *others = groups.values()
    for sums in others:
        total = total.plus(sums)
    errors: dict[float, float] = {}
    if others:
        values = total.zz[0, 0] * total.zy.shape[1]
        for penalty in penalties:
            left_out = sum(
                squared_error(sums, solve_ridge(total.plus(sums, -1), penalty))
                for sums in groups.values()
            )
            errors[penalty] = float(np.sqrt(max(left_out, 0) / values))
        best = min(errors, key=errors.__getitem__)
    else:
        best = min(penalties)
    return Ridge(solve_ridge(total, best), best, errors)


def _where(cloudy: Floats, mask: Booleans | None, everywhere: bool) -> Booleans:
    """Pixels to replace."""
    if everywhere:
        return np.ones(cloudy.shape[1:], dtype=np.bool_)
    if mask is None:
        raise DataError(
            "Without a mask nothing is known to be occluded: predict(cloudy, sar, mask)."
        )
    if mask.dtype != np.bool_ or mask.shape != cloudy.shape[1:]:
        raise DataError(
            f"The mask is {mask.dtype} {mask.shape}; a boolean array {cloudy.shape[1:]}, True = "
            "occluded, is expected: predict(cloudy, sar, mask.astype(bool))."
        )
    return mask
