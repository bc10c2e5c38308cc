"""Per-item rules on the real items of many providers, and on single facts."""

import json

import numpy as np
import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import UnitsError
from xcloudfree.stac.rules.assets import mission, optical_assets, sar_assets
from xcloudfree.stac.rules.harmonise import (
    decibel,
    optical_rule,
    pass_key,
    processing_level,
    reflectance,
    reflectance_offset,
    relative_orbit,
    sar_rule,
)
from xcloudfree.stac.series.pairing import FULL, TIE, Pass, nearest_passes

NO_CIRRUS = tuple(band for band in S2_BANDS if band != "B10")

# From the properties of each item and ESA's rule that numbers carry +1000 since baseline 04.00.
# file: level, offset, word in the reason, bands, classification asset, asset of B02 and of B8A
OPTICAL = {
    "planetary-computer/sentinel-2-l2a": ("BOA", -0.1, "5.11", NO_CIRRUS, "SCL", "B02", "B8A"),
    "earth-search/sentinel-2-l1c": ("TOA", -0.1, "declared", S2_BANDS, None, "blue", "nir08"),
    "earth-search/sentinel-2-l1c.oldest": (
        "TOA", -0.1, "declared", S2_BANDS, None, "blue", "nir08",
    ),
    "earth-search/sentinel-2-l2a": ("BOA", 0.0, "applied", NO_CIRRUS, "scl", "blue", "nir08"),
    "earth-search/sentinel-2-c1-l2a": ("BOA", -0.1, "declared", NO_CIRRUS, "scl", "blue", "nir08"),
    "earth-search-v0/sentinel-s2-l2a-cogs": (
        "BOA", 0.0, "applied", NO_CIRRUS, "SCL", "B02", "B8A",
    ),
    "earth-search-v0/sentinel-s2-l2a-cogs_28QCH_s3": (
        "BOA", 0.0, "2.14", NO_CIRRUS, "SCL", "B02", "B8A",
    ),
    "cdse/sentinel-2-l2a": ("BOA", -0.1, "declared", NO_CIRRUS, "SCL_20m", "B02_10m", "B8A_20m"),
    "stactools/sentinel2-l1c-example": ("TOA", 0.0, "declared", S2_BANDS, None, "blue", "nir08"),
    "stactools/sentinel2-l2a-example": ("BOA", 0.0, "declared", NO_CIRRUS, "scl", "blue", "nir08"),
}  # fmt: skip
# file: polarisation assets, pass, relative orbit
RTC = {
    "planetary-computer/sentinel-1-rtc": ("vv", "vh", "58252", 80),
    "stactools/sentinel1-rtc-aws": ("gamma0_vv", "gamma0_vh", "30643", 121),
    "stactools/sentinel1-rtc-aws.oldest": ("gamma0_vv", "gamma0_vh", "3050", 49),
}
GRD = (
    "planetary-computer/sentinel-1-grd",
    "planetary-computer/sentinel-1-grd.oldest",
    "earth-search/sentinel-1-grd",
    "earth-search/sentinel-1-grd.oldest",
    "stactools/sentinel1-grd",
    "stactools/sentinel1-grd.oldest",
)
NO_SCENE = ("cdse/sentinel-2-global-mosaics",)


def read(data_root, name):
    return json.loads((data_root / "stac_items" / f"{name}.json").read_text())


def test_no_real_item_is_left_out(data_root):
    folder = data_root / "stac_items"
    found = {str(p.relative_to(folder).with_suffix("")) for p in folder.glob("*/*.json")}
    assert found == {*OPTICAL, *RTC, *GRD, *NO_SCENE}


@pytest.mark.parametrize("as_object", [False, True], ids=["dict", "pystac"])
@pytest.mark.parametrize("name", OPTICAL)
def test_real_sentinel2(data_root, name, as_object):
    level, offset, word, bands, scl, blue, narrow = OPTICAL[name]
    item = read(data_root, name)
    rule = optical_rule(pystac.Item.from_dict(item) if as_object else item)
    assert mission(item) == "S2"
    assert (rule.level, rule.offset, rule.scale, rule.nodata) == (level, offset, 1e-4, 0)
    assert word in rule.offset_reason
    assert tuple(band for band, _ in rule.assets) == bands
    assert rule.classification == scl
    assert dict(rule.assets)["B02"] == blue
    assert dict(rule.assets)["B8A"] == narrow
    assert rule.data_type == "uint16"


@pytest.mark.parametrize("name", RTC)
def test_real_terrain_corrected_backscatter(data_root, name):
    vv, vh, orbit, relative = RTC[name]
    item = read(data_root, name)
    rule = sar_rule(item)
    assert mission(item) == "S1"
    assert rule.assets == (("VV", vv), ("VH", vh))
    assert (rule.quantity, rule.units) == ("gamma0", "1")
    assert rule.pass_key.endswith(orbit)
    assert rule.relative_orbit == relative


@pytest.mark.parametrize("name", GRD)
def test_real_grd_is_refused_and_rtc_named_unless_it_is_accepted(data_root, name):
    item = read(data_root, name)
    assert mission(item) == "S1"
    with pytest.raises(UnitsError, match=r"RTC.*load\("):
        sar_rule(item)
    rule = sar_rule(item, detected=True)
    assert (rule.quantity, rule.units, rule.geolocation) == ("sigma0", "DN", "gcps")
    assert rule.nodata == 0
    pols = item["properties"]["sar:polarizations"]
    assert dict(rule.calibration) == {p: f"schema-calibration-{p.lower()}" for p in pols}
    assert rule.orbit_state == item["properties"]["sat:orbit_state"]
    assert f"orbit {item['properties']['sat:absolute_orbit']}" in rule.pass_key


@pytest.mark.parametrize("name", NO_SCENE)
def test_a_composite_is_no_scene(data_root, name):
    with pytest.raises(UnitsError, match="Level-1C or Level-2A"):
        optical_rule(read(data_root, name))


def test_native_resolution_of_the_real_twins(data_root):
    keys = optical_assets(read(data_root, "cdse/sentinel-2-l2a"))
    assert keys["B01"] == "B01_60m"  # there is an upsampled B01_20m too
    assert keys["B05"] == "B05_20m"
    keys = optical_assets(read(data_root, "stactools/sentinel2-l2a-example"))
    assert (keys["B05"], keys["B11"], keys["B01"]) == ("rededge1", "swir16", "coastal")


def test_a_cog_goes_before_its_jpeg2000_twin(data_root):
    item = read(data_root, "earth-search/sentinel-2-l2a")
    assert not [key for key in optical_assets(item).values() if key.endswith("jp2")]
    only = {key: asset for key, asset in item["assets"].items() if key.endswith("jp2")}
    assert optical_assets({"assets": only})["B02"] == "blue-jp2"


def item(assets=None, **properties):
    return {"id": "x", "properties": properties, "assets": assets or {"B02": {}}}


@pytest.mark.parametrize(
    ("item", "offset", "word"),
    [
        # each step goes before the next
        (
            item(
                {"B02": {"raster:bands": [{"offset": -0.1}]}},
                **{"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.00"},
            ),
            0.0,
            "applied",
        ),
        (
            item({"B02": {"raster:bands": [{"offset": 0}]}}, **{"s2:processing_baseline": "05.00"}),
            0.0,
            "declared",
        ),
        (item({"B02": {"raster:offset": -0.1}}), -0.1, "declared"),
        (item({"B02": {"bands": [{"raster:offset": -0.1}]}}), -0.1, "declared"),
        # reprocessed: an old date with a new baseline
        (item(datetime="2018-06-01T00:00:00Z", **{"processing:version": "05.00"}), -0.1, "5.00"),
        (item(datetime="2023-01-01T00:00:00Z", **{"s2:processing_baseline": "03.01"}), 0.0, "3.01"),
        (item(**{"s2:processing_baseline": "04.00"}), -0.1, "4.00"),
        (item(**{"s2:product_uri": "S2B_MSIL2A_20180601T0_N0214_R095_T20EPT_2.SAFE"}), 0.0, "2.14"),
        (item(datetime="2022-01-24T23:59:59Z"), 0.0, "GUESS"),
        (item(datetime="2022-01-25T00:00:00Z"), -0.1, "GUESS"),
    ],
)
def test_offset_rules_in_order(item, offset, word):
    found, reason = reflectance_offset(item, ["B02"])
    assert found == offset
    assert word in reason


def test_a_false_applied_flag_decides_nothing():
    properties = {"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "05.11"}
    assert reflectance_offset(item(**properties), ["B02"])[0] == -0.1


def test_bands_that_declare_different_offsets_are_refused():
    assets = {"B02": {"raster:offset": -0.1}, "B03": {"raster:offset": 0}}
    with pytest.raises(UnitsError, match="different offsets"):
        reflectance_offset(item(assets), ["B02", "B03"])


@pytest.mark.parametrize(
    ("item", "level"),
    [
        (item(**{"processing:level": "L1C"}), "TOA"),
        (item(**{"processing:level": "L2"}), "BOA"),
        ({"id": "S2A_28QCH_20200714_1_L2A", "properties": {}}, "BOA"),  # _1_ is a counter
        ({"id": "x", "collection": "sentinel-2-l1c", "properties": {}}, "TOA"),
    ],
)
def test_level_from_the_weakest_sign(item, level):
    assert processing_level(item) == level


def test_an_untold_level_is_refused():
    with pytest.raises(UnitsError, match=r"load\("):
        processing_level({"id": "scene", "collection": "s2", "properties": {}})


def test_our_own_stamp_tells_the_quantity():
    stamped = item({"vv": {}}, **{"xcloudfree:quantity": "sigma0", "xcloudfree:units": "dB"})
    rule = sar_rule(stamped)
    assert (rule.quantity, rule.units) == ("sigma0", "dB")


def test_both_directions_of_one_orbit_are_two_passes():
    """Near the poles a place is seen on the way up and, minutes later, on the way down."""
    orbit = {"platform": "sentinel-1a", "sat:absolute_orbit": 58252}
    keys = {pass_key(item(**orbit, **{"sat:orbit_state": s})) for s in ("ascending", "descending")}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("name", "key", "track"),
    [
        ("S1A_IW_GRDH_1SDV_20250311T044231_20250311T044249_058252_073302_rtc", "58252", 80),
        ("S1B_IW_GRDH_1SDV_20161121T010939_20161121T011004_003050_0052FC_COG", "3050", 49),
        ("s1_rtc_0AB45D_S15E034_2023_03_05", "datatake 0AB45D", None),
    ],
)
def test_the_pass_from_the_name_where_the_properties_do_not_tell(name, key, track):
    one = item(platform=f"sentinel-1{name[2].lower() if name[2] in 'AB' else 'a'}") | {"id": name}
    assert pass_key(one).endswith(key)
    assert relative_orbit(one) == track


def test_one_pass_of_several_slices_and_two_passes_of_one_day():
    def one(orbit, time):
        return item(**{"platform": "sentinel-1a", "sat:absolute_orbit": orbit, "datetime": time})

    morning, slice_, evening = (
        one(100, "2025-06-01T05:00:00Z"),
        one(100, "2025-06-01T05:00:25Z"),
        one(107, "2025-06-01T17:00:00Z"),
    )
    assert pass_key(morning) == pass_key(slice_) != pass_key(evening)


def test_sar_assets_skip_calibration_files():
    keys = sar_assets({"assets": {"vh": {}, "schema-calibration-vh": {}, "incidence": {}}})
    assert keys == {"VH": "vh"}


def test_reflectance_is_exact_at_integer_thresholds():
    numbers = np.arange(1, 20000, dtype="uint16")
    found = reflectance(numbers, scale=1e-4, offset=-0.1, nodata=0)
    exact = ((numbers.astype("int64") - 1000) / 10000).astype("float32")
    np.testing.assert_array_equal(found, exact)


def test_decibel_of_known_powers():
    found = decibel(np.array([100.0, 0.5, -1.0, 0.0, np.nan]))
    np.testing.assert_allclose(found[:2], [20, -3.0103], atol=1e-4)
    assert np.isnan(found[2:]).all()


DAY = np.datetime64("2025-06-10T10:00", "ns")


def hours(n):
    return np.timedelta64(n, "h")


def test_the_nearest_pass_is_taken_and_far_ones_are_not():
    passes = [Pass("a", DAY - hours(30), 1), Pass("b", DAY + hours(20), 2)]
    times = [DAY, DAY - hours(24), DAY + hours(200)]
    assert nearest_passes(times, passes, hours(72)) == [1, 0, None]
    assert nearest_passes([DAY], passes, hours(19)) == [None]
    assert nearest_passes([DAY], passes, hours(20)) == [1]


def test_a_tie_goes_to_the_orbit_of_the_series():
    passes = [
        Pass("x", DAY - hours(240), 110),
        Pass("y", DAY - hours(10), 37),
        Pass("z", DAY + hours(10), 110),
    ]
    times = [DAY - hours(239), DAY]
    assert nearest_passes(times, passes, hours(72)) == [0, 2]


def test_a_pass_over_a_corner_loses_to_one_over_everything():
    passes = [Pass("corner", DAY, 1, 0.1), Pass("all", DAY + hours(30), 1, 1.0)]
    assert nearest_passes([DAY], passes, hours(72)) == [1]
    assert nearest_passes([DAY], passes, hours(24)) == [0]


def test_the_orbit_that_can_serve_the_whole_series_goes_before_a_little_nearer():
    """Morning and evening passes of one day: the mornings are nearer, the evenings always there."""
    mornings = [Pass(f"m{n}", DAY + hours(24 * n - 5), 37) for n in (0, 1)]
    evenings = [Pass(f"e{n}", DAY + hours(24 * n + 7), 110) for n in (0, 1, 2)]
    times = [DAY + hours(24 * n) for n in (0, 1, 2)]
    assert nearest_passes(times, [*mornings, *evenings], hours(10)) == [2, 3, 4]
    assert nearest_passes(times[:2], [*mornings, *evenings], hours(10)) == [0, 1]


def test_a_much_nearer_pass_goes_before_the_orbit_of_the_series():
    passes = [
        Pass("a", DAY + hours(1), 37),
        Pass("b", DAY + hours(121), 37),
        Pass("near", DAY + hours(62), 110),
        Pass("far", DAY + hours(98), 37),
    ]
    times = [DAY, DAY + hours(60), DAY + hours(120)]
    assert nearest_passes(times, passes, hours(72)) == [0, 2, 1]


_hour = st.integers(-400, 400)
_pass = st.builds(
    lambda n, orbit, share: (n, orbit, share),
    _hour,
    st.sampled_from([37, 110, 139, None]),
    st.sampled_from([0.2, 0.6, 0.95, 1.0]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_hour, max_size=6), st.lists(_pass, max_size=8), st.integers(1, 150))
def test_the_rule_of_pairing(scenes, drawn, gap):
    times = [DAY + hours(n) for n in scenes]
    passes = [Pass(f"p{i}", DAY + hours(n), o, share) for i, (n, o, share) in enumerate(drawn)]
    found = nearest_passes(times, passes, hours(gap))
    candidates = []
    for time, chosen in zip(times, found, strict=True):
        away = {i: abs(p.time - time) for i, p in enumerate(passes)}
        within = [i for i in away if away[i] <= hours(gap)]
        # a pass exactly where there is one in time
        assert (chosen is None) == (not within)
        best = max((passes[i].coverage for i in within), default=0)
        full = [i for i in within if passes[i].coverage >= FULL * best]
        least = min((away[i] for i in full), default=None)
        candidates.append({i for i in full if away[i] - least < TIE})
        # one that covers the area, and not much farther away than the nearest of these
        assert chosen is None or chosen in candidates[-1]
    # no other orbit could serve more of the scenes that this choice was open for
    orbits = [p.relative_orbit if p.relative_orbit is not None else p.key for p in passes]
    serves = {o: sum(any(orbits[i] == o for i in own) for own in candidates) for o in set(orbits)}
    for chosen, own in zip(found, candidates, strict=True):
        if chosen is not None:
            assert serves[orbits[chosen]] == max(serves[orbits[i]] for i in own)


@settings(max_examples=100, deadline=None)
@given(st.lists(_hour, max_size=5), st.lists(_pass, max_size=6), st.randoms())
def test_pairing_does_not_depend_on_the_order_of_passes(scenes, drawn, random):
    times = [DAY + hours(n) for n in scenes]
    passes = [Pass(f"p{i}", DAY + hours(n), o, share) for i, (n, o, share) in enumerate(drawn)]
    shuffled = list(passes)
    random.shuffle(shuffled)

    def names(given):
        pairs = nearest_passes(times, given, hours(72))
        return [None if i is None else given[i].key for i in pairs]

    assert names(passes) == names(shuffled)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_hour, st.sampled_from(["ascending", "descending"])), max_size=8))
def test_a_pass_never_holds_both_directions(drawn):
    """Slices of one orbit number in both directions, as near the poles."""
    items = [
        item(
            platform="sentinel-1a",
            datetime=str(DAY + hours(n)),
            **{"sat:absolute_orbit": 1000 + n // 12, "sat:orbit_state": state},
        )
        for n, state in drawn
    ]
    by_pass = {}
    for one in items:
        states = by_pass.setdefault(pass_key(one), set())
        states.add(one["properties"]["sat:orbit_state"])
    assert all(len(states) == 1 for states in by_pass.values())
