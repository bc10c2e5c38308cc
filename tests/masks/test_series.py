"""The mask that a series makes itself: parts against closed forms, the whole against the truth."""

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

import xcloudfree as xcf
from tests.builders import make_bands, make_series
from tests.checks import no_computes
from tests.real_series import SITES, load
from xcloudfree.datasets import simulate_truth
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.masks import matched_filter as kernel
from xcloudfree.masks import transients

GROUND = [4, 5, 6]
CLOUD = [3, 8, 9, 10]


def test_the_median_is_the_lower_one_of_the_dates_that_there_are():
    rng = np.random.default_rng(0)
    values = rng.random((9, 2, 40), "float32")
    trusted = rng.random((9, 40)) > 0.4
    days = np.arange(9) * 5.0
    chosen, found, wait = kernel.nearest(trusted, days, 4, 7)
    middle = kernel.median_of(values, np.arange(40), chosen, found)
    for pixel in range(40):
        others = [d for d in range(9) if d != 4 and trusted[d, pixel]]
        others = sorted(others, key=lambda d: abs(d - 4))[:7]
        assert found[pixel] == len(others)
        assert wait[pixel] == min(abs(d - 4) * 5 for d in others)
        # two dates are as far away, so that of seven of them one or the other may be left out
        if len(others) < 7:
            for band in range(2):
                ordered = np.sort(values[others, band, pixel])
                assert middle[band, pixel] == ordered[(len(others) - 1) // 2]


def test_images_of_the_same_pass_say_nothing_of_each_other():
    trusted = np.ones((4, 1), bool)
    chosen, found, wait = kernel.nearest(trusted, np.array([0, 0.1, 5, 9.0]), 0, 7)
    assert found[0] == 2
    assert set(chosen[:2, 0]) == {2, 3}
    assert wait[0] == 5


def test_the_share_of_cloud_and_of_shade_is_found():
    """Ground with its own changes along one spectrum; haze and shade of known strength on it."""
    rng = np.random.default_rng(1)
    bands = ("B02", "B03", "B04", "B08", "B11")
    white = np.array([kernel.CLOUD[b] for b in bands])
    ground = np.array([0.05, 0.08, 0.07, 0.3, 0.2])
    growth = np.array([-0.01, -0.005, -0.03, 0.08, -0.03])  # what differs from date to date
    values = ground[:, None] + growth[:, None] * rng.normal(0, 0.5, (20, 1, 400))
    values += rng.normal(0, 0.002, values.shape)
    days = np.arange(20) * 5.0
    spread = kernel.spread_of(values.astype("float32"), np.ones((20, 400), bool), days, bands)
    for share in (0.05, 0.2, 0.6):
        seen = values.copy()
        seen[10] += share * (white[:, None] - seen[10])
        seen[12] *= 1 - share
        known = np.ones((20, 400), bool)
        known[[10, 12]] = False
        found = kernel.evidence(seen.astype("float32"), ~known, known, days, bands, spread)
        assert abs(np.median(found.cloud[10]) - share) < 0.1 * share
        assert abs(np.median(found.shade[12]) - share) < 0.15 * share
        assert (found.cloud_sure[10] > 3).mean() > 0.95
        assert (found.cloud[12] < 0.02).mean() > 0.95


def test_thin_cloud_in_the_shade_of_another_is_found_as_both():
    rng = np.random.default_rng(4)
    white, dark = (rng.normal(0, 20, (6, 50)).astype("float32") for _ in range(2))
    white -= 0.5 * dark  # a cloud brightens what its shade darkens
    cloud, sure, shade, sure_shade, other = kernel._shares(0.2 * white + 0.4 * dark, white, dark)
    assert not other.any()
    # where one hides most of the other, neither is certain, and each counts as if it were alone
    angle = (white * dark).sum(0) ** 2 / ((white**2).sum(0) * (dark**2).sum(0))
    apart = angle < 0.7
    assert apart.sum() > 30
    # the larger of the two fits counts, so a share may be too large, but is never too small
    assert (cloud[apart] > 0.199).all()
    assert (shade[apart] > 0.399).all()
    assert (sure[apart] > kernel.SURE).all()
    assert (sure_shade[apart] > kernel.SURE).all()
    opposed = apart & ((white * dark).sum(0) < 0)
    np.testing.assert_allclose(cloud[opposed], 0.2, rtol=1e-3)
    np.testing.assert_allclose(shade[opposed], 0.4, rtol=1e-3)
    alone = kernel._shares((0.2 * white + 0.4 * dark)[:4], white[:4], dark[:4])
    assert (alone[0] < 0.19).mean() > 0.3  # four bands: not fitted together


def test_shade_is_accepted_in_round_places_around_enough_cloud():
    """Of dark ground everywhere, a small cloud explains some; no straight edge shows."""
    shade, cloud = np.ones((2, 1, 161, 161), bool)
    cloud[:] = False
    assert not transients._cast(shade, cloud).any()
    cloud[0, 76:85, 76:85] = True
    near = transients._cast(shade, cloud)[0]
    assert near[80, 80]
    assert 1000 < near.sum() < near.size / 2
    rows, columns = near.any(1).sum(), near.any(0).sum()
    assert near.sum() < 0.9 * rows * columns  # a square would fill its box
    assert not np.array_equal(near, near & np.roll(near, 20, 0))


def test_a_change_that_lasts_is_no_cloud():
    rng = np.random.default_rng(2)
    dates, bands = 16, {"B02": 0.05, "B03": 0.07, "B04": 0.06, "B08": 0.35, "B11": 0.2}
    after = {"B02": 0.09, "B03": 0.12, "B04": 0.16, "B08": 0.24, "B11": 0.3}  # harvested
    data = {}
    for name, level in bands.items():
        values = np.full((dates, 40, 40), level)
        values[8:, :20] = after[name]  # half of it
        data[name] = (("time", "y", "x"), values + rng.normal(0, 0.004, values.shape))
    attrs = {"units": "1", "processing_level": "BOA"}
    time = np.datetime64("2025-05-01", "ns") + np.arange(dates) * np.timedelta64(5, "D")
    ds = xr.Dataset(data, {"time": time}).astype("float32").map(lambda a: a.assign_attrs(attrs))
    assert float(ds.cloudfree.mask("series").mean()) < 0.01
    flash = ds.copy(deep=True)
    for name in bands:  # the same for one date alone is haze
        flash[name][5, 10:30, 10:30] += 0.1
    found = flash.cloudfree.mask("series")
    assert found[5, 10:30, 10:30].mean() > 0.99
    assert float(found.sum()) < 1.5 * 400


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_harvest_that_one_date_shows_is_no_cloud():
    """Plants reflect less in near and soil more in short-wave infrared: no cloud or shade does."""
    rng = np.random.default_rng(5)
    bands = {"B05": 0.12, "B06": 0.44, "B07": 0.59, "B8A": 0.62, "B11": 0.20, "B12": 0.10}
    bare = {"B05": 0.17, "B06": 0.33, "B07": 0.39, "B8A": 0.45, "B11": 0.32, "B12": 0.20}
    growth = np.array([-0.02, 0.06, 0.08, 0.08, -0.03, -0.02])
    dates = 16
    values = np.array(list(bands.values()))[:, None, None, None]
    values = values + growth[:, None, None, None] * rng.normal(0, 0.4, (6, dates, 1, 1))
    values = values + rng.normal(0, 0.004, (6, dates, 40, 40))
    field, hazy = (slice(8, 9), slice(5, 20), slice(5, 20)), (slice(8, 9), *[slice(22, 36)] * 2)
    for band, (name, level) in enumerate(bands.items()):
        values[band][field] += bare[name] - level
        values[band][hazy] += 0.15 * (kernel.CLOUD[name] - level)
    attrs = {"units": "1", "processing_level": "BOA"}
    time = np.datetime64("2025-05-01", "ns") + np.arange(dates) * np.timedelta64(5, "D")
    data = {n: (("time", "y", "x"), v, attrs) for n, v in zip(bands, values, strict=True)}
    found = xr.Dataset(data, {"time": time}).astype("float32").cloudfree.mask("series").values
    assert found[hazy].mean() > 0.99
    assert found[field].mean() < 0.05


def test_most_of_the_harvested_fields_of_a_real_series_stay_clear(data_root):
    """Fields whose NDVI falls for good, on the clear date that first shows it."""
    ds = load(data_root, SITES[1])
    ndvi = ((ds.B8A - ds.B05) / (ds.B8A + ds.B05)).values
    ground = ds.SCL.isin(GROUND).values
    hidden = ds.cloudfree.mask().values
    clear = np.flatnonzero(ground.mean((1, 2)) > 0.7)
    lost = []
    for before, date, later, last in zip(clear, clear[1:], clear[2:], clear[3:], strict=False):
        fallen = (ndvi[date] < ndvi[before] - 0.2) & ground[[before, date]].all(0)
        for after in (later, last):
            fallen &= ground[after] & (ndvi[after] < ndvi[date] + 0.1)
        fields, count = ndimage.label(ndimage.binary_opening(fallen))
        sizes = ndimage.sum_labels(fallen, fields, range(1, count + 1))
        lost += [hidden[date][fields == n + 1].mean() for n in np.flatnonzero(sizes >= 20)]
    assert len(lost) >= 5
    assert np.mean(lost) < 0.15


@pytest.mark.parametrize("flooded", [slice(7, 11), slice(7, 14)])
def test_ground_that_stays_dark_is_no_shade(flooded):
    """A flood of four dates, or to the end; shade of the same strength passes."""
    rng = np.random.default_rng(6)
    dates, bands = 14, {"B02": 0.06, "B04": 0.08, "B08": 0.35, "B8A": 0.36, "B11": 0.25}
    dim = np.ones((dates, 40, 60))
    dim[flooded, 5:35, 5:25] = 0.55
    dim[7, 5:35, 35:55] = 0.55
    attrs = {"units": "1", "processing_level": "BOA"}
    light = 1 + rng.normal(0, 0.03, (dates, 1, 1))
    data = {
        name: (("time", "y", "x"), level * light * dim + rng.normal(0, 0.004, dim.shape), attrs)
        for name, level in bands.items()
    }
    for planes in data.values():
        planes[1][flooded, :3] = 0.7  # clouds that may cast it
    time = np.datetime64("2025-05-01", "ns") + np.arange(dates) * np.timedelta64(5, "D")
    found = xr.Dataset(data, {"time": time}).astype("float32").cloudfree.mask("series").values
    assert found[flooded, 5:35, 5:25].mean((1, 2)).max() < 0.05
    assert found[7, 6:34, 36:54].mean() > 0.95


@pytest.mark.parametrize(
    ("seed", "least", "most"),
    [
        pytest.param(3, 0.95, 0.04, marks=pytest.mark.slow),
        pytest.param(4, 0.94, 0.03, marks=pytest.mark.slow),
        (6, 0.93, 0.06),
    ],
)
def test_simulated_skies_are_found_and_the_clear_ground_is_left(seed, least, most):
    options = {"dates": 24, "cover": 0.4, "seed": seed}
    seen, truth = (
        make((96, 96), **options) for make in (xcf.datasets.simulate_scene, simulate_truth)
    )
    found = seen.cloudfree.mask()
    assert found.attrs["method"] == "score+series"
    assert "compares the 24 dates" in found.attrs["reason"]
    changed = abs(seen - truth)[["B02", "B04", "B08", "B11"]].to_dataarray().max("variable")
    recall, lost = (float(found.where(w).mean()) for w in (changed > 0.03, changed < 0.01))
    alone = seen.cloudfree.mask("score")
    assert recall > float(alone.where(changed > 0.03).mean()) + 0.25
    assert recall > least
    assert lost < most


def test_short_series_are_searched_until_little_is_left():
    options = {"dates": 6, "cover": 0.4, "seed": 1}
    seen, truth = (
        make((128, 128), **options) for make in (xcf.datasets.simulate_scene, simulate_truth)
    )
    changed = abs(seen - truth)[["B02", "B04", "B08", "B11"]].to_dataarray().max("variable")
    found = seen.drop_vars("B10").cloudfree.mask("l2a+series")
    assert float(found.where(changed > 0.03).mean()) > 0.6  # 0.52 with one pass less
    assert float(found.where(changed < 0.01).mean()) < 0.05


def test_the_mask_does_not_depend_on_the_chunks():
    ds = xcf.datasets.simulate_scene((230, 120), dates=8, cover=0.4, seed=5)
    ds = ds[["B02", "B03", "B04", "B08"]].isel(time=[3, 1, 0, 2, 7, 5, 4, 6])
    whole = ds.cloudfree.mask("series")
    for chunks in ({"time": 5, "y": 100, "x": 70}, {"time": 1, "y": 64, "x": 120}):
        with no_computes():
            lazy = ds.chunk(chunks).cloudfree.mask("series")
        xr.testing.assert_identical(lazy.compute(scheduler="sync"), whole)
    ordered = ds.sortby("time").cloudfree.mask("series").sel(time=ds.time)
    xr.testing.assert_identical(ordered, whole)


def test_dates_without_data_and_bands_in_integers():
    ds = xcf.datasets.simulate_scene((40, 40), dates=7, cover=0.3, seed=6)
    counts = (ds[["B02", "B03", "B8A", "B11"]] * 1e4).round().clip(1).astype("uint16")
    counts = counts.where(counts.time != counts.time[2], 0).astype("uint16")
    counts = counts.cloudfree.calibrate(scale=1e-4, offset=0.0, nodata=0, level="TOA")
    found = counts.cloudfree.mask("series")
    assert not found[2].any()
    assert 0.05 < float(found.mean()) < 0.7


def test_what_a_series_needs_is_said():
    ds = make_series(dates=4).drop_vars("B10")
    with pytest.raises(DataError, match=r"at least 5 dates and the data has 4 dates"):
        ds.cloudfree.mask("series")
    with pytest.raises(DataError, match="no time coordinate"):
        ds.isel(time=0, drop=True).cloudfree.mask("series")
    with pytest.raises(MissingBandError, match="needs two bands"):
        make_series(dates=6)[["B09"]].cloudfree.mask("series")


def test_the_data_chooses_the_mask_and_says_why():
    ds = make_bands(2)
    scl = xr.zeros_like(ds.B02, dtype="uint8").drop_attrs() + np.uint8(4)
    cases = {
        "score": ds,
        "l2a": ds.drop_vars("B10"),
        "scl": ds.assign(SCL=scl),
        "score+series": make_series(dates=6),
        "series": make_series(dates=6)[["B02", "B03", "B04", "B08"]],
    }
    for expected, case in cases.items():
        found = case.cloudfree.mask()
        assert found.attrs["method"] == expected
        assert len(found.attrs["reason"]) > 20
    grown = {name: cases[name].cloudfree.mask().attrs["dilation_pixels"] for name in cases}
    assert grown == {"scl": 2, "score": 4, "l2a": 4, "score+series": 0, "series": 0}
    with pytest.raises(MissingBandError, match="no mask of a single date"):
        ds[["B02", "B03"]].cloudfree.mask()
    out = cases["l2a"].cloudfree.reconstruct(model="idw")
    assert out.provenance.attrs["mask"] == "l2a"
    assert "B10" in out.provenance.attrs["mask_reason"]


@pytest.mark.parametrize("rim", [1, 2])
def test_cloud_that_is_taken_away_from_a_real_mask_is_found_again(rim, data_root):
    ds = load(data_root, SITES[1])
    cloud = ds.SCL.isin(CLOUD)
    eroded = ndimage.binary_erosion(cloud, np.ones((1, 3, 3)), iterations=rim, border_value=1)
    given = cloud.copy(data=eroded)
    taken = cloud & ~given & ds.SCL.isin([3, 8, 9])
    found = masked_from(ds, given)
    assert float(found.where(taken).mean()) > 0.9
    clear_days = cloud.mean(["y", "x"]) < 0.02
    ground = ds.SCL.isin(GROUND) & clear_days
    # three of these 52 days lie under thin cloud or in shadow that the classes do not have
    assert float(found.where(ground).mean()) < 0.1


def test_overcast_dates_that_the_classes_call_clear_are_found(data_root):
    """Every sixth date that is over 90 % hidden, marked as vegetation."""
    ds = load(data_root, SITES[1])
    cloud = ds.SCL.isin(CLOUD).values
    dates = np.flatnonzero(cloud.mean((1, 2)) > 0.9)[::6]
    taken = np.zeros_like(cloud)
    taken[dates] = cloud[dates]
    found = ds.assign(SCL=ds.SCL.where(~taken, 4).astype("uint8")).cloudfree.mask("scl+series")
    assert found.values[taken & (ds.SCL != 10).values].mean() > 0.98


def masked_from(ds, given):
    """The mask of a series that begins with a given one."""
    from xcloudfree.core.recognise import read
    from xcloudfree.masks.resolve import plan_mask
    from xcloudfree.masks.series import series_mask

    scene = read(ds)
    start = plan_mask(scene, given, None, 0)
    return given.copy(data=series_mask(scene, start))
