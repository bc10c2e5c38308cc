"""Images of one pass become one image, pixel by pixel, lazily, in the form that came in."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, make_bands, stacked
from tests.checks import no_computes
from xcloudfree.exceptions import DataError

TIMES = np.array(
    ["2025-06-06T10:00:12", "2025-06-01T10:00:00", "2025-06-06T10:00:00"], "datetime64[ns]"
)


def halves(dtype="float32", empty=np.nan):
    """Three images: the second pass comes as a left and a right half that overlap in one column."""
    ds = make_bands(dates=3, height=12, width=10, dtype=dtype).assign_coords(time=TIMES)
    ds["SCL"] = (("time", "y", "x"), np.full((3, 12, 10), 4, "uint8"))
    whole = ds.copy(deep=True)
    for name in ds.data_vars:
        lost = 0 if name == "SCL" else np.nan if name in ("VV", "VH") else empty
        ds[name].values[0, :, :4] = lost
        ds[name].values[2, :, 5:] = lost
    return ds, whole


@pytest.mark.parametrize(("dtype", "empty"), [("float32", np.nan), ("uint16", 0)])
@pytest.mark.parametrize("lazy", [False, True])
def test_halves_of_a_pass_are_joined_pixel_by_pixel(dtype, empty, lazy):
    ds, whole = halves(dtype, empty)
    given = ds.chunk(time=1, y=5) if lazy else ds
    with no_computes():
        joined = xcf.join_passes(given)
    np.testing.assert_array_equal(joined.time, TIMES[[1, 2]])
    for name in ds.data_vars:
        expected = whole[name].values[[1, 2]].copy()
        expected[1, :, 5:] = whole[name].values[0, :, 5:]
        np.testing.assert_array_equal(joined[name], expected)
        assert joined[name].dtype == ds[name].dtype
        assert joined[name].dims == ds[name].dims
        assert joined[name].attrs == ds[name].attrs
        assert joined[name].encoding == ds[name].encoding
        assert (joined[name].chunks is not None) == lazy
    assert joined.rio.crs == ds.rio.crs
    assert set(joined.coords) == set(ds.coords)


def test_declared_no_data_is_filled_and_a_measurement_of_zero_is_not():
    ds, whole = halves("uint16", 0)
    for name in ds.data_vars:
        if name.startswith("B"):
            ds[name] = ds[name].astype("int16").assign_attrs(nodata=-9999)
            ds[name].values[0, :, :4] = ds[name].values[2, :, 5:] = -9999
    ds["flags"] = xr.zeros_like(ds.SCL)
    ds.B02.values[2, :, :5] = 0
    joined = xcf.join_passes(ds)
    assert (joined.B02[1, :, :5] == 0).all()
    np.testing.assert_array_equal(joined.B03[1, :, 5:], whole.B03[0, :, 5:])
    assert (joined.flags == 0).all()


@pytest.mark.parametrize("form", [stacked, as_array])
def test_other_forms_give_the_same(form):
    ds, _ = halves()
    joined, expected = xcf.join_passes(form(ds)), form(xcf.join_passes(ds))
    xr.testing.assert_identical(joined, expected)


def test_images_of_the_same_second_are_one_pass_and_other_days_are_not():
    ds, _ = halves()
    same = ds.assign_coords(time=TIMES[[2, 1, 2]])
    assert xcf.join_passes(same).sizes["time"] == 2
    apart = ds.assign_coords(time=TIMES[1] + np.arange(3) * np.timedelta64(13, "h"))
    assert xcf.join_passes(apart) is apart


def test_without_dates_the_error_names_the_calls():
    with pytest.raises(DataError, match=r"call xcf\.join_passes\(ds\)$"):
        xcf.join_passes(make_bands(dates=1).isel(time=0, drop=True))


def test_whittaker_names_it_for_two_images_of_one_time():
    ds, _ = halves()
    same = ds.assign_coords(time=TIMES[[2, 1, 2]])
    with pytest.raises(DataError, match=r"xcf\.join_passes\(ds\)"):
        same.cloudfree.reconstruct(model="whittaker", mask="scl")


@pytest.mark.parametrize("key", ["nodata", "_FillValue", "missing_value", "encoding"])
@pytest.mark.parametrize(("dtype", "number"), [("int16", -9999), ("uint16", 65534)])
def test_no_data_is_what_a_reconstruction_takes_for_it(key, dtype, number):
    ds, whole = halves("uint16", 0)
    for name in (n for n in ds.data_vars if n.startswith("B")):
        ds[name] = ds[name].astype(dtype)
        lost = ds[name].values == 0
        ds[name].values[lost] = number
        ds[name].attrs.pop("nodata", None)
        where = ds[name].encoding if key == "encoding" else ds[name].attrs
        where["_FillValue" if key == "encoding" else key] = number
    joined = xcf.join_passes(ds)
    np.testing.assert_array_equal(joined.B03[1, :, 5:], whole.B03[0, :, 5:])
    np.testing.assert_array_equal(joined.B03[1, :, :5], whole.B03[2, :, :5])


def test_saturated_counts_and_zeros_are_no_data_beside_the_declared_number():
    ds, whole = halves("uint16", 0)
    ds.B03.values[2, :6, 5:] = 65535  # what a warp writes beside the 0 of the product
    for name in (n for n in ds.data_vars if n.startswith("B")):
        ds[name].attrs["nodata"] = 65534
    np.testing.assert_array_equal(xcf.join_passes(ds).B03[1, :, 5:], whole.B03[0, :, 5:])


@pytest.mark.parametrize(("units", "lost"), [("dB", -np.inf), ("1", 0), ("1", np.nan)])
def test_radar_without_echo_is_filled_from_the_other_half(units, lost):
    ds, whole = halves()
    for name in ("VV", "VH"):
        ds[name].attrs["units"] = units
        ds[name].values[0, :, :4] = ds[name].values[2, :, 5:] = lost
    joined = xcf.join_passes(ds)
    np.testing.assert_array_equal(joined.VV[1, :, 5:], whole.VV[0, :, 5:])
    np.testing.assert_array_equal(joined.VV[1, :, :5], whole.VV[2, :, :5])


def test_where_no_half_has_data_the_first_one_is_kept():
    ds, _ = halves("uint16", 0)
    ds.B02.values[0, :, 8:], ds.B02.values[2, :, 8:] = 65535, 0
    assert (xcf.join_passes(ds).B02[1, :, 8:] == 0).all()


KINDS = {
    "text with Z": lambda t: np.array([f"{v}Z" for v in np.datetime_as_string(t, "s")]),
    "a zone": lambda t: pd.DatetimeIndex(t).tz_localize("UTC"),
    "objects": lambda t: np.array(list(pd.DatetimeIndex(t).tz_localize("UTC")), object),
}


@pytest.mark.parametrize("kind", KINDS)
def test_times_of_any_kind_are_joined(kind):
    ds, _ = halves()
    times = KINDS[kind](TIMES)
    given = ds.assign_coords(time=times if isinstance(times, pd.Index) else ("time", times))
    joined, expected = xcf.join_passes(given), xcf.join_passes(ds)
    for name in ds.data_vars:
        np.testing.assert_array_equal(joined[name], expected[name])
    with pytest.raises(DataError, match="instead of dates"):
        xcf.join_passes(ds.assign_coords(time=[20250606, 20250601, 20250606]))
