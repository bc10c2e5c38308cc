"""From a STAC catalog to calibrated Sentinel-2 with the nearest Sentinel-1, lazily."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xcloudfree.exceptions import CatalogError, DataError
from xcloudfree.stac.backscatter import load_backscatter, requested_polarisations
from xcloudfree.stac.catalog import Source, choose_collections, is_sar_collection, of_mission
from xcloudfree.stac.mosaic import Reader, given_grid, join, native_grid
from xcloudfree.stac.optical import load_optical, optical_layers, optical_rules, requested_bands
from xcloudfree.stac.query import Query, item_time

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

CHUNKS = {"x": 1024, "y": 1024}


def load(
    catalog: Any,
    *,
    bbox: Sequence[float] | None = None,
    intersects: Any = None,
    datetime: Any = None,
    bands: Sequence[str] | None = None,
    polarisations: Sequence[str] | None = ("VV", "VH"),
    collections: str | Sequence[str] | None = None,
    resolution: Any = None,
    crs: Any = None,
    like: Any = None,
    chunks: Mapping[str, int] | None = None,
    max_gap: str | timedelta | np.timedelta64 = "3D",
    on_gap: Literal["raise", "drop", "nan"] = "raise",
    sign: Callable[[str], str] | None = None,
    groupby: Literal["solar_day", "time", "id"] = "solar_day",
) -> xr.Dataset:
    """Sentinel-2 reflectance and the nearest Sentinel-1 backscatter of an area; reads no pixel yet.

    Every item is calibrated by its own metadata before anything is mosaicked. Sentinel-1 is
    mosaicked by pass, brought onto the Sentinel-2 grid in linear power, then turned into dB.

    Parameters
    ----------
    catalog : str, pystac.Catalog, pystac_client.Client or iterable of items
        Where to search.
    bbox : sequence of float, optional
        West, south, east, north in degrees.
    intersects : GeoJSON mapping or geometry, optional
        Area in degrees, instead of `bbox`.
    datetime : str or pair, optional
        Interval of the Sentinel-2 scenes, ``"2025-05/2025-07"``. Sentinel-1 is searched `max_gap`
        beyond it.
    bands : sequence of str, optional
        Sentinel-2 bands, and ``SCL``. Default: all that every scene has.
    polarisations : sequence of str
        Of Sentinel-1; empty for Sentinel-2 alone.
    collections : str or sequence of str, optional
        Collections to search. Default: the first Sentinel-2 one of
        :data:`xcloudfree.stac.catalog.S2_COLLECTIONS` (Level-1C before Level-2A) and the first
        Sentinel-1 one of :data:`xcloudfree.stac.catalog.S1_COLLECTIONS` that the catalog has.
    resolution, crs : optional
        Grid to load on. Default: the native grid of Sentinel-2.
    like : GeoBox, Dataset or DataArray, optional
        Object whose grid is matched to the pixel; also bounds the search.
    chunks : mapping, optional
        Chunk size along ``x`` and ``y``. Default 1024; one scene per chunk along ``time``.
    max_gap : str or timedelta
        Largest distance in time between a scene and its Sentinel-1 pass.
    on_gap : {"raise", "drop", "nan"}
        What becomes of a scene without a pass within `max_gap`: an error, no scene, no backscatter.
    sign : callable, optional
        Turns an asset address into one that may be read, ``planetary_computer.sign``.
    groupby : {"solar_day", "time", "id"}
        Which Sentinel-2 items make up one scene.

    Returns
    -------
    xarray.Dataset
        Reflectance ``B01``..``B12`` (float32), ``SCL`` (uint8) where there is one, backscatter
        ``VV``, ``VH`` (float32, dB), all (time, y, x), with their units in ``attrs``. NaN is no
        data. Along ``time``: ``item_id``, ``offset``, ``offset_reason``, ``level``, ``platform``
        of Sentinel-2; ``s1_item_id``, ``time_gap`` (Sentinel-1 minus Sentinel-2), and
        ``relative_orbit`` (-1: unknown) of Sentinel-1.

    Raises
    ------
    CatalogError
        The catalog does not answer or has nothing in the query.
    DataError
        A scene without a Sentinel-1 pass within `max_gap`.
    MissingBandError
        A band or polarisation that the items do not have.
    UnitsError
        Level-1C and Level-2A in one search, or backscatter that is not terrain corrected.

    Examples
    --------
    >>> ds = load("https://planetarycomputer.microsoft.com/api/stac/v1",
    ...           bbox=(9.0, 48.0, 9.1, 48.1), datetime="2025-06")  # doctest: +SKIP
    """
    if on_gap not in ("raise", "drop", "nan"):
        raise DataError(f'on_gap={on_gap!r} is unknown: load(..., on_gap="raise"|"drop"|"nan").')
    wanted, scl = requested_bands(bands)
    pols = requested_polarisations(polarisations)
    gap = _duration(max_gap)
    query = Query.of(bbox, intersects, datetime)
    grid = None if like is None else given_grid(like)
    if grid is not None and query.area() is None:
        query = replace(query, bbox=tuple(grid.geographic_extent.boundingbox))
    source = Source(catalog)
    names = [collections] if isinstance(collections, str) else collections
    if names is None and (offered := source.collections()) is not None:
        names = choose_collections(offered, sar=bool(pols))

    scenes = _search_scenes(source, query, names)
    rules = optical_rules(scenes, wanted)
    layers = optical_layers(rules, scl=scl)
    if grid is None:
        grid = native_grid(scenes, layers, query.area(), resolution=resolution, crs=crs)
    reader = Reader(grid, {**CHUNKS, **(chunks or {})}, sign)
    out = load_optical(scenes, rules, layers, reader, groupby)
    if pols:
        slices = _search_slices(source, replace(query, intersects=None), names, scenes, grid, gap)
        out = load_backscatter(out, slices, pols, np.timedelta64(gap), on_gap, reader)
        scenes = [*scenes, *slices]
    out.attrs["source"] = join(str(item.collection_id) for item in scenes)
    for variable in out.data_vars.values():
        variable.encoding = {"grid_mapping": "spatial_ref"}
    return out


def _search_scenes(source: Source, query: Query, names: Sequence[str] | None) -> list[pystac.Item]:
    optical = None if names is None else [name for name in names if not is_sar_collection(name)]
    found = of_mission(source.items(query, optical), "S2")
    if not found:
        raise CatalogError(
            f"No Sentinel-2 item in {source.name} for {query}, collections={names}. Widen the area "
            'or the interval, or name other collections: load(..., bbox=..., datetime="2025", '
            'collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    return found


def _search_slices(
    source: Source,
    query: Query,
    names: Sequence[str] | None,
    scenes: Sequence[pystac.Item],
    grid: GeoBox,
    gap: timedelta,
) -> list[pystac.Item]:
    optical = {item.collection_id for item in scenes}
    rest = None if names is None else [name for name in names if name not in optical]
    if rest == []:
        raise CatalogError(
            f"collections={names} has no Sentinel-1. Add a terrain-corrected (RTC) collection, "
            f"load(..., collections={[*(names or ()), 'sentinel-1-rtc']}), or leave Sentinel-1 "
            "out: load(..., polarisations=())."
        )
    around = replace(query, bbox=tuple(grid.geographic_extent.boundingbox)).around(
        [item_time(item) for item in scenes], gap
    )
    return of_mission(source.items(around, rest), "S1")


def _duration(gap: str | timedelta | np.timedelta64) -> timedelta:
    import pandas as pd  # type: ignore[import-untyped]

    try:
        out: timedelta = pd.Timedelta(gap).to_pytimedelta()
    except ValueError as error:
        raise DataError(
            f'max_gap={gap!r} is no duration ({error}): load(..., max_gap="3D").'
        ) from (error)
    return out
