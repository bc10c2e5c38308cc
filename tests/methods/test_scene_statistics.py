"""Statistics of a scene travel beside its blocks: memory, and bands that do not vary."""

import tracemalloc
from functools import cache

import dask
import numpy as np
import pytest
import xarray as xr

METHODS = ("area-regression+nearby", "regression-kriging")


def series(dates, side, bands=("B02", "B03", "B04", "B08", "B11")):
    rng = np.random.default_rng(0)
    ground = np.kron(rng.random((side // 4, side // 4)), np.ones((4, 4)))
    ds, dims = xr.Dataset(), ("time", "y", "x")
    for i, band in enumerate(bands):
        noise = 0.02 * rng.standard_normal((dates, side, side))
        values = (0.1 + 0.02 * i + 0.3 * ground + noise).astype("float32")
        ds[band] = xr.DataArray(values, dims=dims, attrs={"units": "1"})
    for i, name in enumerate(("VV", "VH")):
        values = -10 - 7 * i + 4 * ground + rng.standard_normal((dates, side, side))
        ds[name] = xr.DataArray(values.astype("float32"), dims=dims, attrs={"units": "dB"})
    days = np.datetime64("2025-06-01", "ns") + 5 * np.arange(dates) * np.timedelta64(1, "D")
    hidden = np.kron(rng.random((dates, side // 8, side // 8)) < 0.3, np.ones((1, 8, 8), bool))
    return ds.assign_coords(time=days), xr.DataArray(hidden, dims=dims)


@pytest.mark.parametrize("model", ["area-regression", "area-regression+nearby"])
def test_memory_grows_with_the_blocks_and_not_with_what_was_learned(model):
    """Coefficients at every pixel would take 24 dates x 1,000 numbers x 8 bytes of each: 700 MB."""
    ds, hidden = series(24, 64)
    lazy = ds.chunk(time=1, y=32, x=32).cloudfree.reconstruct(model=model, mask=hidden)
    with dask.config.set(scheduler="synchronous"):
        tracemalloc.start()
        lazy.compute()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 24 * ds.nbytes  # the window of a block is the whole scene here


@pytest.mark.parametrize("model", METHODS)
@pytest.mark.parametrize("spread", [0.0, 1e-11])
def test_a_band_that_is_constant_changes_nothing_for_the_others(model, spread):
    ds, hidden = series(5, 32)
    flat = ds.copy()
    rng = np.random.default_rng(1)
    flat["B11"] = flat.B11.copy(data=0.25 + spread * rng.standard_normal(flat.B11.shape))
    flat = flat.astype("float64" if spread else "float32")
    whole = flat.cloudfree.reconstruct(model=model, mask=hidden)
    for chunks in ({"y": 13}, {"y": 9, "x": 20}):
        lazy = flat.chunk(chunks).cloudfree.reconstruct(model=model, mask=hidden)
        xr.testing.assert_equal(lazy.compute(), whole)
    np.testing.assert_allclose(whole.B11, 0.25, atol=1e-5)
    if model == "area-regression+nearby":  # the others are corrected by what is visible nearby
        plain = flat.cloudfree.reconstruct(model="area-regression", mask=hidden)
        assert float(abs(whole.B04 - plain.B04).max()) > 0.005


@pytest.mark.parametrize(
    "model",
    [
        "area-regression",
        *METHODS,
        "kriging",
        "spacetime-kriging",
        "pixel-fusion-pca",
        "pixel-fusion-wavelet",
    ],
)
def test_sums_over_a_scene_are_the_same_bit_for_bit_over_any_chunks(model):
    """A rounding that depends on the order shows in a few values of many thousand only."""
    for side, seed in ((16, 3), (48, 1)):
        ds, mask = simulated(side, seed)
        whole = ds.cloudfree.reconstruct(model=model, mask=mask)
        for chunks in ({"y": side // 3 + 1, "x": side // 2}, {"y": side // 2}):
            lazy = ds.chunk(chunks).cloudfree.reconstruct(model=model, mask=mask)
            xr.testing.assert_equal(lazy.compute(scheduler="sync"), whole)


@cache
def simulated(side, seed):
    import xcloudfree as xcf

    bands = ["B01", "B02", "B03", "B04", "B10", "B11", "VV", "VH"]
    ds = xcf.datasets.simulate_scene((side, side + 4), dates=5, cover=0.4, seed=seed)[bands]
    return ds, ds.cloudfree.mask()


def test_minus_infinity_is_no_backscatter():
    ds, hidden = series(5, 32)
    broken, missing = ds.copy(deep=True), ds.copy(deep=True)
    broken.VV[:, :8] = -np.inf
    missing.VV[:, :8] = np.nan
    one, other = (
        d.cloudfree.reconstruct(model="area-regression", mask=hidden) for d in (broken, missing)
    )
    for name in ("B02", "B11", "provenance"):
        np.testing.assert_array_equal(one[name], other[name])
