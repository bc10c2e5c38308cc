"""The picture of reliability draws the shares that numpy counts."""

import numpy as np
import pytest
import xarray as xr

from tests.builders import as_array, blobs, make_series, stacked
from xcloudfree.exceptions import DataError

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("form", [lambda ds: ds, stacked, as_array])
def test_of_gaussian_errors_the_line_is_the_diagonal_and_the_point_the_share_inside(form):
    truth = form(make_series())
    out = truth.cloudfree.reconstruct("median", mask=blobs(), interval=0.8, uncertainty=True)
    rng = np.random.default_rng(0)
    hidden = out.provenance == 2
    if isinstance(out, xr.DataArray):
        bands = out.band.isin(truth.band.values[:13])
        noise = xr.DataArray(rng.normal(size=out.shape), dims=out.dims)
        wrong = (truth + noise * out["std"]).astype(np.float32)
        out = out.copy(data=out.where(~(hidden & bands), wrong).data)
        values = {"B04": tuple(a.sel(band="B04") for a in (truth, out, out.lower, out.upper))}
    else:
        name = "s2" if "s2" in out else "B04"
        noise = xr.DataArray(rng.normal(size=out[name].shape), dims=out[name].dims)
        wrong = (truth[name] + noise * out[f"{name}_std"]).astype(np.float32)
        out[name] = out[name].where(~hidden, wrong).assign_attrs(out[name].attrs)
        arrays = (truth[name], out[name], out[f"{name}_lower"], out[f"{name}_upper"])
        values = {"B04": tuple(a.sel(band="B04") if "band" in a.dims else a for a in arrays)}
    axis = out.cloudfree.plot.reliability(truth).axes[0]
    (line,) = (item for item in axis.lines if item.get_label() == "B04")
    expected, share = line.get_data()
    assert np.abs(np.asarray(share) - expected).max() < 0.05
    clear, _, lower, upper = values["B04"]
    inside = float(((lower <= clear) & (clear <= upper)).where(hidden).mean())
    points = [item.get_data() for item in axis.lines if item.get_marker() == "o"]
    assert any(np.allclose([x[0], y[0]], [0.8, inside]) for x, y in points)


def test_without_a_deviation_it_says_what_to_call():
    ds = make_series()
    with pytest.raises(DataError, match="uncertainty=True"):
        ds.cloudfree.plot.reliability(ds)
