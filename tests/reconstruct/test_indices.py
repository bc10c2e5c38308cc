"""indices(): the catalogue's values, their errors against Monte Carlo, and the form that comes."""

import sys

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, blobs, make_series, stacked
from tests.checks import no_computes
from xcloudfree.exceptions import CloudFreeError, DataError, MissingBandError

spyndex = pytest.importorskip("spyndex")

DRAWS = 40_000


@pytest.fixture(scope="module")
def scene():
    return xcf.datasets.simulate_scene((40, 34), dates=3, cover=0.3, seed=1)


def with_errors(ds, share=0.02):
    """The scene with deviations, and bounds of 1.645 of them, for each band."""
    bands = [b for b in xcf.bands.S2_BANDS if b in ds]
    made = {f"{b}_std": share * ds[b] + 0.001 for b in bands}
    made |= {f"{b}_lower": ds[b] - 1.645 * made[f"{b}_std"] for b in bands}
    made |= {f"{b}_upper": ds[b] + 1.645 * made[f"{b}_std"] for b in bands}
    return ds.assign(made)


def test_values_are_those_of_the_formula(scene):
    found = scene.cloudfree.indices(["NDVI", "EVI", "NDMI"])
    red, blue, near, short = (scene[b].astype(float) for b in ("B04", "B02", "B08", "B11"))
    np.testing.assert_allclose(found.NDVI, (near - red) / (near + red), rtol=2e-6)
    evi = 2.5 * (near - red) / (near + 6 * red - 7.5 * blue + 1)
    np.testing.assert_allclose(found.EVI, evi, rtol=2e-5)
    np.testing.assert_allclose(found.NDMI, (near - short) / (near + short), rtol=2e-5, atol=1e-7)
    assert found.NDVI.dtype == "float32"
    assert found.NDVI.attrs["long_name"] == "Normalized Difference Vegetation Index"
    assert found.rio.crs == scene.rio.crs
    assert set(found.data_vars) == {"NDVI", "EVI", "NDMI"}


def test_wavelengths_are_those_of_sentinel_2a(scene):
    found = scene.cloudfree.indices("PSRI")  # (R - B) / RE2
    np.testing.assert_allclose(
        found.PSRI, (scene.B04 - scene.B02) / scene.B06, rtol=1e-4, atol=1e-6
    )
    names = [n for n, i in spyndex.indices.items() if any(b.startswith("lambda") for b in i.bands)]
    some = scene.cloudfree.indices(names)
    for name in names:
        assert np.isfinite(some[name]).all()


@pytest.mark.parametrize("name", ["NDVI", "EVI", "SAVI", "NDMI", "NBR", "OSAVI", "GCC", "MCARI"])
def test_the_deviation_is_that_of_random_errors(name):
    truth = xcf.datasets.simulate_truth((40, 34), seed=1)
    spot = with_errors(truth).isel(y=slice(3, 6), x=slice(5, 9))
    found = spot.cloudfree.indices(name)
    rng = np.random.default_rng(0)
    moved = {
        b: spot[b].values.ravel() + spot[f"{b}_std"].values.ravel() * rng.normal(size=(DRAWS, 12))
        for b in xcf.bands.S2_BANDS
    }
    letters = spyndex.indices[name].bands
    known = {
        x: moved[xcf.bands.optical_band(spyndex.bands[x].sentinel2a.band)]
        if x in spyndex.bands
        else spyndex.constants[x].default
        for x in letters
    }
    drawn = spyndex.computeIndex(name, known)
    np.testing.assert_allclose(found[f"{name}_std"].values.ravel(), drawn.std(0), rtol=0.03)
    inside = (drawn > found[f"{name}_lower"].values.ravel()) & (
        drawn < found[f"{name}_upper"].values.ravel()
    )
    np.testing.assert_allclose(inside.mean(0), 0.90, atol=0.01)


def test_a_falling_band_turns_its_bounds_around(scene):
    spot = scene[["B04", "B08"]].isel(time=[0])
    made = {f"{b}_{k}": spot[b] for b in spot for k in ("lower", "upper")}
    made["B04_upper"] = spot.B04 + 0.01  # only red may be higher: the index only lower
    found = spot.assign(made).cloudfree.indices("NDVI")
    np.testing.assert_array_equal(found.NDVI_upper, found.NDVI)
    moved = (spot.B08 - spot.B04 - 0.01) / (spot.B08 + spot.B04 + 0.01)
    reach = (found.NDVI - found.NDVI_lower) / (found.NDVI - moved)
    assert float(abs(reach - 1).median()) < 0.05
    assert "NDVI_std" not in found


def test_lazy_data_stays_lazy_and_chunks_change_no_bit(scene):
    ds = with_errors(scene)
    whole = ds.cloudfree.indices(["NDVI", "EVI"])
    with no_computes():
        lazy = ds.chunk(time=1, y=17, x=34).cloudfree.indices(["NDVI", "EVI"])
    assert lazy.EVI_std.chunks == ((1, 1, 1), (17, 17, 6), (34,))
    xr.testing.assert_identical(lazy.compute(), whole)


def test_the_forms_agree_and_provenance_is_carried():
    ds = make_series()
    mask = blobs().assign_coords(time=ds.time)
    forms = {"bands": ds, "two": stacked(ds), "array": as_array(ds)}
    out = {
        k: v.cloudfree.reconstruct("area-regression", mask=mask, uncertainty=True)
        for k, v in forms.items()
    }
    found = {k: v.cloudfree.indices(["NDVI", "NDMI"]) for k, v in out.items()}
    xr.testing.assert_equal(found["two"].provenance, found["bands"].provenance)
    np.testing.assert_array_equal(found["bands"].provenance, out["bands"].provenance)
    array = found["array"]
    assert list(array.band.values) == ["NDVI", "NDMI"]
    for name in ("NDVI", "NDMI"):
        for kind in ("", "_std"):
            expected = found["bands"][name + kind]
            np.testing.assert_array_equal(found["two"][name + kind], expected)
            other = array.coords["std"] if kind else array
            np.testing.assert_array_equal(other.sel(band=name), expected)
    np.testing.assert_array_equal(array.provenance, found["bands"].provenance)
    stated = np.isfinite(found["bands"].NDVI_std)
    np.testing.assert_array_equal(stated, found["bands"].provenance == 2)


def test_integers_are_read_as_reflectance(scene):
    bands = ["B04", "B08"]
    numbers = (scene[bands] * 1e4 + 1000).round().astype("uint16").drop_attrs(deep=True)
    numbers = numbers.cloudfree.calibrate(scale=1e-4, offset=-0.1, nodata=0, level="TOA")
    numbers["B04"][0, 0, 0] = 0
    found = numbers.cloudfree.indices("NDVI").NDVI
    assert np.isnan(found[0, 0, 0])
    rest = found.values.ravel()[1:]
    expected = scene.cloudfree.indices("NDVI").NDVI.values.ravel()[1:]
    np.testing.assert_allclose(rest, expected, atol=5e-3)


def test_what_cannot_be_computed_is_refused(scene, monkeypatch):
    with pytest.raises(DataError, match="did you mean 'NDVI"):
        scene.cloudfree.indices(["NDVII"])
    with pytest.raises(DataError, match="unknown index"):
        scene.cloudfree.indices([])
    with pytest.raises(DataError, match="needs T"):
        scene.cloudfree.indices("NDVIT")
    with pytest.raises(MissingBandError, match="index 'NDVI' needs B08"):
        scene[["B04", "B03"]].cloudfree.indices("NDVI")
    monkeypatch.setitem(sys.modules, "spyndex", None)
    with pytest.raises(CloudFreeError, match=r"pip install 'xcloudfree\[indices\]'"):
        scene.cloudfree.indices("NDVI")


@pytest.mark.parametrize("chunks", [None, {"y": 13}])
def test_bounds_of_integers_are_those_of_their_reflectance(scene, chunks):
    """Bounds are stored as their bands are; deviations are reflectance."""
    floats = with_errors(scene[["B04", "B08"]].clip(min=0.02))
    numbers = floats.copy()
    for name in (n for n in floats if not n.endswith("_std")):
        stored = ((floats[name] + 0.1) * 1e4).round().astype("uint16")
        rule = {"scale_factor": 1e-4, "add_offset": -0.1, "nodata": 0}
        numbers[name] = stored.assign_attrs(rule, units="1", processing_level="TOA")
    numbers = numbers if chunks is None else numbers.chunk(chunks)
    found, expected = (d.cloudfree.indices("NDVI") for d in (numbers, floats))
    for name in ("NDVI_std", "NDVI_lower", "NDVI_upper"):
        np.testing.assert_allclose(found[name], expected[name], atol=5e-3)
