"""Rows that cost nothing and that every table shows first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.judge.baselines import Ridge, TrainingImage, fit_constant, fit_ridge
from xcloudfree.judge.case import Case, on_yx, reflectance_of
from xcloudfree.judge.estimators import Estimate, Fit


def do_nothing(data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
    """The cloudy input."""
    return reflectance_of(data)


def clear_mean(data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
    """One spectrum for all that is hidden: the mean of the clear pixels of the image or series."""
    image = reflectance_of(data)
    clear = (~on_yx(hidden) & image.notnull().all("band")).transpose(*image.dims[:-3], "y", "x")
    pixels = np.moveaxis(image.values, -3, -1)[np.broadcast_to(clear, image.isel(band=0).shape)]
    spectrum = np.full(image.sizes["band"], np.nan, np.float32)
    if len(pixels):
        spectrum = pixels.mean(axis=0, dtype=np.float64).astype(np.float32)
    fill = xr.DataArray(spectrum, coords={"band": image.band})
    return image.where(~on_yx(hidden), fill).assign_attrs(image.attrs)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One given spectrum for all that is hidden."""

    values: Mapping[str, float]  # reflectance by band

    def __call__(self, data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
        """Fill what is hidden."""
        image = reflectance_of(data)
        _need(image, self.values)
        values = np.array([self.values[str(b)] for b in image.band.values], "float32")
        spectrum = xr.DataArray(values, coords={"band": image.band})
        return image.where(~on_yx(hidden), spectrum).assign_attrs(image.attrs)

    def fingerprint(self) -> str:
        """The numbers."""
        return f"spectrum {sorted(self.values.items())}"


def mean_of_pixels(train: Sequence[Case]) -> Spectrum:
    """Mean spectrum of all pixels of the truths."""
    bands = _bands(train)
    images = (TrainingImage(_truth(c, bands), group=c.region) for c in train)
    return Spectrum(dict(zip(bands, fit_constant(images).spectrum.tolist(), strict=True)))


def mean_of_regions(train: Sequence[Case]) -> Spectrum:
    """Mean spectrum of the truths, each region as heavy as any other, and each image in a region."""
    bands = _bands(train)
    by_region: dict[str, list[Any]] = {}
    for case in train:
        one = fit_constant([TrainingImage(_truth(case, bands))]).spectrum
        by_region.setdefault(case.region, []).append(one)
    mean = np.mean([np.mean(rows, axis=0) for rows in by_region.values()], axis=0)
    return Spectrum(dict(zip(bands, mean.tolist(), strict=True)))


@dataclass(frozen=True, eq=False)
class RadarMap:
    """A fitted linear map from backscatter for all that is hidden."""

    ridge: Ridge  # see :func:`xcloudfree.judge.baselines.fit_ridge`
    bands: tuple[str, ...]  # what it predicts

    def __call__(self, data: xr.Dataset, hidden: xr.DataArray) -> xr.DataArray:
        """Fill what is hidden."""
        image, radar = reflectance_of(data), read(data).backscatter(("VV", "VH"))
        _need(image, self.bands)
        out = image.sel(band=list(self.bands)).copy()
        size, head = out.shape[-2:], out.shape[:-3]
        planes = zip(
            out.values.reshape(-1, len(self.bands), *size),
            np.broadcast_to(radar.values, (*head, 2, *size)).reshape(-1, 2, *size),
            np.broadcast_to(on_yx(hidden).values, (*head, *size)).reshape(-1, *size),
            strict=True,
        )
        for plane, backscatter, where in planes:
            plane[...] = self.ridge.predict(plane, backscatter, where)
        return out

    def fingerprint(self) -> str:
        """The numbers."""
        return f"ridge {self.bands} {self.ridge.coefficients.tolist()}"


def radar_map(train: Sequence[Case]) -> RadarMap:
    """Ridge regression of the truths on backscatter, the penalty by leaving out regions."""
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
"""Names that :func:`xcloudfree.judge.benchmark` takes, besides those of methods and models.

The last three are fitted on the training cases of a fold."""


def _bands(train: Sequence[Case]) -> tuple[str, ...]:
    """Bands of the truths."""
    if not len(train):
        raise DataError(
            "there are no cases to fit on; call benchmark([Fold(train, test)], methods)"
        )
    return tuple(str(b) for b in reflectance_of(train[0].truth).band.values)


def _truth(case: Case, bands: Sequence[str]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = reflectance_of(case.truth).sel(band=list(bands)).values
    return values


def _need(image: xr.DataArray, bands: Iterable[str]) -> None:
    have, fitted = {str(b) for b in image.band.values}, set(bands)
    if not have <= fitted:
        raise MissingBandError(
            f"the data has {sorted(have - fitted)}, on which nothing was fitted; call "
            "benchmark([Fold(train, test)], methods) with cases of the same bands"
        )
