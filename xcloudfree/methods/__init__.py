"""Classical methods by name: baselines for networks, and methods that need no weights.

A method is a class in its own module, with its arithmetic, and one line of ``_METHODS``.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import ModelError
from xcloudfree.methods.area_regression import AreaRegression
from xcloudfree.methods.base import Method, Prediction, Series
from xcloudfree.methods.idw import InverseDistance
from xcloudfree.methods.interpolation import LastClear, LinearTime, NearestDate
from xcloudfree.methods.kernel_fusion import KernelFusion
from xcloudfree.methods.kriging import Kriging
from xcloudfree.methods.medians import Median
from xcloudfree.methods.nearby import NearbyRegression
from xcloudfree.methods.pixel_fusion import LocalRegression, Substitution, Wavelets
from xcloudfree.methods.regression_kriging import RegressionKriging
from xcloudfree.methods.spacetime_kriging import SpacetimeKriging
from xcloudfree.methods.starfm import Starfm
from xcloudfree.methods.temporal import Offset
from xcloudfree.methods.whittaker import Whittaker

__all__ = ["Method", "Prediction", "Series", "get", "known", "names"]

_WINDOWED = re.compile(r"(?P<base>(geo)?median)-(?P<days>[1-9]\d*)d(?P<rest>(\+offset)?)")

_TEMPORAL = (
    NearestDate("nearest-date"),
    LastClear("last-clear"),
    LinearTime("linear-time"),
    Median("median"),
    Median("geomedian", geometric=True),
    Whittaker("whittaker"),
)

_METHODS = MappingProxyType(
    {
        method.name: method
        for method in (
            *_TEMPORAL,
            *map(Offset.of, _TEMPORAL),
            AreaRegression(),
            NearbyRegression(),
            KernelFusion(),
            InverseDistance("idw"),
            Kriging("kriging"),
            RegressionKriging("regression-kriging"),
            SpacetimeKriging("spacetime-kriging"),
            Starfm("starfm"),
            LocalRegression("pixel-fusion"),
            Substitution("pixel-fusion-ihs"),
            Substitution("pixel-fusion-pca", component="pca"),
            Wavelets("pixel-fusion-wavelet"),
        )
    }
)


def names() -> list[str]:
    """List the names of classical methods that ``reconstruct(model=...)`` accepts.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "area-regression" in names()
    True
    """
    return list(_METHODS)


def known(name: str) -> bool:
    """Return whether a name is that of a method.

    Parameters
    ----------
    name : str
        As for :func:`get`.

    Returns
    -------
    bool

    Examples
    --------
    >>> known("median-45d+offset"), known("carf-small")
    (True, False)
    """
    return _plain(name) in _METHODS


def get(name: str, **options: Any) -> Method:
    """Return a method by its name, with your own settings, for ``reconstruct(model=...)``.

    Parameters
    ----------
    name : str
        One of :func:`names`. The medians use values of 30 days before and after a date; for another
        number, put it in the name: ``median-45d``, ``geomedian-60d+offset``.
    **options
        ``window`` (medians): days before and after a date. ``smoothness`` (whittaker): in days^3;
        for dates 5 days apart, the usual lambda times 125. ``neighbours`` (idw, kriging,
        regression-kriging): number of clear pixels per value. ``power`` (idw): of the distance.
        ``shape`` (kriging, regression-kriging): ``"exponential"`` or ``"spherical"`` variogram.
        ``pairs`` (starfm): number of dates per value, 1 or 2; ``window``: width in px to search for
        similar pixels; ``classes``: number of land cover classes; ``uncertainty``: standard
        deviation of reflectance of the sensors; ``coarse``: images of a coarse sensor (MODIS,
        Sentinel-3) as reflectance, with the bands, the dates and the grid of the scene.

    Returns
    -------
    Method

    Raises
    ------
    ModelError
        If the method does not exist, or has no such setting.

    Examples
    --------
    >>> get("median-45d+offset").name
    'median-45d+offset'
    >>> get("whittaker", smoothness=1e4).name
    'whittaker(smoothness=10000.0)'
    """
    plain = _plain(name)
    if plain not in _METHODS:
        raise ModelError(
            f"unknown method {name!r}{did_you_mean(name, names())}",
            fix=f"call methods.get() with one of {names()}",
            option="see `xcloudfree methods`",
        )
    found = _WINDOWED.fullmatch(name)
    if found is None:
        return _METHODS[name].configured(**options)
    if "window" in options:
        raise ModelError(
            f"method {name!r} has its window in its name",
            fix=f"call methods.get({plain!r}, window={options['window']!r})",
        )
    return _METHODS[plain].configured(window=float(found["days"]), **options)


def _plain(name: str) -> str:
    """The name without the window."""
    found = _WINDOWED.fullmatch(name)
    return name if found is None else found["base"] + found["rest"]
