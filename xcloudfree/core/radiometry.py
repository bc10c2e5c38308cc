"""Convert stored numbers to physical ones and back: reflectance, and backscatter in dB."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from xcloudfree.exceptions import UnitsError

_ENOUGH = 64  # valid values needed for a meaningful value range
_DARKEST, _LARGEST = -1.0, 6.6  # range of reflectance that Sentinel-2 numbers can decode to
_FAINTEST, _BRIGHTEST = -80.0, 40.0  # dB, range of possible ground
_FILLS = tuple(np.float32(v) for v in (6.5535, 6.4535, -0.1))
"""Sentinel-2's 65535 and 0 as reflectance: fill values that were decoded without a declaration."""
COMMON_FILLS = (-9999, -99999, -32768, -32767, -999, -99, -3.4028234663852886e38, 1e20, 1e36, 65535)
"""Common fill values of programs."""


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
    others: tuple[float, ...] = ()  # more such numbers; only `nodata` is written

    @property
    def is_identity(self) -> bool:
        """Whether stored numbers already are reflectance."""
        return self.scale == 1.0 and self.offset == 0.0

    def valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Where there is a measurement; same shape as `stored`."""
        good = np.ones(stored.shape, bool)
        if np.issubdtype(stored.dtype, np.floating):
            good = np.isfinite(stored)
        return _without(good, stored, self.nodata, self.others)

    def unified(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The same with `nodata`, or NaN, in place of the other no-data numbers."""
        other = ~_without(np.ones(stored.shape, bool), stored, None, self.others)
        if not self.others or not other.any():
            return stored
        out = stored.copy()
        out[other] = np.nan if self.nodata is None else self.nodata
        return out

    def check(self, stored: NDArray[Any]) -> None:
        """Raise an error for impossible values, without decoding all values if there are none."""
        if not stored.size:
            return
        least, most = (f.reduce(stored, axis=None) for f in (np.fmin, np.fmax))
        ends = np.array([least, most], np.float64) * self.scale + self.offset
        plausible = ends[0] > _FILLS[-1] and ends[1] < _FILLS[1]
        if plausible and (self.is_identity or np.issubdtype(stored.dtype, np.integer)):
            return
        self.decode(stored)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Reflectance, NaN without a measurement; same shape as `stored`."""
        out = stored.astype(np.float32)
        out[~self.valid(stored)] = np.nan
        if not self.is_identity:
            if np.issubdtype(stored.dtype, np.floating):
                _check_numbers(out, self)
            out = out * np.float32(self.scale) + np.float32(self.offset)
        _check_reflectance(out, self, np.issubdtype(stored.dtype, np.floating))
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
        nodata = 0  # that of Sentinel-2, if the declared one does not fit
        if self.nodata is not None and holds(kind, self.nodata):
            nodata = int(self.nodata)
        for number in (nodata, *self.others):  # use a neighbouring value, so that it stays a value
            if holds(kind, number):
                beside = int(number) + 1 if number < limits.max else int(number) - 1
                whole[~empty & (whole == number)] = beside
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
    others: tuple[float, ...] = ()  # more no-data numbers

    def valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Where there is a measurement; same shape as `stored`."""
        good = np.asarray(np.isfinite(stored))
        if self.units != "dB":
            good &= self._scaled(stored) > 0
        return _without(good, stored, self.nodata, self.others)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Backscatter in dB, NaN without a measurement; same shape as `stored`."""
        out = np.asarray(stored, np.float32).copy()
        out[~_without(np.ones(out.shape, bool), stored, self.nodata, self.others)] = np.nan
        out = self._scaled(out)
        out[~np.isfinite(out)] = np.nan  # zeros through 10 * log10 are -inf
        if self.units == "dB":
            _check_backscatter(out, lowest=_FAINTEST)
            sample = _sample(out)
            # power has no negative value in any block, and dB rarely a positive one
            if len(sample) >= _ENOUGH and np.mean(sample > 0) > 0.99:
                raise UnitsError(
                    "backscatter is declared as dB, but hardly any value is negative, as in power",
                    fix='declare it with ds.cloudfree.calibrate(sar="linear")',
                    option="--sar linear",
                )
            # values may be clipped there, as in SEN12MS-CR, but hardly next to each other in both
            several = out.ndim > 2 and out.shape[-3] > 1 and stored.dtype.kind == "f"
            zero = (out == 0).all(-3) if several else np.zeros(0, bool)
            if self.nodata is None and zero.any() and _squares(zero).any():
                raise UnitsError(
                    f"backscatter is exactly 0 dB in {zero.sum()} pixels of a block, as if a "
                    "border was filled",
                    fix="declare that with ds.cloudfree.calibrate(sar_nodata=0)",
                    option="--sar-nodata 0",
                )
            return out
        if np.any((out < -1) & (out > -60)):
            raise UnitsError(
                "backscatter is declared as linear power, but values are negative, as dB are",
                fix='declare it with ds.cloudfree.calibrate(sar="dB")',
                option="--sar dB",
            )
        out[~(out > 0)] = np.nan
        out = np.asarray(10 * np.log10(out), np.float32)
        _check_backscatter(out)
        return out

    def power(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Linear power, of which means may be taken; NaN without a measurement."""
        out: NDArray[np.float64] = 10 ** (self.decode(stored).astype(np.float64) / 10)
        return out

    def encode(self, power: NDArray[np.float64], dtype: DTypeLike) -> NDArray[Any]:
        """Stored floating-point numbers of linear power."""
        values = 10 * np.log10(power) if self.units == "dB" else power
        return ((values - self.offset) / self.scale).astype(dtype)

    def _scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        if self.scale == 1.0 and self.offset == 0.0:
            return stored
        return stored * np.float32(self.scale) + np.float32(self.offset)


def _without(
    good: NDArray[np.bool_], stored: NDArray[Any], nodata: float | None, others: tuple[float, ...]
) -> NDArray[np.bool_]:
    """Where values are valid and none of the no-data numbers."""
    for number in (nodata, *others):
        if number is None or np.isnan(number):
            continue
        if stored.dtype.kind == "f":
            good &= stored != stored.dtype.type(number)
        elif holds(stored.dtype, number):
            good &= stored != int(number)
    return good


def _squares(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a square of 3 x 3 pixels is marked as a whole, (..., y - 2, x - 2)."""
    columns = marked[..., :-2] & marked[..., 1:-1] & marked[..., 2:]
    return np.asarray(columns[..., :-2, :] & columns[..., 1:-1, :] & columns[..., 2:, :])


def _check_backscatter(decibels: NDArray[np.float32], lowest: float = -np.inf) -> None:
    """Raise an error for impossible values, one by one, independent of the chunks."""
    bad = (decibels < lowest) | (decibels > _BRIGHTEST)
    worst = decibels[bad]
    sample = _sample(decibels)
    numbers = len(sample) >= _ENOUGH and np.mean(sample > 10) > 0.9
    if not worst.size and not numbers:
        return
    alike = worst.size and bool((worst == worst[0]).all()) and lowest > -np.inf
    if alike and (worst.size < 0.9 * len(decibels.reshape(-1)) or worst[0] in COMMON_FILLS):
        raise UnitsError(
            f"backscatter of {_written(worst[0])} dB is a fill value, not a measurement",
            fix=f"declare that with ds.cloudfree.calibrate(sar_nodata={_written(worst[0])})",
            option=f"--sar-nodata {_written(worst[0])}",
        )
    shown = f"{worst[0]:.0f}" if worst.size else f"{np.median(sample):.0f}"
    raise UnitsError(
        f"the backscatter would be {shown} dB, so these are digital numbers, another unit or "
        "fill values",
        fix="leave such values out with "
        "ds.assign({p: ds[p].where(abs(ds[p]) < 60) for p in ['VV', 'VH'] if p in ds}), and "
        'declare calibrated numbers with ds.cloudfree.calibrate(sar="dB") or '
        'calibrate(sar="linear")',
        option="--sar dB or --sar linear",
    )


def _check_reflectance(
    values: NDArray[np.float32], rule: Calibration, floating: bool = True
) -> None:
    """Raise an error for impossible values, one by one, independent of the chunks."""
    bad = (values < _DARKEST) | (values > _LARGEST)
    if floating and rule.is_identity:  # stored numbers 0 and 65535 are known to be no data
        for fill in _FILLS:
            bad |= values == fill
    if not bad.any():
        _warn_below_zero(values, rule)
        return
    worst = values[bad]
    # fill values are negative, or far beyond any digital number, or Sentinel-2's own
    fills = worst[(worst < _DARKEST) | (worst > 65534) | np.isin(worst, _FILLS)]
    if not fills.size or not rule.is_identity:
        raise UnitsError(
            f"reflectance of {worst.max():.3g} results from "
            f"scale={rule.scale:g} and offset={rule.offset:g}, so they are digital numbers",
            fix="declare how to read them, for example "
            "ds.cloudfree.calibrate(scale=1e-4, offset=-0.1)",
            option="--scale 1e-4 --offset -0.1",
        )
    if (fills == fills[0]).all():
        raise UnitsError(
            f"reflectance of {_written(fills[0])} is a fill value, not a measurement",
            fix=f"declare that with ds.cloudfree.calibrate(nodata={_written(fills[0])})",
            option=f"--nodata {_written(fills[0])}",
        )
    raise UnitsError(
        f"reflectance of {_written(fills.min())} to {_written(fills.max())} is impossible, as "
        "from a fill value that was interpolated",
        fix="leave it out with "
        "ds.assign({b: ds[b].where(abs(ds[b] - 3) < 3.4) for b in ds if b.startswith('B')})",
        option=f"--nodata {_written(fills[0])}",
    )


def _written(value: np.float32) -> str:
    """A number in common notation: -9999, 6.4535, 1e+20."""
    number = float(str(np.float32(value)))
    return f"{number:.0f}" if number == round(number) and abs(number) < 1e7 else f"{number!r}"


def _warn_below_zero(values: NDArray[np.float32], rule: Calibration) -> None:
    """Warn if half of a band is below zero, as when an offset was subtracted twice."""
    if values.ndim < 3:
        return
    fix = f"declare that with ds.cloudfree.calibrate(scale={rule.scale:g}, offset=0)"
    if rule.is_identity:
        fix = "add it with ds.assign({b: ds[b] + 0.1 for b in ds if b.startswith('B')})"
    for plane in np.moveaxis(values, -3, 0):
        sample = _sample(plane)
        if len(sample) >= _ENOUGH and np.median(sample) < -0.02:
            warnings.warn(
                "half of a band is below zero, as if the offset was subtracted from the "
                f"numbers twice; {fix}",
                UserWarning,
                stacklevel=3,
            )
            return


def _check_numbers(stored: NDArray[np.float32], rule: Calibration) -> None:
    """Floats below 3 already are reflectance; scaling them would make them vanish."""
    sample = _sample(stored)
    # a block of stored numbers such as 0 and 1 next to the swath contains whole ones
    if len(sample) >= _ENOUGH and np.abs(sample).max() < 3 and (sample % 1 > 0).any():
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
