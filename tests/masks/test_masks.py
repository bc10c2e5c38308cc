"""Labelled score, mask and weights: lazy, on the grid, independent of chunks."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xcloudfree  # noqa: F401  registers ds.cloudfree
from tests.builders import as_array, make_bands, stacked
from tests.checks import check_plane, no_computes
from xcloudfree.core.radiometry import Calibration
from xcloudfree.exceptions import CloudFreeError, DataError, GridError, MissingBandError
from xcloudfree.masks.scores import code_mask, paper_mask

FORMS = {
    "bands": make_bands,
    "integers": lambda: make_bands(dtype="uint16"),
    "stacked": lambda: stacked(make_bands()),
    "array": lambda: as_array(make_bands()),
    "one date": lambda: make_bands().isel(time=0),
    "time last": lambda: make_bands().transpose("y", "x", "time"),
}


def a_band(obj):
    if isinstance(obj, xr.DataArray):
        return obj
    return obj.s2 if "s2" in obj else obj.B02


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lazy", [False, True])
def test_planes_are_lazy_and_on_the_grid(form, lazy):
    source = FORMS[form]()
    if lazy:
        source = source.chunk(y=16, x=20)
    with no_computes():
        planes = {
            "float32": [source.cloudfree.score(), source.cloudfree.weights(alpha=0.7)],
            "bool": [
                source.cloudfree.mask("score"),
                source.cloudfree.mask("reference-code", dilate=3),
            ],
        }
    for dtype, arrays in planes.items():
        for array in arrays:
            check_plane(a_band(source), array, dtype)
    mask, score = source.cloudfree.mask("score"), source.cloudfree.score()
    assert 0.1 < mask.mean() < 0.9
    np.testing.assert_array_equal(mask, score > 0.2)  # no snow in this scene
    expected = np.where(mask, np.float32(0.7), np.float32(0.3))
    np.testing.assert_allclose(source.cloudfree.weights(alpha=0.7), expected, atol=1e-7)


def test_forms_give_the_same_mask():
    expected = make_bands().cloudfree.mask("score").values
    for form in ("integers", "stacked", "array"):
        np.testing.assert_array_equal(FORMS[form]().cloudfree.mask("score").values, expected)


@settings(deadline=None, max_examples=12)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 4),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_masks_with_a_reach_do_not_depend_on_chunks(y, x, radius, height, width):
    ds = make_bands(dates=1, height=height, width=width)
    expected = ds.cloudfree.mask("reference-code", dilate=radius)
    lazy = ds.chunk(y=y, x=x).cloudfree.mask("reference-code", dilate=radius)
    np.testing.assert_array_equal(lazy.values, expected.values)


def test_labelled_masks_equal_the_kernels_on_plain_arrays():
    ds = make_bands(dates=1)
    image = {n: ds[n].values[0] for n in ds.data_vars}
    np.testing.assert_array_equal(ds.cloudfree.mask("score")[0], paper_mask(image, Calibration()))
    np.testing.assert_array_equal(
        ds.cloudfree.mask("reference-code")[0], code_mask(image, Calibration())
    )


def test_surface_reflectance_has_its_own_methods():
    ds = make_bands().drop_vars("B10")
    with pytest.raises(MissingBandError, match=r'call .*mask="l2a"'):
        ds.cloudfree.mask("score")
    np.testing.assert_array_equal(ds.cloudfree.mask("l2a"), make_bands().cloudfree.mask("l2a"))
    with pytest.raises(MissingBandError, match=r'mask\(method="l2a"\)$'):
        ds.cloudfree.mask("scl")
    classes = xr.zeros_like(ds.B02, dtype="uint8") + np.arange(38, dtype="uint8") % 12
    found = ds.assign(SCL=classes.chunk(y=9)).cloudfree.mask("scl")
    np.testing.assert_array_equal(found, classes.isin([0, 3, 8, 9, 10]))  # 0 is no class


def test_other_classes_can_be_hidden():
    ds = make_bands()
    classes = xr.zeros_like(ds.B02, dtype="uint8").drop_attrs() + np.arange(38, dtype="uint8") % 12
    ds = ds.assign(SCL=classes.chunk(y=9))
    found = ds.cloudfree.mask("scl", classes=[1, 2, 7, 8])
    np.testing.assert_array_equal(found, classes.isin([0, 1, 2, 7, 8]))
    assert found.attrs["classes"] == [1, 2, 7, 8]
    for wrong in ([12], [], [-1]):
        with pytest.raises(CloudFreeError, match="whole numbers from 0 to 11"):
            ds.cloudfree.mask("scl", classes=wrong)
    with pytest.raises(CloudFreeError, match="the mask is 'score'"):
        ds.cloudfree.mask("score", classes=[8])


def test_other_thresholds():
    ds = make_bands()
    for threshold in (0.0, 0.5, 0.9):
        expected = ds.cloudfree.score() > threshold
        np.testing.assert_array_equal(ds.cloudfree.mask("score", threshold=threshold), expected)


def test_given_masks_are_checked():
    ds = make_bands()
    given_mask = xr.zeros_like(ds.B02, dtype=bool)
    for accepted in (
        given_mask,
        lambda scene: scene.B02 < 0,
        given_mask.transpose("x", "y", "time"),
    ):
        assert not ds.cloudfree.mask(accepted).any()
    with pytest.raises(CloudFreeError, match="unknown mask method"):
        ds.cloudfree.mask("clouds")
    with pytest.raises(CloudFreeError, match="astype"):
        ds.cloudfree.mask(given_mask.values)
    with pytest.raises(GridError, match="grid of the scene"):
        ds.cloudfree.mask(given_mask.isel(x=slice(1, None)))
    with pytest.raises(GridError, match="isel"):
        ds.cloudfree.mask(given_mask.expand_dims(other=2))
    with pytest.raises(CloudFreeError, match="alpha=0.8"):
        ds.cloudfree.weights(alpha=1.2)


def test_no_data_scores_nothing():
    ds = make_bands()
    ds["B02"] = ds.B02.where(ds.x > ds.x[5])
    assert ds.cloudfree.score().isel(x=slice(0, 6)).isnull().all()
    assert not ds.cloudfree.mask("score").isel(x=slice(0, 6)).any()


def test_a_radius_of_any_integer_type_is_the_same(bands):
    """20 ** 2 is more than uint8 holds."""
    xr.testing.assert_identical(
        bands.cloudfree.mask("score", dilate=np.uint8(20)), bands.cloudfree.mask("score", dilate=20)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, True, "a"])
def test_scores_are_finite_numbers(bands, value):
    with pytest.raises(CloudFreeError, match=r"mask\(threshold=0\.2\)$"):
        bands.cloudfree.mask("score", threshold=value)
    with pytest.raises(CloudFreeError, match=r"haze=0\.15\)$"):
        bands.cloudfree.mask("score", haze=value)


@pytest.mark.parametrize("dilate", [-1, 1.5, True, "a"])
def test_dilation_is_in_whole_pixels(bands, dilate):
    with pytest.raises(CloudFreeError, match=r"mask\(dilate=3\)"):
        bands.cloudfree.mask("score", dilate=dilate)


def test_a_mask_of_another_grid_is_refused_with_a_call_that_mends_it():
    ds = make_bands()
    coarse = ds.cloudfree.mask("score")[:, ::2, ::2]
    with pytest.raises(GridError) as caught:
        ds.cloudfree.mask(coarse)
    call = str(caught.value).rpartition("with ")[2]
    mended = eval(call, {"mask": coarse, "ds": ds})
    assert ds.cloudfree.mask(mended).dtype == bool


CLASSES = np.array([[0, 3, 4, 5], [8, 9, 10, 11]], "uint8")


def with_classes(values):
    values = np.asarray(values)
    ds = make_bands(dates=1, height=values.shape[0], width=values.shape[1])
    return ds.assign(SCL=(("time", "y", "x"), values[None]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((CLASSES[:, :2].mean(1, keepdims=True) + CLASSES) / 2, "resampling='nearest'"),
        (CLASSES * np.float32(1e-4), "mask_and_scale=False"),
        (CLASSES * np.float32(1e-4) - np.float32(0.1), "mask_and_scale=False"),
        (CLASSES * 20, "as stored"),
        (CLASSES.astype("int16") - 1, "SCL holds -1"),
        (np.where(CLASSES == 4, np.inf, CLASSES), "SCL holds inf"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_classification_without_whole_classes_is_refused_at_compute(values, words, lazy):
    ds = with_classes(values)
    ds = ds.chunk(y=1) if lazy else ds
    with pytest.raises(DataError, match=words):
        (ds.cloudfree.mask("scl")).compute()
    with pytest.raises(DataError, match="SCL holds"):
        ds.cloudfree.reconstruct(model="idw", mask="scl").compute()


def test_interpolated_classes_are_named_in_the_error():
    with pytest.raises(DataError, match=r"^SCL holds 4\.5, .*; load it with resampling='nearest'$"):
        with_classes([[4.5, 9.0]]).cloudfree.mask("scl")


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32"])
def test_whole_classes_of_any_type_are_accepted(kind):
    found = with_classes(CLASSES.astype(kind)).cloudfree.mask("scl")
    np.testing.assert_array_equal(found[0], np.isin(CLASSES, [0, 3, 8, 9, 10]))


@pytest.mark.parametrize("chunks", [None, {"y": 1}, {"time": 1, "x": 2}])
@pytest.mark.parametrize("form", ["bands", "stacked"])
@pytest.mark.parametrize("missing", [np.float64("nan"), np.uint8(0), np.int16(0)])
def test_what_has_data_and_no_class_may_be_cloud(chunks, form, missing):
    """No class beside the swath is no data; where the bands have data it is never called clear."""
    ds = with_classes(np.where(CLASSES == 4, missing, CLASSES).astype(type(missing)))
    names = [n for n in ds if n != "SCL"]
    ds = ds.assign({n: ds[n].where(ds.x != ds.x[3]).assign_attrs(ds[n].attrs) for n in names})
    empty = np.isnan(ds[names[0]].values)
    if form == "stacked":
        bands = ds[names].to_dataarray("band").transpose("time", "band", "y", "x")
        ds = xr.Dataset({"s2": bands.assign_attrs(ds[names[0]].attrs), "SCL": ds.SCL})
    nowhere = ds.assign(SCL=xr.full_like(ds.SCL, missing))
    one, other = (d if chunks is None else d.chunk(chunks) for d in (ds, nowhere))
    np.testing.assert_array_equal(
        one.cloudfree.mask("scl")[0], np.isin(CLASSES, [0, 3, 4, 8, 9, 10]) & ~empty[0]
    )
    np.testing.assert_array_equal(other.cloudfree.mask("scl"), ~empty)
    out = other.cloudfree.reconstruct(model="idw", mask="scl")
    np.testing.assert_array_equal(out.provenance, np.where(empty, 0, 3))


def test_declared_no_data_of_a_classification_is_no_wrong_class():
    ds = with_classes(np.where(CLASSES == 4, 255, CLASSES).astype("uint8"))
    with pytest.raises(DataError, match="SCL holds 255"):
        ds.cloudfree.mask("scl")
    ds["SCL"].attrs["nodata"] = 255
    hidden = [0, 3, 4, 8, 9, 10]  # 4 became no data, and the bands have data
    np.testing.assert_array_equal(ds.cloudfree.mask("scl")[0], np.isin(CLASSES, hidden))


@pytest.mark.parametrize("form", ["bands", "stacked", "integers"])
def test_clearness_counts_what_is_clear_hidden_and_missing(form):
    source = FORMS[form]()
    chunked = source.chunk(y=16, x=20)
    with no_computes():
        lazy = chunked.cloudfree.clearness("score")
    found = source.cloudfree.clearness("score")
    xr.testing.assert_allclose(lazy.compute(), found)
    np.testing.assert_allclose(found.clear + found.occluded + found.nodata, 1, atol=1e-6)
    hidden = source.cloudfree.mask("score").mean(["y", "x"])
    np.testing.assert_allclose(found.occluded, hidden, atol=1e-6)  # nothing is missing here
    assert found.attrs["method"] == "score"


def test_clearness_knows_no_data_and_looks_at_the_middle():
    ds = make_bands().copy(deep=True)
    ds.B08[0, :, :19] = np.nan
    found = ds.cloudfree.clearness("score")
    np.testing.assert_allclose(found.nodata, [19 / 38, 0], atol=1e-6)
    small = ds.cloudfree.clearness("score", sample=8)
    middle = ds.isel(y=slice(18, 26), x=slice(15, 23)).cloudfree.clearness("score")
    xr.testing.assert_identical(small, middle)
    with pytest.raises(CloudFreeError, match="sample=512"):
        ds.cloudfree.clearness("score", sample=0)
