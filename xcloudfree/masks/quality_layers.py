"""Masks that come with the data: QA60, cloud probability and Fmask variants, each by its own rule.

References: QA60 and MSK_CLDPRB, Sentinel-2 Products Specification Document; Fmask, User Guide of
HLS 2.0, table 9; fmask and s2cloudless of Digital Earth, its product definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.nodata import declared
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import CloudFreeError, DataError, MissingBandError

Booleans = NDArray[np.bool_]

PROBABLE: Final = 0.4
"""Cloud probability, as a fraction, from which a pixel is cloud: the default of s2cloudless."""


@dataclass(frozen=True)
class QualityLayer:
    """One kind of layer: classes, bits, or a probability from 0 to ``largest``."""

    method: str  # name for mask()
    variables: tuple[str, ...]  # names used by providers
    largest: float | None  # the largest possible number; None: the unit must be declared
    classes: tuple[int, ...] = ()  # numbers that mean occluded
    bits: int = 0  # bits that mean occluded
    unknown: tuple[int, ...] = ()  # numbers that mean unknown
    allowed: int | None = None  # bits that may be set

    @property
    def graded(self) -> bool:
        """Whether the layer contains a probability."""
        return not self.classes and not self.bits

    def read(
        self, name: str, numbers: NDArray[Any], limit: float, nodata: Sequence[float] = ()
    ) -> tuple[Booleans, Booleans]:
        """Pixels that the layer marks as occluded, and as unknown."""
        unknown = ~np.isfinite(numbers) | np.isin(numbers, (*self.unknown, *nodata))
        self._check(numbers[~unknown], name)
        if self.graded:
            with np.errstate(invalid="ignore"):
                return np.asarray(numbers >= limit) & ~unknown, unknown
        whole = np.where(unknown, 0, numbers).astype(np.int64)
        hidden = (whole & self.bits) != 0 if self.bits else np.isin(whole, self.classes)
        return hidden & ~unknown, unknown

    def _check(self, known: NDArray[Any], name: str) -> None:
        wrong = known < 0
        if self.largest is not None:
            wrong |= known > self.largest
        if not self.graded:
            wrong |= known != np.rint(known)
        if self.allowed is not None and not wrong.any():
            wrong |= (known.astype(np.int64) & ~self.allowed) != 0
        if wrong.any():
            value = known[wrong].flat[0]
            torn = not self.graded and value != np.rint(value)
            raise DataError(
                f"{name} holds {value:g}, which it never does"
                + (" unless it was interpolated" if torn else ""),
                fix="load it with resampling='nearest' and mask_and_scale=False, or leave it out "
                f"with ds.drop_vars({name!r})",
                option="load it with nearest-neighbour resampling, or leave it out of the file",
            )


LAYERS: Final = (
    QualityLayer("fmask", ("Fmask",), 255, bits=0b1110, unknown=(255,)),
    QualityLayer("fmask", ("fmask", "oa_fmask"), 5, classes=(2, 3), unknown=(0,)),
    QualityLayer(
        "s2cloudless_mask", ("s2cloudless_mask", "oa_s2cloudless_mask"), 2, (2,), unknown=(0,)
    ),
    QualityLayer("qa60", ("QA60",), 0b11 << 10, bits=0b11 << 10, allowed=0b11 << 10),
    QualityLayer(
        "clp",
        ("MSK_CLDPRB", "MSK_CLDPRB_20m", "MSK_CLDPRB_60m", "probability"),
        100,
        unknown=(255,),
    ),
    QualityLayer("clp", ("s2cloudless_prob", "oa_s2cloudless_prob"), 1),
    QualityLayer("clp", ("CLP",), None),
)
"""Bits of Fmask: cloud, next to cloud or shadow, shadow. Of QA60: opaque cloud, cirrus."""

LAYER_METHODS: Final = tuple(dict.fromkeys(layer.method for layer in LAYERS))
"""Names of these masks."""

UNFILLED: Final = np.datetime64("2022-01-25"), np.datetime64("2024-02-28")
"""Between these days QA60 was delivered empty: clear everywhere, whatever the sky was."""


def find_layer(scene: Scene, method: str | None = None) -> tuple[QualityLayer, str] | None:
    """The first layer of a scene, of one method or of any that needs no threshold."""
    if isinstance(scene.source, xr.DataArray):
        return None
    for layer in LAYERS:
        for name in layer.variables:
            if name in scene.source.data_vars and layer.method == method:
                return layer, name
            if name in scene.source.data_vars and method is None:
                if layer.method == "qa60" and unfilled(scene).any():
                    continue
                if _limit(layer, scene.source[name], None) is not None:
                    return layer, name
    return None


def layer_mask(scene: Scene, method: str, threshold: float | None) -> xr.DataArray:
    """Mask (*lead, y, x) of a layer; pixels with data but an unknown value are occluded too."""
    found = find_layer(scene, method)
    optical = scene.optical
    names = [name for layer in LAYERS if layer.method == method for name in layer.variables]
    if found is None or optical is None:
        raise MissingBandError(
            f"the mask {method!r} reads {' or '.join(names)} but the data has "
            f"{'neither' if len(names) > 1 else 'no such variable'}",
            fix='load it too, or call mask("auto")',
            option="--mask auto",
        )
    layer, name = found
    array = scene.source[name]
    if layer.largest is None and _in_percent(array):
        layer = replace(layer, largest=100, unknown=(255,))
    if array.dtype.kind not in "iuf":
        raise DataError(
            f"{name} holds {array.dtype}, not numbers",
            fix=f"convert it with ds.assign({{{name!r}: ds[{name!r}].astype('uint8')}})",
            option="write it to the file as integers",
        )
    limit = _limit(layer, array, threshold)
    if limit is None:
        raise CloudFreeError(
            f"{name} may end at 1, 100 or 255, and nothing declares which",
            fix=f"call mask({method!r}, threshold=40) with the number from which a pixel is "
            f"cloud, or declare ds[{name!r}].attrs['units'] = 'percent'",
            option="--threshold 40, the number from which a pixel is cloud",
        )
    if method == "qa60" and (dates := unfilled(scene)).any():
        raise DataError(
            f"QA60 was delivered empty from {UNFILLED[0]} to {UNFILLED[1]}, and {int(dates.sum())} "
            "dates of the data are in that period",
            fix='load the scene classification (SCL), or call mask("series")',
            option="load the scene classification (SCL), or use --mask series",
        )
    numbers = declared(array, f"ds.assign({{{name!r}: ds[{name!r}].drop_attrs()}})")
    # in most of them 0 is a valid number that means clear, whatever a reader declared
    nodata = [n for n in numbers if n != 0]
    band, measured = optical.arrays[0], scene.calibration().valid
    band = band.isel(band=0, drop=True) if optical.stacked else band

    def found_in(stored: NDArray[Any], reflectance: NDArray[Any]) -> Booleans:
        hidden, unknown = layer.read(name, stored, limit, nodata)
        return (hidden | unknown) & measured(reflectance)

    mask: xr.DataArray = xr.apply_ufunc(
        found_in, array, band, dask="parallelized", output_dtypes=[bool], join="override"
    )
    return mask.transpose(*band.dims)


def unfilled(scene: Scene) -> Booleans:
    """Dates for which QA60 was empty."""
    times = getattr(scene.template(), "time", None)
    if times is None or times.dtype.kind != "M":
        return np.zeros(1, bool)
    return np.asarray((times.values >= UNFILLED[0]) & (times.values < UNFILLED[1]))


def _limit(layer: QualityLayer, array: xr.DataArray, threshold: float | None) -> float | None:
    """The number from which a pixel is cloud; None if it is unknown."""
    if threshold is not None or not layer.graded:
        return 0.0 if threshold is None else threshold
    largest = layer.largest or (100.0 if _in_percent(array) else None)
    return None if largest is None else PROBABLE * largest


def _in_percent(array: xr.DataArray) -> bool:
    return str(array.attrs.get("units", "")).lower() in ("percent", "%")
