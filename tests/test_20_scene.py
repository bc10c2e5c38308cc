"""Recognition of the accepted forms, units, and the way back."""

import numpy as np
import pytest
import xarray as xr

from tests.conftest import as_array, make_bands, stacked
from xcloudfree.bands import S2_BANDS, optical_band, sar_band
from xcloudfree.exceptions import CloudFreeError, GridError, MissingBandError, UnitsError
from xcloudfree.radiometry import calibrate
from xcloudfree.recognise import read

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
    with pytest.raises(UnitsError, match="2 dates and 3 offsets"):
        calibrate(ds, scale=1e-4, offset=[0, 0, -0.1])


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


def test_wrong_words_are_refused():
    for change in ({"level": "L2A"}, {"sar": "db"}, {"quantity": "sigma"}):
        with pytest.raises(UnitsError, match="call calibrate"):
            calibrate(make_bands(), **change)
    with pytest.raises(UnitsError, match="needs a scale"):
        calibrate(make_bands(), offset=-0.1)
