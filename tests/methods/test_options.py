"""Methods with settings of their own, and STARFM with images of a coarse sensor."""

import numpy as np
import odc.geo.xr  # noqa: F401  registers ds.odc
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.builders import blobs, make_series, without_record
from tests.checks import no_computes
from xcloudfree import methods
from xcloudfree.exceptions import DataError, GridError, MissingBandError, ModelError, UnitsError
from xcloudfree.methods.starfm import starfm

BANDS = ["B02", "B8A"]
DATES, HEIGHT, WIDTH = 4, 36, 42
CHANGE = np.array([0.0, 0.03, -0.02, 0.05], "float32")


def attributes(ds):
    for band in BANDS:
        ds[band].attrs = {"units": "1", "processing_level": "BOA"}
    return ds


@pytest.fixture(scope="module")
def scene():
    """Land that changes by a constant from date to date, and one date that shows nothing."""
    rng = np.random.default_rng(3)
    land = ndimage.gaussian_filter(rng.normal(0.3, 0.4, (2, HEIGHT, WIDTH)), (0, 2, 2))
    truth = (land + CHANGE[:, None, None, None]).astype("float32")
    like = make_series(HEIGHT, WIDTH, dates=DATES)
    ds = like[BANDS].copy(deep=True)
    for i, band in enumerate(BANDS):
        ds[band].values[:] = truth[:, i]
    return attributes(ds)


@pytest.fixture(scope="module")
def mask(scene):
    hidden = blobs(HEIGHT, WIDTH, DATES).assign_coords(time=scene.time)
    hidden[2] = True
    return hidden


@pytest.fixture(scope="module")
def coarse(scene):
    """Moving means of the truth under the clouds, with other light and other names."""
    images = {b: (scene[b].dims, ndimage.uniform_filter(scene[b], (0, 9, 9)) + 0.02) for b in BANDS}
    ds = xr.Dataset(images, coords=scene.coords).astype("float32")
    return attributes(ds)


def test_a_method_is_taken_as_it_is_and_tells_its_settings(scene, mask):
    by_name = scene.cloudfree.reconstruct(model="median-45d", mask=mask)
    given_ = scene.cloudfree.reconstruct(model=methods.get("median", window=45), mask=mask)
    xr.testing.assert_identical(without_record(by_name), without_record(given_))
    few = methods.get("idw", neighbours=1)
    out = scene.cloudfree.reconstruct(model=few, mask=mask)
    assert out.provenance.attrs["model"] == "idw(neighbours=1)"


def test_one_neighbour_is_the_nearest_clear_pixel(scene, mask):
    few = methods.get("idw", neighbours=1)
    out = scene.cloudfree.reconstruct(model=few, mask=mask, blend=None)
    clear = ~mask[0].values
    assert np.isin(out.B02[0].values, scene.B02[0].values[clear]).all()


def test_a_stiff_whittaker_curve_is_the_straight_line_that_fits_best():
    ds = make_series(12, 13, dates=6)[BANDS]
    hidden = blobs(12, 13, 6)
    stiff = methods.get("whittaker", smoothness=1e12)
    out = ds.cloudfree.reconstruct(model=stiff, mask=hidden, blend=None)
    days = (ds.time.values - ds.time.values[0]) / np.timedelta64(1, "D")
    for t, y, x in ((0, 3, 4), (4, 10, 2)):
        use = ~hidden.values[:, y, x]
        use[t] = False
        line = np.polynomial.Polynomial.fit(days[use], ds.B02.values[use, y, x].astype(float), 1)
        np.testing.assert_allclose(out.B02[t, y, x], line(days[t]), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "call"),
    [
        ("linear-time", {"window": 3}, "without options"),
        ("median", {"window": -1}, "window=...) with days"),
        ("median-45d", {"window": 60}, "methods.get('median', window=60)"),
        ("whittaker+offset", {"smoothness": np.nan}, "smoothness=...) with days^3"),
        ("kriging", {"shape": "round"}, "'exponential' or 'spherical'"),
        ("kriging", {"neighbours": True}, "a whole number from 1"),
        ("starfm", {"window": 10}, "an odd whole number"),
        ("starfm", {"pairs": 3}, "a whole number from 1 to 2"),
        ("starfm", {"coarse": np.zeros(3)}, "a Dataset or DataArray of reflectance"),
    ],
)
def test_settings_that_cannot_be_are_refused(name, options, call):
    with pytest.raises(ModelError) as error:
        methods.get(name, **options)
    assert call in str(error.value)


def test_a_date_that_shows_nothing_is_found_from_coarse_images(scene, mask, coarse):
    blind = scene.cloudfree.reconstruct(model="starfm", mask=mask)
    assert (blind.provenance[2] == 3).all()
    method = methods.get("starfm", coarse=coarse)
    out = scene.cloudfree.reconstruct(model=method, mask=mask)
    assert (out.provenance[2] == 2).mean() > 0.99
    for band in BANDS:
        error = abs(out[band] - scene[band]).where(out.provenance == 2)
        assert float(error.max()) < 1e-5
    assert out.provenance.attrs["model"] == "starfm(coarse)"


def test_one_pair_is_the_nearest_date_in_the_kernel(scene, mask, coarse):
    method = methods.get("starfm", coarse=coarse, pairs=1, window=9, classes=3)
    out = scene.cloudfree.reconstruct(model=method, mask=mask, blend=None)
    day = (scene.time.values - scene.time.values[2]) / np.timedelta64(1, "D")
    nearest = int(np.argsort(np.abs(day), kind="stable")[1])
    fine, then, now = (
        np.stack([s[b].values[t] for b in BANDS])
        for s, t in ((scene, nearest), (coarse, nearest), (coarse, 2))
    )
    fine[:, mask.values[nearest]] = np.nan
    expected = starfm(fine[None], then[None], now, window=9, classes=3)
    seen = ~mask.values[nearest]
    for i, band in enumerate(BANDS):
        np.testing.assert_array_equal(out[band].values[2][seen], expected[i][seen])


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_chunks_of_scene_and_coarse_images_give_the_same(scene, mask, coarse, data):
    few = {"window": 7}
    method = methods.get("starfm", coarse=coarse, **few)
    whole = scene.cloudfree.reconstruct(model=method, mask=mask)
    least = {"time": 1, "y": 12, "x": 12}
    chunked = (
        {d: data.draw(st.integers(n, scene.sizes[d])) for d, n in least.items()} for _ in "ab"
    )
    ds, images = (a.chunk(c) for a, c in zip((scene, coarse), chunked, strict=True))
    method = methods.get("starfm", coarse=images, **few)
    with no_computes():
        out = ds.cloudfree.reconstruct(model=method, mask=mask)
    xr.testing.assert_identical(out.compute(scheduler="sync"), whole)


def test_arrays_in_memory_stay_in_memory(scene, mask, coarse):
    method = methods.get("starfm", coarse=coarse.chunk(time=1))
    assert isinstance(scene.cloudfree.reconstruct(model=method, mask=mask).B02.data, np.ndarray)


def test_without_coarse_data_there_is_no_prediction(scene, mask, coarse):
    gone = coarse.copy(deep=True)
    gone.B02[2, :, :10] = np.nan
    out = scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=gone), mask=mask)
    assert (out.provenance[2, :, :10] == 3).all()
    assert (out.provenance[2, :, 10:] == 2).all()


def test_bands_in_any_order_and_as_integers(scene, mask, coarse):
    method = methods.get("starfm", coarse=coarse)
    expected = scene.cloudfree.reconstruct(model=method, mask=mask)
    stored = (coarse[BANDS[::-1]] * 1e4).round().astype("int16")
    attrs = {"scale_factor": 1e-4, "add_offset": 0.0, "nodata": -28672, "processing_level": "BOA"}
    for band in BANDS:
        stored[band].attrs = attrs
    out = scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=stored), mask=mask)
    for band in BANDS:
        np.testing.assert_allclose(out[band], expected[band], atol=3e-4)


def call_of(error):
    """What stands behind the last semicolon of a message."""
    return str(error.value).rsplit("; ", 1)[1]


def test_coarse_images_of_other_dates_are_refused_with_the_call_that_mends_it(scene, mask, coarse):
    hours = coarse.assign_coords(time=coarse.time - np.timedelta64(10, "h"))
    with pytest.raises(DataError) as error:
        scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=hours), mask=mask)
    call = call_of(error).split("with ", 1)[1]
    mended = eval(call, {"coarse": hours, "ds": scene})  # the words of the message themselves
    scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=mended), mask=mask)


def test_coarse_images_of_another_grid_are_refused_with_the_call_that_mends_it(scene, mask, coarse):
    large = coarse.coarsen(y=6, x=6).mean()
    large = attributes(large.rio.write_crs(scene.rio.crs))
    with pytest.raises(GridError) as error:
        scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=large), mask=mask)
    call = call_of(error).split("with ", 1)[1]
    mended = eval(call, {"coarse": large, "ds": scene})
    out = scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=mended), mask=mask)
    assert float(abs(out.B02 - scene.B02).where(out.provenance == 2).mean()) < 0.01
    moved = coarse.assign_coords(x=coarse.x + 5)
    with pytest.raises(GridError, match="reproject"):
        scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=moved), mask=mask)
    other = coarse.drop_vars("spatial_ref").rio.write_crs("EPSG:32634")
    with pytest.raises(GridError, match="reproject"):
        scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=other), mask=mask)


def test_coarse_images_without_a_band_or_unit_are_refused(scene, mask, coarse):
    with pytest.raises(MissingBandError, match="rename"):
        scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=coarse[["B02"]]), mask=mask)
    mixed = coarse.assign(B02=coarse.B02.astype(float).assign_attrs(coarse.B02.attrs))
    with pytest.raises(UnitsError, match="astype"):
        scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=mixed), mask=mask)
    one = coarse.isel(time=0, drop=True)
    with pytest.raises(DataError, match="same dates"):
        scene.cloudfree.reconstruct(model=methods.get("starfm", coarse=one), mask=mask)
