"""Our reader behind odc-stac's interface: the bands of an item, and how to read one asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.loader.types import RasterBandMetadata, RasterGroupMetadata

from xcloudfree.stac.read.access import Access, Asset
from xcloudfree.stac.read.faults import fuse
from xcloudfree.stac.read.grids import declared_asset
from xcloudfree.stac.read.mosaic import Layer, Reader
from xcloudfree.stac.read.reading import read_asset, read_reporting

FUSE = f"{fuse.__module__}.{fuse.__qualname__}"
"""Name under which odc-loader imports the function that joins items of a reporting load."""

_Region = tuple[slice, slice]


@dataclass(frozen=True)
class Declared:
    """The layers of every item, as odc-loader's metadata parser."""

    layers: tuple[Layer, ...]
    positions: Mapping[str, int]
    reporting: bool

    def extract(self, md: Any) -> RasterGroupMetadata:
        """Bands of one item: exactly the layers."""
        return RasterGroupMetadata(
            {
                (layer.asset, 1): RasterBandMetadata(
                    "complex64" if self.reporting else layer.data_type,
                    0 if self.reporting else layer.nodata,
                    driver_data=layer,
                )
                for layer in self.layers
            }
        )

    def driver_data(self, md: Any, band_key: tuple[str, int]) -> Asset:
        """Item and asset of a source, and the declaration of it."""
        layer = next(layer for layer in self.layers if layer.asset == band_key[0])
        return declared_asset(md, layer, self.positions[md.id])


@dataclass(frozen=True)
class AssetReader:
    """Reads one asset, as odc-loader's raster reader."""

    asset: Asset
    access: Access
    reporting: bool

    def read(
        self, cfg: Any, dst_geobox: Any, *, dst: Any = None, selection: Any = None
    ) -> tuple[_Region, npt.NDArray[np.generic]]:
        """Read the part of the asset that lies on a grid."""
        function = read_reporting if self.reporting else read_asset
        pixels = function(self.asset, self.access, dst_geobox, cfg.meta.driver_data)
        everything = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
        if dst is None:
            return everything, pixels
        dst[...] = pixels
        return everything, dst


class Driver:
    """Opens assets with :class:`AssetReader`, as odc-loader's reader driver."""

    aux_reader = None
    dask_reader = None

    def __init__(self, access: Access, declared: Declared) -> None:
        self._access, self._reporting = access, declared.reporting
        self._declared: Declared | None = declared

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_declared": None}  # only needed while the graph is built

    @property
    def md_parser(self) -> Declared | None:
        """The layers to read."""
        return self._declared

    def new_load(self, geobox: Any, *, chunks: Any = None) -> None:
        """Begin a load; nothing is shared between its tasks."""

    def finalise_load(self, load_state: Any) -> None:
        """End a load."""

    def capture_env(self) -> dict[str, Any]:
        """What distinguishes this load from others on the same assets: part of task names."""
        sign = self._access.sign
        return {"options": self._access.options, "sign": sign and sign.name}

    def restore_env(self, env: Any, load_state: Any) -> AbstractContextManager[None]:
        """Nothing: every asset is opened in its own environment."""
        return nullcontext()

    def open(self, src: Any, ctx: Any) -> AssetReader:
        """Make a reader of one asset; opens nothing yet."""
        asset = replace(src.driver_data, address=src.uri)
        return AssetReader(asset, self._access, self._reporting)


def open_items(
    reader: Reader,
    items: Sequence[Any],
    groups: Sequence[int],
    layers: Sequence[Layer],
    positions: Mapping[str, int],
) -> xr.Dataset:
    """Mosaics of groups of items by odc-stac; reads no pixel."""
    from odc.stac import load

    out: xr.Dataset = load(
        items,
        bands=[layer.asset for layer in layers],
        geobox=reader.grid,
        groupby=lambda item, parsed, position: groups[position],
        preserve_original_order=True,
        chunks={**reader.chunks, "time": 1},
        resampling={layer.asset: layer.resampling for layer in layers},
        patch_url=reader.address,
        fuse_func=FUSE if reader.reporting else None,
        driver=Driver(reader.access, Declared(tuple(layers), positions, reader.reporting)),
    )
    return out
