"""Searching: dialects of filters, paging, several catalogs, the 180th meridian, zone borders."""

import copy
import warnings

import numpy as np
import pystac
import pystac_client
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.warp import transform_bounds

from tests import archive
from tests.stac_api import FILTER, QUERY, Api, serve_api
from xcloudfree import stac
from xcloudfree.exceptions import (
    CatalogError,
    CatalogWarning,
    DataError,
    GridError,
    GridWarning,
    UnitsError,
)
from xcloudfree.stac.rules.providers import Provider, register, unregister
from xcloudfree.stac.search.area import footprint
from xcloudfree.stac.search.catalog import Source
from xcloudfree.stac.search.choice import choose_collections
from xcloudfree.stac.search.query import Query, checked_conditions, cql2, holds, portable

N = 64
CLEAR = {"eo:cloud_cover": {"lt": 20}}


def optical(
    folder, day, cloud=None, crs="EPSG:32632", left=600000, top=5300000, value=2000, **extra
):
    """A Sentinel-2 item with one band of one value."""
    transform = Affine(10, 0, left, 0, -10, top)
    name = f"S2A_MSIL2A_202506{day:02d}T104031_N0511_R008_T{crs[-2:]}UNA"
    path = folder / f"{name}_{left}.tif"
    href = archive.write(path, np.full((N, N), value, "uint16"), transform, crs, 0)
    properties = {"s2:processing_baseline": "05.11", "proj:code": crs, "platform": "sentinel-2a"}
    properties |= {"proj:shape": [N, N], "proj:transform": list(transform)[:6]}
    if cloud is not None:
        properties["eo:cloud_cover"] = cloud
    item = archive.made_up(
        name,
        "sentinel-2-l2a",
        f"2025-06-{day:02d}T10:40:31Z",
        {"B02": {"href": href}},
        **properties | extra,
    )
    archive.place(item, left, top, crs, 10 * N)
    return item


def radar(folder, day, orbit=1, state="descending", collection="sentinel-1-rtc", hour=5):
    transform = Affine(10, 0, 600000, 0, -10, 5300000)
    path = folder / f"s1_{day}_{orbit}.tif"
    href = archive.write(path, np.full((N, N), 0.1, "float32"), transform, "EPSG:32632", -32768)
    item = archive.made_up(
        f"S1A_{day}_{orbit}_rtc",
        collection,
        f"2025-06-{day:02d}T{hour:02d}:30:00Z",
        {pol: {"href": href} for pol in ("vv", "vh")},
        **{
            "platform": "sentinel-1a",
            "proj:code": "EPSG:32632",
            "proj:shape": [N, N],
            "proj:transform": list(transform)[:6],
            "sat:absolute_orbit": 1000 + orbit + 100 * day,
            "sat:relative_orbit": orbit,
            "sat:orbit_state": state,
        },
    )
    archive.place(item, 600000, 5300000, "EPSG:32632", 10 * N)
    return item


@pytest.fixture
def cloudy(tmp_path):
    """Ten scenes, four of them clear; more than one page."""
    return [optical(tmp_path, day, cloud=5 * day) for day in range(1, 11)]


def days(ds):
    return list(ds.time.dt.day.values)


@pytest.mark.parametrize("conforms", [[QUERY], FILTER, [QUERY, *FILTER], []])
def test_a_condition_is_sent_as_the_api_declares_and_pages_are_followed(
    cloudy, conforms, monkeypatch
):
    with serve_api(Api(cloudy, conforms), monkeypatch) as api, warnings.catch_warnings():
        warnings.simplefilter("error", CatalogWarning)
        ds = stac.load(api.url, polarisations=(), query=CLEAR)
        assert days(ds) == [1, 2, 3]
        every = stac.load(api.url, polarisations=())
        assert days(every) == list(range(1, 11))
        assert every.cloud_cover.values.tolist() == [5.0 * day for day in range(1, 11)]
    first = api.asked[0]
    assert ("query" in first) == (QUERY in conforms)
    assert ("filter" in first) == (QUERY not in conforms and bool(conforms))
    if "query" in first:
        assert first["query"] == CLEAR
    if "filter" in first:
        assert first["filter"] == {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}
    assert len([body for body in api.asked if "token" in body]) >= 3  # further pages


def test_a_server_that_ignores_the_condition_is_told_of(cloudy, monkeypatch):
    """Earth Search is reported to answer CQL2 with everything."""
    with serve_api(Api(cloudy, FILTER, "ignore"), monkeypatch) as api:
        with pytest.warns(CatalogWarning, match=r"returned 7 of 10 items that do not meet"):
            ds = stac.load(api.url, polarisations=(), query=CLEAR)
        assert days(ds) == [1, 2, 3]


def test_a_server_that_loses_everything_is_asked_again_without(cloudy, monkeypatch):
    """rustac answers an unknown condition with nothing."""
    with serve_api(Api(cloudy, [QUERY], "empty"), monkeypatch) as api:
        with pytest.warns(CatalogWarning, match=r"lost the condition.*3 of 10"):
            ds = stac.load(api.url, polarisations=(), query=CLEAR)
        assert days(ds) == [1, 2, 3]


def test_a_server_that_refuses_the_condition_is_asked_again_without(cloudy, monkeypatch):
    with serve_api(Api(cloudy, [QUERY], "refuse"), monkeypatch) as api:
        with pytest.warns(CatalogWarning, match=r"refused the condition.*3 of 10"):
            ds = stac.load(api.url, polarisations=(), query=CLEAR)
        assert days(ds) == [1, 2, 3]


def test_what_a_provider_takes_without_declaring_it_is_sent(cloudy, monkeypatch):
    """Planetary Computer honours query and does not declare it; Digital Earth Australia is CQL2."""
    for dialect, field in (("query", "query"), ("cql2", "filter")):
        register(Provider("here", "", (), hosts=("127.0.0.1",), dialect=dialect))
        try:
            with serve_api(Api(cloudy), monkeypatch) as api, warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                assert days(stac.load(api.url, polarisations=(), query=CLEAR)) == [1, 2, 3]
            assert field in api.asked[0]
        finally:
            unregister("here")


def test_items_without_the_property_are_counted(cloudy, monkeypatch):
    for item in cloudy[:2]:
        del item["properties"]["eo:cloud_cover"]
    with pytest.warns(CatalogWarning, match=r"2 of 10 items without 'eo:cloud_cover'"):
        ds = stac.load(cloudy, polarisations=(), query=CLEAR)
    assert days(ds) == [3]


def test_no_condition_is_met_by_anything(cloudy):
    with pytest.raises(CatalogError, match=r"query=\{'eo:cloud_cover': \{'lt': 1\}\}.*load\("):
        stac.load(cloudy, polarisations=(), query={"eo:cloud_cover": {"lt": 1}})


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ({"a": {"eq": 3}}, True),
        ({"a": 3}, True),
        ({"a": {"neq": 3}}, False),
        ({"a": {"gt": 2, "lt": 3}}, False),
        ({"a": {"gte": 3, "lte": 3}}, True),
        ({"a": {"in": [1, 3]}}, True),
        ({"b": {"startsWith": "sent"}}, True),
        ({"b": {"endsWith": "2a", "contains": "-2"}}, True),
        ({"a": {"lt": "word"}}, False),
        ({"missing": {"neq": 1}}, False),
        ({"none": {"neq": 1}}, False),
    ],
)
def test_conditions_on_this_side(condition, met):
    properties = {"a": 3, "b": "sentinel-2a", "none": None}
    assert holds(properties, checked_conditions("query", condition)) is met


def test_conditions_that_are_none():
    for wrong in (["eo:cloud_cover"], {"a": {"below": 3}}, {"a": {}}):
        with pytest.raises(DataError, match=r"sar_query=\{"):
            checked_conditions("sar_query", wrong)


def test_several_conditions_all_have_to_hold_in_cql2_too():
    found = cql2(portable({"a": {"gt": 1, "lte": 3, "startsWith": "x"}, "b": {"neq": "y"}}))
    assert found == {
        "op": "and",
        "args": [
            {"op": ">", "args": [{"property": "a"}, 1]},
            {"op": "<=", "args": [{"property": "a"}, 3]},
            {"op": "<>", "args": [{"property": "b"}, "y"]},
        ],
    }


def test_a_condition_on_sentinel_1_chooses_the_direction(tmp_path):
    items = [optical(tmp_path, 3), radar(tmp_path, 3, 1), radar(tmp_path, 4, 2, "ascending")]
    assert stac.load(items).orbit_state.values[0] == "descending"
    with warnings.catch_warnings():
        warnings.simplefilter("error", CatalogWarning)  # Sentinel-2 items need no direction
        ds = stac.load(items, sar_query={"sat:orbit_state": "ascending"})
    assert (ds.orbit_state.values[0], ds.relative_orbit.values[0]) == ("ascending", 2)


def test_sentinel_1_from_another_catalog(tmp_path, monkeypatch):
    scenes = [optical(tmp_path, 3)]
    grd = radar(tmp_path, 3, collection="sentinel-1-grd")
    passes = [radar(tmp_path, 4), radar(tmp_path, 3, collection="somebody-else")]
    with (
        serve_api(Api([*scenes, grd]), monkeypatch) as here,
        serve_api(Api(passes), monkeypatch) as there,
    ):
        with pytest.raises(CatalogError) as refused:
            stac.load(here.url)
        message = str(refused.value)
        assert "only sentinel-1-grd, which is not RTC" in message
        for call in (
            "collections=['sentinel-2-l2a', 'sentinel-1-rtc']",
            'sar_catalog="https://planetarycomputer.microsoft.com/api/stac/v1"',
            "collections=['sentinel-2-l2a', 'sentinel-1-grd']",
            "polarisations=()",
        ):
            assert f"load(..., {call}" in message
        for other in (there.url, pystac_client.Client.open(there.url), passes[:1]):
            ds = stac.load(here.url, sar_catalog=other)
            assert ds.s1_item_id.values[0] == "S1A_4_1_rtc"
        ds = stac.load(
            here.url,
            sar_catalog=there.url,
            collections=["sentinel-2-l2a", "sentinel-1-rtc"],
        )
        assert ds.s1_item_id.values[0] == "S1A_4_1_rtc"
    assert all(set(body["collections"]) == {"sentinel-1-rtc"} for body in there.asked)
    assert not any("sentinel-1-rtc" in body.get("collections", "") for body in here.asked)


def test_passes_of_both_directions_are_never_mixed_on_one_date(tmp_path):
    """Two half passes of one day, of either direction, each with what the other lacks."""
    transform = Affine(10, 0, 600000, 0, -10, 5300000)
    halves = []
    for n, state in enumerate(("descending", "ascending")):
        power = np.full((N, N), 0.1 * (n + 1), "float32")
        power[:, slice(0, N // 2) if n else slice(N // 2, None)] = -32768
        item = radar(tmp_path, 3, 10 + n, state, hour=5 + 12 * n)
        item["properties"]["sat:absolute_orbit"] = 58252  # as near the poles
        for asset in item["assets"].values():
            path = tmp_path / f"half{n}.tif"
            asset["href"] = archive.write(path, power, transform, "EPSG:32632", -32768)
        halves.append(item)
    ds = stac.load([optical(tmp_path, 3), optical(tmp_path, 4), *halves])
    for step in range(2):
        assert ds.s1_item_id.values[step].count("S1A") == 1
        found = ds["VV"].values[step]
        values = np.unique(found[np.isfinite(found)])
        assert values.size == 1
        assert np.isnan(found).mean() == 0.5
    assert len(set(ds.orbit_state.values)) == 1


@pytest.mark.parametrize(
    ("lag", "other", "slices"),
    [(25, {}, 2), (6000, {}, 1), (25, {"platform": "sentinel-1c"}, 1)],
)
def test_a_pass_across_the_equator_is_one_although_its_orbits_number_changes(
    tmp_path, lag, other, slices
):
    transform = Affine(10, 0, 600000, 0, -10, 5300000)
    parts = []
    for n in range(2):
        power = np.full((N, N), 0.1, "float32")
        power[slice(0, N // 2) if n else slice(N // 2, None)] = -32768
        item = radar(tmp_path, 3, 10 + n, "ascending")
        item["properties"]["datetime"] = str(np.datetime64("2025-06-03T05:30:00") + lag * n) + "Z"
        item["properties"] |= other if n else {}
        href = archive.write(tmp_path / f"part{n}.tif", power, transform, "EPSG:32632", -32768)
        for asset in item["assets"].values():
            asset["href"] = href
        parts.append(item)
    ds = stac.load([optical(tmp_path, 3), *parts])
    assert ds.s1_item_id.values[0].count("S1A") == slices
    assert np.isnan(ds["VV"].values).mean() == 1 - slices / 2


def test_all_satellites_of_digital_earth_australia_by_default():
    offered = ["ga_s2bm_ard_3", "ga_ls8c_ard_3", "ga_s2am_ard_3", "ga_s2cm_ard_3"]
    assert choose_collections(offered, sar=False) == [
        "ga_s2am_ard_3", "ga_s2bm_ard_3", "ga_s2cm_ard_3",
    ]  # fmt: skip
    assert choose_collections(["s1_rtc", "s2_l2a"], sar=True) == ["s2_l2a", "s1_rtc"]
    with pytest.raises(CatalogError, match="sar_catalog="):
        choose_collections(offered, sar=True)


@pytest.mark.parametrize("form", ["jump", "cut", "bbox", "wide bbox"])
def test_an_item_across_the_180th_meridian_lies_on_both_sides_and_nowhere_else(form):
    item = pystac.Item("x", None, None, np.datetime64("2025-06-01", "s").astype(object), {})
    ring = [[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]
    if form == "jump":
        item.geometry = {"type": "Polygon", "coordinates": [ring]}
    elif form == "cut":
        halves = [
            [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]],
            [[[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]],
        ]
        item.geometry = {"type": "MultiPolygon", "coordinates": halves}
    else:
        item.bbox = [179, 0, -179, 1] if form == "bbox" else [-179, 0, 179, 1]
    shape = footprint(item)
    assert shape.area == pytest.approx(2)
    west = Query.of((179.2, 0.2, 179.8, 0.8), None, None)
    east = Query.of((-179.8, 0.2, -179.2, 0.8), None, None)
    greenwich = Query.of((-1, 0, 1, 1), None, None)
    assert [query.holds(item) for query in (west, east, greenwich)] == [True, True, False]


def test_the_real_items_at_the_180th_meridian(data_root):
    for name in ("planetary-computer/sentinel-1-grd.oldest", "stactools/sentinel2-l1c-example"):
        item = pystac.Item.from_dict(archive.read_item(data_root, name))
        assert footprint(item).boundingbox.span_x > 0
        assert not Query.of((-1, -80, 1, 80), None, None).holds(item)
        assert footprint(item).area < 100


@pytest.fixture
def border(tmp_path):
    """One day, one place, two zones: the area is covered by both, by zone 32 alone to the west."""
    west = optical(tmp_path, 1, left=760000, value=2000)
    bounds = transform_bounds("EPSG:32632", "EPSG:32633", 760320, 5299360, 760640, 5300000)
    left, top = (round(bounds[n], -1) for n in (0, 3))
    east = optical(tmp_path, 1, crs="EPSG:32633", left=left, top=top, value=4000)
    east["properties"]["datetime"] = "2025-06-01T10:40:30Z"
    return [west, east]


def test_an_area_across_a_zone_border_says_which_zone_it_takes(border):
    box = tuple(border[0]["bbox"])
    with pytest.warns(GridWarning, match=r"EPSG:32632 100 %.*load\(\.\.\., crs=.EPSG:32633.\)"):
        ds = stac.load(border, bbox=box, polarisations=())
    assert ds.odc.geobox.crs.epsg == 32632
    assert ds.odc.geobox.affine.c % 10 == 0
    found = ds["B02"].values[0]
    # of one scene, the pixels of the own zone are on top: they need no warp
    inner = found[2:N, 2:N]
    assert (np.abs(inner - 0.1) < 1e-6).mean() > 0.95
    assert ds.sizes["time"] == 1
    assert ds.item_id.values[0].count("S2A") == 2


def test_a_zone_can_be_chosen(border):
    with warnings.catch_warnings():
        warnings.simplefilter("error", GridWarning)
        ds = stac.load(border, crs="EPSG:32633", polarisations=())
    assert ds.odc.geobox.crs.epsg == 32633
    transform = border[1]["properties"]["proj:transform"]
    assert (ds.odc.geobox.affine.c - transform[2]) % 10 == 0
    found = ds["B02"].values[0]
    assert (np.abs(found - 0.3) < 1e-6).sum() > 0.8 * N * N  # now the other zone is on top
    with pytest.raises(GridError, match="resolution"):
        stac.load(border, crs="EPSG:3035", polarisations=())


def test_one_zone_says_nothing(cloudy):
    with warnings.catch_warnings():
        warnings.simplefilter("error", GridWarning)
        stac.load(cloudy, polarisations=())


def test_intervals_that_end_before_they_start():
    with pytest.raises(DataError, match="ends before it starts"):
        Query.of(None, None, "2025-07/2025-05")


def test_a_source_gives_each_item_once(cloudy, monkeypatch):
    with serve_api(Api([*cloudy, *cloudy]), monkeypatch) as api:
        assert len(Source(api.url).items(Query(), ["sentinel-2-l2a"])) == 10


# Pixel check of the offset


def scene_of(numbers, tmp_path, **properties):
    """One scene whose two bands hold given numbers."""
    item = optical(tmp_path, 1)
    _, _, left, _, _, top = item["properties"]["proj:transform"]
    transform = Affine(10, 0, left, 0, -10, top)
    for key, values in numbers.items():
        href = archive.write(tmp_path / f"{key}.tif", values, transform, "EPSG:32632", 0)
        item["assets"][key] = {"href": href}
    shape = next(iter(numbers.values())).shape
    item["properties"] |= {"proj:shape": list(shape)} | properties
    archive.place(item, left, top, "EPSG:32632", 10 * shape[0])
    del item["assets"]["B02"]
    return item


def ground(shape=(256, 256), seed=0):
    """Land: mostly dark in red and short-wave infrared, some of it bright."""
    rng = np.random.default_rng(seed)
    return {
        key: np.clip(rng.lognormal(np.log(mean), 0.6, shape), 0.001, 1.2) / 1e-4
        for key, mean in (("B04", 0.07), ("B12", 0.1))
    }


def stored(shift, **kwargs):
    return {key: np.rint(v + shift).astype("uint16") for key, v in ground(**kwargs).items()}


def test_a_lying_flag_is_found_by_its_pixels(tmp_path):
    """Applied, says the file; not applied, says the flag (Earth Search issues 66 and 71)."""
    item = scene_of(stored(0), tmp_path, **{"earthsearch:boa_offset_applied": False})
    ds = stac.load([item], polarisations=())
    assert ds.offset.values[0] == -0.1
    with pytest.raises(
        UnitsError, match=r"as if the pixels already included it.*offsets=\{.S2A.*: 0\.0\}\)$"
    ):
        stac.check_offset(ds)
    found = stac.check_offset(ds, on_error="report")
    assert found.verdict.values[0] == "contradiction"
    assert found.share.values[0] > 0.5
    mended = stac.load([item], polarisations=(), offsets={item["id"]: 0.0})
    assert stac.check_offset(mended).verdict.values[0] == "agrees"


def test_the_reverse_lie_is_suspicious(tmp_path):
    item = scene_of(stored(1000), tmp_path, **{"earthsearch:boa_offset_applied": True})
    ds = stac.load([item], polarisations=())
    with pytest.warns(CatalogWarning, match=r"below 1000.*offsets=\{.*: -0\.1\}\)$"):
        assert stac.check_offset(ds).verdict.values[0] == "suspicious"
    honest = copy.deepcopy(item)
    del honest["properties"]["earthsearch:boa_offset_applied"]
    assert stac.check_offset(stac.load([honest], polarisations=())).verdict.values[0] == "agrees"


def test_few_pixels_prove_nothing(tmp_path):
    item = scene_of(stored(0, shape=(20, 20)), tmp_path)
    found = stac.check_offset(stac.load([item], polarisations=()))
    assert found.verdict.values[0] == "too few pixels"
    with pytest.raises(DataError, match="check_offset"):
        stac.check_offset(stac.load([item], polarisations=()).drop_vars("offset"))
    with pytest.raises(DataError, match="with item_id, offset, .*check_offset"):
        stac.check_offset(stac.load([item], polarisations=()).drop_vars("item_id"))
    with pytest.raises(DataError, match="on_error='ignore' is unknown"):
        stac.check_offset(stac.load([item], polarisations=()), on_error="ignore")


def test_the_check_reads_only_some_chunks(tmp_path):
    item = scene_of(stored(1000), tmp_path)
    ds = stac.load([item], polarisations=(), chunks={"x": 32, "y": 32})
    found = stac.check_offset(ds, chunks=5)
    assert found.valid.values[0] == 5 * 32 * 32


def test_the_threshold_on_real_scenes(data_root):
    """Numbers without an offset are told from numbers with one, whatever they show."""
    found = {"contradiction": 0, "agrees": 0}
    names = ("B04", "B12")
    for path in sorted((data_root / "triplets").glob("*/s2_cloudfree.tif")):
        with rasterio.open(path) as source:
            numbers = dict(zip(names, source.read([4, 13]).astype("float64"), strict=True))
        for shift, lie in ((0, True), (1000, False)):
            bands = {
                key: (("y", "x"), np.where(v > 0, (v + shift - 1000) / 1e4, np.nan))
                for key, v in numbers.items()
            }
            scene = xr.Dataset({k: v.expand_dims("time") for k, v in xr.Dataset(bands).items()})
            made = {"item_id": ["a"], "offset": [-0.1], "offset_reason": ["declared"]}
            scene = scene.assign_coords({k: ("time", v) for k, v in made.items()})
            verdict = stac.check_offset(scene, on_error="report").verdict.item()
            if lie:
                found[verdict] += 1
            else:
                assert verdict == "agrees", path
    assert found["contradiction"] >= 14
    assert found["contradiction"] + found["agrees"] == 16


@pytest.mark.parametrize("form", ["integers", "stacked", "decoded", "one date"])
@pytest.mark.parametrize(("shift", "offset"), [(1000, -0.1), (0, -0.1), (0, 0.0), (1000, 0.0)])
def test_arrays_of_ones_own_are_checked_too(form, shift, offset):
    """The offset taken out by the provider and declared once more, or not taken out at all."""
    bands = {k: (("time", "y", "x"), v[None]) for k, v in stored(shift).items()}
    ds = xr.Dataset(bands, {"time": np.array(["2025-06-01"], "datetime64[ns]")})
    if form == "decoded":
        for name in bands:
            ds[name].attrs = {"scale_factor": 1e-4, "add_offset": offset, "_FillValue": 0}
        ds = xr.decode_cf(ds)
    else:
        ds = ds.cloudfree.calibrate(scale=1e-4, offset=offset, level="BOA")
    if form == "stacked":
        ds = ds.to_dataarray("band").transpose("time", "band", "y", "x")
        ds.attrs = {"scale_factor": 1e-4, "add_offset": offset, "processing_level": "BOA"}
    if form == "one date":
        ds = ds.isel(time=0)
    right = {(1000, -0.1): "agrees", (0, 0.0): "agrees", (0, -0.1): "contradiction"}
    if (shift, offset) == (0, -0.1):
        with pytest.raises(UnitsError, match=r"many stored numbers are below 950.*offset=0\)$"):
            stac.check_offset(ds)
    if (shift, offset) == (1000, 0.0):
        with pytest.warns(CatalogWarning, match=r"offset=-0\.1\)$"):
            assert stac.check_offset(ds).verdict.item() == "suspicious"
    else:
        found = stac.check_offset(ds, on_error="report")
        assert found.verdict.item() == right[shift, offset]


def test_numbers_that_declare_nothing_are_refused_with_the_call():
    ds = xr.Dataset({k: (("y", "x"), v) for k, v in stored(1000).items()})
    with pytest.raises(DataError, match=r"check_offset\(ds\.cloudfree\.calibrate\("):
        stac.check_offset(ds)
