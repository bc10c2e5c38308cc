"""Bursts of OPERA RTC-S1, and the tracks of every Sentinel-1."""

import re

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import xcloudfree as xcf
from tests import archive
from xcloudfree.stac.rules.harmonise import pass_key, relative_orbit
from xcloudfree.stac.search.choice import choose_backscatter, is_sar_collection

N = 60


def burst(folder, n, left, power, day=10, platform="S1A", declared=True, zero=None):
    """A burst of OPERA RTC-S1 (product specification, JPL D-108758): 30 m, gamma0, NaN outside."""
    name = (
        f"OPERA_L2_RTC-S1_T069-14717{n}-IW1_202506{day}T05300{n}Z_202506{day}T120000Z"
        f"_{platform}_30_v1.0"
    )
    pixels = np.full((N, N), power, "float32")
    if zero is not None:
        pixels[zero] = 0
    transform = Affine(30, 0, left, 0, -30, 5300040)
    assets = {}
    for pol in ("VV", "VH"):
        href = archive.write(folder / f"{name}_{pol}.tif", pixels, transform, "EPSG:32632", np.nan)
        assets[pol] = {"href": href}
    time = f"2025-06-{day}T05:30:0{n}Z"
    item = archive.made_up(name, "OPERA_L2_RTC-S1_V1", time, assets)
    stated = {"proj:epsg": 32632, "proj:transform": list(transform)[:6], "proj:shape": [N, N]}
    item["properties"] |= stated | ({"platform": "Sentinel-1A"} if declared else {})
    archive.place(item, left, 5300040, "EPSG:32632", 30 * N)
    return item


def optical(folder, day):
    transform = Affine(10, 0, 600000, 0, -10, 5300040)
    href = archive.write(
        folder / f"b{day}.tif", np.full((180, 300), 2000, "uint16"), transform, "EPSG:32632", 0
    )
    name = f"S2A_MSIL2A_202506{day}T104031_N0511_R008_T32UNA"
    item = archive.made_up(
        name, "sentinel-2-l2a", f"2025-06-{day}T10:40:31Z", {"B02": {"href": href}}
    )
    stated = {"proj:epsg": 32632, "proj:transform": list(transform)[:6], "proj:shape": [180, 300]}
    item["properties"] |= stated | {"s2:processing_baseline": "05.11", "platform": "sentinel-2a"}
    archive.place(item, 600000, 5300040, "EPSG:32632", 3000)
    return item


@pytest.mark.parametrize("declared", [True, False])
def test_bursts_of_opera_join_to_passes(tmp_path, declared):
    items = [optical(tmp_path, 10)]
    for n, left in enumerate((600000, 601200)):  # 20 px of 30 m overlap
        items.append(burst(tmp_path, n, left, 0.1, declared=declared))
    ds = xcf.stac.load(items).compute()
    assert ds.s1_item_id.item().count("OPERA") == 2
    assert ds.relative_orbit.item() == 69
    assert ds.VV.attrs["quantity"] == "gamma0"
    np.testing.assert_allclose(ds.VV, -10, atol=1e-4)


def test_blocks_that_are_filled_with_zeros_are_no_data(tmp_path):
    hole = np.s_[20:40, 10:30]
    items = [optical(tmp_path, 10), burst(tmp_path, 0, 600000, 0.1, zero=hole)]
    grid = GeoBox((N, N), Affine(30, 0, 600000, 0, -30, 5300040), "EPSG:32632")
    ds = xcf.stac.load(items, like=grid).compute()
    empty = np.zeros((N, N), bool)
    empty[hole] = True
    np.testing.assert_array_equal(np.isnan(ds.VV[0]), empty)
    np.testing.assert_allclose(ds.VV.values[0][~empty], -10, atol=1e-4)


def test_collections_of_opera_are_radar():
    assert is_sar_collection("OPERA_L2_RTC-S1_V1")
    assert choose_backscatter(["x", "opera-s1-rtc-v1"]) == "opera-s1-rtc-v1"


@pytest.mark.parametrize(
    ("platform", "orbit", "day", "track"),
    [
        ("1A", 58252, "2025-03-12", (58252 - 73) % 175 + 1),
        ("1C", 1000, "2025-02-10", 129),
        ("1C", 9000, "2026-08-01", (9000 - 99) % 175 + 1),
        ("1C", 8000, "2026-06-15", None),  # on the way from one to the other
        ("1D", 4762, "2026-09-27", 171),
    ],
)
def test_tracks_of_every_satellite(platform, orbit, day, track):
    compact = re.sub("-", "", day)
    name = f"S{platform}_IW_GRDH_1SDV_{compact}T112236_{compact}T112305_{orbit:06d}_008EC4_A3A7"
    item = {
        "id": name,
        "properties": {"datetime": f"{day}T11:22:36Z", "platform": f"SENTINEL-{platform}"},
    }
    assert relative_orbit(item) == track
    assert str(orbit) in pass_key(item)
