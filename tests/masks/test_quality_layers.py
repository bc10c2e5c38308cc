"""Masks that come with the data, against the definitions of their providers."""

import numpy as np
import pytest
import xarray as xr

from tests.builders import make_bands
from xcloudfree.exceptions import CloudFreeError, DataError, MissingBandError

SIZE = {"y": 2, "x": 4}


def with_layer(name, values, dates=1, **attrs):
    values = np.asarray(values)
    ds = make_bands(dates=dates, height=values.shape[-2], width=values.shape[-1])
    layer = np.broadcast_to(values, ds.B02.shape)
    return ds.assign({name: (("time", "y", "x"), layer.copy(), attrs)})


# HLS 2.0 User Guide: bit 1 cloud, 2 adjacent, 3 shadow, 4 snow, 5 water, 6-7 aerosol; 255 is fill
HLS = [[0, 0b10, 0b100, 0b1000], [0b10000, 0b100000, 0b11000000, 255]]
HLS_HIDDEN = [[0, 1, 1, 1], [0, 0, 0, 1]]
# Digital Earth: 0 no data, 1 valid, 2 cloud, 3 shadow, 4 snow, 5 water
EARTH = [[0, 1, 2, 3], [4, 5, 1, 1]]
EARTH_HIDDEN = [[1, 0, 1, 1], [0, 0, 0, 0]]
# bit 10 opaque cloud, bit 11 cirrus
QA60 = [[0, 1024, 2048, 3072], [0, 0, 0, 0]]
PERCENT = [[0, 39, 40, 100], [255, 0, 10, 90]]

LAYERS = [
    ("fmask", "Fmask", np.array(HLS, "uint8"), HLS_HIDDEN),
    ("fmask", "fmask", np.array(EARTH, "uint8"), EARTH_HIDDEN),
    ("fmask", "oa_fmask", np.array(EARTH, "int16"), EARTH_HIDDEN),
    ("s2cloudless_mask", "oa_s2cloudless_mask", np.array([[0, 1, 2]], "uint8"), [[1, 0, 1]]),
    ("qa60", "QA60", np.array(QA60, "uint16"), [[0, 1, 1, 1], [0, 0, 0, 0]]),
    ("clp", "MSK_CLDPRB", np.array(PERCENT, "uint8"), [[0, 0, 1, 1], [1, 0, 0, 1]]),
    ("clp", "s2cloudless_prob", np.array([[0.39, 0.41, np.nan]], "float32"), [[0, 1, 1]]),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name", "values", "hidden"), LAYERS)
@pytest.mark.parametrize("chunks", [None, {"y": 1}, {"x": 3}])
def test_layers_are_read_as_their_providers_define_them(method, name, values, hidden, chunks):
    ds = with_layer(name, values)
    ds = ds if chunks is None else ds.chunk(chunks)
    found = ds.cloudfree.mask(method)
    assert (found.chunks is None) == (chunks is None)
    assert found.attrs["method"] == method
    np.testing.assert_array_equal(found[0], np.array(hidden, bool))


@pytest.mark.parametrize(("method", "name", "values", "hidden"), LAYERS)
def test_what_has_no_data_is_not_occluded(method, name, values, hidden):
    ds = with_layer(name, values)
    ds["B01"] = ds.B01.where(ds.x != ds.x[-1]).assign_attrs(ds.B01.attrs)
    found = ds.cloudfree.mask(method)[0]
    assert not found[:, -1].any()
    np.testing.assert_array_equal(found[:, :-1], np.array(hidden, bool)[:, :-1])


@pytest.mark.parametrize(
    ("method", "name", "values", "words"),
    [
        ("fmask", "fmask", [[6, 1]], "fmask holds 6"),
        ("fmask", "Fmask", [[1.5, 2.0]], "Fmask holds 1.5, .*interpolated; .*resampling='nearest'"),
        ("qa60", "QA60", [[512, 0]], "QA60 holds 512"),
        ("clp", "MSK_CLDPRB", [[101, 0]], "MSK_CLDPRB holds 101"),
        ("clp", "s2cloudless_prob", [[-0.1, 0.5]], "s2cloudless_prob holds -0.1"),
    ],
)
def test_numbers_that_a_layer_cannot_hold_are_refused(method, name, values, words):
    values = np.array(values, "float32" if "." in str(values) else "int16")
    with pytest.raises(DataError, match=words):
        with_layer(name, values).cloudfree.mask(method)


def test_a_probability_without_a_unit_needs_a_threshold_or_the_unit():
    ds = with_layer("CLP", np.array(PERCENT, "uint8"))
    with pytest.raises(CloudFreeError, match="nothing declares which; call mask"):
        ds.cloudfree.mask("clp")
    above = ds.cloudfree.mask("clp", threshold=90)[0]
    np.testing.assert_array_equal(above, ds.CLP[0] >= 90)
    ds.CLP.attrs["units"] = "percent"
    np.testing.assert_array_equal(
        ds.cloudfree.mask("clp")[0], [[False, False, True, True], [True, False, False, True]]
    )


def test_a_missing_layer_is_named():
    with pytest.raises(MissingBandError, match=r"reads QA60 but the data has no such variable"):
        make_bands(dates=1).cloudfree.mask("qa60")


def test_qa60_of_the_years_in_which_it_was_empty_is_refused():
    ds = with_layer("QA60", np.zeros((2, 4), "uint16"), dates=2)
    ds = ds.assign_coords(time=np.array(["2021-12-31", "2023-06-01"], "datetime64[ns]"))
    with pytest.raises(DataError, match="1 dates of the data are in that period"):
        ds.cloudfree.mask("qa60")
    assert not ds.isel(time=[0]).cloudfree.mask("qa60").any()


def test_auto_begins_with_the_layer_that_is_there():
    ds = with_layer("Fmask", np.array(HLS, "uint8")).drop_vars("B10")
    found = ds.cloudfree.mask()
    assert found.attrs["method"] == "fmask"
    assert "Fmask" in found.attrs["reason"]
    np.testing.assert_array_equal(found, ds.cloudfree.mask("fmask", dilate=2))
    many = xr.concat(
        [ds.assign_coords(time=ds.time + np.timedelta64(5 * n, "D")) for n in range(6)], "time"
    )
    assert many.cloudfree.mask().attrs["method"] == "fmask+series"
    assert "fmask" in str(ds.cloudfree)


def test_a_layer_serves_the_reconstruction():
    ds = with_layer("Fmask", np.array(HLS, "uint8")).drop_vars("B10")
    out = ds.cloudfree.reconstruct("idw", mask="fmask")
    hidden = np.array(HLS_HIDDEN, bool)
    np.testing.assert_array_equal(out.provenance[0] > 1, hidden)
    xr.testing.assert_identical(out.Fmask, ds.Fmask)
