"""Offsets of backscatter between the orbits and platforms of Sentinel-1."""

import warnings

import dask
import numpy as np
import odc.geo.xr
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

import xcloudfree as xcf
from tests.checks import no_computes
from xcloudfree.exceptions import DataError, MissingBandError, UnitsError

SITES = ("worldcereal_00002806639B424A", "worldcereal_000028085BF08E7E")


@pytest.fixture(scope="module", params=SITES)
def belgium(data_root, request):
    """A real year of passes: Sentinel-1A and B on two tracks each, every 1 to 6 days."""
    pytest.importorskip("h5netcdf")
    paths = sorted((data_root / "series" / request.param).glob("S1*.nc"))
    if not paths:
        pytest.skip(f"there is no {request.param}")
    stored = xr.open_dataset(paths[0], mask_and_scale=False).load()
    attrs = {"units": "dB", "quantity": "sigma0"}
    bands = {n: stored[n].transpose("timestamp", "y", "x").values for n in ("VV", "VH")}
    out = xr.Dataset(
        {n: (("time", "y", "x"), np.where(v == 0, np.nan, v * 1e-4).astype("f4"), attrs)
         for n, v in bands.items()},
        {"time": stored.timestamp.values, "y": stored.y.values, "x": stored.x.values},
    )  # fmt: skip
    days = (out.time - out.time[0]).values / np.timedelta64(1, "D")
    return out.assign_coords(relative_orbit=("time", np.round(days % 12).astype(int) % 12 + 1))


def two_platforms(ds, orbit, shift, seed=None):
    """Every second pass of one orbit, or a random half, is Sentinel-1C, `shift` dB brighter."""
    members = np.flatnonzero(ds.relative_orbit == orbit)
    if seed is None:
        members = members[1::2]
    else:
        members = members[np.random.default_rng(seed).integers(0, 2, len(members)) == 1]
    names = np.full(ds.sizes["time"], "sentinel-1a")
    names[members] = "sentinel-1c"
    out = ds.assign_coords(platform=("time", names))
    brighter = xr.where(out.platform == "sentinel-1c", np.float32(shift), np.float32(0))
    return out.assign({n: (out[n] + brighter).assign_attrs(out[n].attrs) for n in ds})


def apart(found, orbit, name):
    one, other = (found[name].sel(orbit=f"S1{p} {orbit}").item() for p in "CA")
    return one - other


def test_one_injected_decibel_is_found_within_a_fifth(belgium):
    """The truth is exactly 1 dB: both platforms are every second pass of one satellite."""
    for orbit in np.unique(belgium.relative_orbit):
        series = two_platforms(belgium, orbit, 1.0)
        found = xcf.stac.orbit_offsets(series)
        level = xcf.stac.remove_orbit_offsets(series, found)
        for name in ("VV", "VH"):
            assert apart(found, orbit, name) == pytest.approx(1.0, abs=0.2)
            assert 0.03 < found[f"{name}_std"].max() < 0.3
            left = apart(xcf.stac.orbit_offsets(level), orbit, name)
            assert left == pytest.approx(0, abs=1e-4)


def test_long_gaps_of_a_platform_cost_accuracy(belgium):
    errors = []
    for orbit in np.unique(belgium.relative_orbit):
        for seed in (1, 2):
            found = xcf.stac.orbit_offsets(two_platforms(belgium, orbit, 1.0, seed))
            errors += [abs(apart(found, orbit, name) - 1) for name in ("VV", "VH")]
    assert np.mean(np.array(errors) < 0.2) >= 0.75
    assert max(errors) < 0.35


def test_errors_are_those_that_are_met(belgium):
    """Of all splits, twice the standard error holds most of the differences from the truth."""
    within = []
    for orbit in np.unique(belgium.relative_orbit):
        found = xcf.stac.orbit_offsets(two_platforms(belgium, orbit, 1.0))
        for name in ("VV", "VH"):
            error = np.hypot(*(found[f"{name}_std"].sel(orbit=f"S1{p} {orbit}") for p in "CA"))
            within.append(abs(apart(found, orbit, name) - 1) < 2 * float(error))
    assert np.mean(within) >= 0.8


def made(dates=9, size=200, seed=0, units="dB"):
    """Passes of two tracks in turn over one ground, track 161 0.7 and 0.4 dB brighter."""
    rng = np.random.default_rng(seed)
    grid = GeoBox((size, size), Affine(10, 0, 500000, 0, -10, 5300000), "EPSG:32632")
    track = np.where(np.arange(dates) % 2, 161, 88)
    ground = rng.normal(-10, 3, (size, size)) - 0.05 * np.arange(dates)[:, None, None]  # dries
    bands = {}
    for name, shift in (("VV", 0.7), ("VH", 0.4)):
        noise = rng.normal(0, 0.5, ground.shape)
        bands[name] = ground + noise + np.where(track == 161, shift, 0)[:, None, None]
    if units != "dB":
        bands = {name: 10 ** (band / 10) for name, band in bands.items()}
    attrs = {"units": units, "quantity": "gamma0"}
    out = xr.Dataset(
        {n: (("time", "y", "x"), v.astype("float32"), attrs) for n, v in bands.items()},
        {
            "time": np.datetime64("2025-06-01T05:30", "ns")
            + np.arange(dates) * np.timedelta64(5, "D")
        },
    ).assign_coords(relative_orbit=("time", track))
    return out.assign_coords(odc.geo.xr.xr_coords(grid))


def test_a_trend_is_no_offset_and_the_commonest_orbit_is_the_reference():
    found = xcf.stac.orbit_offsets(made())
    assert list(found.orbit.values) == ["S1 88", "S1 161"]
    assert list(found.passes.values) == [5, 4]
    np.testing.assert_allclose(found.VV, [0, 0.7], atol=0.02)
    np.testing.assert_allclose(found.VH, [0, 0.4], atol=0.02)


def test_chunks_change_nothing_and_removing_computes_nothing():
    ds = made()
    found = xcf.stac.orbit_offsets(ds)
    whole = xcf.stac.remove_orbit_offsets(ds, found)
    for chunks in ({"time": 1, "y": 64, "x": 64}, {"time": 4, "y": 200, "x": 33}):
        lazy = ds.chunk(chunks).assign_coords(relative_orbit=ds.relative_orbit)
        xr.testing.assert_identical(xcf.stac.orbit_offsets(lazy), found)
        with no_computes():
            out = xcf.stac.remove_orbit_offsets(lazy, found)
        assert out.chunksizes == lazy.chunksizes
        xr.testing.assert_identical(out.compute(), whole)
    assert dask.is_dask_collection(out.VV.data)


def stacked(ds):
    return ds.to_dataarray("band").transpose("time", "band", "y", "x").assign_attrs(ds.VV.attrs)


@pytest.mark.parametrize("units", ["dB", "1"])
def test_every_form_comes_back_as_it_went_in(units):
    ds = made(units=units)
    found = xcf.stac.orbit_offsets(ds)
    right = xcf.stac.remove_orbit_offsets(ds, found)
    shift = found.VV.values[1]
    whole = right.VV[1] / 10 ** (-shift / 10) if units == "1" else right.VV[1] + shift
    np.testing.assert_allclose(whole, ds.VV[1], rtol=1e-5, atol=1e-6)
    assert right.VV.attrs == ds.VV.attrs
    array = stacked(ds)
    xr.testing.assert_allclose(stacked(right), xcf.stac.remove_orbit_offsets(array, found))
    joint = xr.Dataset({"s1": array.rename(band="polarisation")})
    out = xcf.stac.remove_orbit_offsets(joint)
    assert out.s1.dims == joint.s1.dims
    np.testing.assert_allclose(out.s1, stacked(right), rtol=1e-5)
    optical = xr.full_like(array.isel(band=[0]), 0.2).assign_coords(band=["B02"])
    both = xr.concat([optical, array], "band", combine_attrs="drop")
    both = both.assign_attrs(units="1", sar_units=units, sar_quantity="gamma0")
    out = xcf.stac.remove_orbit_offsets(both, found)
    np.testing.assert_array_equal(out.sel(band="B02"), both.sel(band="B02"))
    np.testing.assert_allclose(out.sel(band=["VV", "VH"]), stacked(right), rtol=1e-5)


def test_a_paired_series_counts_a_pass_once_and_reads_the_platform_from_its_items():
    s1 = made()
    ids = [f"S1{'AC'[n % 2]}_IW_GRDH_1SDV_{n}" for n in range(s1.sizes["time"])]
    s1 = s1.assign_coords(s1_item_id=("time", ids))
    days = s1.time.values[[0, 0, 1, 2, 3, 4, 5, 6, 7, 8]]
    bands = {"B02": xr.full_like(s1.VV.sel(time=days).drop_vars("time"), 0.1)}
    s2 = xr.Dataset(bands).assign_coords(time=days + np.arange(10) * np.timedelta64(1, "m"))
    s2 = s2.assign_coords(platform=("time", ["sentinel-2a"] * 10)).drop_vars(
        ["s1_item_id", "relative_orbit"]
    )
    s2["B02"].attrs = {"units": "1", "processing_level": "BOA"}
    ds = xcf.pair(s2, s1)
    found = xcf.stac.orbit_offsets(ds)
    assert list(found.orbit.values) == ["S1A 88", "S1C 161"]
    assert list(found.passes.values) == [5, 4]
    expected = xcf.stac.orbit_offsets(s1)
    np.testing.assert_allclose(found.VV, expected.VV, atol=1e-6)


def test_what_cannot_be_compared_is_unknown_and_stays():
    ds = made(6).assign_coords(relative_orbit=("time", [88, 88, 88, 161, 161, 161]))
    found = xcf.stac.orbit_offsets(ds)
    assert np.isnan(found.VV.values[1])
    with pytest.warns(UserWarning, match=r"for S1 161 VH, S1 161 VV; .*orbit_offsets\("):
        out = xcf.stac.remove_orbit_offsets(ds, found)
    np.testing.assert_array_equal(out.VV, ds.VV)
    ds = made(6)
    with pytest.warns(UserWarning, match=r"for S1 161 VH, S1 88 VH; "):
        out = xcf.stac.remove_orbit_offsets(ds, xcf.stac.orbit_offsets(ds).drop_vars("VH"))
    np.testing.assert_array_equal(out.VH, ds.VH)
    hollow = made(6)
    hollow["VV"] = hollow.VV.where(hollow.relative_orbit == 88)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = xcf.stac.orbit_offsets(hollow)
    assert np.isnan(found.VV.values[1])
    assert found.VH.values[1] == pytest.approx(0.4, abs=0.03)


def test_dates_without_an_orbit_are_one_of_their_own_and_without_a_pass_not_missed():
    ds = made(7)
    stated = np.where(np.arange(7) < 6, ds.relative_orbit, np.nan)
    found = xcf.stac.orbit_offsets(ds.assign_coords(relative_orbit=("time", stated)))
    assert list(found.orbit.values) == ["S1 88", "S1 161", "S1 ?"]
    nothing = ds.where(ds.time < ds.time[6]).assign_coords(
        relative_orbit=("time", np.where(np.isnan(stated), -1, stated).astype(int)),
        s1_item_id=("time", [f"S1A_{n}" for n in range(6)] + [""]),
    )
    for name in nothing:
        nothing[name].attrs = ds[name].attrs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xcf.stac.remove_orbit_offsets(nothing)
    with pytest.raises(DataError, match="neither the orbit nor the platform"):
        xcf.stac.orbit_offsets(ds.assign_coords(relative_orbit=("time", [np.nan] * 7)))


@pytest.mark.parametrize("units", ["dB", "1"])
def test_undeclared_zeros_stay_what_they_are(units):
    ds = made(units=units)
    zero = ds.assign({n: ds[n].where(ds.x > ds.x[9], 0).assign_attrs(ds[n].attrs) for n in ds})
    out = xcf.stac.remove_orbit_offsets(zero, xcf.stac.orbit_offsets(ds))
    assert (out.VV[:, :, :10] == 0).all()


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_declared_no_data_and_scale_are_kept(scale):
    ds = made()
    right = xcf.stac.remove_orbit_offsets(ds)
    attrs = ds.VV.attrs | {"nodata": -9999.0} | ({"scale_factor": scale} if scale != 1 else {})
    stored = ds.assign({n: (ds[n] / np.float32(scale)).assign_attrs(attrs) for n in ds})
    stored["VV"][1, :5, :7] = -9999
    out = xcf.stac.remove_orbit_offsets(stored, xcf.stac.orbit_offsets(ds))
    assert (out.VV[1, :5, :7] == -9999).all()
    np.testing.assert_allclose(out.VV[1, 5:] * scale, right.VV[1, 5:], rtol=1e-5, atol=1e-5)


def test_what_is_no_series_of_orbits_is_refused():
    ds = made(3)
    with pytest.raises(MissingBandError, match="orbit_offsets"):
        xcf.stac.orbit_offsets(ds[["VV"]].rename(VV="B02"))
    with pytest.raises(DataError, match="one date"):
        xcf.stac.orbit_offsets(ds.isel(time=0))
    with pytest.raises(DataError, match="neither the orbit nor the platform"):
        xcf.stac.orbit_offsets(ds.drop_vars("relative_orbit"))
    whole = (ds * 100).astype("int16")
    for name in whole:
        whole[name].attrs = {"units": "dB", "scale_factor": 0.01}
    with pytest.raises(UnitsError, match=r"astype\('float32'\)"):
        xcf.stac.remove_orbit_offsets(whole)
