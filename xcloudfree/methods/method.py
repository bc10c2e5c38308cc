"""What a classical method is: a function of physical values, and what it needs of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Area = tuple[slice, slice]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Series:
    """What a method reads: images of one block.

    Parameters
    ----------
    reflectance : ndarray of float32
        (time, band, y, x), NaN is no data. Occluded pixels hold what the sensor saw.
    hidden : ndarray of bool
        Occluded pixels, (time, y, x).
    wanted : ndarray of bool
        Pixels whose prediction is used, (time, y, x): the occluded ones and, where the
        reconstruction is blended, clear ones around them. A method may predict others too.
    backscatter : ndarray of float32 or None
        (time, polarisation, y, x) in dB, NaN is no data; the polarisations that the method names.
    days : ndarray of float64 or None
        Day number of each date, (time,), in any order; None for a method that is not temporal.
    context : ndarray of float32 or None
        What :meth:`Method.context` returned for these pixels, (time, plane, y, x).
    """

    reflectance: Floats
    hidden: Booleans
    wanted: Booleans
    backscatter: Floats | None = None
    days: Doubles | None = None
    context: Floats | None = None

    @property
    def clear(self) -> Booleans:
        """Pixels that show the ground in all bands, (time, y, x)."""
        return np.asarray(np.isfinite(self.reflectance).all(1) & ~self.hidden)


@dataclass(frozen=True)
class Prediction:
    """Reflectance and, where the method estimates it, its standard deviation.

    Parameters
    ----------
    mean : ndarray of float32
        (time, band, y, x); NaN where the method cannot tell.
    deviation : ndarray of float32 or None
        Of the same shape.
    """

    mean: Floats
    deviation: Floats | None = None


@dataclass(frozen=True)
class Method:
    """A classical method; subclasses give it :meth:`predict`.

    Parameters
    ----------
    name : str
        What users call it.
    temporal : bool
        Whether it reads several dates: it then gets all of them, in one block. Otherwise it gets
        any number of images, which it must treat one by one.
    reach : int
        Pixels around a pixel that influence its prediction (and what is measured there).
    polarisations : tuple of str
        Backscatter that it needs.
    deviation : bool
        Whether it estimates its uncertainty.
    planes : int
        Planes that :meth:`context` makes of what is around a pixel. If there are any, `reach` holds
        for them alone, and the method measures and predicts without pixels around.
    """

    name: str
    temporal: bool = False
    reach: int = 0
    polarisations: tuple[str, ...] = ()
    deviation: bool = False
    planes: int = 0

    def context(self, series: Series) -> Floats:
        """What a method that reads single pixels wants to know of those around them.

        Parameters
        ----------
        series : Series
            The block with `reach` pixels around it.

        Returns
        -------
        ndarray of float32
            (time, plane, y, x).
        """
        raise NotImplementedError

    def passes(self, bands: int) -> tuple[tuple[int, int], ...]:
        """How often the method measures the whole scene before it predicts.

        Parameters
        ----------
        bands : int
            Bands of the scene.

        Returns
        -------
        tuple of (int, int)
            For each pass how many numbers per image :meth:`measure` and :meth:`conclude` return.
        """
        return ()

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """Sums over a block, which add up over the scene: statistics never depend on chunks.

        Parameters
        ----------
        series : Series
            The block with `reach` pixels around it (fewer at the border of the scene).
        known : sequence of ndarray
            What :meth:`conclude` returned after each of the earlier passes.
        core : tuple of slice
            Rows and columns of the block in the series; each pixel is in one core.

        Returns
        -------
        ndarray of float64
            (time, numbers).
        """
        raise NotImplementedError

    def conclude(self, totals: Doubles, known: Sequence[Doubles]) -> Doubles:
        """Turn sums over the scene into what is used of them, once.

        Parameters
        ----------
        totals : ndarray of float64
            Sums of what :meth:`measure` returned, (time, numbers).
        known : sequence of ndarray
            As for :meth:`measure`.

        Returns
        -------
        ndarray of float64
            (time, numbers).
        """
        return totals

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """Predict the pixels that are wanted, as if they were not seen.

        Parameters
        ----------
        series : Series
            The block with `reach` pixels around it.
        known : sequence of ndarray
            What :meth:`conclude` returned after each pass, (time, numbers).

        Returns
        -------
        Prediction
            Of all pixels of the series; those around the core are cut off.
        """
        raise NotImplementedError
