"""From a STAC catalog to calibrated Sentinel-2 with the nearest Sentinel-1, lazily."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from xcloudfree.exceptions import CatalogError, DataError
from xcloudfree.stac.read.access import Access
from xcloudfree.stac.read.clip import clipped
from xcloudfree.stac.read.grids import declares_grid, given_grid, home_zone, native_grid, with_grids
from xcloudfree.stac.read.mosaic import Reader, building, codes_of, join
from xcloudfree.stac.search.area import extent_of
from xcloudfree.stac.search.catalog import Source
from xcloudfree.stac.search.choice import choose_backscatter, choose_collections, is_sar_collection
from xcloudfree.stac.search.query import Conditions, Query, checked_conditions, item_time
from xcloudfree.stac.search.request import request_text
from xcloudfree.stac.series.backscatter import load_backscatter, requested_polarisations
from xcloudfree.stac.series.optical import (
    load_optical,
    optical_layers,
    optical_rules,
    requested_bands,
)
from xcloudfree.stac.series.pairing import duration
from xcloudfree.stac.series.status import with_status

if TYPE_CHECKING:
    import pystac

CHUNKS = {"x": 1024, "y": 1024}


def load(
    catalog: Any,
    *,
    bbox: Sequence[float] | None = None,
    intersects: Any = None,
    clip: bool = False,
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
    query: Mapping[str, Any] | None = None,
    sar_query: Mapping[str, Any] | None = None,
    sar_catalog: Any = None,
    offsets: Mapping[str, float] | float | None = None,
    on_error: Literal["raise", "report"] = "raise",
    loader: Literal["odc", "stackstac"] = "odc",
) -> xr.Dataset:
    """Load Sentinel-2 reflectance and the nearest Sentinel-1 backscatter of an area, lazily.

    Every item is calibrated by its own metadata before scenes are mosaicked. Sentinel-1 is
    mosaicked by pass, resampled to the Sentinel-2 grid in linear power, then converted to dB.

    Parameters
    ----------
    catalog : str, path, pystac.Catalog, pystac_client.Client, ItemSearch, item or items
        Where to search.
    bbox : sequence of float, optional
        West, south, east, north in degrees. West is greater than east across the 180th meridian.
    intersects : GeoJSON mapping or geometry, optional
        Area, instead of `bbox`: GeoJSON, or an object of shapely, geopandas or odc-geo, in the map
        projection that it declares, otherwise in degrees.
    clip : bool
        Whether pixels whose centre lies outside the area become no data.
    datetime : str, date, pair or slice, optional
        Interval of the Sentinel-2 scenes, ``"2025-05/2025-07"``. Sentinel-1 is searched `max_gap`
        beyond it.
    bands : sequence of str, optional
        Sentinel-2 bands, and ``SCL`` (``fmask`` of Digital Earth Australia). Default: all that
        every scene has.
    polarisations : sequence of str
        Polarisations of Sentinel-1; empty for Sentinel-2 only.
    collections : str or sequence of str, optional
        Collections to search. Default: the first Sentinel-2 collection of
        :data:`xcloudfree.stac.search.choice.S2_COLLECTIONS` (Level-1C before Level-2A) and the
        first Sentinel-1 collection of :data:`xcloudfree.stac.search.choice.S1_COLLECTIONS` that the
        catalog has. Ground range detected (GRD) Sentinel-1 is used only if you name it here; it is
        calibrated to sigma0 and warped with its ground control points, without terrain correction.
    resolution, crs : optional
        Grid to load on. Default: the native grid of Sentinel-2.
    like : GeoBox, Dataset or DataArray, optional
        Object whose grid is matched to the pixel; it also bounds the search.
    chunks : mapping, optional
        Chunk size along ``x`` and ``y``. Default 1024; one scene per chunk along ``time``.
    max_gap : str or timedelta
        Largest distance in time between a scene and its Sentinel-1 pass.
    on_gap : {"raise", "drop", "nan"}
        What to do with a scene without a pass within `max_gap`: raise an error, drop the scene, or
        fill its backscatter with NaN.
    sign : callable, optional
        Turns an asset address into a readable one, for example ``planetary_computer.sign``. Each
        task calls it when it reads, so that jobs may outlast a token, and once more if the server
        refuses. Use a function of a module; other callables work within this process only.
    groupby : {"solar_day", "time", "id"}
        Which Sentinel-2 items form one scene.
    query, sar_query : mapping, optional
        Conditions on the properties of Sentinel-2 and Sentinel-1 items,
        ``{"eo:cloud_cover": {"lt": 20}}``, ``{"sat:orbit_state": "descending"}``, with the
        operators ``eq``, ``neq``, ``lt``, ``lte``, ``gt``, ``gte``, ``in``, ``startsWith``,
        ``endsWith``, ``contains``. They are sent to the server in the form that it declares, and
        applied again on this side.
    sar_catalog : optional
        Another catalog, of the same kinds as `catalog`, to search for Sentinel-1.
    offsets : mapping of str to float, or float, optional
        Reflectance offsets that override the metadata, by item, or one for all.
    on_error : {"raise", "report"}
        What to do with an unreadable asset: raise an error in the task that reads it, or return
        no data. ``"report"`` tests every asset now, and adds two coordinates: ``status`` (time),
        which is ``"ok"`` or lists the assets that did not open, and ``read_status`` (time, asset,
        y, x), the outcome for each pixel, known once it is computed.
        ``ds.cloudfree.report()`` lists both.
    loader : {"odc", "stackstac"}
        Library that builds the graph. Values, coordinates and chunks are the same.

    Returns
    -------
    xarray.Dataset
        Reflectance ``B01``..``B12`` (float32), ``SCL`` (uint8) if available, backscatter
        ``VV``, ``VH`` (float32, dB), all (time, y, x), or (time, latitude, longitude) on a grid in
        degrees, with their units in ``attrs``. NaN is no data. Along ``time``: ``item_id``,
        ``offset``, ``offset_reason``, ``level``, ``platform``, ``s2_relative_orbit``,
        ``sun_azimuth``, ``sun_elevation`` and ``cloud_cover`` (percent of the whole products) of
        Sentinel-2; ``s1_item_id``, ``time_gap`` (Sentinel-1 minus Sentinel-2), ``relative_orbit``
        (-1: unknown) and ``orbit_state`` of Sentinel-1.

    Raises
    ------
    CatalogError
        The catalog does not answer, or has nothing in the query.
    DataError
        A scene without a Sentinel-1 pass within `max_gap`.
    MissingBandError
        A band or polarisation that the items do not have.
    UnitsError
        Level-1C and Level-2A in one search, or backscatter that is not terrain corrected.

    Examples
    --------
    From a catalog: ``load("https://planetarycomputer.microsoft.com/api/stac/v1",
    bbox=(9.0, 48.0, 9.1, 48.1), datetime="2025-06")``. From items, here of a simulated scene:

    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _, items = xcf.stac.publish(scene, folder, base_url=folder)
    ...     ds = load(items, bands=["B02", "B08"]).compute()
    >>> list(ds), ds.VV.attrs["units"], float(abs(ds.B02 - scene.B02).max()) < 1e-4
    (['B02', 'B08', 'VV', 'VH'], 'dB', True)
    """
    # check the request
    for name, value, choices in (
        ("on_gap", on_gap, ("raise", "drop", "nan")),
        ("on_error", on_error, ("raise", "report")),
        ("loader", loader, ("odc", "stackstac")),
    ):
        if value not in choices:
            raise DataError(
                f"{name}={value!r} is not one of {choices}",
                fix=f'choose one, as in load(..., {name}="{choices[0]}")',
            )
    if not isinstance(chunks or {}, Mapping):
        raise DataError(f"chunks={chunks!r} is no mapping", fix=f"call load(..., chunks={CHUNKS})")
    access = Access.of(sign)
    wanted, classes = requested_bands(bands)
    pols = requested_polarisations(polarisations)
    gap = duration(max_gap, "load(...")
    conditions = checked_conditions("query", query)
    sar_conditions = checked_conditions("sar_query", sar_query)
    where = Query.of(bbox, intersects, datetime)
    if clip and where.area is None:
        raise DataError(
            "clip=True needs an area", fix="name it: load(..., bbox=(9.0, 48.0, 9.2, 48.1))"
        )
    grid = None if like is None else given_grid(like)
    if grid is not None and where.area is None:
        where = where.within(extent_of(grid))

    # search Sentinel-2
    source = Source(catalog)
    sar_source = source if sar_catalog is None else Source(sar_catalog)
    named = [collections] if isinstance(collections, str) else collections
    names = named
    if names is None and (offered := source.collections()) is not None:
        names = choose_collections(offered, sar=bool(pols) and sar_source is source)
    scenes = _search_scenes(source, where, names, conditions)

    # rules: the meaning of each item's pixels, and so how to read its assets
    rules = optical_rules(scenes, wanted, offsets)
    layers = optical_layers(rules, classes=classes)
    access = access.with_logins(scenes)

    # grid: the requested one, or the commonest finest one of the items
    if grid is None:
        if not (crs and resolution) and not all(map(declares_grid, scenes)):
            scenes = with_grids(scenes, layers, access, reporting=on_error == "report")
        home, chosen = home_zone(scenes, where.area, crs)
        grid = native_grid(
            scenes,
            layers,
            where.area,
            home=home,
            resolution=resolution,
            crs=chosen,
            chosen=crs is None,
        )

    # read Sentinel-2 as a series of calibrated scenes
    sizes = {**CHUNKS, **(chunks or {})}
    reader = Reader(grid, sizes, access, loader, reporting=on_error == "report")
    with building():
        out = load_optical(scenes, rules, layers, reader, groupby)

    # search Sentinel-1 around these scenes, and pair each with its nearest pass
    if pols:
        if sar_source is not source:
            names = [name for name in named or () if is_sar_collection(name)] or None
            if names is None and (offered := sar_source.collections()) is not None:
                names = [choose_backscatter(offered)]
        slices = _search_slices(sar_source, where, names, scenes, grid, gap, sar_conditions)
        reader = replace(reader, access=access.with_logins(slices))
        with building():
            out = load_backscatter(out, slices, pols, np.timedelta64(gap), on_gap, reader, named)
        scenes = [*scenes, *slices]

    # stamp
    codes = out[codes_of(out)]
    out = out.drop_vars(codes_of(out))
    out.attrs["source"] = join(str(item.collection_id) for item in scenes)
    out["item_id"].attrs["request"] = request_text(
        source.name if isinstance(catalog, str) else None,
        where,
        grid,
        {
            "collections": named, "clip": clip, "chunks": sizes, "groupby": groupby, "query": query,
            "sar_query": sar_query, "offsets": offsets, "on_gap": on_gap, "on_error": on_error,
        },
        {
            "bands": [str(n) for n in out if n not in pols], "polarisations": list(pols),
            "max_gap": f"{gap.total_seconds():.0f}s",
            "sar_catalog": sar_source.name if isinstance(sar_catalog, str) else None,
        },
    )  # fmt: skip
    for variable in out.data_vars.values():
        variable.encoding = {"grid_mapping": "spatial_ref"}
    out = with_status(out, codes, reader) if reader.reporting else out
    return clipped(out, grid, where.area) if clip else out


def _search_scenes(
    source: Source, query: Query, names: Sequence[str] | None, conditions: Conditions
) -> list[pystac.Item]:
    optical = None if names is None else [name for name in names if not is_sar_collection(name)]
    found = source.items(query, optical, conditions, "S2")
    if not found:
        also = f", query={dict(conditions)}" if conditions else ""
        raise CatalogError(
            f"No Sentinel-2 item in {source.name} for {query}, collections={names}{also}",
            fix="widen "
            "the area or the interval, or name other collections: load(..., bbox=..., "
            'datetime="2025", collections=["sentinel-2-l2a", "sentinel-1-rtc"])',
            option="widen --bbox or --datetime, or name others with --collections",
        )
    return found


def _search_slices(
    source: Source,
    query: Query,
    names: Sequence[str] | None,
    scenes: Sequence[pystac.Item],
    grid: GeoBox,
    gap: timedelta,
    conditions: Conditions,
) -> list[pystac.Item]:
    optical = {item.collection_id for item in scenes}
    rest = None if names is None else [name for name in names if name not in optical]
    if rest == []:
        raise CatalogError(
            f"collections={names} has no Sentinel-1",
            fix="add a terrain-corrected (RTC) collection, load(..., "
            f"collections={[*(names or ()), 'sentinel-1-rtc']}), or omit Sentinel-1: "
            "load(..., polarisations=())",
            option=f"--collections {','.join([*(names or ()), 'sentinel-1-rtc'])}",
        )
    around = query.within(extent_of(grid)).around([item_time(i) for i in scenes], gap)
    return source.items(around, rest, conditions, "S1")
