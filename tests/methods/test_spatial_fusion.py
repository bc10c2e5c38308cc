"""Spatial and fusion methods on labelled scenes: exact over chunks, lazy, sensible."""

import dask
import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from tests.builders import without_record
from xcloudfree.methods import get
from xcloudfree.reconstruct import reconstruct

NAMES = ["idw", "kriging", "regression-kriging", "starfm", "pixel-fusion"]
SUBSTITUTED = ["pixel-fusion-ihs", "pixel-fusion-pca", "pixel-fusion-wavelet"]
CHUNKS = {"starfm": {"y": 210, "x": (255, 45), "time": 1}}  # each reads 197 px around itself
SMALL = ("kriging", "regression-kriging")  # which read 68 px
BANDS = ["B02", "B03", "B04", "B08"]
QUICK = {"starfm": {"window": 11}}


def series(height=210, width=300, dates=3):
    """A landscape that changes slowly, seen through clouds, and the same with none of them."""
    rng = np.random.default_rng(0)
    land = [ndimage.gaussian_filter(rng.normal(size=(height, width)), s) for s in (2, 5, 20)]
    land = np.stack([p / p.std() for p in land])
    mix = rng.uniform(-0.02, 0.03, (4, 3))
    base = 0.25 + np.tensordot(mix, land, 1)
    truth = np.stack([base * (1 + 0.05 * t) + 0.01 * t for t in range(dates)]).astype("float32")
    radar = np.stack([land[0] * 1.5 - 11, land[1] * 1.5 - 18]) + rng.normal(0, 0.4, land[:2].shape)
    y, x = np.mgrid[:height, :width]
    cloud = np.stack([np.sin(y / 21 + t) * np.cos(x / 29 - 2 * t) > 0.45 for t in range(dates)])
    seen = np.where(cloud[:, None], np.float32(0.8), truth)
    time = np.array(["2025-05-01", "2025-05-11", "2025-05-21"], "M8[ns]")[:dates]
    attrs = {"units": "1", "processing_level": "BOA"}
    bands = {b: (("time", "y", "x"), seen[:, i], attrs) for i, b in enumerate(BANDS)}
    for name, plane in zip(("VV", "VH"), radar.astype("float32"), strict=True):
        bands[name] = (("time", "y", "x"), np.stack([plane] * dates), {"units": "dB"})
    mask = xr.DataArray(cloud, dims=("time", "y", "x"), coords={"time": time})
    return xr.Dataset(bands, coords={"time": time}), mask, truth


def values(out):
    return np.stack([out[b].values for b in BANDS], axis=1)


@pytest.mark.parametrize("layout", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*NAMES, *SUBSTITUTED])
def test_chunks_do_not_change_the_result(name, layout):
    method = get(name, **QUICK.get(name, {}))
    size = (150, 200) if name in SMALL else (210, 300)
    ds, mask, _ = series(*size, dates=3 if method.temporal else 2)
    whole = reconstruct(ds, model=method, mask=mask, uncertainty=method.deviation)
    rows = {"y": (33, size[0] - 33), "x": size[1], "time": 1}
    blocks = CHUNKS.get(name, {"y": size[0] // 2 - 5, "x": size[1] // 4 + 2})
    chunks = (blocks, rows)[layout]
    out = reconstruct(
        ds.chunk(chunks), model=method, mask=mask.chunk(chunks), uncertainty=method.deviation
    )
    assert all(dask.is_dask_collection(v) for v in out.data_vars.values())
    xr.testing.assert_identical(*map(without_record, (out.compute(), whole)))


@pytest.mark.parametrize("name", [*NAMES, *SUBSTITUTED])
def test_clouds_are_filled_and_clear_pixels_stay(name):
    ds, mask, truth = series(120, 160)
    out = reconstruct(ds, model=get(name, **QUICK.get(name, {})), mask=mask)
    hidden = mask.values
    clear = np.broadcast_to(~hidden[:, None], truth.shape)
    result = values(out)
    np.testing.assert_array_equal(result[clear], truth[clear])
    assert np.isfinite(result).all()
    error, cloudy = (np.abs(v - truth)[~clear].mean() for v in (result, values(ds)))
    assert error < cloudy / 8


@pytest.mark.parametrize(
    ("better", "worse"),
    [("regression-kriging", "kriging"), ("starfm", "idw"), ("pixel-fusion", "idw")],
)
def test_what_reads_more_knows_more(better, worse):
    ds, mask, truth = series(120, 160)
    errors = []
    for name in (better, worse):
        out = values(reconstruct(ds, model=get(name, **QUICK.get(name, {})), mask=mask))
        errors.append(np.abs(out - truth)[np.broadcast_to(mask.values[:, None], out.shape)].mean())
    assert errors[0] < 0.8 * errors[1]
