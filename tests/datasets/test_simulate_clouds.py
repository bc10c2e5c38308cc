"""Simulated clouds over any scene: the truth beside them, any chunks, and nothing else moved."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xcloudfree as xcf
from tests.builders import as_array, make_bands, stacked
from tests.checks import check_kept, no_computes
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.datasets import clouds as kernel
from xcloudfree.datasets import simulate_clouds
from xcloudfree.exceptions import DataError, MissingBandError


def clear(dtype="float32", dates=2, size=(90, 110)):
    """Even ground with noise; the clouds of the fixture are taken away."""
    ds = make_bands(dates=dates, height=size[0], width=size[1], dtype=dtype)
    rng = np.random.default_rng(3)
    for name in S2_BANDS:
        values = rng.uniform(0.05, 0.3, ds[name].shape)
        values = np.rint((values + 0.1) * 1e4) if dtype == "uint16" else values
        ds[name] = ds[name].copy(data=values.astype(dtype))
    return ds


FORMS = {
    "bands": clear,
    "integers": lambda: clear("uint16"),
    "stacked": lambda: stacked(clear()),
    "array": lambda: as_array(clear()),
    "one date": lambda: clear().isel(time=0),
    "time last": lambda: clear().transpose("y", "x", "time"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lazy", [False, True])
def test_any_form_comes_back_with_the_truth_beside_it(form, lazy):
    source = FORMS[form]()
    source = source.chunk(y=40, x=48) if lazy else source
    with no_computes():
        out = simulate_clouds(source, cover=0.4, seed=2)
    planes = out.coords if isinstance(out, xr.DataArray) else out
    opacity, shadow = planes["cloud_opacity"], planes["cloud_shadow"]
    bare = out.drop_vars(["cloud_opacity", "cloud_shadow"])
    check_kept(source, bare)
    assert (opacity.chunks is not None) == lazy
    expected = FORMS["one date" if form == "one date" else "bands"]()
    truth = simulate_clouds(expected, cover=0.4, seed=2)
    np.testing.assert_array_equal(opacity.transpose(*truth.B02.dims), truth.cloud_opacity)
    np.testing.assert_array_equal(shadow.transpose(*truth.B02.dims), truth.cloud_shadow)
    np.testing.assert_allclose((opacity > 0).mean(["y", "x"]), 0.4, atol=1e-3)
    assert float(shadow.max()) > 0


WHOLE = clear(size=(130, 145))
SKY = simulate_clouds(WHOLE, cover=0.45, seed=9, kind="mixed", sun=(130.0, 40.0))


@settings(deadline=None, max_examples=10)
@given(st.integers(23, 130), st.integers(23, 145), st.integers(1, 2))
def test_clouds_do_not_depend_on_chunks_to_the_last_bit(y, x, time):
    lazy = WHOLE.chunk(y=y, x=x, time=time)
    out = simulate_clouds(lazy, cover=0.45, seed=9, kind="mixed", sun=(130.0, 40.0)).compute()
    for name in (*S2_BANDS, "cloud_opacity", "cloud_shadow"):
        np.testing.assert_array_equal(out[name].values, SKY[name].values, err_msg=name)


def test_pixels_without_cloud_or_data_are_what_they_were():
    for dtype in ("float32", "uint16"):
        source = clear(dtype)
        source["B04"][:, 10:20, 10:20] = np.nan if dtype == "float32" else 0
        out = simulate_clouds(source, cover=0.3, seed=4)
        free = ((out.cloud_opacity == 0) & (out.cloud_shadow == 0)).values
        assert 0.2 < free.mean() < 0.75
        for name in S2_BANDS:
            np.testing.assert_array_equal(out[name].values[free], source[name].values[free])
        np.testing.assert_array_equal(out.B04[:, 10:20, 10:20], source.B04[:, 10:20, 10:20])
        thick = (out.cloud_opacity > 0.5).values
        assert (out.B02.values[thick] != source.B02.values[thick]).mean() > 0.99
        xr.testing.assert_identical(out[["VV", "VH"]], source[["VV", "VH"]])


def test_integers_are_the_rounded_reflectance():
    out = simulate_clouds(clear("uint16"), cover=0.5, seed=1)
    decoded = clear("uint16")
    for name in S2_BANDS:
        values = (decoded[name].values * 1e-4 - 0.1).astype("float32")
        decoded[name] = (decoded[name].dims, values, {"processing_level": "TOA"})
    exact = simulate_clouds(decoded, cover=0.5, seed=1)
    for name in S2_BANDS:
        np.testing.assert_allclose(out[name] * 1e-4 - 0.1, exact[name], atol=5.2e-5)


def test_dates_differ_and_do_not_depend_on_each_other():
    source = clear()
    both = simulate_clouds(source, seed=5)
    assert not np.array_equal(both.cloud_opacity[0], both.cloud_opacity[1])
    second = simulate_clouds(source.isel(time=[1]), seed=5)
    np.testing.assert_array_equal(second.B03[0], both.B03[1])
    other = simulate_clouds(source, seed=6)
    assert not np.array_equal(other.cloud_opacity, both.cloud_opacity)
    patches = source.rename(time="patch").drop_vars("patch")
    assert not np.array_equal(*simulate_clouds(patches).cloud_opacity)
    covers = simulate_clouds(source, cover=[0.0, 0.7]).cloud_opacity
    np.testing.assert_allclose((covers > 0).mean(["y", "x"]), [0, 0.7], atol=1e-3)


def test_the_sun_of_the_data_throws_the_shadow():
    source = clear(dates=1, size=(200, 200))
    given_sun = simulate_clouds(source, kind="thick", seed=3, sun=(90.0, 60.0))
    known = source.assign_coords(sun_azimuth=("time", [90.0]), sun_elevation=("time", [60.0]))
    out = simulate_clouds(known, kind="thick", seed=3)
    np.testing.assert_array_equal(out.cloud_shadow, given_sun.cloud_shadow)


def test_shadow_falls_north_on_rows_that_run_north():
    """The sun stands in the south; the displacement that fits best, by correlation."""
    source = clear(dates=1, size=(200, 200)).isel(y=slice(None, None, -1), time=0)
    out = simulate_clouds(source, kind="thick", seed=8, cover=0.3, sun=(180.0, 75.0))
    taken, shade = 1 - (1 - out.cloud_opacity.values) ** 2, out.cloud_shadow.values
    fits = {
        rows: np.corrcoef(
            taken[max(0, -rows) : 200 - max(0, rows)].ravel(),
            shade[max(0, rows) : 200 + min(0, rows)].ravel(),
        )[0, 1]
        for rows in range(-60, 61)
    }
    best = max(fits, key=fits.get)
    assert best > 0
    assert fits[best] > 0.9


def test_sunny_sides_are_the_bright_ones():
    """Light against the slope of the cloud towards the sun in the south, by numpy's gradient."""
    for seed in range(20):
        drawn = kernel.draw_sky(
            np.random.default_rng(seed), (128, 128), cover=0.6, kind="thick", sun=(180.0, 45.0),
            axes=((0.0, 0.1), (-0.1, 0.0)), resolution=10.0,
        )  # fmt: skip
        if drawn.layers[0].relief > 0.05:
            break
    height, light = np.log1p(drawn.thickness[0]), drawn.light[0]
    rise_north = -np.gradient(height, axis=0)  # a side that rises northwards faces south
    inner = (slice(2, -2), slice(2, -2))
    assert np.corrcoef(rise_north[inner].ravel(), light[inner].ravel())[0, 1] > 0.5


def test_surface_reflectance_loses_more_of_the_blue_in_shadow():
    top = clear(dates=1).drop_vars("B10")
    bottom = top.copy()
    for name in top.data_vars:
        bottom[name] = top[name].assign_attrs(processing_level="BOA")
    shade = {}
    for name, source in (("top", top), ("bottom", bottom)):
        out = simulate_clouds(source, kind="thick", seed=3, cover=0.3)
        dark = ((out.cloud_opacity == 0) & (out.cloud_shadow > 0.5)).values
        assert dark.sum() > 50
        shade[name] = float((out.B02.values / source.B02.values)[dark].mean())
    assert shade["bottom"] < 0.7 < shade["top"]


def test_large_scenes_repeat_their_clouds_and_keep_the_cover_on_average(monkeypatch):
    monkeypatch.setattr(kernel, "LARGEST", 64)
    source = clear(dates=1, size=(192, 200))
    out = simulate_clouds(source, cover=0.5, seed=21)
    opacity = out.cloud_opacity.values[0]
    np.testing.assert_array_equal(opacity[:64, :64], opacity[64:128, 128:192])
    assert (opacity > 0).mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    "change",
    [{"cover": 1.5}, {"cover": [0.1, 0.2, 0.3]}, {"seed": -1}, {"seed": 0.5}, {"kind": "fog"},
     {"sun": (100.0, -5.0)}, {"cover": np.nan}],
)  # fmt: skip
def test_bad_arguments_are_refused_with_the_call_that_mends_them(change):
    with pytest.raises(DataError, match=r"simulate_clouds\(|mask\(shadow"):
        simulate_clouds(clear(), **change)


def test_radar_alone_has_nothing_to_lay_clouds_over():
    with pytest.raises(MissingBandError, match=r"simulate_clouds\("):
        simulate_clouds(clear()[["VV", "VH"]])


def test_the_truth_agrees_with_what_the_masks_find():
    """Thick cloud over a dark scene: eq. 13-16 and the shadow rule against the truth."""
    land = xcf.datasets.simulate_truth((300, 300), seed=7)
    out = simulate_clouds(land, cover=0.35, seed=7, kind="thick")
    mask = out.cloudfree.mask("score", shadow=True)
    assert float(mask.where(out.cloud_opacity > 0.6).mean()) > 0.98
    clear_sky = (out.cloud_opacity == 0) & (out.cloud_shadow == 0)
    assert float(mask.where(clear_sky).mean()) < 0.12
