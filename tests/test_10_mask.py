"""Score and masks: equal to independent results pixel for pixel."""

import numpy as np
import pytest
import rasterio
import xarray as xr

import xcloudfree as xcf
from xcloudfree.bands import S2_BANDS
from xcloudfree.kernels.mask import code_mask, dilate, paper_mask, score
from xcloudfree.kernels.radiometry import Calibration

TRIPLETS = ("4287", "6780", "316")
STORED = Calibration(1e-4, 0.0, 0)


@pytest.fixture(scope="module", params=TRIPLETS)
def case(request, data_root, goldens_root):
    with rasterio.open(data_root / "triplets" / request.param / "s2_cloudy.tif") as file:
        image = dict(zip(S2_BANDS, file.read(), strict=True))
    packed = np.load(goldens_root / "cloud_mask" / "masks.npz")

    def golden(name):
        bits = np.unpackbits(packed[f"{request.param}_{name}"])[: 256 * 256]
        return bits.reshape(256, 256).astype(bool)

    return image, golden


def test_integers_equal_the_exact_mask(case):
    image, golden = case
    np.testing.assert_array_equal(paper_mask(image, STORED), golden("paper_hard"))


def test_integers_with_an_offset_equal_the_exact_mask(case):
    image, golden = case
    shifted = {name: (values + 1000).astype("uint16") for name, values in image.items()}
    rule = Calibration(1e-4, -0.1, 0)
    np.testing.assert_array_equal(paper_mask(shifted, rule), golden("paper_hard"))


def test_floats_equal_it_except_on_ties(case):
    image, golden = case
    decoded = {name: STORED.decode(values) for name, values in image.items()}
    differs = paper_mask(decoded, Calibration()) != golden("paper_hard")
    assert not (differs & ~golden("paper_tie")).any()


def test_reference_code_equals_it_except_near_its_threshold(case):
    image, golden = case
    differs = code_mask(image, STORED) != golden("code_cloud")
    assert not (differs & ~golden("code_near_threshold")).any()


def test_without_cirrus_it_differs_only_by_that_term(case):
    image, golden = case
    without = paper_mask(image, STORED, cirrus=False)
    assert (without >= golden("paper_hard")).all()
    third = image["B10"].astype(int) + image["B01"] > 1600
    np.testing.assert_array_equal(without & third, golden("paper_hard"))


@pytest.mark.parametrize("scale", [np.float32(1e-4), [1e-4], np.array([1e-4])])
def test_scales_as_files_store_them(case, scale):
    """float32 and one-element attributes mean the decimal that was written."""
    image, golden = case
    array = xr.DataArray(
        np.stack([v + 1000 for v in image.values()]).astype("uint16"),
        dims=("band", "y", "x"),
        coords={"band": list(S2_BANDS)},
        attrs={"scale_factor": scale, "add_offset": np.float32(-0.1)},
    )
    np.testing.assert_array_equal(xcf.masks.mask(array).values, golden("paper_hard"))


def test_scales_without_a_short_decimal(case):
    image, golden = case
    rule = Calibration(1.2 / 65535, -0.1, 0)
    stored = {n: rule.encode(v * 1e-4, "uint16") for n, v in image.items()}
    differs = paper_mask(stored, rule) != golden("paper_hard")
    assert differs.mean() < 1e-2  # rounding to another step decides near the thresholds


def bright(**changes):
    values = {"B01": 0.4, "B02": 0.4, "B03": 0.4, "B04": 0.4, "B10": 0.4, "B11": 0.2} | changes
    return {name: np.full((1, 1), v) for name, v in values.items()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.75),  # B02: (.4 - .1) / .4
        ({"B01": 0.2, "B10": 0.1}, 0.5),  # B01: (.2 - .1) / .2
        ({"B01": 0.2, "B10": -0.04}, 0.2),  # B10 + B01: (.16 - .15) / .05
        ({"B03": 0.0, "B04": 0.0}, 1 / 3),  # B04 + B03 + B02: (.4 - .2) / .6
    ],
)
def test_score_is_the_smallest_of_four_terms(changes, expected):
    assert score(bright(**changes)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("swir", "cloudy"), [(0.1, True), (0.0999, False)])
def test_snow_is_removed_above_an_index_of_point_six(swir, cloudy):
    stored = {n: np.rint(v * 1e4).astype("uint16") for n, v in bright(B11=swir).items()}
    assert paper_mask(stored, STORED).item() is cloudy  # (.4 - .1) / .5 = .6 exactly


def test_an_empty_sum_counts_as_index_zero():
    dark = {n: np.array([[1000]], "uint16") for n in bright()}  # reflectance 0 with the offset
    assert not paper_mask(dark, Calibration(1e-4, -0.1, 0)).any()


def test_no_data_is_not_cloud():
    assert not paper_mask(bright(B02=np.nan), Calibration()).any()
    stored = {n: np.full((1, 1), 65535, "uint16") for n in bright()}
    stored["B11"][:] = 30000
    assert paper_mask(stored, STORED).all()
    assert not paper_mask(stored, Calibration(1e-4, 0.0, 65535)).any()


def test_dilation_is_a_disk():
    point = np.zeros((9, 9), bool)
    point[4, 4] = True
    y, x = np.mgrid[-4:5, -4:5]
    np.testing.assert_array_equal(dilate(point, 3), y**2 + x**2 <= 9)
