"""The canonical scene: bands of both sensors on one grid, and the meaning of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.bands import sar_band
from xcloudfree.core.nodata import missing_backscatter, missing_reflectance, numeric
from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.exceptions import DataError, MissingBandError, UnitsError

BAND_DIMS = ("band", "polarisation", "polarization", "pol", "bands")

_CALLS = {
    "scale_factor": "scale=1e-4, offset=...",
    "add_offset": "scale=1e-4, offset=...",
    "nodata": "nodata=...",
    "processing_level": "level=...",
    "units": "sar='dB'",
    "quantity": "quantity=...",
}


@dataclass(frozen=True)
class Layer:
    """Bands of one sensor on the scene's grid."""

    names: tuple[str, ...]  # canonical names
    # either one (*lead, y, x) for each name, or a single (*lead, band, y, x) for all
    arrays: tuple[xr.DataArray, ...]
    variables: tuple[Hashable, ...]  # names of the arrays in the input

    @property
    def stacked(self) -> bool:
        """Whether one array contains all bands."""
        return "band" in self.arrays[0].dims

    def attribute(self, key: str) -> Any:
        """Value of an attribute on which all arrays agree; None if none has it."""
        values = {_plain(a.attrs.get(key)) for a in self.arrays}
        if len(values) > 1:
            shown = {
                n: _plain(a.attrs.get(key)) for n, a in zip(self.names, self.arrays, strict=False)
            }
            raise UnitsError(
                f"the bands disagree in {key}: {shown}",
                fix="load items with the same rule, or declare one for all with "
                f"ds.cloudfree.calibrate({_CALLS.get(key, '...')})",
                option="--scale, --offset, --nodata, --level, --sar or --quantity",
            )
        return values.pop()

    def dtype(self, owner: str = "ds") -> np.dtype[Any]:
        """Type of the numbers of all bands."""
        kinds = {a.dtype for a in self.arrays}
        if len(kinds) > 1:
            raise UnitsError(
                f"the bands of {owner} differ in type ({', '.join(sorted(map(str, kinds)))})",
                fix=f"convert them with {owner}.astype('float32')",
                option="write all of them with one type, such as float32",
            )
        return kinds.pop()

    def select(self, names: Sequence[str]) -> Layer:
        """The given bands in the given order."""
        if tuple(names) == self.names:
            return self
        where = [self.names.index(n) for n in names]
        if self.stacked:
            return Layer(tuple(names), (self.arrays[0].isel(band=where),), self.variables)
        return Layer(
            tuple(names),
            tuple(self.arrays[i] for i in where),
            tuple(self.variables[i] for i in where),
        )

    def planes(self) -> list[Any]:
        """Arrays for :func:`~xcloudfree.core.blocks.map_windows`, all of which have bands."""
        if len(self.arrays) == 1 and not self.stacked:
            return [self.arrays[0].data[..., None, :, :]]
        return [a.data for a in self.arrays]

    def by_band(self) -> list[Any]:
        """One array (*lead, y, x) for each band, numpy or dask."""
        if not self.stacked:
            return [a.data for a in self.arrays]
        return [self.arrays[0].isel(band=i).data for i in range(len(self.names))]

    def stack(self) -> xr.DataArray:
        """One array (*lead, band, y, x) with canonical names along ``band``."""
        if self.stacked:
            return (
                self.arrays[0]
                .drop_vars("band", errors="ignore")
                .assign_coords(band=list(self.names))
            )
        bare = [a.reset_coords(drop=True).drop_attrs(deep=False) for a in self.arrays]
        out = xr.concat(bare, dim="band").assign_coords(band=list(self.names))
        return out.transpose(*self.arrays[0].dims[:-2], "band", *self.arrays[0].dims[-2:])


def _plain(value: Any) -> Any:
    """A comparable value; float32 as the decimal that was written, not the binary next to it."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return _plain(value[0]) if len(value) == 1 else tuple(map(_plain, value))
    if isinstance(value, np.floating):
        value = float(str(value))
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (dict, set)):  # from damaged files
        return repr(value)
    return np.nan if isinstance(value, float) and value != value else value


def band_dim(array: xr.DataArray) -> str:
    """Name of the band dimension."""
    for dim in BAND_DIMS:
        if dim in array.dims:
            return dim
    raise MissingBandError(
        f"{array.name!r} has dimensions {array.dims} and none of them is 'band'",
        fix="rename the one that holds the bands with array.rename({...: 'band'}), or put arrays "
        "of one band each into a Dataset with xr.Dataset({'B02': array, ...})",
        option="write each band as a variable of its own",
    )


@dataclass(frozen=True)
class Scene:
    """An input as recognised."""

    source: xr.Dataset | xr.DataArray  # the input
    form: str  # variables per band; variables `s2` and `s1`; or a DataArray with `band`
    optical: Layer | None  # sentinel-2 bands and Sentinel-1 polarisations
    sar: Layer | None  # sentinel-2 bands and Sentinel-1 polarisations
    classes: xr.DataArray | None  # scene classification of Level-2A
    lead: tuple[Hashable, ...]  # dimensions before the spatial ones, e.g. `("time",)`
    spatial: tuple[Hashable, Hashable]  # names of the y and x dimensions

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.first.arrays[0].shape[-2:]
        return height, width

    @property
    def first(self) -> Layer:
        """The optical bands, or else the polarisations."""
        layer = self.optical or self.sar
        assert layer is not None
        return layer

    @property
    def level(self) -> str | None:
        """``"TOA"``, ``"BOA"`` or None; cirrus (B10) exists only at top of atmosphere."""
        if self.optical is None:
            return None
        declared = self.optical.attribute("processing_level") or self.source.attrs.get(
            "processing_level"
        )
        if declared is None and "B10" in self.optical.names:
            # Harmonized Landsat Sentinel-2 has B10 next to surface reflectance of other bands
            harmonized = any(a.attrs.get("_FillValue") == -9999 for a in self.optical.arrays)
            return None if harmonized else "TOA"
        return None if declared is None else str(declared)

    @property
    def quantity(self) -> str | None:
        """``"sigma0"``, ``"gamma0"`` or None."""
        if self.sar is None:
            return None
        declared = self.sar.attribute("quantity")
        named = {(sar_band(v) or ("", None))[1] for v in self.sar.variables} - {None}
        return str(declared) if declared else (named.pop() if len(named) == 1 else None)

    @property
    def dims(self) -> tuple[Hashable, ...]:
        """Dimensions of a band in the order of the input."""
        if self.form != "bands":
            array = self.source if self.form == "array" else self.source[self.first.variables[0]]
            return tuple(d for d in array.dims if d != band_dim(array))  # type: ignore[arg-type]
        dims = self.source[self.first.variables[0]].dims
        return dims if set(dims) == {*self.lead, *self.spatial} else (*self.lead, *self.spatial)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the optical bands, if any."""
        return () if self.optical is None else self.optical.names

    def need_bands(self, why: str = "this") -> Layer:
        """The optical bands, of which there must be some."""
        if self.optical is None:
            raise MissingBandError(
                "needs optical bands and the data has none",
                fix="load some, for example with xcf.stac.load(...)",
                subject=why,
                option="add Sentinel-2 bands to the input",
            )
        return self.optical

    def need_times(self, why: str) -> None:
        """Raise an error unless there are dates along time."""
        if "time" not in self.lead or "time" not in self.template().coords:
            raise DataError(
                "needs dates and there is no time coordinate",
                fix="give it one with ds.expand_dims(time=...) or ds.assign_coords(time=...)",
                subject=why,
                option="write the dates into the coordinate time of the file",
            )

    def need_optical(self, names: Sequence[str], why: str) -> Layer:
        """The given reflectance bands."""
        have = self.bands
        missing = [n for n in names if n not in have]
        if "B10" in missing and set(missing) <= {"B01", "B09", "B10"} and len(have) > 1:
            told, masked = (
                ("which only Level-1C has", "l2a")
                if missing == ["B10"]
                else ("but Level-2A has no B10", "scl")
            )
            raise MissingBandError(
                f"needs {listed(missing)}, {told}",
                fix=f'load Level-1C, or call reconstruct(model="kernel-fusion", mask="{masked}")',
                subject=why,
                option=f"--model kernel-fusion --mask {masked}",
            )
        if missing or self.optical is None:
            raise MissingBandError(
                f"needs {listed(missing)}, but the data has {listed(have)}",
                fix="load what is "
                "missing too, or rename existing bands, for example "
                f"with ds.rename({{...: {(missing or ['B02'])[0]!r}}})",
                subject=why,
                option="add what is missing to the input, or name existing bands so",
            )
        return self.optical.select(names)

    def need_sar(self, names: Sequence[str], why: str) -> Layer:
        """The given polarisations."""
        have = () if self.sar is None else self.sar.names
        missing = [n for n in names if n not in have]
        if missing or self.sar is None:
            raise MissingBandError(
                f"needs Sentinel-1 {listed(missing)}, but the data has {listed(have)}",
                fix="add "
                "backscatter on the same grid, for example with "
                "ds.assign(VV=..., VH=...).cloudfree.calibrate(sar='dB'), or without radar call "
                'reconstruct(model="linear-time") for a series, reconstruct(model="idw") for one '
                "date",
                subject=why,
                option="--model linear-time or --model idw",
            )
        return self.sar.select(names)

    def calibration(self) -> Calibration:
        """Rule from stored numbers to reflectance."""
        layer = self.need_bands()
        scale, offset = self._scaling(layer, "ds.cloudfree.calibrate(scale=1e-4, offset=0)")
        arrays = layer.arrays
        if any(np.issubdtype(a.dtype, np.integer) for a in arrays) and scale == 1:
            self._refuse_integers()
        scaled = scale != 1 or offset != 0
        nodata, others = missing_reflectance(layer.names, arrays, scaled)
        return Calibration(scale, offset, nodata, others)

    def sar_calibration(self) -> SarCalibration:
        """Rule from stored numbers to dB."""
        assert self.sar is not None
        units = self.sar.attribute("units")
        if units in ("linear", "linear power", "power"):
            units = "1"
        if units in ("db", "decibel", "decibels"):
            units = "dB"
        if units not in ("dB", "1"):
            raise UnitsError(
                f"the unit of {listed(self.sar.names)} is "
                f"{'not declared' if units is None else repr(units)}, so they may be dB or power",
                fix='declare it with ds.cloudfree.calibrate(sar="dB") or calibrate(sar="linear")',
                option="--sar dB or --sar linear",
            )
        call = "ds.assign({n: ds[n].assign_attrs(scale_factor=1.0, add_offset=0.0) for n in ds})"
        scale, offset = self._scaling(self.sar, call)
        integer = any(np.issubdtype(a.dtype, np.integer) for a in self.sar.arrays)
        if integer and scale == 1:
            names = list(dict.fromkeys(map(str, self.sar.variables)))
            raise UnitsError(
                f"{listed(self.sar.names)} are integers without a declared scale",
                fix="declare it, for "
                "example with ds.assign({n: ds[n].assign_attrs(scale_factor=1e-2, units='dB') "
                f"for n in {names}}})",
                option="write scale_factor and units into the attributes of the variables",
            )
        nodata, others = missing_backscatter(self.sar.arrays)
        return SarCalibration(units, nodata, scale, offset, others)

    def _scaling(self, layer: Layer, fix: str) -> tuple[float, float]:
        """Declared scale and offset; 1 and 0 if there are none."""
        found = []
        for key, default in (("scale_factor", 1.0), ("add_offset", 0.0)):
            value = layer.attribute(key)
            number = default if value is None else numeric(value, key, listed(layer.names), fix)
            if not np.isfinite(number) or (key == "scale_factor" and number == 0):
                problem = f"{key} of {listed(layer.names)} is {value!r}"
                raise UnitsError(
                    problem,
                    fix=f"declare it with {fix}",
                    option=f"correct {key} in the attributes of the variables",
                )
            found.append(number)
        return found[0], found[1]

    def reflectance(self, names: Sequence[str] | None = None) -> xr.DataArray:
        """Reflectance (*lead, band, y, x), float32, lazy for lazy inputs."""
        layer = self.need_optical(names or self.bands or ("B02",), "this")
        return self.decoded(layer.stack())

    def decoded(self, array: xr.DataArray) -> xr.DataArray:
        """Reflectance of an array that is stored as the optical bands are."""
        return _apply(array, self.calibration().decode)

    def backscatter(self, names: Sequence[str] | None = None) -> xr.DataArray:
        """Backscatter in dB (*lead, band, y, x), float32, lazy for lazy inputs."""
        have = names or (("VV", "VH") if self.sar is None else self.sar.names)
        layer = self.need_sar(have, "this")
        return _apply(layer.stack(), self.sar_calibration().decode)

    @property
    def is_series(self) -> bool:
        """Whether there are several dates along time."""
        return "time" in self.lead and self.template().sizes["time"] > 1

    def template(self) -> xr.DataArray:
        """An array (*lead, y, x) with the coordinates of the scene and undefined values."""
        array = self.first.arrays[0]
        bare = array.isel(band=0, drop=True) if self.first.stacked else array
        return bare.drop_attrs(deep=False).rename(None)

    def _refuse_integers(self) -> None:
        offset = "-0.1"
        baseline = self.source.coords.get("s2:processing_baseline")
        if baseline is not None:
            rules = {str(b) >= "04" for b in np.atleast_1d(baseline.values)}
            if len(rules) > 1:
                offset = "[...]"
            elif not rules.pop():
                offset = "0"
        raise UnitsError(
            "the reflectance bands are integers without a declared scale; Sentinel-2 has "
            "offset -0.1 from processing baseline 04.00 on and 0 before, unless the provider has "
            "applied it",
            fix=f"declare it with ds.cloudfree.calibrate(scale=1e-4, offset={offset})",
            option=f"--scale 1e-4 --offset {offset}",
        )


def _apply(array: xr.DataArray, function: Callable[[Any], Any]) -> xr.DataArray:
    out = xr.apply_ufunc(
        function, array, dask="parallelized", output_dtypes=[np.float32], keep_attrs=True
    )
    return xr.DataArray(out)


def listed(names: Any) -> str:
    """Names for an error message."""
    return ", ".join(map(str, names)) or "none of them"
