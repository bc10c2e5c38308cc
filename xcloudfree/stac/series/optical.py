"""Which bands of which Sentinel-2 items are read, how, and as part of which scene."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from xcloudfree.core.bands import S2_BANDS, is_scene_classification, optical_band
from xcloudfree.exceptions import CatalogWarning, DataError, MissingBandError, UnitsError
from xcloudfree.stac.read.mosaic import Layer, Layers
from xcloudfree.stac.rules.assets import asset_metres, optical_assets
from xcloudfree.stac.rules.harmonise import AGAINST, OpticalRule, optical_rule, processing_level
from xcloudfree.stac.search.query import item_time

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

COARSER = 1.5
"""Pixels are averaged onto a grid that is coarser than they by more than this factor."""

METRES_PER_DEGREE = 111_320.0


def requested_bands(bands: Sequence[str] | None) -> tuple[list[str] | None, str | None]:
    """Canonical bands that the user asked for, and which classification.

    Parameters
    ----------
    bands : sequence of str, optional
        As the user wrote them.

    Returns
    -------
    tuple of (list of str or None, str or None)
        None: whatever there is; an empty name: no classification.

    Raises
    ------
    MissingBandError
        A name that is no Sentinel-2 band.

    Examples
    --------
    >>> requested_bands(["red", "B8A", "SCL"])
    (['B04', 'B8A'], 'SCL')
    """
    if bands is None:
        return None, None
    bands = [bands] if isinstance(bands, str) else list(bands)
    classes = {band: "SCL" for band in bands if is_scene_classification(band)}
    classes |= {band: "fmask" for band in bands if str(band).lower() in ("fmask", "oa_fmask")}
    named = {band: optical_band(band) for band in bands if band not in classes}
    unknown = [band for band, name in named.items() if name is None]
    if unknown or not named:
        raise MissingBandError(
            f"{unknown or bands} names no Sentinel-2 band. Take some of {', '.join(S2_BANDS)}: "
            'load(..., bands=["B02", "B03", "B04"]).'
        )
    return [b for b in S2_BANDS if b in named.values()], next(iter(classes.values()), "")


def optical_rules(
    items: Sequence[pystac.Item],
    bands: Sequence[str] | None,
    offsets: Mapping[str, float] | float | None = None,
) -> list[OpticalRule]:
    """Rule of every item, for one set of bands that all have and one level.

    Parameters
    ----------
    items : sequence of pystac.Item
        Sentinel-2 items.
    bands : sequence of str, optional
        Canonical bands. Default: those that every item has.
    offsets : mapping of str to float, or float, optional
        Reflectance offsets that the caller knows better, by item, or one for all.

    Returns
    -------
    list of OpticalRule

    Raises
    ------
    MissingBandError
        An item lacks a band.
    UnitsError
        Items of both levels.

    Warns
    -----
    CatalogWarning
        Offsets of items that are not there, or declared against the processing baseline.
    """
    unknown = set(offsets) - {item.id for item in items} if isinstance(offsets, Mapping) else ()
    if unknown:
        warnings.warn(
            f"offsets= names {', '.join(sorted(map(str, unknown))[:5])}, and the search found no "
            f"such item. Name those of item_id: load(..., offsets={{{items[0].id!r}: -0.1}}).",
            CatalogWarning,
            stacklevel=3,
        )
    for item in items:
        processing_level(item)  # a composite is refused before its bands are looked at
    offered = {item.id: optical_assets(item) for item in items}
    common = [b for b in S2_BANDS if all(b in keys for keys in offered.values())]
    for id_, keys in offered.items():
        missing = [b for b in bands or () if b not in keys]
        if missing:
            raise MissingBandError(
                f"Item {id_!r} has no {', '.join(missing)}. All items have {', '.join(common)}: "
                f"load(..., bands={common})."
            )
    if not common:
        raise MissingBandError(
            "The Sentinel-2 items have no band in common. Search one collection: "
            'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    rules = [optical_rule(item, common if bands is None else bands, offsets) for item in items]
    doubtful = [i.id for i, r in zip(items, rules, strict=True) if AGAINST in r.offset_reason]
    if doubtful:
        warnings.warn(
            f"An offset is declared of {', '.join(doubtful[:5])}, but its processing baseline is "
            "before 04.00, which has none. Look at the pixels, check_offset(ds), or load without: "
            f"load(..., offsets={dict.fromkeys(doubtful[:5], 0.0)}).",
            CatalogWarning,
            stacklevel=3,
        )
    levels: dict[str, set[str]] = {}
    for item, rule in zip(items, rules, strict=True):
        levels.setdefault(rule.level, set()).add(str(item.collection_id))
    if len(levels) > 1:
        found = "; ".join(f"{lev}: {', '.join(sorted(ids))}" for lev, ids in levels.items())
        raise UnitsError(
            f"The search returned top- and bottom-of-atmosphere scenes ({found}), which do not "
            "mix. Name the collections of one level: "
            'load(..., collections=["sentinel-2-l1c", "sentinel-1-rtc"]).'
        )
    return rules


def optical_layers(rules: Sequence[OpticalRule], *, classes: str | None) -> list[Layers]:
    """How the assets of every item are read.

    Parameters
    ----------
    rules : sequence of OpticalRule
        Rule of each item.
    classes : str or None
        Which classification is read: ``SCL``, ``fmask``, none if empty; None: the one that every
        item has, if there is one.

    Returns
    -------
    list of Layers

    Raises
    ------
    MissingBandError
        A classification is wanted, and an item has none.
    """
    offered = {rule.classes if rule.classification is not None else "" for rule in rules}
    if classes is None:
        classes = offered.pop() if len(offered) == 1 else ""
    elif classes and offered != {classes}:
        other = ", ".join(sorted(filter(None, offered - {classes})))
        raise MissingBandError(
            f"Not every item has a classification {classes}"
            + (f"; there is {other}" if other else "")
            + ". Only Level-2A has a scene classification (SCL): "
            'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    out = []
    for rule in rules:
        layers = [
            (band, Layer(key, rule.data_type, rule.nodata, rule.resampling))
            for band, key in rule.assets
        ]
        if classes and rule.classification is not None:
            layers.append((classes, Layer(rule.classification, "uint8", 0.0, "nearest")))
        out.append(tuple(layers))
    return out


def grid_metres(grid: GeoBox) -> float:
    """Pixel size of a grid.

    Parameters
    ----------
    grid : GeoBox
        A grid.

    Returns
    -------
    float
        Metres; of a grid in degrees, along the meridian.
    """
    size = float(min(abs(grid.resolution.x), abs(grid.resolution.y)))
    return size * METRES_PER_DEGREE if grid.crs is not None and grid.crs.geographic else size


def centre_longitude(grid: GeoBox) -> float:
    """Longitude of the centre of a grid, also of one that crosses the 180th meridian.

    Parameters
    ----------
    grid : GeoBox
        A grid.

    Returns
    -------
    float
        Degrees.
    """
    from odc.geo import geom

    x, y = grid.transform * (grid.shape[1] / 2, grid.shape[0] / 2)
    return float(geom.point(x, y, grid.crs).to_crs("EPSG:4326").coords[0][0])


def at_resolution(item: pystac.Item, layers: Layers, grid: GeoBox) -> Layers:
    """The layers of an item, with averages where the grid is coarser than the pixels.

    Parameters
    ----------
    item : pystac.Item
        A STAC item.
    layers : Layers
        How its assets are read.
    grid : GeoBox
        Grid to load on.

    Returns
    -------
    Layers
    """
    metres = grid_metres(grid)
    return tuple(
        (
            name,
            replace(layer, resampling="average")
            if layer.resampling == "bilinear"
            and metres > COARSER * asset_metres(item, layer.asset, name)
            else layer,
        )
        for name, layer in layers
    )


def group_scenes(items: Sequence[pystac.Item], by: str, longitude: float) -> list[int]:
    """Number of the scene that each item is part of, scenes counted in order of time.

    Parameters
    ----------
    items : sequence of pystac.Item
        Items, sorted by time.
    by : {"solar_day", "time", "id"}
        What the items of one scene share.
    longitude : float
        Longitude of the area in degrees, for the solar day.

    Returns
    -------
    list of int

    Raises
    ------
    DataError
        Another `by`.
    """
    keys: list[Any]
    if by == "solar_day":
        keys = [(item_time(i) + timedelta(hours=longitude / 15)).date() for i in items]
    elif by == "time":
        keys = [item_time(i) for i in items]
    elif by == "id":
        keys = [i.id for i in items]
    else:
        raise DataError(f'groupby={by!r} is unknown: load(..., groupby="solar_day").')
    order = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return [order[key] for key in keys]
