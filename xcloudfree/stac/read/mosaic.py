"""STAC items as lazy mosaics on one pixel grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from xcloudfree.exceptions import DataError

if TYPE_CHECKING:
    import pystac
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from xcloudfree.stac.read.access import Access


@dataclass(frozen=True)
class Layer:
    """How one asset is read.

    Parameters
    ----------
    asset : str
        Its key.
    data_type : str
        Type of the values.
    nodata : float
        Value of no data, also where the file declares none.
    resampling : str
        How it comes onto another grid.
    read : callable, optional
        Reads in another way than :func:`xcloudfree.stac.read.reading.read_window`, of which it has
        the arguments. A function of a module, as it goes to the workers.
    """

    asset: str
    data_type: str
    nodata: float
    resampling: str
    read: Callable[[Any, GeoBox, Layer], Any] | None = None


Layers = tuple[tuple[str, Layer], ...]


@dataclass(frozen=True)
class Opened:
    """What a reader noted when it opened mosaics for a load that reports faults.

    Parameters
    ----------
    items : tuple of tuple of Item
        Items of each mosaic.
    layers : Layers
        Variable name and how its asset is read.
    codes : xarray.Dataset
        For each variable :func:`xcloudfree.stac.read.faults.codes`, (time, y, x), lazy.
    """

    items: tuple[tuple[pystac.Item, ...], ...]
    layers: Layers
    codes: xr.Dataset


@dataclass(frozen=True)
class Reader:
    """Opens items as mosaics on one grid.

    Parameters
    ----------
    grid : GeoBox
        Grid to load on.
    chunks : mapping
        Chunk size along ``x`` and ``y``.
    access : Access
        How addresses are opened.
    loader : {"odc", "stackstac"}
        Which library builds the graph. Both read by :mod:`xcloudfree.stac.read.reading`.
    reporting : bool
        Whether what cannot be read becomes no data and is noted in `log`; else it is an error.
    log : list of Opened
        What was opened, if reporting.
    """

    grid: GeoBox
    chunks: Mapping[str, int]
    access: Access
    loader: str = "odc"
    reporting: bool = False
    log: list[Opened] = field(default_factory=list)

    def address(self, href: str) -> str:
        """Address of an asset as it goes into the graph: without a signature, if it gets a new one.

        Parameters
        ----------
        href : str
            Address as the catalog gives it, perhaps signed by a modifier of the search.

        Returns
        -------
        str
        """
        from xcloudfree.stac.read.signing import is_signed

        again = self.access.sign is not None and is_signed(href)
        return href.split("?")[0] if again else href

    def open(
        self, items: Sequence[pystac.Item], groups: Sequence[int], layers: Layers
    ) -> xr.Dataset:
        """Mosaics of groups of items, as stored, one per step of ``time``; reads no pixel.

        Parameters
        ----------
        items : sequence of pystac.Item
            Items whose assets have the same names and meaning.
        groups : sequence of int
            For every item the mosaic that it is part of; mosaics come out in ascending order.
            Where items overlap, the earlier one is on top.
        layers : Layers
            Variable name and how its asset is read.

        Returns
        -------
        xarray.Dataset
        """
        import xarray as xr

        from xcloudfree.stac.read import faults

        self._warn_of_tokens(items, layers)
        members: dict[int, list[int]] = {}
        for n, group in enumerate(groups):
            members.setdefault(group, []).append(n)
        positions = {items[n].id: k for own in members.values() for k, n in enumerate(own)}
        library = "odc_driver" if self.loader == "odc" else "stackstac_reader"
        open_items = import_module(f"xcloudfree.stac.read.{library}").open_items
        assets = [layer for _, layer in layers]
        out: xr.Dataset = open_items(self, items, groups, assets, positions)
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
        from xcloudfree.stac.read.signing import is_signed

        hrefs = [item.assets[layer.asset].href for item in items for _, layer in layers]
        if self.access.sign is None and any(map(is_signed, hrefs)):
            warnings.warn(
                "The items' addresses carry tokens, which expire, and which stay in the Dataset "
                "and what is pickled of it. Search without a modifier, and sign when reading: "
                "load(..., sign=planetary_computer.sign).",
                stacklevel=5,
            )


def _apply(function: Callable[..., Any], packed: xr.DataArray, data_type: str) -> xr.DataArray:
    import xarray as xr

    out: xr.DataArray = xr.apply_ufunc(
        function,
        packed,
        dask="parallelized",
        dask_gufunc_kwargs={"meta": np.empty((0,) * packed.ndim, data_type)},
    )
    return out


def make_reader(
    grid: GeoBox,
    chunks: Mapping[str, int],
    access: Access,
    loader: str,
    on_error: str,
) -> Reader:
    """Reader as the user wants it.

    Parameters
    ----------
    grid : GeoBox
        Grid to load on.
    chunks : mapping
        Chunk size along ``x`` and ``y``.
    access : Access
        How addresses are opened.
    loader : {"odc", "stackstac"}
        Which library builds the graph.
    on_error : {"raise", "report"}
        What an asset that cannot be read becomes.

    Returns
    -------
    Reader

    Raises
    ------
    DataError
        Another `loader` or `on_error`.
    """
    if loader not in ("odc", "stackstac"):
        raise DataError(f'loader={loader!r} is unknown: load(..., loader="odc"|"stackstac").')
    if on_error not in ("raise", "report"):
        raise DataError(f'on_error={on_error!r} is unknown: load(..., on_error="raise"|"report").')
    return Reader(grid, chunks, access, loader, on_error == "report")


def join(names: Iterable[str]) -> str:
    """Several names in one, each once.

    Parameters
    ----------
    names : iterable of str
        Names.

    Returns
    -------
    str

    Examples
    --------
    >>> join(["a", "b", "a"])
    'a, b'
    """
    return ", ".join(dict.fromkeys(names))
