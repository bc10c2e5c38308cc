"""Filters of speckle: closed forms on even ground, edges, no data, forms and chunks."""

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.checks import no_computes
from xcloudfree.exceptions import DataError, MissingBandError, UnitsError
from xcloudfree.methods.speckle import SIDE, quegan, refined_lee
from xcloudfree.reconstruct.speckle import remove_speckle

LOOKS = 4.4


def speckled(shape, seed=0, looks=LOOKS):
    return np.random.default_rng(seed).gamma(looks, 1 / looks, shape)


def looks_of(image):
    return image.mean() ** 2 / image.var()


def test_even_ground_is_averaged_over_half_a_window():
    """Lee 1981: where all variance is speckle, the estimate is the mean of 28 px."""
    image = refined_lee(0.1 * speckled((400, 400)), LOOKS)[5:-5, 5:-5]
    assert image.mean() == pytest.approx(0.1, rel=0.02)
    assert 0.25 * 28 * LOOKS < looks_of(image) < 28 * LOOKS


def test_quegan_reaches_the_looks_of_its_formula():
    """Quegan and Yu 2001, eq. 9: looks * dates * pixels / (dates + pixels - 1)."""
    dates, pixels = 12, SIDE**2
    image = quegan(0.1 * speckled((dates, 300, 300)))[:, 5:-5, 5:-5]
    assert image.mean() == pytest.approx(0.1, rel=0.02)
    expected = LOOKS * dates * pixels / (dates + pixels - 1)
    assert np.mean([looks_of(one) for one in image]) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_step_of_ten_decibels_stays_where_it_is(axis):
    ground = np.full((120, 120), 0.1)
    ground[60:] = 0.01
    image = refined_lee(
        (ground * speckled((120, 120), 3)).T if axis else ground * speckled((120, 120), 3), LOOKS
    )
    image = image.T if axis else image
    near = image[[58, 59, 60, 61], 10:-10].mean(1)
    np.testing.assert_allclose(near[:2], 0.1, rtol=0.15)
    assert (near[2:] < 0.025).all()


def test_a_change_on_one_date_stays_on_that_date():
    power = 0.1 * speckled((10, 80, 80), 4)
    power[4, 30:60, 30:60] *= 10
    image = quegan(power)
    assert image[4, 35:55, 35:55].mean() == pytest.approx(1.0, rel=0.1)
    others = np.delete(image, 4, 0)[:, 35:55, 35:55]
    assert others.mean() == pytest.approx(0.1, rel=0.1)


def test_pixels_without_data_stay_empty_and_do_not_spread():
    power = 0.1 * speckled((3, 40, 40), 5)
    power[1, 10:20, 10:20] = np.nan
    for image in (quegan(power), np.stack([refined_lee(one, LOOKS) for one in power])):
        np.testing.assert_array_equal(np.isnan(image), np.isnan(power))
        assert image[1][np.isfinite(image[1])].mean() == pytest.approx(0.1, rel=0.05)


@pytest.fixture(scope="module")
def scene():
    ds = xcf.datasets.simulate_scene((40, 50), dates=4, cover=0.3, seed=2)[["B02", "VV", "VH"]]
    ds["VV"][1, 3:9, 4:20] = np.nan
    return ds


@pytest.mark.parametrize("method", ["refined-lee", "quegan"])
@pytest.mark.parametrize("chunks", [(1, 16, 16), (4, 40, 7), (2, 11, 50)])
def test_chunks_change_no_bit(scene, method, chunks):
    whole = remove_speckle(scene, method)
    lazy = scene.chunk(dict(zip(("time", "y", "x"), chunks, strict=True)))
    with no_computes():
        out = remove_speckle(lazy, method)
    assert out.chunks == lazy.chunks
    xr.testing.assert_identical(out.compute(), whole)
    xr.testing.assert_identical(out.B02.compute(), scene.B02)


@pytest.mark.parametrize("method", ["refined-lee", "quegan"])
def test_every_form_and_unit_gives_the_same(scene, method):
    right = remove_speckle(scene, method)
    np.testing.assert_array_equal(np.isnan(right.VV), np.isnan(scene.VV))
    assert right.VV.attrs == scene.VV.attrs
    power = {
        n: (10 ** (scene[n] / 10)).assign_attrs(scene[n].attrs | {"units": "1"})
        for n in ("VV", "VH")
    }
    linear = remove_speckle(scene.assign(power), method)
    np.testing.assert_allclose(10 * np.log10(linear.VV), right.VV, atol=2e-4)
    radar = scene[["VV", "VH"]].to_dataarray("band").transpose("time", "band", "y", "x")
    radar = radar.assign_attrs(scene.VV.attrs)
    out = remove_speckle(radar, method)
    np.testing.assert_allclose(out.sel(band="VH"), right.VH, atol=1e-5)
    optical = scene[["B02"]].to_dataarray("band").transpose("time", "band", "y", "x")
    optical = optical.assign_attrs(scene.B02.attrs)
    joint = xr.Dataset({"s2": optical, "s1": radar.rename(band="polarisation")})
    out = joint.cloudfree.remove_speckle(method)
    np.testing.assert_allclose(out.s1.sel(polarisation="VV"), right.VV, atol=1e-5)


def test_what_cannot_be_filtered_is_refused(scene):
    for error, call in (
        (DataError, lambda: remove_speckle(scene, "lee")),
        (DataError, lambda: remove_speckle(scene, looks=0)),
        (DataError, lambda: remove_speckle(scene.isel(time=0), "quegan")),
        (DataError, lambda: remove_speckle(scene.isel(time=[0]), "quegan")),
        (
            DataError,
            lambda: remove_speckle(
                scene.assign(VV=scene.VH.astype("int16"), VH=scene.VH.astype("int16"))
            ),
        ),
        (MissingBandError, lambda: remove_speckle(scene[["B02"]])),
    ):
        with pytest.raises(error, match=r"\("):
            call()


def test_one_radar_image_for_all_dates_stays_one(scene):
    once = scene.isel(time=0, drop=True)
    out = remove_speckle(scene.assign(VV=once.VV, VH=once.VH))
    xr.testing.assert_identical(out.VV, remove_speckle(once).VV)
    xr.testing.assert_identical(out.B02, scene.B02)
    joint = xr.Dataset({
        "s2": scene[["B02"]].to_dataarray("band").assign_attrs(scene.B02.attrs),
        "s1": once[["VV", "VH"]].to_dataarray("polarisation").assign_attrs(scene.VV.attrs),
    })  # fmt: skip
    out = remove_speckle(joint)
    assert out.s1.dims == ("polarisation", "y", "x")
    np.testing.assert_allclose(out.s1.sel(polarisation="VV"), remove_speckle(once).VV, atol=1e-5)
    with pytest.raises(DataError, match="several dates"):
        remove_speckle(scene.assign(VV=once.VV, VH=once.VH), "quegan")


def test_a_border_of_undeclared_zeros_is_not_smeared(scene):
    zero = scene.assign({n: scene[n].where(scene.x > scene.x[5], 0) for n in ("VV", "VH")})
    for name in ("VV", "VH"):
        zero[name].attrs = scene[name].attrs
    with pytest.raises(UnitsError, match="sar_nodata=0"):
        remove_speckle(zero)
    out = remove_speckle(zero.cloudfree.calibrate(sar_nodata=0))
    assert out.VV[:, :, :6].isnull().all()
