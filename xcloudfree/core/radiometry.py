"""Stored numbers to physical ones and back: reflectance, and backscatter in dB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from xcloudfree.exceptions import UnitsError

_ENOUGH = 64  # valid values from which a value range says something
_FAINTEST, _BRIGHTEST = -60.0, 20.0  # dB, beyond which no ground is on the whole


def holds(dtype: np.dtype[Any], number: float) -> bool:
    """Whether a number is one of an integer type."""
    limits = np.iinfo(dtype)
    return bool(limits.min <= number <= limits.max and number == int(number))


@dataclass(frozen=True)
class Calibration:
    """Linear rule between stored numbers and reflectance."""

    scale: float = 1.0  # `reflectance = stored * scale + offset`
    offset: float = 0.0  # `reflectance = stored * scale + offset`
    nodata: float | None = None  # stored number without a measurement; NaN always is

    @property
    def is_identity(self) -> bool:
        """Whether stored numbers are reflectance already."""
        return self.scale == 1.0 and self.offset == 0.0

    def integer_nodata(self, dtype: np.dtype[Any]) -> int:
        """No-data value of an integer type: the declared one if it fits, else Sentinel-2's 0."""
        return 0 if self.nodata is None or not holds(dtype, self.nodata) else int(self.nodata)

    def valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Where there is a measurement; same shape as `stored`."""
        good = np.ones(stored.shape, bool)
        if np.issubdtype(stored.dtype, np.floating):
            good = np.isfinite(stored)
        if self.nodata is not None and not np.isnan(self.nodata):
            good &= stored != self.nodata
        return good

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Reflectance, NaN without a measurement; same shape as `stored`."""
        out = stored.astype(np.float32)
        out[~self.valid(stored)] = np.nan
        if not self.is_identity:
            if np.issubdtype(stored.dtype, np.floating):
                _check_numbers(out, self)
            out = out * np.float32(self.scale) + np.float32(self.offset)
        _check_reflectance(out, self)
        return out

    def encode(self, reflectance: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        """Stored numbers; no value becomes `nodata` unless it is NaN."""
        kind = np.dtype(dtype)
        stored = reflectance
        if not self.is_identity:
            stored = (np.asarray(reflectance, np.float64) - self.offset) / self.scale
        if np.issubdtype(kind, np.floating):
            out = stored.astype(kind)
            if self.nodata is not None and not np.isnan(self.nodata):
                nodata, above = np.asarray([self.nodata, np.inf], kind)
                out[out == nodata] = np.nextafter(nodata, above)
                out[np.isnan(out)] = nodata
            return out
        limits = np.iinfo(kind)
        empty = np.isnan(stored)
        whole = np.clip(np.rint(np.where(empty, 0, stored)), limits.min, limits.max).astype(kind)
        nodata = self.integer_nodata(kind)
        whole[~empty & (whole == nodata)] = nodata + 1 if nodata < limits.max else nodata - 1
        whole[empty] = nodata
        return whole


@dataclass(frozen=True)
class SarCalibration:
    """Rule from stored backscatter to dB."""

    units: str  # whether the numbers are decibels or linear power
    # stored number without a measurement; NaN always is, and so is linear power of 0 or less
    nodata: float | None = None
    scale: float = 1.0  # `backscatter = stored * scale + offset`, in `units`
    offset: float = 0.0  # `backscatter = stored * scale + offset`, in `units`

    def valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Where there is a measurement; same shape as `stored`."""
        good = np.isfinite(stored)
        if self.units != "dB":
            good &= self._scaled(stored) > 0
        if self.nodata is not None and not np.isnan(self.nodata):
            good &= stored != self.nodata
        return np.asarray(good)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Backscatter in dB, NaN without a measurement; same shape as `stored`."""
        out = np.asarray(stored, np.float32).copy()
        if self.nodata is not None and not np.isnan(self.nodata):
            out[stored == self.nodata] = np.nan
        out = self._scaled(out)
        out[~np.isfinite(out)] = np.nan  # zeros through 10 * log10 are -inf
        sample = _sample(out)
        if self.units == "dB":
            _check_backscatter(sample)
            if len(sample) >= _ENOUGH and np.mean(sample > 0) > 0.9:
                raise UnitsError(
                    "backscatter is declared as dB, but hardly a value is negative, as of power",
                    fix='declare it with ds.cloudfree.calibrate(sar="linear")',
                    option="--sar linear",
                )
            return out
        if len(sample) >= _ENOUGH and np.median(sample) < 0:
            raise UnitsError(
                "backscatter is declared as linear power, but most values are negative, as dB are",
                fix='declare it with ds.cloudfree.calibrate(sar="dB")',
                option="--sar dB",
            )
        out[~(out > 0)] = np.nan
        out = np.asarray(10 * np.log10(out), np.float32)
        _check_backscatter(_sample(out))
        return out

    def _scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        if self.scale == 1.0 and self.offset == 0.0:
            return stored
        return stored * np.float32(self.scale) + np.float32(self.offset)


def _check_backscatter(decibels: NDArray[np.float32]) -> None:
    """Refuse what is far from any ground."""
    if len(decibels) >= _ENOUGH and not _FAINTEST < (middle := np.median(decibels)) < _BRIGHTEST:
        raise UnitsError(
            f"the median of the backscatter would be {middle:.0f} dB, so these are digital numbers "
            "or of another unit, or a value that fills in for none",
            fix="leave such a value out with "
            "ds.assign(VV=ds.VV.where(ds.VV != value), VH=ds.VH.where(ds.VH != value)), and "
            'declare calibrated numbers with ds.cloudfree.calibrate(sar="dB") or '
            'calibrate(sar="linear")',
            option="--sar dB or --sar linear",
        )


def _check_reflectance(values: NDArray[np.float32], rule: Calibration) -> None:
    sample = _sample(values)
    if len(sample) and np.median(sample) > 3:
        raise UnitsError(
            f"half of the reflectance values are above {np.median(sample):.0f} with "
            f"scale={rule.scale:g} and offset={rule.offset:g}, so they are digital numbers",
            fix="declare how to read them, for example "
            "ds.cloudfree.calibrate(scale=1e-4, offset=-0.1)",
            option="--scale 1e-4 --offset -0.1",
        )


def _check_numbers(stored: NDArray[np.float32], rule: Calibration) -> None:
    """Floats below 3 are reflectance already; scaling them would leave nothing."""
    sample = _sample(stored)
    if len(sample) >= _ENOUGH and np.abs(sample).max() < 3:
        raise UnitsError(
            f"scale={rule.scale:g} is declared, but no value exceeds 3, so they are reflectance "
            "already",
            fix="declare that with ds.cloudfree.calibrate(scale=1, offset=0)",
            option="--scale 1 --offset 0",
        )


def _sample(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A few thousand of the valid values, spread over the array."""
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // 8192)]
    return flat[np.isfinite(flat)]
