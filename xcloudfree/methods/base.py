"""Interface of a classical method: a function of physical values, and its needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from xcloudfree.core.predictor import (
    DERIVED,
    Booleans,
    Doubles,
    Floats,
    Prediction,
    Series,
    added,
)
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.core.windows import Halo, Plan
from xcloudfree.exceptions import ModelError

__all__ = ["Booleans", "Doubles", "Floats", "Method", "Option", "Prediction", "Series"]


class Option(NamedTuple):
    """A setting of a method."""

    allowed: str  # allowed values, in words
    accepts: Callable[[Any], bool]  # whether a value is allowed


def positive(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and bool(np.isfinite(value)) and value > 0


def whole(low: int, high: int, *, odd: bool = False) -> Option:
    """An option that is a whole number."""

    def accepts(value: Any) -> bool:
        number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return number and low <= value <= high and (value % 2 == 1 or not odd)

    return Option(f"{'an odd' if odd else 'a'} whole number from {low} to {high}", accepts)


@dataclass(frozen=True)
class Method:
    """A classical method; subclasses implement :meth:`predict`.

    Parameters
    ----------
    name : str
        Name for users.
    temporal : bool
        Whether it reads several dates: it then gets all of them, in one block. Otherwise it gets
        any number of images, which it must treat independently.
    reach : int
        Pixels around a pixel that influence its prediction (and its measurements).
    polarisations : tuple of str
        Backscatter that it needs.
    deviation : bool
        Whether it estimates its uncertainty.
    images : Dataset, DataArray or None
        Coarse images of the dates, set by the user, see :attr:`Series.coarse`.
    takes_any_radar : bool
        Whether it uses those of `polarisations` that the data has, or none.
    takes_single_images : bool
        Whether a temporal method also takes images without dates, one by one, with no days.

    Examples
    --------
    >>> from xcloudfree import methods
    >>> method = methods.get("area-regression")
    >>> method.name, method.temporal, method.deviation
    ('area-regression', True, True)
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    passes: ClassVar[int] = 0  # number of measurements of the whole scene before it predicts
    bands: ClassVar[tuple[str, ...] | None] = None  # it predicts all available bands
    flags: ClassVar[tuple[str, ...]] = ()  # meanings of the bits of :attr:`Prediction.flags`
    looks_back: ClassVar[bool] = False  # whether only earlier dates influence a date
    derived: ClassVar[int] = DERIVED  # arrays of the size of a block's reflectance that it takes
    needs_radar: ClassVar[bool] = False  # whether pixels without backscatter always stay empty
    reads_parts: ClassVar[bool] = False  # whether it predicts from parts, see `Series.reflectance`

    name: str
    temporal: bool = False
    reach: int = 0
    polarisations: tuple[str, ...] = ()
    deviation: bool = False
    images: Any = field(default=None, repr=False, compare=False)
    takes_any_radar: bool = False
    takes_single_images: bool = False

    @property
    def plan(self) -> Plan:
        """Pixels that it reads around a block: `reach` pixels, or fixed tiles of the scene."""
        return Halo(self.reach)

    @property
    def measured(self) -> Plan:
        """The same for its passes over the scene."""
        return self.plan

    def options(self) -> Mapping[str, Option]:
        """Settings that :meth:`configured` accepts, by name."""
        return self.OPTIONS

    def configured(self, **options: Any) -> Self:
        """Return the same method with other settings.

        Parameters
        ----------
        **options
            See :func:`xcloudfree.methods.get`.

        Returns
        -------
        Method
            Its name contains the settings.

        Raises
        ------
        ModelError
            If there is no such setting, or the value is not allowed.
        """
        known = self.options()
        for name, value in options.items():
            if name not in known:
                raise ModelError(
                    f"method {self.name!r} has no option {name!r}{did_you_mean(name, known)}",
                    fix=f"call methods.get({self.name!r}) "
                    + (f"with {' or '.join(known)}" if known else "without options"),
                )
            if not known[name].accepts(value):
                raise ModelError(
                    f"{name} is {value!r}",
                    fix=f"call methods.get({self.name!r}, {name}=...) with {known[name].allowed}",
                )
        return self.set(**options) if options else self

    def set(self, **options: Any) -> Self:
        """Like :meth:`configured`, with checked settings."""
        return replace(self, name=self.named(options), **options)

    def named(self, options: Mapping[str, Any]) -> str:
        """Its name with settings; those that are neither numbers nor words appear by name only."""
        plain = (bool, int, float, str)
        listed = (f"{k}={v}" if isinstance(v, plain) else k for k, v in options.items())
        return f"{self.name}({', '.join(listed)})" if options else self.name

    def for_run(self, device: Any, uncertainty: bool) -> Self:
        """Return the method for one call of ``reconstruct``; numpy methods return themselves.

        Parameters
        ----------
        device : str, torch.device or None
            Device to compute on.
        uncertainty : bool
            Whether the deviation is used.

        Returns
        -------
        Method
        """
        return self

    def check(self, days: Sequence[float]) -> None:
        """Raise an error for dates that the method cannot process, before any work.

        Parameters
        ----------
        days : sequence of float
            Day number of each date.

        Raises
        ------
        DataError
            If the dates are unsuitable.
        """

    def measure(self, series: Series, statistics: Sequence[Any]) -> Any:
        """Measure a block; statistics of a scene never depend on its chunks.

        Parameters
        ----------
        series : Series
            The block with `reach` pixels around it (fewer at the border of the scene).
        statistics : sequence of named tuple
            Results of :meth:`conclude` from the earlier passes.

        Returns
        -------
        named tuple of ndarray
            For the pixels of :attr:`Series.core`: sums by date, or what :meth:`combine` joins.
            Arbitrary for dates that are not :attr:`Series.asked`, if the method uses no other
            date's sums.
        """
        raise NotImplementedError

    def combine(self, parts: Sequence[Any]) -> Any:
        """Join results of :meth:`measure` from several blocks, in any order: sums add up.

        Parameters
        ----------
        parts : sequence of named tuple
            From :meth:`measure` or from this method.

        Returns
        -------
        named tuple of ndarray
        """
        return added(parts)

    def conclude(self, total: Any, statistics: Sequence[Any]) -> Any:
        """Conclude statistics from the measurements of the whole scene, once.

        Parameters
        ----------
        total : named tuple
            From :meth:`combine`.
        statistics : sequence of named tuple
            As for :meth:`measure`.

        Returns
        -------
        named tuple of ndarray
        """
        return total

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """Predict the wanted pixels, as if they were unseen.

        Parameters
        ----------
        series : Series
            The block with `reach` pixels around it.
        statistics : sequence of named tuple
            Results of :meth:`conclude` from each pass.

        Returns
        -------
        Prediction
            For all pixels of the series; those around the core are discarded.
        """
        raise NotImplementedError
