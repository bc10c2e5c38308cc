"""The simulated scene: form, agreement of optical and radar, determinism."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from tests.checks import check_scene
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.datasets.landscape import LANDCOVER
from xcloudfree.datasets.simulate import simulate_layers, simulate_scene, simulate_truth
from xcloudfree.exceptions import DataError, GridError

SHAPE = (512, 480)


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return simulate_truth(SHAPE, seed=4)


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    return simulate_scene(SHAPE, seed=4)


@pytest.fixture(scope="module")
def layers() -> xr.Dataset:
    return simulate_layers(SHAPE, seed=4)


def _mean(data: xr.DataArray, layers: xr.Dataset, *covers: str) -> float:
    codes = [LANDCOVER.index(cover) for cover in covers]
    chosen = np.isin(layers.landcover.values, codes)
    assert chosen.sum() > 200
    return float(data.isel(time=0).values[chosen].astype(np.float64).mean())


def test_the_form_is_that_of_a_loaded_dataset(scene):
    check_scene(scene, level="TOA", lazy=False, crs="EPSG:32633")
    check_scene(scene.chunk(y=50), level="TOA", lazy=True, crs="EPSG:32633")
    assert list(scene.data_vars) == [*S2_BANDS, "VV", "VH"]
    for name, variable in scene.data_vars.items():
        assert variable.dims == ("time", "y", "x")
        assert variable.dtype == np.float32
        assert bool(np.isfinite(variable).all())
        assert variable.attrs["units"] == ("dB" if name in ("VV", "VH") else "1")
    assert scene.B02.attrs["processing_level"] == "TOA"
    assert scene.VV.attrs["quantity"] == "sigma0"
    assert isinstance(scene.B02.data, np.ndarray)


def test_it_is_georeferenced(scene):
    import odc.geo.xr  # noqa: F401

    box = scene.odc.geobox
    assert box.crs.epsg == 32633
    assert box.shape == SHAPE
    assert (box.resolution.x, box.resolution.y) == (10.0, -10.0)
    assert tuple(box.boundingbox)[0::3] == (500_000.0, 5_400_000.0)  # left, top
    other = simulate_truth((20, 30), crs="EPSG:32736", resolution=20.0, origin=(1000.0, 9000.0))
    assert other.odc.geobox.crs.epsg == 32736
    assert (float(other.x[0]), float(other.y[0])) == (1010.0, 8990.0)


def test_reflectance_is_plausible_for_a_clear_scene(truth):
    for band in S2_BANDS:
        low, high = np.percentile(truth[band], (0.1, 99.9))
        assert low > 0
        assert high < 0.6
    rayleigh = truth.B01.quantile(0.01) > truth.B02.quantile(0.01) > truth.B03.quantile(0.01)
    assert bool(rayleigh > truth.B04.quantile(0.01))
    assert float(truth.B10.max()) < 0.005


def test_clouds_touch_only_what_they_cover_and_leave_the_radar_alone(scene, truth, layers):
    free = (layers.opacity == 0) & (layers.shadow == 0)
    assert 0.05 < float(free.mean()) < 0.6
    for band in S2_BANDS:
        np.testing.assert_array_equal(scene[band].values[free], truth[band].values[free])
    thick = layers.opacity > 0.3
    assert bool((scene.B02 > truth.B02).where(thick, True).all())
    assert float((layers.opacity > 0).mean()) == pytest.approx(0.4, abs=1e-4)
    for polarisation in ("VV", "VH"):
        np.testing.assert_array_equal(scene[polarisation], truth[polarisation])


def test_land_cover_reflects_and_scatters_as_it_should(truth, layers):
    ndvi = (truth.B08 - truth.B04) / (truth.B08 + truth.B04)
    assert _mean(ndvi, layers, "lake") < 0
    assert _mean(ndvi, layers, "bare") < 0.35
    assert _mean(ndvi, layers, "deciduous") > 0.6
    assert _mean(truth.B11, layers, "lake") < 0.03 < 0.25 < _mean(truth.B11, layers, "bare")
    forest, water = ("deciduous", "conifer"), ("lake",)
    assert _mean(truth.VH, layers, *forest) > _mean(truth.VH, layers, *water) + 8
    assert _mean(truth.VV, layers, *water) == pytest.approx(-20, abs=2.5)
    roofs = ("tiles", "dark_roof", "bright_roof")
    assert _mean(truth.VV, layers, *roofs) > _mean(truth.VV, layers, *forest) + 3
    assert _mean(truth.VV, layers, "cereal") < _mean(truth.VV, layers, "rapeseed") - 2
    ratio = truth.VV - truth.VH
    assert _mean(ratio, layers, *forest) < _mean(ratio, layers, "bare")


def test_speckle_has_the_requested_number_of_looks():
    """A homogeneous lake in linear power: (mean / standard deviation) ** 2, and the gamma law."""
    cover = simulate_layers(SHAPE, seed=4).landcover.values
    lake = cover == LANDCOVER.index("lake")
    shrunk = lake.copy()
    for axis in (0, 1):
        for step in range(-6, 7):
            shrunk &= np.roll(lake, step, axis)
    assert shrunk.sum() > 2000
    for looks in (1.0, 4.4, 16.0):
        noisy = simulate_truth(SHAPE, seed=4, looks=looks)
        smooth = simulate_truth(SHAPE, seed=4, looks=np.inf)
        for polarisation in ("VV", "VH"):
            power = 10 ** (noisy[polarisation].values[0][shrunk].astype(np.float64) / 10)
            assert (power.mean() / power.std()) ** 2 == pytest.approx(looks, rel=0.2)
            flat = 10 ** (smooth[polarisation].values[0][shrunk].astype(np.float64) / 10)
            assert power.mean() / flat.mean() == pytest.approx(1, abs=0.05)


def test_bands_are_as_coarse_as_the_instrument(truth):
    """Within a native pixel of 20 m or 60 m nothing varies; in bands of 10 m it does."""
    for band, step in (("B01", 6), ("B09", 6), ("B10", 6), ("B05", 2), ("B8A", 2), ("B11", 2)):
        plane = truth[band].values[0]
        assert np.ptp(plane[step : 2 * step, step : 2 * step]) == 0
        assert (np.diff(plane[:, ::step], axis=1) != 0).any()
    assert (np.diff(truth.B04.values[0], axis=1) != 0).mean() > 0.9


def test_equal_arguments_give_equal_scenes_and_dates_stand_alone():
    options = {"seed": 11, "cover": 0.3}
    dates = ["2025-05-10", "2025-08-20"]
    both = simulate_scene((64, 72), dates=dates, **options)
    again = simulate_scene((64, 72), dates=dates, **options)
    xr.testing.assert_identical(both, again)
    alone = simulate_scene((64, 72), dates=dates[1:], **options)
    xr.testing.assert_identical(both.isel(time=[1]), alone)
    assert not np.array_equal(both.B02, simulate_scene((64, 72), dates=dates, seed=12).B02)


def test_another_process_draws_the_same_scene():
    code = (
        "from xcloudfree.datasets.simulate import simulate_scene as s;"
        "print(repr(float(s((40, 40), seed=2).to_array().sum(dtype='float64'))))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = float(simulate_scene((40, 40), seed=2).to_array().sum(dtype="float64"))
    assert float(told.stdout) == here


def test_chunks_change_nothing_but_the_kind_of_array():
    plain = simulate_scene((80, 90), dates=2, seed=3)
    lazy = simulate_scene((80, 90), dates=2, seed=3, chunks={"time": 1, "y": 32, "x": 32})
    assert lazy.B02.chunks == ((1, 1), (32, 32, 16), (32, 32, 26))
    xr.testing.assert_identical(lazy.compute(), plain)


def test_seasons_turn_crops_and_leave_conifers():
    dates = ["2025-06-10", "2025-08-25"]
    truth = simulate_truth((256, 256), dates=dates, seed=4)
    ndvi = ((truth.B08 - truth.B04) / (truth.B08 + truth.B04)).values
    cover = simulate_layers((256, 256), dates=dates, seed=4).landcover.values
    change = {name: (ndvi[1] - ndvi[0])[cover == LANDCOVER.index(name)].mean() for name in
              ("cereal", "maize", "conifer")}  # fmt: skip
    assert change["cereal"] < -0.3 < 0.05 < change["maize"]
    assert abs(change["conifer"]) < 0.03


def test_bottom_of_atmosphere_has_no_cirrus_band_and_no_air():
    top, bottom = (simulate_truth((96, 96), seed=4, level=level) for level in ("TOA", "BOA"))
    assert "B10" not in bottom
    assert bottom.B02.attrs["processing_level"] == "BOA"
    assert float(bottom.B02.mean()) < 0.7 * float(top.B02.mean())
    assert float(bottom.B08.mean()) > float(top.B08.mean())
    assert float(bottom.to_array().sel(variable=list(S2_BANDS[:8])).min()) >= 0


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (61, 1)])
def test_small_scenes_work(shape):
    scene = simulate_scene(shape, cover=0.5)
    assert scene.B02.shape == (1, *shape)
    assert bool(np.isfinite(scene.to_array()).all())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"shape": (0, 5)}, DataError), ({"dates": 0}, DataError), ({"dates": ["soon"]}, DataError),
        ({"dates": ["2025-01-01", "2025-01-01"]}, DataError), ({"cover": -0.1}, DataError),
        ({"cover": [0.1, 0.2]}, DataError), ({"seed": -1}, DataError),
        ({"level": "L2A"}, DataError), ({"crs": "EPSG:4326"}, GridError),
        ({"kind": "fog"}, DataError), ({"sun": (150, -5)}, DataError),
        ({"resolution": 0}, DataError),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_with_the_call_that_mends_them(change, error):
    with pytest.raises(error, match=r"simulate_(scene|clouds)\("):
        simulate_scene(**({"shape": (32, 32)} | change))


def test_an_unknown_option_of_the_truth_is_refused():
    with pytest.raises(TypeError, match="colour"):
        simulate_truth((8, 8), colour="blue")
