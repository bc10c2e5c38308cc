"""Recognition of the accepted forms, units, and the way back."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.builders import as_array, make_bands, stacked
from tests.checks import check_kept, no_computes
from xcloudfree.core.bands import S2_BANDS, optical_band, sar_band
from xcloudfree.core.calibrate import calibrate
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.recognise import read
from xcloudfree.core.times import utc_times
from xcloudfree.datasets import simulate_clouds
from xcloudfree.exceptions import (
    CloudFreeError,
    DataError,
    GridError,
    MissingBandError,
    UnitsError,
)

EARTH_SEARCH = (
    "coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09",
    "cirrus", "swir16", "swir22",
)  # fmt: skip


def test_aliases_of_the_catalogs():
    assert tuple(map(optical_band, EARTH_SEARCH)) == S2_BANDS
    assert optical_band("nbart_nir_1") == "B08"
    assert optical_band("B8A_20m") == "B8A"
    assert optical_band("b1") == "B01"
    assert [optical_band(n) for n in ("B13", "B00", "SCL", "visual", "B8")] == [
        None, None, None, None, "B08",
    ]  # fmt: skip
    assert sar_band("sigma0_vh") == ("VH", "sigma0")


@pytest.mark.parametrize("form", ["bands", "renamed", "stacked", "array"])
def test_every_form_reads_as_the_same_scene(form):
    ds = make_bands()
    inputs = {
        "bands": lambda: ds,
        "renamed": lambda: ds.rename(dict(zip(S2_BANDS, EARTH_SEARCH, strict=True)) | {"VV": "vv"}),
        "stacked": lambda: stacked(ds),
        "array": lambda: calibrate(as_array(ds), sar="dB"),
    }
    scene = read(inputs[form]())
    assert scene.optical.names == S2_BANDS
    assert scene.sar.names == ("VV", "VH")
    assert scene.level == "TOA"
    expected = ds[list(S2_BANDS)].to_dataarray("band").transpose("time", "band", "y", "x")
    np.testing.assert_array_equal(scene.reflectance().values, expected.values)
    np.testing.assert_array_equal(scene.backscatter(["VH"]).values[:, 0], ds.VH.values)


def test_time_is_optional_and_names_of_space_are_free():
    ds = make_bands().isel(time=0, drop=True).rename(y="latitude", x="longitude")
    scene = read(ds)
    assert scene.lead == ()
    assert scene.spatial == ("latitude", "longitude")
    assert scene.shape == (45, 38)


JUNE = np.array(["2025-06-10", "2025-06-15", "2025-06-21"], "M8[s]")
SECONDS = JUNE.astype("int64")
NUMBERS = {
    "YYYYMMDD": np.array([20250610, 20250615, 20250621]),
    "YYYYMMDD as float": np.array([20250610.0, 20250615, 20250621]),
    "YYYYMMDD as object": np.array([20250610, 20250615, 20250621], object),
    "YYYYMMDDhhmmss": np.array([20250610000000, 20250615000000, 20250621000000]),
    "YYYYDDD": np.array([2025161, 2025166, 2025172], "int32"),
    "day of year": np.array([161, 166, 172], "uint16"),
    "seconds since 1970": SECONDS,
    "milliseconds since 1970": SECONDS * 1000.0,
    "nanoseconds since 1970": SECONDS * 10**9,
    "days since 1970": SECONDS / 86400,
}


def dates_by_the_error(numbers, **attrs):
    ds = xr.Dataset(coords={"time": ("time", numbers, attrs)})
    with pytest.raises(DataError, match="instead of dates") as error:
        utc_times(ds.time, "ds")
    return list(
        eval(re.search(r"time=(.*)\)(, with|$)", error.value.fix)[1], {"pandas": pd, "ds": ds})
    )


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_are_no_dates_and_the_call_of_the_error_makes_them_dates(kind):
    assert dates_by_the_error(NUMBERS[kind]) == list(JUNE)


def test_the_call_reads_months_years_and_what_cf_declares():
    assert dates_by_the_error(np.array([202505, 202506])) == [
        pd.Timestamp("2025-05-01"), pd.Timestamp("2025-06-01"),
    ]  # fmt: skip
    assert [t.year for t in dates_by_the_error(np.array([2017, 2018, 2020]))] == [2017, 2018, 2020]
    steps = np.array([0, 120, 264])
    assert dates_by_the_error(steps, units="hours since 2025-06-10T00:00:00Z") == list(JUNE)


def test_the_call_keeps_the_distance_of_days_since_an_unknown_day():
    for numbers in (np.array([3, 8, 14]) - 3, np.array([0, 5, 11], "m8[D]")):
        assert (np.diff(dates_by_the_error(numbers)) == np.diff(JUNE)).all()
    with pytest.raises(DataError, match="with your own date of day 0"):
        utc_times(xr.DataArray([0, 5, 11], dims="time"))
    with pytest.raises(DataError, match="with your own year"):
        utc_times(xr.DataArray([161, 166, 171], dims="time"))


def test_missing_numbers_are_said_to_be_missing():
    with pytest.raises(DataError, match="lacks 1 of 3 dates.*notnull"):
        utc_times(xr.DataArray([20250610.0, np.nan, 20250621], dims="time"))


def test_one_radar_image_holds_for_all_dates():
    ds = make_bands()
    once = ds.assign(VV=ds.VV.isel(time=0, drop=True), VH=ds.VH.isel(time=0, drop=True))
    assert read(once).backscatter().sizes["time"] == 2


def test_integers_without_a_scale_are_refused():
    ds = make_bands(dtype="uint16")
    for name in S2_BANDS:
        del ds[name].attrs["scale_factor"]
    with pytest.raises(UnitsError, match=r"calibrate\(scale=1e-4, offset=-0.1\)$"):
        read(ds).calibration()
    old = ds.assign_coords({"s2:processing_baseline": ("time", ["02.09", "03.01"])})
    with pytest.raises(UnitsError, match=r"calibrate\(scale=1e-4, offset=0\)$"):
        read(old).calibration()
    mixed = ds.assign_coords({"s2:processing_baseline": ("time", ["03.01", "04.00"])})
    with pytest.raises(UnitsError, match=r"offset=\[...\]\)$"):
        read(mixed).calibration()


def test_declared_integers_give_the_reflectance():
    ds = make_bands(dtype="uint16")
    for name in S2_BANDS:
        ds[name].attrs.clear()
    ds = calibrate(ds, scale=1e-4, offset=-0.1, level="TOA")
    np.testing.assert_allclose(
        read(ds).reflectance(["B02"]).values[:, 0], ds.B02.values / 1e4 - 0.1, atol=1e-6
    )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, True, "a"])
def test_scale_and_offset_are_finite_numbers(wrong):
    for given in ({"scale": wrong, "offset": 0}, {"scale": 1e-4, "offset": wrong}):
        with pytest.raises(UnitsError, match=r"call calibrate\(scale=1e-4, offset=.*\)$"):
            calibrate(make_bands(), **given)
    declared = calibrate(make_bands(), scale=1e-4, offset=np.array(-0.1)).B02.attrs
    assert declared["add_offset"] == -0.1


def test_mixed_offsets_are_refused():
    ds = make_bands(dtype="uint16")
    ds.B03.attrs["add_offset"] = 0.0
    with pytest.raises(UnitsError, match="disagree in add_offset"):
        read(ds).calibration()


def test_offsets_by_date_are_applied_date_by_date():
    ds = make_bands(dtype="uint16")
    for name in S2_BANDS:
        ds[name].attrs.clear()
    ds.B02[:, 0, 0] = 0
    out = calibrate(ds, scale=1e-4, offset=[0.0, -0.1], level="TOA")
    values = read(out).reflectance(["B02"]).values[:, 0]
    expected = ds.B02.values / 1e4 - np.array([0.0, 0.1])[:, None, None]
    assert np.isnan(values[:, 0, 0]).all()
    np.testing.assert_allclose(values[:, 1:], expected[:, 1:], atol=1e-6)
    with pytest.raises(UnitsError, match="2 dates"):
        calibrate(ds, scale=1e-4, offset=[0, 0, -0.1])


def test_labelled_offsets_follow_their_dates_and_declared_no_data_counts():
    ds = make_bands(dtype="uint16")
    for name in S2_BANDS:
        ds[name].attrs = {"nodata": 65535}
    ds.B02[:, 0, 0] = 65535
    offset = xr.DataArray([-0.1, 0.0], dims="time", coords={"time": ds.time[::-1]})
    out = calibrate(ds, scale=1e-4, offset=offset, level="TOA")
    expected = ds.B02.values / 1e4 + np.array([0.0, -0.1])[:, None, None]
    values = read(out).reflectance(["B02"]).values[:, 0]
    np.testing.assert_allclose(values[:, 1:], expected[:, 1:], atol=1e-6)
    assert np.isnan(values[:, 0, 0]).all()
    assert not {"scale_factor", "add_offset", "nodata"} & set(out.B02.attrs)
    with pytest.raises(UnitsError, match="floating-point"):
        calibrate(out, scale=1e-4, offset=[0.0, -0.1])
    with pytest.raises(UnitsError, match="2 dates"):
        calibrate(ds, scale=1e-4, offset=offset.isel(time=[0]))


def test_a_scale_of_one_is_no_declaration():
    ds = make_bands(dtype="uint16")
    for name in S2_BANDS:
        ds[name].attrs |= {"scale_factor": 1.0, "add_offset": 0.0}
    with pytest.raises(UnitsError, match="without a declared scale"):
        ds.cloudfree.mask()


def test_wrong_units_are_noticed_by_the_mask_too():
    numbers = make_bands() * 1e4
    with pytest.raises(UnitsError, match="digital numbers"):
        numbers.cloudfree.mask()
    twice = calibrate(make_bands(), scale=1e-4, offset=-0.1)
    with pytest.raises(UnitsError, match="already"):
        twice.cloudfree.mask()
    with pytest.raises(UnitsError, match="scale=1e-4"):
        calibrate(make_bands(), scale=0)


def test_not_a_number_as_no_data_is_one_value():
    ds = make_bands()
    for name in S2_BANDS:
        ds[name].attrs["nodata"] = np.float32("nan")
    assert ds.cloudfree.mask().any()


def test_decoded_files_forget_how_no_data_was_stored(tmp_path):
    ds = make_bands(dtype="uint16")
    ds.B02[:, 0, 0] = 1000  # reflectance 0, a measurement
    ds.to_zarr(tmp_path / "s.zarr", consolidated=False)
    decoded = xr.open_zarr(tmp_path / "s.zarr", consolidated=False)
    assert decoded.B02.dtype.kind == "f"
    assert read(decoded).calibration().valid(decoded.B02.values).all()


def test_no_data_that_a_type_cannot_hold_is_the_default():
    assert Calibration(1e-4, 0, np.nan).encode(np.array([np.nan]), "uint16").tolist() == [0]
    assert Calibration(1e-4, 0, -9999).encode(np.array([np.nan]), "uint16").tolist() == [0]
    assert Calibration(1e-4, 0, -9999).encode(np.array([np.nan]), "int16").tolist() == [-9999]


def test_layouts_of_other_readers():
    ds = make_bands().isel(time=0, drop=True)
    single = ds.assign({n: ds[n].expand_dims(band=[1]) for n in S2_BANDS})
    assert read(single).shape == (45, 38)
    fine = ds.assign_coords(x=(ds.x / 1e5).astype("float32"), y=(ds.y / 1e5).astype("float32"))
    assert read(fine).shape == (45, 38)
    coarse = ds.drop_vars("B11").assign(B11=(("y20", "x20"), np.zeros((22, 19))))
    with pytest.raises(GridError, match="one grid first"):
        read(coarse)
    assert "one grid first" in " ".join(repr(coarse.cloudfree).split())


def test_undeclared_backscatter_is_refused():
    ds = make_bands()
    del ds.VV.attrs["units"], ds.VH.attrs["units"]
    with pytest.raises(UnitsError, match=r'calibrate\(sar="dB"\) or calibrate\(sar="linear"\)$'):
        read(ds).sar_calibration()


def test_linear_power_reads_as_decibel():
    ds = make_bands()
    power = ds.assign(VV=10 ** (ds.VV / 10), VH=10 ** (ds.VH / 10))
    power = calibrate(power, sar="linear", quantity="gamma0")
    scene = read(power)
    assert scene.quantity == "gamma0"
    np.testing.assert_allclose(scene.backscatter(["VV"]).values[:, 0], ds.VV.values, atol=1e-4)


def test_integer_backscatter_needs_a_scale_which_is_applied():
    ds = make_bands()
    stored = ds.copy()
    for name in ("VV", "VH"):
        stored[name] = (ds[name] * 100).round().astype("int16").assign_attrs(units="dB")
        stored[name].attrs["nodata"] = -32768
        stored[name][0, :3] = -32768
    for scale in (None, 1.0):  # as rioxarray declares where a file does not
        for name in ("VV", "VH"):
            stored[name].attrs |= {} if scale is None else {"scale_factor": scale}
        with pytest.raises(UnitsError, match="integers without a declared scale; ") as error:
            read(stored).backscatter()
    call = str(error.value).partition("for example with ")[2]
    mended = read(eval(call, {"ds": stored})).backscatter()  # the very call that is told
    known = ~np.isnan(mended)
    assert (~known).sum() == 2 * 3 * ds.sizes["x"]
    np.testing.assert_allclose(mended, read(ds).backscatter().where(known), atol=0.0051)


@pytest.mark.parametrize("nodata", [float("nan"), -9999, 70000])
def test_integers_cannot_hold_some_declared_no_data_so_it_is_zero(nodata):
    ds = make_bands(dtype="uint16")
    ds.B02[0, :3] = 0
    for name in S2_BANDS:
        ds[name].attrs["nodata"] = nodata
    assert read(ds).calibration().nodata == 0
    assert np.isnan(read(ds).reflectance(["B02"])[0, 0, :3]).all()


def test_quantity_is_read_from_names():
    ds = make_bands().rename(VV="gamma0_vv", VH="gamma0_vh")
    for name in ("gamma0_vv", "gamma0_vh"):
        del ds[name].attrs["quantity"]
    assert read(ds).quantity == "gamma0"


def test_unknown_and_missing_names():
    ds = xr.Dataset({"a": (("y", "x"), np.zeros((2, 2)))})
    with pytest.raises(MissingBandError, match=r"ds.rename\(\{...: 'B02'\}\)"):
        read(ds)
    array = xr.DataArray(np.zeros((2, 2, 2)), dims=("band", "y", "x"), coords={"band": [1, 2]})
    with pytest.raises(MissingBandError, match="assign_coords"):
        read(array)
    with pytest.raises(MissingBandError, match="'band'"):
        read(xr.DataArray(np.zeros((2, 2)), dims=("y", "x")))
    with pytest.raises(MissingBandError, match="B05"):
        read(make_bands().drop_vars("B05")).need_optical(S2_BANDS, "a test")
    with pytest.raises(MissingBandError, match="both B02"):
        read(make_bands().assign(blue=make_bands().B02))
    with pytest.raises(CloudFreeError, match="xr.Dataset"):
        read(np.zeros((2, 2)))


def test_other_grids_and_systems_are_refused():
    ds = make_bands()
    other = ds.drop_vars(["VV", "VH"]).assign(
        VV=(("time", "y_s1", "x_s1"), np.zeros((2, 9, 9))), VH=ds.VH
    )
    with pytest.raises(GridError, match="odc.reproject"):
        read(other)
    with pytest.raises(GridError, match="dimensions"):
        read(ds.rename(x="easting"))
    joined = xr.merge(
        [ds[["B02"]], ds[["VV"]].assign_coords(x=ds.x + 3.0)], join="outer", compat="no_conflicts"
    )
    with pytest.raises(GridError, match="not evenly spaced"):
        read(joined)
    square = make_bands(height=38).rio.write_transform()
    radar = square[["VV", "VH"]].assign_coords(x=square.x + 5, y=square.y - 5)
    shifted = xr.merge([square[list(S2_BANDS)], radar], join="outer", compat="override")
    with pytest.raises(GridError, match="grid declares"):
        read(shifted)
    assert read(square.isel(x=slice(None, None, 2))).shape == (38, 19)
    system = ds.rio.write_crs("EPSG:32634", grid_mapping_name="spatial_ref_s1").spatial_ref_s1
    moved = ds.assign_coords(spatial_ref_s1=system)
    moved.VV.encoding["grid_mapping"] = moved.VH.encoding["grid_mapping"] = "spatial_ref_s1"
    with pytest.raises(GridError, match="coordinate systems"):
        read(moved)


def test_mixed_levels_are_refused():
    ds = make_bands()
    ds.B03.attrs["processing_level"] = "BOA"
    with pytest.raises(UnitsError, match="disagree in processing_level"):
        _ = read(ds).level


@pytest.mark.parametrize("lazy", [False, True])
def test_declaring_changes_nothing_but_attributes(lazy):
    for source in (make_bands(dtype="uint16"), stacked(make_bands()), as_array(make_bands())):
        source = source.chunk(y=16) if lazy else source
        with no_computes():
            out = calibrate(source, scale=2e-4, offset=0, level="TOA", sar="dB", quantity="sigma0")
        for part in (source, out):  # what is declared is what may differ
            for array in [part, *getattr(part, "data_vars", {}).values()]:
                for key in ("scale_factor", "add_offset", "units", "quantity", "sar_quantity"):
                    array.attrs.pop(key, None)
        check_kept(source, out)


def test_wrong_words_are_refused():
    for change in ({"level": "L2A"}, {"sar": "db"}, {"quantity": "sigma"}):
        with pytest.raises(UnitsError, match="call calibrate"):
            calibrate(make_bands(), **change)
    with pytest.raises(UnitsError, match="needs a scale"):
        calibrate(make_bands(), offset=-0.1)


@pytest.mark.parametrize("call", ["reconstruct", "simulate_clouds"])
def test_bands_of_several_types_are_refused_in_the_words_of_the_user(call):
    ds = make_bands()
    ds["B02"] = ds.B02.astype("float64")
    run = {
        "reconstruct": lambda: ds.cloudfree.reconstruct(model="idw"),
        "simulate_clouds": lambda: simulate_clouds(ds),
    }[call]
    with pytest.raises(UnitsError, match=r"float32, float64.*ds.astype\('float32'\)"):
        run()


@pytest.mark.parametrize("form", [stacked, as_array, make_bands])
def test_dates_along_another_dimension_are_not_taken_for_single_images(form):
    ds = make_bands()
    obj = (ds if form is make_bands else form(ds)).rename(time="t")
    with pytest.raises(CloudFreeError, match="the dates are in the dimension 't'") as refusal:
        read(obj)
    assert refusal.value.fix.endswith("rename({'t': 'time'})")
    assert read(obj.rename({"t": "time"})).lead == ("time",)
    patches = obj.assign_coords(t=["a", "b"])
    assert read(patches).lead == ("t",)
