"""From reflectance to colours: bands, limits, and the colours of flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xcloudfree.core.bands import RGB, optical_band
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError

NO_DATA_GREY: Final = 0.85
PERCENTILES: Final = (2.0, 98.0)
COMPOSITES: Final[dict[str, tuple[str, str, str]]] = {
    "true": RGB,
    "infrared": ("B08", "B04", "B03"),
    "shortwave": ("B12", "B8A", "B04"),
}
"""Bands for red, green and blue by name: vegetation is red in infrared, clouds stand out less in
shortwave infrared."""

PROVENANCE: Final = {
    0: ("no data", "#d9d9d9"),
    1: ("observed", "#4477aa"),
    2: ("reconstructed", "#ddaa33"),
    3: ("unreconstructable", "#bb5566"),
}
MASK: Final = {0: ("clear", "#4477aa"), 1: ("occluded", "#ddaa33")}

Floats = NDArray[np.floating]
Limit = float | Sequence[float] | None


def composite(bands: str | Sequence[str]) -> list[str]:
    """Canonical names of the three bands of a picture."""
    if isinstance(bands, str):
        if bands not in COMPOSITES:
            raise DataError(
                f"unknown composite {bands!r}{did_you_mean(bands, COMPOSITES)}",
                fix=f"call plot(bands=...) with one of {sorted(COMPOSITES)} or three bands "
                f"such as {RGB}",
            )
        return list(COMPOSITES[bands])
    if len(bands) != 3:
        raise DataError(
            f"{len(bands)} bands do not make a colour", fix=f"call plot(out, bands={RGB})"
        )
    return [optical_band(b) or b for b in bands]


def percentile_limits(reference: Floats) -> Floats:
    """Return lower and upper limits of the stretch for each band.

    Parameters
    ----------
    reference : numpy.ndarray
        Values (band, pixel), NaN = no data.

    Returns
    -------
    numpy.ndarray
        (band, 2): the 2nd and 98th percentile of each band; 0 and 1 without any value.

    Examples
    --------
    >>> percentile_limits(np.arange(101.0)[None]).tolist()
    [[2.0, 98.0]]
    """
    rows = []
    for values in reference:
        valid = values[np.isfinite(values)]
        rows.append(np.percentile(valid, PERCENTILES) if valid.size else (0.0, 1.0))
    return np.asarray(rows, dtype=np.float64)


def limits_of(
    images: Sequence[Floats], hidden: Sequence[NDArray[Any] | None], vmin: Limit, vmax: Limit
) -> Floats:
    """The user's limits, or percentiles of the clear pixels of all images; of all if none is."""
    pairs = zip(images, hidden, strict=True)
    clear = [i[:, h == 0] for i, h in pairs if h is not None and (h == 0).any()]
    values = np.concatenate(clear or [i.reshape(3, -1) for i in images], axis=1)
    return chosen_limits(values, vmin, vmax)


def chosen_limits(values: Floats, vmin: Limit, vmax: Limit) -> Floats:
    """The user's limits, or percentiles."""
    limits = percentile_limits(values)
    for column, given in enumerate((vmin, vmax)):
        if given is not None:
            limits[:, column] = _each(given, len(limits))
    return limits


def stretch(image: Floats, limits: Floats) -> Floats:
    """Convert values to colours in [0, 1], linear between the limits.

    Parameters
    ----------
    image : numpy.ndarray
        Values (band, y, x); NaN in any band = no data, drawn grey.
    limits : numpy.ndarray
        Lower and upper limit (band, 2).

    Returns
    -------
    numpy.ndarray
        Colours (y, x, band).

    Examples
    --------
    >>> stretch(np.array([[[0.1, 0.2, 0.9, np.nan]]]), np.array([[0.1, 0.3]])).round(2).ravel()
    array([0.  , 0.5 , 1.  , 0.85])
    """
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    colours = np.clip((image - low) / np.maximum(high - low, 1e-12), 0, 1)
    colours[:, ~np.isfinite(image).all(axis=0)] = NO_DATA_GREY
    return np.moveaxis(colours, 0, -1)


def _each(given: ArrayLike, bands: int) -> Floats:
    values = np.asarray(given, float)
    if values.ndim > 1 or values.size not in (1, bands):
        raise DataError(
            f"vmin and vmax are one number or {bands}", fix="call plot(out, vmin=0, vmax=0.3)"
        )
    return values
