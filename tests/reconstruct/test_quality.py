"""The quality layer: flags and days of each pixel, told from literals and from loops."""

from contextlib import nullcontext

import numpy as np
import pytest
import rioxarray
import xarray as xr

import xcloudfree as xcf
from tests.builders import DIMS, as_array, blobs, make_bands, make_series, stacked
from tests.real_series import SITES, load
from xcloudfree.exceptions import DataError

DAYS = [0, 4, 10, 30, 70]


def told(quality, name):
    """Where a flag is set, as the CF conventions read it (section 3.5)."""
    where = quality.attrs["flag_meanings"].split().index(name)
    mask, value = (int(np.asarray(quality.attrs[k])[where]) for k in ("flag_masks", "flag_values"))
    return (quality.values & mask) == value


def one_pixel(clear, radar=None):
    """A series of one place, and what is hidden of it."""
    values = np.full((len(DAYS), 1, 1), 0.1, "float32")
    heard = np.where(np.ones(5, bool) if radar is None else radar, -12, np.nan).astype("float32")
    days = np.datetime64("2025-01-01", "ns") + np.array(DAYS) * np.timedelta64(1, "D")
    ds = xr.Dataset(
        {
            "B04": (DIMS, values, {"units": "1"}),
            "VV": (DIMS, heard[:, None, None], {"units": "dB"}),
        },
        {"time": days},
    )
    return ds, xr.DataArray(~np.array(clear, bool)[:, None, None], dims=DIMS)


def layers(clear, radar=None, model="linear-time"):
    ds, mask = one_pixel(clear, radar)
    out = ds.cloudfree.reconstruct(model=model, mask=mask, quality=True, age=True)
    return out.quality, out.age.values.ravel()


def test_age_is_that_of_the_nearest_clear_date_on_either_side():
    quality, age = layers([1, 0, 0, 0, 1])
    np.testing.assert_array_equal(age, [0, 4, 10, 30, 0])
    assert told(quality, "clear_within_5_days").ravel().tolist() == [True, True, False, False, True]
    assert told(quality, "clear_within_15_days").ravel().tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert told(quality, "clear_within_30_days").ravel().tolist() == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert not told(quality, "clear_beyond_30_days").any()
    assert not told(quality, "extrapolated_in_time").any()
    assert told(quality, "observed").ravel().tolist() == [True, False, False, False, True]
    assert told(quality, "reconstructed").ravel().tolist() == [False, True, True, True, False]


def test_what_was_clear_only_before_or_only_after_is_extrapolated():
    quality, age = layers([0, 1, 0, 0, 0], model="nearest-date")
    np.testing.assert_array_equal(age, [4, 0, 6, 26, 66])
    assert told(quality, "extrapolated_in_time").ravel().tolist() == [True, False, True, True, True]
    assert told(quality, "clear_beyond_30_days").ravel().tolist() == [False] * 4 + [True]


def test_what_was_never_clear_has_no_age_and_is_not_extrapolated():
    quality, age = layers([0, 0, 0, 0, 0])
    assert np.isnan(age).all()
    assert told(quality, "never_clear").all()
    for name in ("observed", "reconstructed", "extrapolated_in_time"):
        assert not told(quality, name).any()


def test_radar_is_told_by_date_and_pixel():
    radar = [True, False, True, False, True]
    quality, _ = layers([1, 0, 0, 0, 1], radar)
    assert told(quality, "with_radar").ravel().tolist() == radar
    assert (told(quality, "without_radar") == ~told(quality, "with_radar")).all()


def test_dates_without_radar_are_named_where_that_costs_nothing():
    ds, mask = one_pixel([1, 0, 0, 0, 1], [True, False, True, False, True])
    options = {"model": "linear-time", "mask": mask, "quality": True}
    names = "2025-01-05T00:00:00, 2025-01-31T00:00:00"
    seen = ds.cloudfree.reconstruct(**options).provenance.attrs
    assert (seen["dates_without_radar"], seen["dates_without_radar_from"]) == (names, "pixels")
    lazy = ds.chunk(time=1)
    assert lazy.cloudfree.reconstruct(**options).provenance.attrs["dates_without_radar"] == (
        "not counted"
    )
    gap = np.array([0, "NaT", 0, "NaT", 0], "timedelta64[ns]")
    paired = lazy.assign_coords(time_gap=("time", gap)).cloudfree.reconstruct(**options)
    assert paired.provenance.attrs["dates_without_radar"] == names
    assert "not pixels" in paired.provenance.attrs["dates_without_radar_from"]
    alone = ds.drop_vars("VV").cloudfree.reconstruct(**options)
    assert alone.provenance.attrs["dates_without_radar"] == "all"
    assert not told(alone.quality, "with_radar").any()


ROWS, COLUMNS = {"time": 1, "y": 13, "x": 33}, {"time": 3, "y": 40, "x": 10}
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("model", "chunks"),
    [
        ("linear-time", ROWS),
        ("linear-time", COLUMNS),
        ("idw", COLUMNS),
        ("kernel-fusion", COLUMNS),
        ("carf-tiny", ROWS),
        *(pytest.param(name, ROWS, marks=SLOW) for name in ("idw", "kernel-fusion")),
        pytest.param("carf-tiny", COLUMNS, marks=SLOW),
    ],
)
def test_the_layers_are_the_same_over_all_chunks(model, chunks):
    if model in ("kernel-fusion", "carf-tiny"):
        pytest.importorskip("torch")
    if model == "carf-tiny":
        model = xcf.models.create("carf-tiny", base="prior")
    ds, mask = make_series(), blobs()
    options = {"model": model, "mask": mask, "quality": True, "age": True}
    with pytest.warns() if not isinstance(model, str) else nullcontext():
        whole = ds.cloudfree.reconstruct(**options)
        lazy = ds.chunk(chunks).cloudfree.reconstruct(**options)
    assert lazy.quality.chunks == lazy.B02.chunks == lazy.age.chunks
    xr.testing.assert_identical(lazy[["quality", "age"]].compute(), whole[["quality", "age"]])
    reconstructed, observed = whole.provenance == 2, whole.provenance == 1
    assert (told(whole.quality, "reconstructed") == reconstructed.values).all()
    assert (told(whole.quality, "observed") == observed.values).all()


@pytest.mark.parametrize("form", [stacked, as_array])
def test_every_form_carries_the_layers_beside_provenance(form):
    ds, mask = make_series(), blobs()
    options = {"model": "linear-time", "mask": mask, "quality": True, "age": True}
    expected = ds.cloudfree.reconstruct(**options)
    out = form(ds).cloudfree.reconstruct(**options)
    for name in ("quality", "age"):
        np.testing.assert_array_equal(out[name], expected[name])


def test_dates_in_any_order_and_chosen_times_have_their_own_ages():
    ds, mask = one_pixel([1, 0, 0, 0, 1])
    order = [3, 0, 4, 2, 1]
    options = {"model": "linear-time", "age": True}
    shuffled = ds.isel(time=order).cloudfree.reconstruct(mask=mask.isel(time=order), **options)
    assert shuffled.age.values.ravel().tolist() == [30, 0, 0, 10, 4]
    made = ds.cloudfree.reconstruct(mask=mask, shadow=False, times=["2025-02-20"], **options)
    assert made.age.values.ravel().tolist() == [20]


@pytest.mark.parametrize(("model", "integers"), [("linear-time", False), ("idw", True)])
def test_intervals_wider_than_the_limit_are_flagged(model, integers):
    ds = xcf.datasets.simulate_scene((48, 40), dates=8, cover=0.4, seed=1)
    mask = ds.cloudfree.mask("score", shadow=False)
    ds = ds[["B04", "B08"]]
    if integers:
        declared = {"scale_factor": 1e-4, "add_offset": 0.0, "nodata": -32768}
        for band in ("B04", "B08"):
            ds[band] = (ds[band] * 1e4).round().astype("int16").assign_attrs(declared, units="1")
    options = {"model": model, "mask": mask, "interval": 0.9, "quality": True}
    out = ds.cloudfree.reconstruct(**options)
    limit = out.quality.attrs["interval_limit"] / (1e-4 if integers else 1)
    filled, wide = (out.provenance == 2).values, np.zeros(mask.shape, bool)
    for band in ("B04", "B08"):
        ends = [out[f"{band}_{end}"].values.astype("float64") for end in ("lower", "upper")]
        wide |= ends[1] - ends[0] > limit
    flagged = told(out.quality, "interval_wider_than_limit")
    assert (flagged == (wide & filled)).mean() > 0.999  # rounding decides at the limit
    assert 0.1 < flagged[filled].mean() < 0.9
    assert not flagged[~filled].any()
    chunks = {"time": 1, "y": 13, "x": 33}
    lazy = ds.chunk(chunks).cloudfree.reconstruct(**options, uncertainty=True)
    np.testing.assert_array_equal(lazy.quality, out.quality)
    without = ds.cloudfree.reconstruct(model=model, mask=mask, quality=True).quality
    assert "interval" not in without.attrs["flag_meanings"]
    np.testing.assert_array_equal(without, out.quality & 0x7FFF)


def test_one_image_has_itself_alone():
    ds = make_bands(1).isel(time=0)
    mask = xr.zeros_like(ds.B02, bool)
    mask[:20] = True
    out = ds.cloudfree.reconstruct(model="idw", mask=mask, quality=True, age=True)
    assert (told(out.quality, "never_clear") == mask.values).all()
    assert (np.isnan(out.age.values) == mask.values).all()
    assert float(out.age.max()) == 0


def test_dates_without_times_are_refused():
    ds, mask = one_pixel([1, 0, 0, 0, 1])
    with pytest.raises(DataError, match="time coordinate"):
        ds.drop_vars("time").cloudfree.reconstruct(model="idw", mask=mask, quality=True)


def test_missed_cloud_that_the_gate_sets_aside_is_told_where_it_is():
    pytest.importorskip("torch")
    ds = xcf.datasets.simulate_scene((64, 64), dates=8, cover=0, seed=3)[
        ["B02", "B04", "B08", "VV", "VH"]
    ]
    mask = xr.zeros_like(ds.B02, bool)
    mask[4, 20:40, 20:40] = True
    cloud = xr.zeros_like(mask)
    cloud[4, 20:40, 40:44] = True  # its rim, which the mask has missed
    for band in ("B02", "B04", "B08"):
        ds[band] = ds[band].where(~(cloud | mask), 0.6).astype("float32")
    quality = ds.cloudfree.reconstruct(mask=mask, shadow=False, quality=True).quality
    aside = told(quality, "visible_but_set_aside")
    assert aside[cloud.values].mean() > 0.9
    assert aside[4][~(cloud | mask).values[4]].mean() < 0.15
    assert told(quality, "observed")[cloud.values].all()  # it leaves as it came in


def test_without_the_layer_only_what_costs_nothing_is_told_in_the_same_bits():
    pytest.importorskip("torch")
    ds, mask = make_series(), blobs()
    plain = ds.cloudfree.reconstruct(mask=mask).quality
    full = ds.cloudfree.reconstruct(mask=mask, quality=True).quality
    assert "observed" not in plain.attrs["flag_meanings"]
    np.testing.assert_array_equal(plain.values, full.values & 0xFF)
    assert "quality" not in ds.cloudfree.reconstruct(model="linear-time", mask=mask)


def test_the_layers_are_stored_and_read_back(tmp_path):
    ds, mask = make_series().chunk(time=2, y=16), blobs()
    out = ds.cloudfree.reconstruct(model="linear-time", mask=mask, quality=True, age=True)
    expected = out[["quality", "age"]].compute()
    back = xcf.io.to_zarr(out, tmp_path / "out.zarr", progress=False)
    for name in ("quality", "age"):
        assert back[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(back[name], expected[name])
    assert (told(back.quality, "reconstructed") == told(expected.quality, "reconstructed")).all()
    files = xcf.io.to_cog(out[["quality", "age"]], tmp_path / "o.tif", per="band", progress=False)
    for n, name in enumerate(("quality", "age")):
        with rioxarray.open_rasterio(files[n]) as band:
            assert band.dtype == expected[name].dtype
            np.testing.assert_array_equal(band[0], expected[name][0])


def test_ages_of_a_real_series_are_those_of_a_loop(data_root):
    ds = load(data_root, SITES[0]).isel(x=slice(0, 20), y=slice(0, 20))
    mask = ds.cloudfree.mask("series")
    out = ds.cloudfree.reconstruct(model="linear-time", mask=mask, quality=True, age=True)
    days = (ds.time.values - ds.time.values[0]) / np.timedelta64(1, "D")
    bands = [n for n in out.data_vars if str(n).startswith("B")]
    clear = (~mask & ds[bands].to_dataarray().notnull().all("variable")).transpose(*DIMS).values
    names = [n for n in out.quality.attrs["flag_meanings"].split() if "clear" in n]
    classes = [told(out.quality, n) for n in names]
    for t, y, x in np.random.default_rng(0).integers((len(days), 20, 20), size=(300, 3)):
        seen = days[clear[:, y, x]]
        age = np.abs(seen - days[t]).min() if len(seen) else np.nan
        assert out.age.values[t, y, x] == np.float32(age) or np.isnan(age)
        expected = [np.isnan(age), age <= 5, 5 < age <= 15, 15 < age <= 30, age > 30]
        assert [flags[t, y, x] for flags in classes] == expected
