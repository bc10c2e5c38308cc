"""Trivial baselines, which every table shows first: a method is only useful if it beats them.

The cloudy input, one spectrum for all hidden pixels, and a linear map from backscatter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.judge.case import Case, reflectance_of
from xcloudfree.judge.estimators import Estimate, Fit
from xcloudfree.judge.evaluation import on_yx
from xcloudfree.methods.regression import Moments, moments, sar_features, solve_ridge, squared_error

PENALTIES: Final[tuple[float, ...]] = tuple(float(p) for p in 10.0 ** np.arange(-4, 3.1, 0.5))

Floats = NDArray[np.floating]


class TrainingImage(NamedTuple):
    """One clear image with its backscatter."""

    optical: Floats  # reflectance (band, y, x), NaN = no data
    sar: Floats | None = None  # (2, y, x) in dB, VV then VH, NaN = no data
    group: str = ""  # images of a group are always on the same side of a cross-validation


class Ridge(NamedTuple):
    """Reflectance as a linear function of backscatter and its local means."""

    coefficients: NDArray[np.float64]  # (1 + feature, band), the intercept first
    penalty: float
    errors: dict[float, float]  # error on the left-out group by penalty; empty for one group

    def predict(self, sar: Floats) -> Floats:
        """Predict reflectance (band, y, x) from backscatter (2, y, x); NaN where it is missing."""
        fitted = sar_features(sar) @ self.coefficients[1:] + self.coefficients[0]
        return np.moveaxis(fitted, -1, 0)


def fit_constant(train: Iterable[TrainingImage]) -> NDArray[np.float64]:
    """Mean spectrum of the valid pixels of clear images."""
    total: NDArray[np.float64] | float = 0.0
    count = 0
    for image in train:
        valid = ~np.isnan(image.optical).any(axis=0)
        total = total + image.optical[:, valid].sum(axis=1, dtype=np.float64)
        count += int(np.count_nonzero(valid))
    if count == 0:
        raise DataError(
            "no valid pixel to average", fix="call fit_constant([TrainingImage(optical), ...])"
        )
    return np.asarray(total / count)


def fit_ridge(train: Sequence[TrainingImage], penalties: Sequence[float] = PENALTIES) -> Ridge:
    """Ridge regression from backscatter to reflectance (Hoerl and Kennard 1970, eq. 2.1)."""
    groups: dict[str, Moments] = {}
    for image in train:
        if image.sar is None:
            raise DataError(
                "a training image has no backscatter",
                fix="call fit_ridge([TrainingImage(optical, sar, group), ...])",
            )
        sums = moments(sar_features(image.sar), image.optical)
        groups[image.group] = groups[image.group].plus(sums) if image.group in groups else sums
    if not groups or sum(s.zz[0, 0] for s in groups.values()) == 0:
        raise DataError(
            "no valid pixel to fit on",
            fix="call fit_ridge([TrainingImage(optical, sar, group), ...])",
        )
    total, *others = groups.values()
    for sums in others:
        total = total.plus(sums)
    if not others:
        best = min(penalties)
        return Ridge(solve_ridge(total, best), best, {})
    # the penalty with the least squared error on the left-out group, over all groups
    errors: dict[float, float] = {}
    values = total.zz[0, 0] * total.zy.shape[1]
    for penalty in penalties:
        left_out = sum(
            squared_error(sums, solve_ridge(total.plus(sums, -1), penalty))
            for sums in groups.values()
        )
        errors[penalty] = float(np.sqrt(max(left_out, 0) / values))
    best = min(errors, key=errors.__getitem__)
    return Ridge(solve_ridge(total, best), best, errors)


def do_nothing(data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
    """The cloudy input."""
    return reflectance_of(data)


def clear_mean(data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
    """One spectrum for all hidden pixels: the mean of the clear pixels of the image or series."""
    image = reflectance_of(data)
    clear = (~on_yx(hidden) & image.notnull().all("band")).transpose(*image.dims[:-3], "y", "x")
    pixels = np.moveaxis(image.values, -3, -1)[np.broadcast_to(clear, image.isel(band=0).shape)]
    spectrum = np.full(image.sizes["band"], np.nan, np.float32)
    if len(pixels):
        spectrum = pixels.mean(axis=0, dtype=np.float64).astype(np.float32)
    return _filled(image, hidden, spectrum)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One constant spectrum for all hidden pixels."""

    values: Mapping[str, float]  # reflectance by band

    def __call__(self, data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
        """Fill the hidden pixels."""
        image = reflectance_of(data)
        _need(image, self.values)
        return _filled(image, hidden, [self.values[str(b)] for b in image.band.values])

    def fingerprint(self) -> str:
        """The spectrum."""
        return f"spectrum {sorted(self.values.items())}"


@dataclass(frozen=True, eq=False)
class RadarMap:
    """A fitted linear map from backscatter for all hidden pixels."""

    ridge: Ridge
    bands: tuple[str, ...]  # predicted bands

    def __call__(self, data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
        """Fill the hidden pixels."""
        image, radar = reflectance_of(data), read(data).backscatter(("VV", "VH"))
        _need(image, self.bands)
        image = image.sel(band=list(self.bands))
        planes = np.broadcast_to(radar.values, (*image.shape[:-3], 2, *image.shape[-2:]))
        fitted = np.stack([self.ridge.predict(p) for p in planes.reshape(-1, *planes.shape[-3:])])
        fill = image.copy(data=fitted.reshape(image.shape).astype(image.dtype))
        return image.where(~on_yx(hidden), fill).assign_attrs(image.attrs)

    def fingerprint(self) -> str:
        """The coefficients."""
        return f"ridge {self.bands} {self.ridge.coefficients.tolist()}"


def mean_of_pixels(train: Sequence[Case]) -> Spectrum:
    """Mean spectrum of all pixels of the truths."""
    bands = _bands(train)
    images = (TrainingImage(_truth(c, bands)) for c in train)
    return Spectrum(dict(zip(bands, fit_constant(images).tolist(), strict=True)))


def mean_of_regions(train: Sequence[Case]) -> Spectrum:
    """Mean spectrum of the truths, with equal weights of regions, and of images in a region."""
    bands = _bands(train)
    by_region: dict[str, list[Any]] = {}
    for case in train:
        one = fit_constant([TrainingImage(_truth(case, bands))])
        by_region.setdefault(case.region, []).append(one)
    mean = np.mean([np.mean(rows, axis=0) for rows in by_region.values()], axis=0)
    return Spectrum(dict(zip(bands, mean.tolist(), strict=True)))


def radar_map(train: Sequence[Case]) -> RadarMap:
    """Ridge regression of the truths on backscatter, with the penalty from left-out regions."""
    bands = _bands(train)
    images = [
        TrainingImage(
            _truth(case, bands), read(case.data).backscatter(("VV", "VH")).values, case.region
        )
        for case in train
    ]
    return RadarMap(fit_ridge(images), bands)


TRIVIAL: Final[Mapping[str, Estimate | Fit]] = MappingProxyType(
    {
        "do nothing": do_nothing,
        "clear mean": clear_mean,
        "constant of training pixels": Fit(mean_of_pixels),
        "constant of training regions": Fit(mean_of_regions),
        "ridge on SAR": Fit(radar_map),
    }
)
"""Names that :func:`xcloudfree.judge.benchmark` accepts besides methods and models.

The last three are fitted on the training cases of a fold."""


def _filled(image: xr.DataArray, hidden: xr.DataArray, spectrum: Any) -> xr.DataArray:
    fill = xr.DataArray(np.asarray(spectrum, np.float32), coords={"band": image.band})
    return image.where(~on_yx(hidden), fill).assign_attrs(image.attrs)


def _bands(train: Sequence[Case]) -> tuple[str, ...]:
    """Bands of the truths."""
    if not len(train):
        raise DataError(
            "there are no cases to fit on", fix="call benchmark([Fold(train, test)], methods)"
        )
    return tuple(str(b) for b in reflectance_of(train[0].truth).band.values)


def _truth(case: Case, bands: Sequence[str]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = reflectance_of(case.truth).sel(band=list(bands)).values
    return values


def _need(image: xr.DataArray, bands: Iterable[str]) -> None:
    """Raise an error for bands that nothing was fitted on."""
    have, fitted = {str(b) for b in image.band.values}, set(bands)
    if not have <= fitted:
        raise MissingBandError(
            f"the data has {sorted(have - fitted)}, on which nothing was fitted",
            fix="call benchmark([Fold(train, test)], methods) with cases of the same bands",
        )
