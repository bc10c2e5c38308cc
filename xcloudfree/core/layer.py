"""Bands of one sensor on one grid."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.exceptions import MissingBandError, UnitsError

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
    variables: tuple[Hashable, ...]  # names that the arrays had in the input

    @property
    def stacked(self) -> bool:
        """Whether one array holds all bands."""
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
                fix="load items of one rule at a time, or declare what holds for all with "
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
                fix=f"make them alike with {owner}.astype('float32')",
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
    return np.nan if isinstance(value, float) and value != value else value


def band_dim(array: xr.DataArray) -> str:
    """Name of the dimension that holds the bands."""
    for dim in BAND_DIMS:
        if dim in array.dims:
            return dim
    raise MissingBandError(
        f"{array.name!r} has dimensions {array.dims} and none of them is 'band'",
        fix="rename the one that holds the bands with array.rename({...: 'band'}), or put arrays "
        "of one band each into a Dataset with xr.Dataset({'B02': array, ...})",
    )
