"""Cloud shadow: geometry in closed form, independence of chunks, rates on real and drawn skies."""

import math
import pickle
from datetime import datetime

import numpy as np
import pystac
import pytest
import xarray as xr
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

import xcloudfree as xcf
from tests.builders import as_array, make_bands, stacked
from tests.checks import check_plane, no_computes
from xcloudfree.core.grid import ground
from xcloudfree.core.recognise import read
from xcloudfree.datasets.simulate import simulate_layers, simulate_scene
from xcloudfree.exceptions import CloudFreeError, DataError, GridError, MissingBandError
from xcloudfree.masks import shadow_geometry as kernel
from xcloudfree.masks.resolve import plan_mask
from xcloudfree.masks.scores import METHODS
from xcloudfree.stac.series.optical import _sun


def plain(size=160, metres=10.0, crs="EPSG:32633", **sun):
    """Even land with one square of cloud 40 px wide, and its shadow at `found` px from it."""
    ds = make_bands(dates=1, height=size, width=size).isel(time=0, drop=True)
    values = {"B01": 0.1, "B02": 0.08, "B03": 0.08, "B04": 0.07, "B10": 0.001, "B11": 0.2}
    for name in ds.data_vars:
        if name.startswith("B"):
            ds[name] = xr.full_like(ds[name], values.get(name, 0.3))
    ds = ds.assign_coords(y=5e6 - metres * np.arange(size), x=4e5 + metres * np.arange(size))
    ds = ds.drop_vars(["item_id", "spatial_ref"], errors="ignore").rio.write_crs(crs)
    return ds.assign_coords({f"sun_{k}": v for k, v in sun.items()})


def paint(ds, rows, columns, cloud):
    """A square of cloud, or of deep shadow."""
    for name in ds.data_vars:
        if not name.startswith("B"):
            continue
        values = ds[name].values.copy()
        area = values[rows, columns]
        thick = 0.05 if name == "B10" else 0.3 if name == "B11" else 0.5
        values[rows, columns] = thick if cloud else area * (0.3 if name > "B05" else 0.8)
        ds[name] = ds[name].copy(data=values)
    return ds


def square(row, column, side=20):
    return slice(row, row + side), slice(column, column + side)


@pytest.mark.parametrize(
    ("azimuth", "rows", "columns"),
    [(180, -40, 0), (90, 0, -40), (0, 40, 0), (270, 0, 40), (135, -28, -28)],
)
@pytest.mark.parametrize("upside_down", [False, True])
def test_shadow_is_found_away_from_the_sun_and_nowhere_else(azimuth, rows, columns, upside_down):
    """One cloud and two equal dark squares, of which one lies where the sun throws the cloud."""
    ds = plain(azimuth=float(azimuth), elevation=45.0)
    place = square(70, 70)
    ds = paint(ds, *place, cloud=True)
    ds = paint(ds, *square(70 + rows, 70 + columns), cloud=False)
    ds = paint(ds, *square(70 - rows, 70 - columns), cloud=False)
    expected = np.zeros((160, 160), bool)
    expected[square(70 + rows, 70 + columns)] = True
    if upside_down:
        ds, expected = ds.isel(y=slice(None, None, -1)), expected[::-1]
    found = ds.cloudfree.mask("score", shadow=True) & ~ds.cloudfree.mask("score")
    assert not found.values[~expected].any()
    assert found.values[expected].mean() > 0.9
    assert ds.cloudfree.mask("score", shadow=True).attrs["method"] == "score+shadow"


def test_water_and_what_is_not_dark_are_left_alone():
    ds = plain(azimuth=180.0, elevation=45.0)
    ds = paint(ds, *square(90, 70), cloud=True)
    for name, value in {"B03": 0.08, "B08": 0.04, "B8A": 0.04, "B11": 0.02}.items():  # a pond
        values = ds[name].values.copy()
        values[square(50, 70)] = value
        ds[name] = ds[name].copy(data=values)
    np.testing.assert_array_equal(
        ds.cloudfree.mask("score", shadow=True), ds.cloudfree.mask("score")
    )


def test_displacements_are_height_over_tangent():
    for elevation in (20.0, 35.0, 60.0, 89.0):
        found = np.array(kernel.displacements((180.0, elevation), (0.0, 0.1), (-0.1, 0.0)))
        slope = math.tan(math.radians(elevation))
        farthest = min(kernel.HIGHEST / slope, kernel.FARTHEST)
        assert not found[:, 1].any()
        assert found[0, 0] == -round(min(200 / slope, farthest) / 10)
        assert found[-1, 0] == -round(farthest / 10)
        assert np.abs(np.diff(found[:, 0])).max(initial=0) <= 16
    eastern = kernel.displacements((90.0, 45.0), (0.0, 0.1), (-0.1, 0.0))
    assert eastern[0] == (0, -20)


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [("EPSG:32631", 700e3, 6.6e6), ("EPSG:32733", 300e3, 7.2e6), ("EPSG:3995", 1.5e6, -1.2e6)],
)
def test_north_on_the_grid_is_the_projections_own(crs, x, y):
    """Against the meridian convergence and the scale of PROJ."""
    from pyproj import Proj, Transformer

    ds = plain(size=21, crs=crs)
    ds = ds.assign_coords(x=x + 20 * np.arange(21), y=y - 20 * np.arange(21))
    east, north, metres = ground(read(ds))
    centre = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x + 200, y - 200)
    factors = Proj(crs).get_factors(*centre)
    angle = math.degrees(math.atan2(north[1], -north[0]))  # of true north, clockwise from grid's
    assert (angle + factors.meridian_convergence + 180) % 360 - 180 == pytest.approx(0, abs=0.01)
    assert 1 / math.hypot(*north) == pytest.approx(20 / factors.meridional_scale, rel=1e-4)
    assert math.hypot(*east) == pytest.approx(math.hypot(*north), rel=1e-3)
    assert metres == pytest.approx(20 / factors.meridional_scale, rel=1e-3)


def test_a_grid_in_degrees_counts_its_metres():
    ds = plain(size=11).rename(y="latitude", x="longitude").drop_vars("spatial_ref")
    ds = ds.assign_coords(
        latitude=60 - 1e-4 * np.arange(11), longitude=10 + 1e-4 * np.arange(11)
    ).rio.write_crs("EPSG:4326")
    east, north, _ = ground(read(ds))
    assert 1 / east[1] == pytest.approx(5.58, rel=2e-3)  # a ten thousandth of a degree, at 60 N
    assert 1 / -north[0] == pytest.approx(11.14, rel=2e-3)


def scene(dates=2, size=(150, 170)):
    ds = simulate_scene(size, cover=0.3, seed=1, kind="thick", dates=dates)
    return ds.assign_coords(
        sun_azimuth=("time", [152.0, 130.0][:dates]), sun_elevation=("time", [62.0, 70.0][:dates])
    )


FORMS = {
    "bands": lambda ds: ds,
    "stacked": stacked,
    "array": as_array,
    "time last": lambda ds: ds.transpose("y", "x", "time"),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_gives_the_same_shadow_lazily_on_the_grid(form):
    expected = scene().cloudfree.mask("score", shadow=True)
    source = FORMS[form](scene())
    assert expected.sum() > scene().cloudfree.mask("score").sum() + 100
    np.testing.assert_array_equal(
        source.cloudfree.mask("score", shadow=True).transpose(*expected.dims), expected
    )
    lazy = source.chunk(y=64, x=64)
    with no_computes():
        found = lazy.cloudfree.mask("score", shadow=True)
    band = lazy if isinstance(lazy, xr.DataArray) else lazy["s2" if "s2" in lazy else "B02"]
    check_plane(band, found, "bool")
    np.testing.assert_array_equal(found.transpose(*expected.dims), expected)


@settings(deadline=None, max_examples=6)
@given(st.integers(35, 150), st.integers(35, 170), st.integers(1, 2), st.integers(0, 3))
def test_shadow_does_not_depend_on_chunks(y, x, time, radius):
    expected = EXPECTED.setdefault(
        radius, SCENE.cloudfree.mask("score", shadow=True, dilate=radius)
    )
    lazy = SCENE.chunk(y=y, x=x, time=time).cloudfree.mask("score", shadow=True, dilate=radius)
    np.testing.assert_array_equal(lazy.values, expected.values)


SCENE, EXPECTED = scene(), {}


def test_each_date_has_its_own_sun_and_dates_without_one_have_no_shadow():
    ds = scene()
    both = ds.cloudfree.mask("score", shadow=True)
    for n in range(2):
        one = ds.isel(time=[n]).cloudfree.mask("score", shadow=True)
        np.testing.assert_array_equal(one[0], both[n])
        angles = (float(ds.sun_azimuth[n]), float(ds.sun_elevation[n]))
        alone = ds.isel(time=n).drop_vars(["sun_azimuth", "sun_elevation"])
        np.testing.assert_array_equal(alone.cloudfree.mask("score", shadow=angles), both[n])
    half = ds.assign_coords(sun_elevation=("time", [62.0, np.nan]))
    found = half.cloudfree.mask("score", shadow=None)
    assert found.attrs["method"] == "score+shadow on 1 of 2"
    np.testing.assert_array_equal(found[0], both[0])
    np.testing.assert_array_equal(found[1], ds.cloudfree.mask("score")[1])
    with pytest.raises(DataError, match="on 1 of 2 images"):
        half.cloudfree.mask("score", shadow=True)


def test_a_given_mask_takes_shadow_only_when_asked():
    ds = scene(1)
    cloud = ds.cloudfree.mask("score")
    np.testing.assert_array_equal(ds.cloudfree.mask(cloud, shadow=None), cloud)
    expected = ds.cloudfree.mask("score", shadow=True)
    np.testing.assert_array_equal(ds.cloudfree.mask(cloud, shadow=True), expected)


def test_reconstruction_takes_shadow_where_the_sun_is_known_and_says_so():
    ds = scene().chunk(y=96, x=96)
    expected = ds.cloudfree.mask("score", shadow=True).values
    for shadow, name in ((None, "score+shadow"), (True, "score+shadow"), (False, "score")):
        out = ds.cloudfree.reconstruct(model="idw", mask="score", shadow=shadow).provenance
        assert out.attrs["mask"] == name
        wanted = expected if "+" in name else ds.cloudfree.mask("score").values
        np.testing.assert_array_equal(out.values == 2, wanted)
    net = xcf.models.create("carf-tiny", base="prior")
    small = ds.isel(time=[0], y=slice(0, 64), x=slice(0, 64)).chunk(y=48, x=48)
    out = small.cloudfree.reconstruct(model=net, mask="score").provenance
    assert out.attrs["mask"] == "score+shadow"
    np.testing.assert_array_equal(
        out.values == 2, small.cloudfree.mask("score", shadow=True).values
    )
    unknown = ds.drop_attrs(deep=False).drop_vars("sun_azimuth")
    out = unknown.cloudfree.reconstruct(model="idw", mask="score").provenance
    assert out.attrs["mask"] == "score"


def test_weights_are_those_of_the_paper_whatever_the_sun():
    ds = scene(1)
    np.testing.assert_array_equal(ds.cloudfree.weights() > 0.5, ds.cloudfree.mask("score"))


def test_plans_pickle_and_differ_by_shadow():
    ds = scene().chunk(y=64, x=64)
    plans = [plan_mask(read(ds), "score", None, 0, shadow=s) for s in (True, False, (152, 62))]
    names = {str(plan.groups[0][0].name) for plan in plans}
    assert len(names) == 3
    again = plan_mask(read(ds), "score", None, 0, shadow=True)
    assert again.groups[0][0].name == plans[0].groups[0][0].name
    kept = pickle.loads(pickle.dumps(plans[0]))
    assert (kept.label, tokenize(kept)) == (plans[0].label, tokenize(plans[0]))
    distributed = pickle.loads(pickle.dumps(ds.cloudfree.mask("score", shadow=True)))
    np.testing.assert_array_equal(distributed, ds.cloudfree.mask("score", shadow=True))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda d: d.drop_vars("sun_azimuth").drop_attrs(deep=False), DataError, "assign_coords"),
        (lambda d: d.assign_coords(sun_elevation=("time", [-3.0])), DataError, "between 0 and 90"),
        (lambda d: d.assign_coords(sun_elevation=d.B02 + 40), DataError, r"mean\(\['y', 'x'\]\)"),
        (lambda d: d.drop_vars("y"), GridError, "assign_coords"),
        (lambda d: d.drop_vars("spatial_ref"), GridError, "write_crs"),
        (lambda d: d.drop_vars(["B08", "B8A"]), MissingBandError, "shadow of clouds"),
    ],
)
def test_what_is_not_known_is_asked_for_and_never_guessed(change, error, words):
    ds = change(scene(1))
    with pytest.raises(error, match=words):
        ds.cloudfree.mask("score", shadow=True)
    np.testing.assert_array_equal(
        ds.cloudfree.mask("score", shadow=None), ds.cloudfree.mask("score")
    )


def test_shadow_is_asked_for_in_one_of_three_ways():
    ds = scene(1)
    for wrong in ("yes", (152,), 3):
        with pytest.raises(CloudFreeError, match=r"mask\(shadow="):
            ds.cloudfree.mask("score", shadow=wrong)
    classes = xr.zeros_like(ds.B02, dtype="uint8")
    with pytest.raises(CloudFreeError, match="already contains"):
        ds.assign(SCL=classes).cloudfree.mask("scl", shadow=True)


def judged(found, truth, valid):
    """Recall and precision."""
    hit = (found & truth & valid).sum()
    return hit / (truth & valid).sum(), hit / (found & valid).sum()


def test_shadow_of_simulated_skies_is_found_with_known_rates():
    """Truth: above half of the light is gone; what lies between 0.1 and 0.5 is not judged."""
    rates = []
    for seed in (1, 2, 3):
        options = {"cover": 0.3, "seed": seed, "kind": "thick"}
        sky, layers = (make((512, 512), **options) for make in (simulate_scene, simulate_layers))
        cloud = sky.cloudfree.mask("score").values
        found = sky.cloudfree.mask("score", shadow=True).values & ~cloud
        depth = layers.shadow.values
        rates.append(judged(found, depth > 0.5, ~cloud & ((depth < 0.1) | (depth > 0.5))))
    recall, precision = np.mean(rates, 0)
    assert recall > 0.7
    assert precision > 0.7


def test_what_is_as_dark_on_other_dates_is_no_shadow():
    dark, cloud = kernel.DARK, kernel.CLOUD
    # by pixel: a forest, a shadow, one that others are too, and one that no other date shows
    state = np.array([[dark, dark, dark, dark], [dark, 0, dark, cloud], [0, 0, 0, cloud]], "u1")
    near = np.array([[0.10, 0.10, 0.10, 0.1], [0.1, 0.3, 0.1, 0.9], [0.11, 0.3, 0.3, 0.9]])
    short = np.array([[0.05, 0.05, 0.05, 0.1], [0.05, 0.1, 0.05, 0.9], [0.05, 0.1, 0.1, 0.9]])
    infrared = np.stack([near, short], 1)[..., None, :].astype("float32")
    found = kernel.compared(state[:, None], infrared, np.array([0.0, 5.0, 10.0]))[:, 0]
    expected = [[0, dark, dark, dark], [0, 0, dark, cloud], [0, 0, 0, cloud]]
    np.testing.assert_array_equal(found, expected)
    # two images of one pass are no other dates
    twins = kernel.compared(state[:2, None], infrared[:2], np.array([0.0, 0.1]))
    np.testing.assert_array_equal(twins[:, 0], state[:2])


@pytest.fixture(scope="module")
def forest():
    """A series with a dark forest, its mask with shadow by reconstruct()'s rule, and the truth."""
    options = {"dates": 6, "cover": [0.1, 0.4, 0.6, 0.05, 0.5, 0.3], "seed": 7}
    ds, layers = (make((192, 192), **options) for make in (simulate_scene, simulate_layers))
    return ds, ds.cloudfree.mask("score+series", shadow=None), layers


def test_a_series_finds_shadow_and_leaves_a_dark_forest(forest):
    ds, found, layers = forest
    without = ds.cloudfree.mask("score+series")
    each = ds.cloudfree.mask(without, shadow=True)  # every date by itself
    assert found.attrs["method"] == "score+series+shadow"
    clear = (layers.opacity < 0.01) & (layers.shadow < 0.01) & ~without
    conifers, shaded = clear & (layers.landcover == 7), (layers.shadow > 0.3) & ~without
    lost, found_shadow = (
        [float(mask.where(where).mean()) for mask in (each, found)] for where in (conifers, shaded)
    )
    assert lost[0] > 0.1
    assert lost[1] < 0.01
    assert found_shadow[1] > max(0.2, 0.95 * found_shadow[0])
    assert bool((found | ~without).all())


@settings(deadline=None, max_examples=4)
@given(st.integers(40, 150), st.integers(40, 170), st.integers(1, 6), st.permutations(range(6)))
def test_shadow_of_a_series_depends_on_no_chunks_and_no_order(forest, y, x, time, order):
    ds, expected, _ = forest
    lazy = ds.isel(time=order).chunk(y=y, x=x, time=time)
    found = lazy.cloudfree.mask("score+series", shadow=None)
    np.testing.assert_array_equal(found.values, expected.values[list(order)])


SITES = ("worldcereal_00002806639B424A", "worldcereal_000028085BF08E7E")


def test_shadow_of_real_series_agrees_with_the_scene_classification(data_root):
    """Cloud and shadow by Sen2Cor, sun by the product; sites of 640 m, so that only clouds within
    them count, and only shadow that one of them can cast.
    """
    near = far = hit = found = 0
    for site in SITES:
        (path,) = (data_root / "series" / site).glob("S2_L2A_20m*.nc")
        ds = xr.open_dataset(path, mask_and_scale=False)
        classes, values = ds.SCL.values, {n: ds[n].values * 1e-4 for n in ("B8A", "B11")}
        east, north = (0.0, 1 / 20), (-1 / 20, 0.0)
        for n in np.flatnonzero((classes == 3).any((1, 2))):
            cloud = np.isin(classes[n], (8, 9, 10))
            sun = float(ds.sunAzimuthAngles[n]), 90 - float(ds.sunZenithAngles[n])
            offsets = kernel.displacements(sun, east, north)
            nir, swir = values["B8A"][n], values["B11"][n]
            state = kernel.states(cloud, nir, swir, np.zeros_like(nir), 100)
            whole = tuple(slice(0, size) for size in cloud.shape)
            shadow = kernel.shadowed(state, offsets, 8, whole)
            possible = np.where(cloud, kernel.CLOUD, kernel.DIM | kernel.DARK).astype("uint8")
            within = kernel.shadowed(possible, offsets, 8, whole)
            truth = classes[n] == 3
            clear = np.isin(classes[n], (4, 5))
            hit, near = hit + (shadow & truth).sum(), near + (truth & within).sum()
            far, found = far + truth.sum(), found + (shadow & (truth | clear)).sum()
    assert far > 5000
    assert hit / near > 0.65
    assert hit / found > 0.65


def test_a_catalog_tells_where_the_sun_stands():
    def item(**properties):
        return pystac.Item("a", None, [0, 0, 1, 1], datetime(2025, 6, 10), properties)

    angles = {"view:sun_azimuth": 359.0, "view:sun_elevation": 40.0}
    assert _sun([item(**angles)]) == pytest.approx((359.0, 40.0))
    assert _sun([item(**angles), item(**angles | {"view:sun_azimuth": 3.0})])[0] == pytest.approx(1)
    planetary = {"s2:mean_solar_azimuth": 110.0, "s2:mean_solar_zenith": 25.0}
    assert _sun([item(**planetary), item()]) == pytest.approx((110.0, 65.0))
    assert np.isnan(_sun([item()])).all()


def test_haze_counts_next_to_cloud_only():
    """A thin rim of score 0.175 joins its cloud; the same brightness far away does not."""
    ds = plain().isel(y=slice(0, 90), x=slice(0, 120))
    ds = paint(ds, *square(30, 30), cloud=True)
    for place in (square(30, 50, 8), square(30, 95, 8)):
        for name, value in {"B01": 0.2, "B02": 0.17, "B03": 0.2, "B04": 0.2}.items():
            values = ds[name].values.copy()
            values[place] = value
            ds[name] = ds[name].copy(data=values)
    cloud, found = ds.cloudfree.mask("score"), ds.cloudfree.mask("score", haze=0.15)
    assert found.attrs["haze"] == 0.15
    assert int((found & ~cloud).sum()) == 64
    assert found.values[square(30, 50, 8)].all()
    assert ds.cloudfree.mask("score", threshold=0.15).values[square(30, 95, 8)].all()
    for y, x in ((17, 23), (50, 120)):
        lazy = ds.chunk(y=y, x=x).cloudfree.mask("score", haze=0.15, dilate=2)
        np.testing.assert_array_equal(lazy, ds.cloudfree.mask("score", haze=0.15, dilate=2))
    kept = pickle.loads(pickle.dumps(plan_mask(read(ds), "score", None, 0, haze=0.15)))
    assert (kept.haze, kept.method) == (0.15, METHODS["score"])
    for method, haze in (("score", 0.3), (cloud, 0.1)):
        with pytest.raises(CloudFreeError, match=r"haze=0.15\)"):
            ds.cloudfree.mask(method, haze=haze)


def test_a_sun_that_cannot_be_is_an_unknown_one_unless_it_is_asked_for():
    ds = scene(dates=2).assign_coords(sun_elevation=("time", [-3.0, 40.0]))
    out = ds.cloudfree.reconstruct(model="idw")
    assert out.provenance.attrs["mask"] == "score+shadow on 1 of 2"
    with pytest.raises(DataError, match="between 0 and 90"):
        ds.cloudfree.mask("score", shadow=True)


def test_suns_of_other_dates_are_refused():
    ds = scene(dates=2)
    with pytest.raises(DataError, match="other values of 'time'"):
        ds.cloudfree.mask("score", shadow=(ds.sun_azimuth[::-1], 40.0))
    with pytest.raises(DataError, match="one number in degrees"):
        ds.cloudfree.mask("score", shadow=("north", 40.0))


def test_a_grid_that_lies_nowhere_leaves_shadow_out_or_says_why():
    ds = scene(dates=1)
    local = ds.drop_vars("spatial_ref").assign_coords(
        spatial_ref=xr.Variable((), 0, {"crs_wkt": 'LOCAL_CS["x",UNIT["metre",1]]'})
    )
    assert local.cloudfree.reconstruct(model="idw").provenance.attrs["mask"] == "score"
    with pytest.raises(GridError, match=r"write_crs|shadow=False"):
        local.cloudfree.mask("score", shadow=True)
