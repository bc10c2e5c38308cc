"""Whatever stands in hidden pixels is never read; odd but possible scenes are no trouble."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.builders import as_array, blobs, make_series, without_record
from tests.checks import no_computes
from xcloudfree import methods
from xcloudfree.exceptions import DataError

DATES, HEIGHT, WIDTH = 5, 21, 24
BANDS = ["B02", "B8A"]
FEW = [*BANDS, "VV", "VH"]
NAMES = methods.names()
TEMPORAL = [n for n in NAMES if methods.get(n).temporal]
SOME = ["last-clear", "median+offset", "area-regression", "kriging", "starfm", "pixel-fusion-ihs"]
PLAIN = ["nearest-date", "last-clear", "linear-time", "median", "geomedian", "whittaker"]


@pytest.fixture(scope="module")
def series():
    return make_series(HEIGHT, WIDTH, dates=DATES)[FEW]


@pytest.fixture(scope="module")
def mask():
    return blobs(HEIGHT, WIDTH, DATES)


def quick(name):
    """The method; STARFM with a window that is small for a small scene."""
    return methods.get(name, window=7) if name == "starfm" else methods.get(name)


def swapped(ds, mask, seed):
    """Other numbers in the hidden pixels, and nowhere else."""
    rng = np.random.default_rng(seed)
    noise = {b: xr.DataArray(rng.random(ds[b].shape, "float32"), dims=ds[b].dims) for b in BANDS}
    return ds.assign({b: ds[b].where(~mask, noise[b]).assign_attrs(ds[b].attrs) for b in BANDS})


@pytest.mark.parametrize("blend", ["feather", pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_hidden_pixels_changes_no_bit(series, mask, name, blend):
    spread = methods.get(name).deviation
    results = [
        swapped(series, mask, seed).cloudfree.reconstruct(
            model=quick(name), mask=mask, blend=blend, uncertainty=spread
        )
        for seed in (1, 2)
    ]
    xr.testing.assert_identical(*results)
    assert int((results[0].provenance == 2).sum()) > 200


@pytest.mark.parametrize("name", PLAIN)
def test_a_date_that_is_visible_and_one_that_is_hidden_are_predicted_alike(series, mask, name):
    """Without blending every pixel is predicted as if it were not seen."""
    date, rows = 2, slice(5, 8)
    seen = mask.copy()
    seen[date] = False
    hidden = seen.copy()
    hidden[date, rows] = True
    out = [
        series.cloudfree.reconstruct(model=quick(name), mask=m, blend=None) for m in (seen, hidden)
    ]
    for band in BANDS:
        np.testing.assert_allclose(*(o[band][date, rows] for o in out), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_scenes_of_one_row_one_band_and_without_anything_clear_come_back(series, mask, name):
    row = series[["B02", "VV", "VH"]].isel(y=[4])
    out = row.cloudfree.reconstruct(model=quick(name), mask=mask.isel(y=[4]))
    known = out.provenance == 2
    assert out.B02.where(known).notnull().sum() == known.sum()
    assert (out.provenance == 1).sum() == (~mask.isel(y=4)).sum()
    blind = series.cloudfree.reconstruct(model=quick(name), mask=xr.ones_like(mask))
    assert (blind.provenance == 3).all()
    assert blind.B02.isnull().all()
    clear = series.cloudfree.reconstruct(model=quick(name), mask=xr.zeros_like(mask))
    xr.testing.assert_identical(clear[BANDS], series[BANDS])


@pytest.mark.parametrize("name", NAMES)
def test_a_date_without_data_stays_so_and_serves_no_other(series, mask, name):
    gone = series.copy(deep=True)
    for band in BANDS:
        gone[band][2] = np.nan
    out = gone.cloudfree.reconstruct(model=quick(name), mask=mask)
    assert (out.provenance[2] == 0).all()
    if name in TEMPORAL and not name.startswith(("area", "kernel", "whittaker", "starfm")):
        rest = {"time": [0, 1, 3, 4]}
        less = gone.isel(rest).cloudfree.reconstruct(model=quick(name), mask=mask.isel(rest))
        xr.testing.assert_allclose(out.isel(rest), less, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_integers_with_an_offset_are_met_in_their_own_steps(mask, name):
    whole = make_series(HEIGHT, WIDTH, "uint16", DATES)[FEW]
    real = whole.copy()
    for band in BANDS:
        values = whole[band].astype("float32") * np.float32(1e-4) + np.float32(-0.1)
        real[band] = values.drop_attrs().assign_attrs(units="1", processing_level="TOA")
    out = whole.cloudfree.reconstruct(model=quick(name), mask=mask)
    expected = real.cloudfree.reconstruct(model=quick(name), mask=mask)
    assert out.B02.dtype == np.uint16
    known = expected.provenance == 2
    for band in BANDS:
        decoded = out[band] * 1e-4 - 0.1
        inside = expected[band].clip(1e-4 - 0.1)  # the lowest that is not "no data"
        assert float(abs(decoded - inside).where(known).max()) < 6e-5


@pytest.mark.parametrize("name", [n for n in TEMPORAL if not n.startswith("whittaker")])
def test_two_images_of_one_time_are_two_images(series, mask, name):
    twice = series.assign_coords(time=series.time.values[[0, 1, 1, 3, 4]])
    out = twice.cloudfree.reconstruct(model=quick(name), mask=mask)
    assert int((out.provenance == 2).sum()) > 200


@pytest.mark.parametrize("name", ["whittaker", "whittaker+offset"])
def test_no_curve_leads_through_two_images_of_one_time(series, mask, name):
    twice = series.assign_coords(time=series.time.values[[0, 1, 1, 3, 4]]).chunk(time=1)
    with pytest.raises(DataError, match="join_passes"):  # at once, not when it is computed
        twice.cloudfree.reconstruct(model=quick(name), mask=mask)


@pytest.mark.parametrize("name", SOME)
def test_series_along_other_dimensions_are_series_of_their_own(series, mask, name):
    turned = series.isel(y=slice(None, None, -1)).assign_coords(y=series.y)
    masks = xr.concat([mask, mask.isel(y=slice(None, None, -1))], "patch")
    both = xr.concat([series, turned], "patch").transpose("time", "patch", "y", "x")
    out = (
        both.chunk(patch=1, time=2, y=15)
        .cloudfree.reconstruct(model=quick(name), mask=masks)
        .compute()
    )
    for i, one in enumerate((series, turned)):
        alone = one.cloudfree.reconstruct(model=quick(name), mask=masks[i])
        for band in (*BANDS, "provenance"):
            np.testing.assert_allclose(out[band].isel(patch=i), alone[band], atol=2e-6)


@pytest.mark.parametrize("name", TEMPORAL)
def test_arrays_and_dates_in_any_order_come_back_as_they_came(series, mask, name):
    order = [3, 0, 4, 1, 2]
    straight = series.cloudfree.reconstruct(model=quick(name), mask=mask)
    array = as_array(make_series(HEIGHT, WIDTH, dates=DATES)).sel(band=FEW).isel(time=order)
    mixed = array.chunk(time=1).cloudfree.reconstruct(model=quick(name), mask=mask.isel(time=order))
    assert mixed.dims == array.dims
    mixed = mixed.compute()
    for band in BANDS:
        found = mixed.sel(band=band).sortby("time")
        np.testing.assert_allclose(found, straight[band], atol=2e-6)


@pytest.mark.parametrize("examples", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_any_chunks_give_what_arrays_in_memory_give(series, mask, name, examples):
    """The first example has the smallest chunks."""

    @settings(
        max_examples=examples, deadline=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data())
    def check(data):
        check_chunks(series, mask, name, data)

    check()


def check_chunks(series, mask, name, data):
    method = quick(name)
    spread = method.deviation
    whole = series.cloudfree.reconstruct(model=method, mask=mask, uncertainty=spread)
    least = {"time": 1, "y": 8, "x": 9}
    sizes = {d: data.draw(st.integers(n, series.sizes[d])) for d, n in least.items()}
    with no_computes():
        out = series.chunk(sizes).cloudfree.reconstruct(model=method, mask=mask, uncertainty=spread)
    out = out.compute(scheduler="sync")
    rounded = {
        "area-regression": 2e-6,
        "area-regression+nearby": 2e-6,
        "regression-kriging": 2e-4,
    }  # sums of doubles, block by block
    if name in rounded:
        xr.testing.assert_allclose(out, whole, atol=rounded[name])
    else:
        xr.testing.assert_identical(without_record(out), without_record(whole))
