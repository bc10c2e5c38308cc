"""STAC items as lazy mosaics on one pixel grid."""

from __future__ import annotations

import gc
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from xcloudfree.stac.read import faults
from xcloudfree.stac.read.signing import is_signed, split_login

if TYPE_CHECKING:
    import pystac

    from xcloudfree.stac.read.access import Access


@contextmanager
def building() -> Iterator[None]:
    """Build a graph without Python's collector of cycles, a third of the time of a large one."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(frozen=True)
class Layer:
    """How one asset is read."""

    asset: str  # key
    data_type: str  # of the values
    nodata: float  # also if the file declares none
    resampling: str
    # called instead of reading.read_window with its arguments; a module-level function, for workers
    read: Callable[[Any, GeoBox, Layer], Any] | None = None


Layers = tuple[tuple[str, Layer], ...]


CODE = " code"
"""Ending of the variables with the codes of what became of each pixel, in a reporting load."""


def codes_of(ds: xr.Dataset) -> list[str]:
    """Names of the variables with codes."""
    return [name for name in map(str, ds.data_vars) if name.endswith(CODE)]


def positions_of(items: Sequence[pystac.Item], groups: Sequence[int]) -> dict[str, int]:
    """Position of each item in its group."""
    seen: Counter[int] = Counter()
    out = {}
    for item, group in zip(items, groups, strict=True):
        out[item.id] = seen[group]
        seen[group] += 1
    return out


@dataclass(frozen=True)
class Reader:
    """Opens items as mosaics on one grid."""

    grid: GeoBox
    chunks: Mapping[str, int]
    access: Access
    loader: str = "odc"  # or stackstac
    reporting: bool = False  # whether unreadable pixels become no data with codes; else an error
    log: list[tuple[pystac.Item, Layers]] = field(default_factory=list)  # opened for a report

    def address(self, href: str) -> str:
        """Address for the graph: without password or renewable signature."""
        href, _ = split_login(href)
        return href.split("?")[0] if self.access.renews and is_signed(href) else href

    def open(
        self,
        items: Sequence[pystac.Item],
        groups: Sequence[int],
        layers: Layers,
        positions: Mapping[str, int],
    ) -> xr.Dataset:
        """Mosaics of groups of items, as stored, one per step of ``time``; reads no pixel."""
        # `positions` of items in their scenes or passes are those that codes of faults name
        self._warn_of_tokens(items, layers)
        # odc-stac or stackstac builds the graph; both read through the functions of reading.py
        library = "odc_driver" if self.loader == "odc" else "stackstac_reader"
        open_items = import_module(f"xcloudfree.stac.read.{library}").open_items
        out: xr.Dataset = open_items(self, items, groups, [la for _, la in layers], positions)
        out = out.rename({la.asset: name for name, la in layers if la.asset != name})
        if not self.reporting:
            return out
        self.log.extend((item, layers) for item in items)
        for name, layer in layers:
            packed = out[name]
            own = partial(faults.unpack, data_type=layer.data_type, nodata=layer.nodata)
            out[name] = _apply(own, packed, layer.data_type).assign_attrs(nodata=layer.nodata)
            out[name + CODE] = _apply(faults.codes, packed, "uint8")
        return out

    def _warn_of_tokens(self, items: Sequence[pystac.Item], layers: Layers) -> None:
        hrefs = [item.assets[layer.asset].href for item in items for _, layer in layers]
        if not self.access.renews and any(map(is_signed, hrefs)):
            warnings.warn(
                "The items' addresses contain tokens, which expire, and which stay in the Dataset "
                "and in its pickles. Search without a modifier, and sign when reading: "
                "load(..., sign=planetary_computer.sign).",
                stacklevel=5,
            )


def _apply(function: Callable[..., Any], packed: xr.DataArray, data_type: str) -> xr.DataArray:
    out: xr.DataArray = xr.apply_ufunc(
        function,
        packed,
        dask="parallelized",
        dask_gufunc_kwargs={"meta": np.empty((0,) * packed.ndim, data_type)},
    )
    return out


def join(names: Iterable[str]) -> str:
    """Several names in one, without repetition."""
    return ", ".join(dict.fromkeys(names))
