"""What a classical method is: a function of physical values, and what it needs of the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.spelling import did_you_mean
from xcloudfree.core.windows import Area
from xcloudfree.exceptions import ModelError
from xcloudfree.methods.options import Option, labelled

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
    coarse : ndarray of float32 or None
        Coarse images that the method was given, like `reflectance`; NaN is no data.
    context : ndarray of float32 or None
        What :meth:`Method.context` returned for these pixels, (time, plane, y, x).
    asked : ndarray of bool or None
        Dates of which anything is wanted anywhere in the scene, (time,); None where that is not
        known.

    Examples
    --------
    >>> values = np.full((2, 1, 1, 1), 0.1, np.float32)
    >>> hidden = np.array([False, True]).reshape(2, 1, 1)
    >>> Series(values, hidden, hidden).clear.ravel().tolist()
    [True, False]
    """

    reflectance: Floats
    hidden: Booleans
    wanted: Booleans
    backscatter: Floats | None = None
    days: Doubles | None = None
    coarse: Floats | None = None
    context: Floats | None = None
    asked: Booleans | None = None

    @property
    def clear(self) -> Booleans:
        """Pixels that show the ground in all bands, (time, y, x)."""
        return np.asarray(np.isfinite(self.reflectance).all(1) & ~self.hidden)

    def cut(self, area: Area) -> Series:
        """Some rows and columns of it, as views."""
        planes: dict[str, Any] = {
            name: None if value is None else value[..., *area]
            for name, value in vars(self).items()
            if name not in ("days", "asked")
        }
        return replace(self, **planes)


@dataclass(frozen=True)
class Prediction:
    """Reflectance and, where the method estimates it, its standard deviation.

    Parameters
    ----------
    mean : ndarray of float32
        (time, band, y, x); NaN where the method cannot tell.
    deviation : ndarray of float32 or None
        Of the same shape.

    Examples
    --------
    >>> Prediction(np.zeros((1, 1, 2, 2), np.float32)).deviation is None
    True
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
    images : Dataset, DataArray or None
        Coarse images of the dates that the method was given, see :attr:`Series.coarse`.

    Examples
    --------
    >>> from xcloudfree import methods
    >>> method = methods.get("area-regression")
    >>> method.name, method.temporal, method.deviation
    ('area-regression', True, True)
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {}

    name: str
    temporal: bool = False
    reach: int = 0
    polarisations: tuple[str, ...] = ()
    deviation: bool = False
    planes: int = 0
    images: Any = field(default=None, repr=False, compare=False)

    @property
    def pixelwise(self) -> bool:
        """Whether it measures and predicts each pixel without others around it."""
        return self.reach == 0 or self.planes > 0

    def options(self) -> Mapping[str, Option]:
        """Settings that :meth:`configured` takes, by name."""
        return self.OPTIONS

    def configured(self, **options: Any) -> Self:
        """The same method with other settings.

        Parameters
        ----------
        **options
            See :func:`xcloudfree.methods.get`.

        Returns
        -------
        Method
            Its name tells the settings.

        Raises
        ------
        ModelError
            If there is no such setting, or it cannot have the value.
        """
        known = self.options()
        for name, value in options.items():
            if name not in known:
                raise ModelError(
                    f"method {self.name!r} has no option {name!r}{did_you_mean(name, known)}; "
                    f"call methods.get({self.name!r}) "
                    + (f"with {' or '.join(known)}" if known else "without options")
                )
            if not known[name].accepts(value):
                raise ModelError(
                    f"{name} is {value!r}; call methods.get({self.name!r}, {name}=...) with "
                    f"{known[name].allowed}"
                )
        return self.set(**options) if options else self

    def set(self, **options: Any) -> Self:
        """As :meth:`configured`, with settings that were checked."""
        return replace(self, name=labelled(self.name, options), **options)

    def check(self, days: Sequence[float]) -> None:
        """Refuse dates that the method cannot work on, before any work is done.

        Parameters
        ----------
        days : sequence of float
            Day number of each date.

        Raises
        ------
        DataError
            If they cannot serve.
        """

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
            (time, numbers); anything for dates that are not :attr:`Series.asked`, if the method
            uses no other date's sums.
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
