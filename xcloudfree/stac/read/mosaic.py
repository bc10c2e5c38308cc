"""STAC items as lazy mosaics on one pixel grid."""

from __future__ import annotations

import gc
import warnings
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


@dataclass(frozen=True)
class Opened:
    """Notes of a reader that opened mosaics for a load that reports faults."""

    items: tuple[tuple[pystac.Item, ...], ...]  # of each mosaic
    layers: Layers
    codes: xr.Dataset  # for each variable faults.codes, (time, y, x), lazy


@dataclass(frozen=True)
class Reader:
    """Opens items as mosaics on one grid."""

    grid: GeoBox
    chunks: Mapping[str, int]
    access: Access
    loader: str = "odc"  # or stackstac
    reporting: bool = False  # whether unreadable pixels become no data, noted in log; else an error
    log: list[Opened] = field(default_factory=list)

    def address(self, href: str) -> str:
        """Address for the graph: without password or renewable signature."""
        href, _ = split_login(href)
        return href.split("?")[0] if self.access.renews and is_signed(href) else href

    def open(
        self, items: Sequence[pystac.Item], groups: Sequence[int], layers: Layers
    ) -> xr.Dataset:
        """Mosaics of groups of items, as stored, one per step of ``time``; reads no pixel."""
        self._warn_of_tokens(items, layers)
        members: dict[int, list[int]] = {}
        for n, group in enumerate(groups):
            members.setdefault(group, []).append(n)
        positions = {items[n].id: k for own in members.values() for k, n in enumerate(own)}
        # odc-stac or stackstac builds the graph; both read through the functions of reading.py
        library = "odc_driver" if self.loader == "odc" else "stackstac_reader"
        open_items = import_module(f"xcloudfree.stac.read.{library}").open_items
        out: xr.Dataset = open_items(self, items, groups, [la for _, la in layers], positions)
        out = out.rename({la.asset: name for name, la in layers if la.asset != name})
        if not self.reporting:
            return out
        mosaics = tuple(tuple(items[n] for n in members[group]) for group in sorted(members))
        codes = {name: _apply(faults.codes, out[name], "uint8") for name, _ in layers}
        self.log.append(Opened(mosaics, layers, xr.Dataset(codes)))
        for name, layer in layers:
            own = partial(faults.unpack, data_type=layer.data_type, nodata=layer.nodata)
            out[name] = _apply(own, out[name], layer.data_type).assign_attrs(nodata=layer.nodata)
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
