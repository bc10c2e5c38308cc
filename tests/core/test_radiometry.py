"""Stored numbers and physical ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xcloudfree.core.normalisation import PRESETS
from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.exceptions import UnitsError


@given(hnp.arrays("uint16", (3, 4), elements=st.integers(0, 20000)), st.sampled_from([0.0, -0.1]))
def test_integers_survive_a_round_trip(stored, offset):
    rule = Calibration(1e-4, offset, 0)
    np.testing.assert_array_equal(rule.encode(rule.decode(stored), "uint16"), stored)


def test_a_value_never_becomes_no_data():
    rule = Calibration(1e-4, -0.1, 0)
    assert rule.encode(np.array([-0.5, np.nan]), "uint16").tolist() == [1, 0]
    assert rule.encode(np.array([9.0]), "uint16").tolist() == [65535]
    filled = Calibration(1e-4, -0.1, 0, (65535,))
    assert filled.encode(np.array([9.0]), "uint16").tolist() == [65534]
    assert filled.valid(np.array([0, 1, 65534, 65535], "uint16")).tolist() == [
        False,
        True,
        True,
        False,
    ]
    floats = Calibration(nodata=0).encode(np.array([0, 0.2, np.nan], "float32"), "float32")
    assert Calibration(nodata=0).valid(floats).tolist() == [True, True, False]
    np.testing.assert_allclose(floats, [0, 0.2, 0], atol=1e-30)


def test_no_data_of_floats():
    rule = Calibration(nodata=-9999)
    decoded = rule.decode(np.array([-9999, 0.2, np.nan], "float32"))
    np.testing.assert_array_equal(np.isnan(decoded), [True, False, True])
    assert rule.encode(decoded, "float32").tolist() == [-9999, pytest.approx(0.2), -9999]


def test_digital_numbers_taken_for_reflectance_are_refused():
    with pytest.raises(UnitsError, match=r"calibrate\(scale=1e-4"):
        Calibration().decode(np.full((8, 8), 1500.0, "float32"))


def test_blocks_of_declared_no_data_are_not_taken_for_reflectance():
    assert np.isnan(Calibration(1e-4, 0, 0).decode(np.zeros((16, 16), "float32"))).all()
    with pytest.raises(UnitsError, match="already"):
        Calibration(1e-4, 0, 0).decode(np.full((16, 16), 0.3, "float32"))


def test_bright_cloud_is_still_reflectance():
    assert Calibration().decode(np.full((8, 8), 1.6, "float32")).max() == np.float32(1.6)


def test_power_declared_as_decibel_is_refused_and_the_reverse():
    power = np.random.default_rng(0).gamma(4, 0.02, (16, 16)).astype("float32")
    with pytest.raises(UnitsError, match=r'calibrate\(sar="linear"\)'):
        SarCalibration("dB").decode(power)
    with pytest.raises(UnitsError, match=r'calibrate\(sar="dB"\)'):
        SarCalibration("1").decode(10 * np.log10(power))


def test_power_becomes_decibel_and_zero_is_no_data():
    decoded = SarCalibration("1", nodata=-32768).decode(np.array([1, 0.5, 0, -32768], "float32"))
    np.testing.assert_allclose(decoded, [0, -3.0103, np.nan, np.nan], atol=1e-4)


def test_backscatter_is_there_where_it_has_a_value():
    rule = SarCalibration("1", nodata=0, scale=0.01, offset=-1.0)
    stored = np.array([0, 50, 100, 101, 900], "int16")
    np.testing.assert_array_equal(rule.valid(stored), [False, False, False, True, True])
    np.testing.assert_array_equal(rule.valid(stored), np.isfinite(rule.decode(stored)))


def test_presets_clip_as_published():
    sar = np.array([[[-30.0]], [[-30.0]]])
    assert PRESETS["dsen2cr"].sar(sar, ("VV", "VH")).ravel().tolist() == [
        0.0,
        pytest.approx(2.5 / 32.5),
    ]
    assert PRESETS["uncrtaints"].sar(sar, ("VV", "VH")).ravel().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("units", "middle"), [("dB", -1150.0), ("1", 250.0)])
def test_digital_numbers_taken_for_backscatter_are_refused(units, middle):
    with pytest.raises(UnitsError, match=r"digital numbers.*where\(.*calibrate\("):
        SarCalibration(units).decode(np.full((8, 8), middle, "float32"))


def test_backscatter_clipped_at_0_db_is_a_measurement_and_a_filled_area_is_not():
    """SEN12MS-CR is clipped there, in both polarisations of single pixels of towns."""
    rule = SarCalibration("dB", None)
    clipped = np.full((2, 6, 6), -12, np.float32)
    clipped[:, 1:3, 1:4] = 0
    np.testing.assert_array_equal(rule.decode(clipped), clipped)
    filled = clipped.copy()
    filled[:, :, :3] = 0
    with pytest.raises(UnitsError, match="as if a border was filled"):
        rule.decode(filled)
    one = filled.copy()
    one[1, :, :3] = -20
    np.testing.assert_array_equal(rule.decode(one), one)
