"""Bounds against the truth: shares and scores counted by hand, in every form."""

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, blobs, make_series, stacked
from xcloudfree.exceptions import DataError


def bounded(values, lower, upper, **attrs):
    """One row of pixels of one band with bounds."""
    dims = ("y", "x")
    arrays = {"B04": values, "B04_lower": lower, "B04_upper": upper}
    ds = xr.Dataset(
        {n: (dims, np.array([v], np.float32), {"units": "1"}) for n, v in arrays.items()}
    )
    for name in ("B04_lower", "B04_upper"):
        ds[name].attrs |= attrs
    return ds


def test_coverage_width_and_score_are_what_one_counts_by_hand():
    out = bounded([0.3] * 5, [0.2] * 4 + [np.nan], [0.4] * 4 + [np.nan], interval=0.8)
    truth = xr.Dataset({"B04": (("y", "x"), np.float32([[0.1, 0.25, 0.4, 0.5, 0.3]]))})
    truth.B04.attrs["units"] = "1"
    mask = np.array([[True, True, False, True, True]])
    found = xcf.evaluate(out, truth, mask=mask, interval=True)
    assert found.coverage.sel(band="B04").item() == pytest.approx(1 / 3)
    assert found.width.item() == pytest.approx(0.2)
    # (0.2 + 10 x 0.1, 0.2, 0.2 + 10 x 0.1) of the three that were hidden and have bounds
    assert found.interval_score.item() == pytest.approx((1.2 + 0.2 + 1.2) / 3)
    assert found.calibration_error.item() == pytest.approx(1 / 3 - 0.8)
    assert found.coverage.attrs["interval"] == 0.8


@pytest.mark.parametrize(
    ("form", "dtype"),
    [(stacked, "float32"), (as_array, "float32"), (lambda ds: ds, "uint16"), (stacked, "uint16")],
)
def test_all_forms_and_integers_are_judged_alike(form, dtype):
    series, mask = make_series(24, 20, dtype, dates=5), blobs(24, 20, dates=5)
    plain = series.cloudfree.reconstruct("median", mask=mask, interval=0.8)
    expected = xcf.evaluate(plain, series, interval=True)
    lazy = form(series).chunk(y=14, time=1)
    out = lazy.cloudfree.reconstruct("median", mask=mask, interval=0.8)
    found = xcf.evaluate(out, form(series), interval=True)
    assert found.coverage.chunks is not None
    found = found.compute()
    for name in ("coverage", "width", "interval_score"):
        ours, theirs = found[name], expected[name].sel(band=found.band)
        np.testing.assert_allclose(ours.transpose(*theirs.dims), theirs, atol=1e-6)
    assert set(found.coverage.dims) == {"time", "band"}
    assert 0.3 < float(expected.coverage.mean()) <= 1


def test_bounds_of_no_level_need_one_and_of_another_level_are_refused():
    series = make_series()
    out = series.cloudfree.reconstruct("median", mask=blobs(), interval=0.8)
    with pytest.raises(DataError, match="interval=True"):
        xcf.evaluate(out, series, interval=0.9)
    for name in out.data_vars:
        out[name].attrs.pop("interval", None)
    with pytest.raises(DataError, match=r"interval=0\.9"):
        xcf.evaluate(out, series, interval=True)
    assert xcf.evaluate(out, series, interval=0.8).coverage.attrs["interval"] == 0.8
    with pytest.raises(DataError, match=r"reconstruct\(interval=0\.9\)"):
        xcf.evaluate(series, series, interval=0.9)
