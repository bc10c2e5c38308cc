"""The mask that finds in one date what its first mask missed: real scenes, and any chunks."""

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.checks import no_computes
from tests.real_series import SITES, load
from xcloudfree.exceptions import MissingBandError, UnitsError
from xcloudfree.masks import haze_network as kernel

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")


def stacked_bands(ds):
    """One variable with a dimension of bands."""
    attrs = ds.B02.attrs
    return ds.to_dataarray("band", name="s2").transpose(..., "band", "y", "x").assign_attrs(attrs)


@pytest.fixture(scope="module")
def sky():
    """A date under thin and thick cloud, with a column that has no data."""
    ds = xcf.datasets.simulate_scene((150, 170), cover=0.4, seed=5, level="BOA", dates=1)
    ds = ds[["B01", *BANDS]].isel(time=0, drop=True)
    return ds.where(ds.x != ds.x[7])


def test_what_a_pixel_is_described_by():
    rng = np.random.default_rng(0)
    plane = rng.uniform(0, 0.5, (80, 90)).astype("float32")
    hidden = rng.random((80, 90)) < 0.3
    found, visible = kernel.described({"B04": plane, "B8A": plane}, hidden, True)
    assert (visible == ~hidden).all()
    assert len(found) == kernel.FEATURES
    y, x, count = 3, 40, len(kernel.CHANNELS)
    around = slice(0, y + kernel.WIDE + 1), slice(x - kernel.WIDE, x + kernel.WIDE + 1)
    roots = np.sqrt(plane.astype("float64"))
    near = np.where(hidden, np.nan, roots)[around]
    red = found[2::count, y, x]
    assert red[2] == pytest.approx(3 * (np.nanmean(near) - 0.3), abs=1e-3)
    assert red[3] == pytest.approx(12 * np.nanstd(near) - 0.9, abs=1e-3)
    if not hidden[y, x]:
        assert red[0] == pytest.approx(3 * (roots[y, x] - 0.3), abs=1e-3)
        assert red[4] == pytest.approx(3 * (np.nanmin(near) - 0.3), abs=1e-3)
    assert found[5 * count, y, x] == pytest.approx(hidden[around].mean())
    assert (found[0:5] == 0)[[0, 1, 4]].all()  # bands that the scene lacks
    assert found[-1].all()


def test_the_mean_of_the_networks_is_a_probability_and_rows_are_independent():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4101, kernel.FEATURES)).astype("float32")
    every = kernel.probability(rows)
    assert ((every >= 0) & (every <= 1)).all()
    for part in (slice(7, 20), slice(4000, 4101), slice(3, 4)):
        assert (every[part] == kernel.probability(rows[part])).all()


def test_what_is_bright_is_cloud_unless_short_wave_infrared_says_snow():
    rng = np.random.default_rng(2)
    white = {n: rng.normal(0.7, 0.03, (64, 64)).astype("float32") for n in BANDS[:4]}
    nothing = np.zeros((64, 64), bool)
    for infrared, hidden in ((0.5, 1.0), (0.1, 0.0)):
        planes = white | {n: np.full((64, 64), infrared, "float32") for n in ("B11", "B12")}
        assert kernel.hazy(planes, nothing, False).mean() == pytest.approx(hidden, abs=0.02)
    everything = ((np.zeros((kernel.FEATURES, 1)), np.full(1, 9.0)), (np.ones((1, 1)), np.zeros(1)))
    planes["B11"][:10] = 0.5
    found = kernel.hazy(planes, nothing, False, everything)
    assert found[:10].all()
    assert not found[10:].any()


@pytest.mark.parametrize("method", ["haze", "l2a+haze"])
@pytest.mark.parametrize("form", [lambda ds: ds, stacked_bands], ids=["bands", "stacked"])
def test_chunks_change_nothing_and_nothing_is_computed_early(sky, method, form):
    ds = form(sky)
    whole = ds.cloudfree.mask(method)
    with no_computes():
        lazy = ds.chunk(y=47, x=61).cloudfree.mask(method)
    assert lazy.attrs["method"] == method
    assert (lazy.compute().values == whole.values).all()
    assert 0.2 < float(whole.mean()) < 0.9


def test_no_data_is_no_haze(sky):
    planes = {name: sky[name].values for name in BANDS}
    found = kernel.hazy(planes, np.zeros(sky.B02.shape, bool), False)
    assert found.any()
    assert not found[:, 7].any()


def test_it_adds_to_the_mask_that_it_starts_from(sky):
    start = sky.cloudfree.mask("l2a", dilate=4)
    assert sky.cloudfree.mask("l2a+haze").where(start, True).all()


def test_stored_numbers_and_reflectance_give_the_same_mask(sky):
    stored = (sky.fillna(0) * 10000).round().astype("uint16")
    stored = stored.cloudfree.calibrate(scale=1e-4, offset=0, nodata=0, level="BOA")
    exact = stored.cloudfree.mask("haze")
    assert (exact == sky.cloudfree.mask("haze")).mean() > 0.999


def test_one_date_of_level_2a_looks_for_haze_by_default_and_a_series_compares_dates(sky):
    four = sky[["B02", "B03", "B04", "B08"]]
    assert four.cloudfree.mask().attrs["method"] == "haze"
    assert sky.cloudfree.mask().attrs["method"] == "l2a+haze"
    classes = sky.assign(SCL=xr.full_like(sky.B02, 4, "uint8").drop_attrs())
    assert classes.cloudfree.mask().attrs["method"] == "scl+haze"
    days = np.datetime64("2024-06-01") + np.arange(6)
    series = xr.concat([four] * 6, dim=xr.IndexVariable("time", days))
    assert series.cloudfree.mask().attrs["method"] == "series"


def test_what_it_needs_is_said(sky):
    with pytest.raises(MissingBandError, match="near infrared"):
        sky[["B02", "B03", "B04"]].cloudfree.mask("haze")
    bare = sky[list(BANDS)].map(lambda b: b.drop_attrs().assign_attrs(units="1"), keep_attrs=False)
    bare = bare.drop_attrs(deep=False)
    with pytest.raises(UnitsError, match="level"):
        bare.cloudfree.mask("haze")
    assert bare.cloudfree.calibrate(level="BOA").cloudfree.mask("haze").any()


# The five scenes of Africa have four bands and no classes; no part of the fit has seen them. The
# ranges are what a person sees in them.
SHARES = {
    "adwu": (0.7, 0.95),
    "adwz": (0.75, 0.95),
    "adxp": (0.999, 1.0),
    "akny": (0.05, 0.15),
}


@pytest.mark.parametrize("name", SHARES)
def test_scenes_of_africa_that_it_was_not_fitted_on(data_root, name):
    rioxarray = pytest.importorskip("rioxarray")
    image = rioxarray.open_rasterio(data_root / f"cloud_fields/on_cloud_n_africa/{name}.tif")
    attrs = {"units": "1", "processing_level": "BOA"}
    planes = {
        band: (image.isel(band=k, drop=True).astype("float32") * 1e-4).assign_attrs(attrs)
        for k, band in enumerate(("B02", "B03", "B04", "B08"))
    }
    mask = xr.Dataset(planes).cloudfree.mask()
    low, high = SHARES[name]
    assert low <= float(mask.mean()) <= high
    bright = planes["B02"] > 0.4
    if bright.mean() > 0.01:  # thick cloud
        assert float(mask.where(bright).mean()) > 0.98


def test_a_hazy_date_that_its_classes_call_clear(data_root):
    # 0.10 brighter in the blue than the clear dates before and after, where SCL has no cloud
    date = load(data_root, SITES[0]).sel(time="2018-09-08", drop=True)
    date = date.isel(time=0, drop=True) if "time" in date.dims else date
    classes = date.cloudfree.mask("scl", dilate=2)
    assert float(classes.mean()) < 0.9
    assert float(date.cloudfree.mask().mean()) > 0.99
