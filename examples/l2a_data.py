"""Clear Level-2A images with Sentinel-1 for examples/l2a_weights.py, each with its place.

Below $XCLOUDFREE_DATA: six BigEarthNet patches, five TerraMesh examples and a WorldCereal series of
ten bands. Bands of 20 m and 60 m are repeated to 10 m.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import xarray as xr
from demo_weights import DATA, patches, read
from series_data import load

import xcloudfree as xcf
from xcloudfree.core.bands import S2_BANDS

TWELVE = tuple(band for band in S2_BANDS if band != "B10")
TEN = tuple(band for band in TWELVE if band not in ("B01", "B09"))

BIGEARTHNET = {
    "S2A_MSIL2A_20170613T101031_87_48": "Austria",
    "S2A_MSIL2A_20170617T113321_36_85": "Ireland",
    "S2A_MSIL2A_20170617T113321_4_55": "Ireland",
    "S2B_MSIL2A_20170924T93020_69_24": "Finland",
    "S2A_MSIL2A_20171221T112501_56_35": "Portugal",
    "S2B_MSIL2A_20180204T94161_57_38": "Finland",
}
"""Patches of 120 px (2017 and 2018, no offset, backscatter taken for sigma0) and their place."""

TERRAMESH = {
    "terramind_282D_485L_3_3": ("Brazil", 0),
    "terramind_38D_378R_2_3": ("Tanzania", 0),
    "terramind_433D_629L_3_1": ("Chile", 1000),
    "terramind_637U_59R_1_3": ("Denmark", 0),
    "terramind_609U_541L_3_0": ("Canada", 0),
}
"""Examples of 224 px (gamma0), their place and the offset that their Level-2A numbers carry: of
three with it in Level-1C one has it here, as dark pixels and the line through both levels tell."""

SNOW = ("S2B_MSIL2A_20180204T94161_57_38", "terramind_609U_541L_3_0")
"""Judged, but never fitted on: the weights are not for snow."""

SERIES, BELGIUM = "worldcereal_00002806639B424A", "Belgium"

PLACES = {
    "A": ("Austria", "Finland", "Brazil", "Canada"),
    "B": ("Ireland", "Tanzania", "Denmark"),
    "C": ("Portugal", "Chile", "Belgium"),
}
"""Places that are judged by weights of a fit without them. Patches of one tile share a place."""


def images(bands: tuple[str, ...]) -> dict[str, list[xr.Dataset]]:
    """By place, clear images that are their own target; without the series if it lacks a band."""
    found: dict[str, list[xr.Dataset]] = {}
    for name, place in BIGEARTHNET.items():
        found.setdefault(place, []).append(bigearthnet(name, bands))
    for name, (place, offset) in TERRAMESH.items():
        found.setdefault(place, []).append(terramesh(name, offset, bands))
    if set(bands) <= set(TEN):
        found[BELGIUM] = [clear_dates(bands)]
    return found


def bigearthnet(name: str, bands: tuple[str, ...]) -> xr.Dataset:
    """A patch in native resolutions, and the Sentinel-1 patch that names it."""
    folder = DATA / "pairs_l2a_bigearthnet"
    optical = folder / "BigEarthNet-S2-Example" / name
    layers = [read(optical / f"{name}_{band}.tif")[0] for band in bands]
    size = max(len(layer) for layer in layers)
    s2 = np.stack([np.kron(x, np.ones((size // len(x),) * 2, x.dtype)) for x in layers])[None]
    for about in (folder / "BigEarthNet-S1-Example").glob("*/*_labels_metadata.json"):
        if json.loads(about.read_text())["corresponding_s2_patch"] == name:
            stem = about.name.removesuffix("_labels_metadata.json")
            s1 = [read(about.with_name(f"{stem}_{p}.tif"))[0] for p in ("VV", "VH")]
            return patches([name], s2, np.stack(s1)[None], s2, bands, "BOA")
    raise SystemExit(f"{name} has no Sentinel-1 patch in {folder}")


def terramesh(name: str, offset: int, bands: tuple[str, ...]) -> xr.Dataset:
    """An example of all twelve bands at 10 m."""
    folder = DATA / "pairs_l1c" / name
    s2 = read(folder / "s2_l2a.tif")[[TWELVE.index(band) for band in bands]].astype("int32")
    s2 = np.clip(s2 - offset, 1, None).astype("uint16")[None]
    return patches([name], s2, read(folder / "s1_rtc.tif")[None], s2, bands, "BOA")


@cache
def series() -> xr.Dataset:
    """The Belgian series."""
    return load(DATA / "series" / SERIES)


def clear_dates(bands: tuple[str, ...]) -> xr.Dataset:
    """Dates of which less than 2 % shows anything but ground; the rest of them is no data."""
    whole = series()
    ground = whole.SCL.isin(xcf.benchmarking.protocols.GROUND)
    chosen = whole.isel(time=np.flatnonzero(ground.mean(("y", "x")) > 0.98))
    s2 = np.stack([chosen[band].values for band in bands], 1) * 1e4
    s2[~np.broadcast_to(ground.sel(time=chosen.time).values[:, None], s2.shape)] = 0
    s2 = np.nan_to_num(s2).round().astype("uint16")
    s1 = np.stack([chosen[p].values for p in ("VV", "VH")], 1)
    names = [str(day)[:10] for day in chosen.time.values]
    return patches(names, s2, s1, s2, bands, "BOA")
