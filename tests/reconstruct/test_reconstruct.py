"""Reconstruction: exact over chunks, lazy, and faithful to what came in."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, make_bands, randomised, stacked, without_record
from tests.checks import check_kept, check_plane, no_computes
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import (
    CloudFreeError,
    GridError,
    MissingBandError,
    ModelError,
    QuantityWarning,
    UnitsError,
    UntrainedWarning,
)
from xcloudfree.models import VARIANTS
from xcloudfree.models.cache import reference
from xcloudfree.models.carf import CarfConfig
from xcloudfree.models.model import Model

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")

BANDS = list(S2_BANDS)
HEIGHT, WIDTH = 360, 330
CHANNELS = (("s2", 13), ("s1", 2))


def random_model(name="carf-tiny", **options):
    return randomised(xcf.models.create(name, **options))


def big_scene(height=HEIGHT, width=WIDTH):
    """Optical and radar noise with blobs of cloud; 13 bands in one array for speed."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width]
    cloud = np.sin(y / 23.0) * np.cos(x / 31.0) > 0.35
    s2 = rng.uniform(0.02, 0.3, (13, height, width)).astype("float32")
    s2[:, cloud] += 0.4
    s2[10, cloud], s2[11, cloud] = 0.08, 0.2
    return xr.Dataset(
        {
            "s2": (("band", "y", "x"), s2, {"processing_level": "TOA", "units": "1"}),
            "s1": (
                ("polarisation", "y", "x"),
                rng.normal(-14, 4, (2, height, width)).astype("float32"),
                {"units": "dB"},
            ),
        },
        coords={"band": BANDS, "polarisation": ["VV", "VH"]},
    )


def whole_scene(model, ds):
    """The network once over everything: no windows, no dask."""
    mask = ds.cloudfree.mask().values
    x, r = model.normalise(ds.s2.values[None], ds.s1.values[None])
    extra = {"mask": torch.from_numpy(mask[None, None].astype("float32"))}
    with torch.inference_mode():
        out = model.network(x, r, **(extra if model.spec.needs_mask else {}))
    return model.denormalise(out)[0]


@pytest.fixture(scope="module")
def scene():
    return big_scene()


@pytest.fixture(scope="module")
def tiny(scene):
    """A network, its output over the whole scene, and the composite without dask."""
    model = random_model("carf-tiny")
    return model, whole_scene(model, scene), scene.cloudfree.reconstruct(model=model)


@pytest.mark.parametrize(
    "chunk", [173, *(pytest.param(n, marks=pytest.mark.slow) for n in (96, 512))]
)
def test_chunks_do_not_change_the_result(scene, tiny, chunk):
    model, whole, composite = tiny
    lazy = scene.chunk(y=chunk, x=chunk)
    output = lazy.cloudfree.reconstruct(model=model, blend=None).s2.values
    assert np.abs(output - whole).max() <= 1e-6
    result = lazy.cloudfree.reconstruct(model=model)
    assert np.abs(result.s2.values - composite.s2.values).max() <= 1e-6
    np.testing.assert_array_equal(result.provenance.values, composite.provenance.values)


@pytest.mark.parametrize(
    ("name", "options", "blocks"),
    [
        ("carf-small", {}, {96: [(0, 0), (2, 3), (3, 3)], 128: [(1, 1)], 173: [(2, 1)]}),
        ("carf-small", {"base": "prior", "mask_input": True}, {96: [(3, 1)], 173: [(1, 1)]}),
        ("carf-small-f4", {}, {96: [(2, 2), (3, 3)], 128: [(0, 2)], 173: [(1, 1)]}),
        pytest.param("carf-base", {}, {96: [(2, 2)], 173: [(2, 1)]}, marks=pytest.mark.slow),
    ],
)
def test_blocks_of_the_larger_variants_equal_the_whole(scene, name, options, blocks):
    """Some blocks in the corners and the middle; all of them in the slow test below."""
    model = random_model(name, **options)
    whole = whole_scene(model, scene)
    for chunk, places in blocks.items():
        lazy = scene.chunk(y=chunk, x=chunk).cloudfree.reconstruct(model=model, blend=None).s2
        for i, j in places:
            y = slice(i * chunk, min(HEIGHT, (i + 1) * chunk))
            x = slice(j * chunk, min(WIDTH, (j + 1) * chunk))
            assert np.abs(lazy.isel(y=y, x=x).values - whole[:, y, x]).max() <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",  # those with context read a series: test_context
    [n for n, (family, own) in VARIANTS.items() if family == "carf" and "context" not in own],
)
@pytest.mark.parametrize("chunk", [96, 128, 173, 512])
def test_every_block_of_every_variant_equals_the_whole(scene, name, chunk):
    model = random_model(name)
    whole = whole_scene(model, scene)
    lazy = scene.chunk(y=chunk, x=chunk)
    output = lazy.cloudfree.reconstruct(model=model, blend=None).s2.values
    assert np.abs(output - whole).max() <= 1e-6
    composite = scene.cloudfree.reconstruct(model=model).s2.values
    assert np.abs(lazy.cloudfree.reconstruct(model=model).s2.values - composite).max() <= 1e-6


def test_a_grid_shifted_by_two_pixels_is_noticed(scene, tiny, monkeypatch):
    """The exactness test can fail: the same halo on another grid gives other values."""
    model, whole, _ = tiny
    monkeypatch.setattr(CarfConfig, "stride", 2)
    shifted = Model(model.spec.replace(stride=2), model.network)
    output = scene.chunk(y=174, x=174).cloudfree.reconstruct(model=shifted, blend=None).s2.values
    assert np.abs(output - whole).max() > 1e-4


def test_a_short_halo_is_allowed_and_noticed(scene, tiny):
    model, whole, _ = tiny
    lazy = scene.chunk(y=128, x=128)
    short = lazy.cloudfree.reconstruct(model=model, blend=None, halo=0).s2.values
    assert np.abs(short - whole).max() > 1e-4
    with pytest.raises(ModelError, match="halo='exact'"):
        lazy.cloudfree.reconstruct(model=model, halo=-1)


FORMS = {
    "bands": make_bands,
    "integers": lambda: make_bands(dtype="uint16"),
    "doubles": lambda: make_bands(dtype="float64"),
    "stacked": lambda: stacked(make_bands()),
    "array": lambda: as_array(make_bands()),
    "one date": lambda: make_bands().isel(time=0),
    "time last": lambda: make_bands().transpose("y", "x", "time"),
}


@pytest.mark.parametrize(
    ("form", "lazy"),
    [
        *((form, True) for form in FORMS),
        *((form, False) for form in ("bands", "array")),
        *(
            pytest.param(form, False, marks=pytest.mark.slow)
            for form in FORMS if form not in ("bands", "array")
        ),
    ],
)  # fmt: skip
def test_the_form_that_came_in_comes_back(form, lazy):
    source = FORMS[form]()
    if lazy:
        source = source.chunk(y=16, x=20)
    model = random_model(base="prior")
    with no_computes():
        result = source.cloudfree.reconstruct(model=model)
    check_kept(source, result)
    plane = source.B02 if isinstance(source, xr.Dataset) and "B02" in source else None
    if plane is not None:
        check_plane(plane, result.provenance, "uint8")
    result = result.compute()
    provenance = result.coords["provenance"] if form == "array" else result.provenance
    mask = source.cloudfree.mask().compute()
    assert 0.1 < mask.mean() < 0.9
    before, after = _optical(source), _optical(result)
    assert (before.where(~mask) == after.where(~mask)).where(~mask, True).all()
    assert (before != after).where(mask, True).mean() > 0.99
    np.testing.assert_array_equal(provenance == 2, mask)
    np.testing.assert_array_equal(provenance == 1, ~mask)


def _optical(obj):
    if isinstance(obj, xr.DataArray):
        return obj.sel(band=BANDS).drop_vars("provenance", errors="ignore")
    return obj.s2 if "s2" in obj else obj[BANDS].to_dataarray("band")


def test_all_forms_give_the_same_values():
    model = random_model(base="prior", mask_input=True)
    results = [
        _optical(FORMS[f]().cloudfree.reconstruct(model=model)).transpose("band", "time", "y", "x")
        for f in ("bands", "stacked", "array", "time last")
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].values, other.values)


def test_missing_data_is_never_invented():
    ds = make_bands().chunk(y=16, x=20)
    model = random_model(base="prior")
    mask = ds.cloudfree.mask().compute()
    holes = {"VH": (20, 30), "B05": (44, 37), "VV": (0, 20)}  # cloud, cloud, clear
    gaps = {n: xr.zeros_like(mask) for n in holes}
    for name, (y, x) in holes.items():
        gaps[name][:, y, x] = True
        ds[name] = ds[name].where(~gaps[name])
    assert mask[0, 20, 30]
    assert mask[0, 44, 37]
    assert not mask[0, 0, 20]
    out = ds.cloudfree.reconstruct(model=model).compute()
    assert (out.provenance[:, 20, 30] == 3).all()  # occluded, no backscatter
    assert out[BANDS].isel(y=20, x=30).to_dataarray().isnull().all()
    assert (out.provenance[:, 44, 37] == 0).all()  # a band has no data: left as it came
    assert out.B05[:, 44, 37].isnull().all()
    assert (out.B04[:, 44, 37] == ds.B04[:, 44, 37]).all()
    assert (out.provenance[:, 0, 20] == 1).all()  # clear pixels need no backscatter
    finite = out[BANDS].to_dataarray().notnull().all("variable")
    np.testing.assert_array_equal(finite, ~(gaps["VH"] | gaps["B05"]))


def test_integers_keep_their_no_data():
    ds = make_bands(dtype="uint16")
    ds.B05[:, 44, 37] = 0
    ds["VV"] = ds.VV.where(ds.x < ds.x[30])
    out = ds.cloudfree.reconstruct(model=random_model(base="prior"))
    assert out.B05.dtype == "uint16"
    lost = out.provenance == 3
    assert lost.any()
    assert (out.B02.where(lost, 0) == 0).all()
    assert (out.B02.where(out.provenance == 2, 1) > 0).all()


def test_blocks_without_any_data_pass():
    ds = make_bands().chunk(y=15, x=19)
    ds[BANDS] = ds[BANDS].where(ds.y >= ds.y[15])
    ds["VV"] = ds.VV.where(ds.x < ds.x[19])
    out = ds.cloudfree.reconstruct(model=random_model(base="prior")).compute()
    assert (out.provenance[:, 16:] == 0).all()
    assert out.B02[:, 16:].isnull().all()


def test_clear_scenes_never_reach_the_network(monkeypatch):
    ds = make_bands()
    ds["B02"] = ds.B02.copy(data=np.full_like(ds.B02, 0.1))
    monkeypatch.setattr("xcloudfree.reconstruct.network.Network._forward", None)
    out = ds.cloudfree.reconstruct(model=random_model())
    xr.testing.assert_equal(out[BANDS], ds[BANDS])
    assert (out.provenance == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 2)])
def test_scenes_smaller_than_a_window(size):
    ds = make_bands(height=size[0], width=size[1])
    out = ds.chunk(y=1).cloudfree.reconstruct(model=random_model(), blend=None).compute()
    assert out[BANDS].to_dataarray().notnull().all()


def test_edge_chunks_of_one_pixel():
    ds = make_bands(height=33, width=33)
    model = random_model()
    expected = ds.cloudfree.reconstruct(model=model)
    out = ds.chunk(y=(16, 16, 1), x=(1, 31, 1)).cloudfree.reconstruct(model=model).compute()
    xr.testing.assert_allclose(out, expected, atol=1e-6)


def test_backscatter_changes_the_result_and_clear_pixels_do_not():
    ds = make_bands()
    model = random_model(base="prior")
    torch.nn.init.normal_(model.network.prior.spectrum.weight, std=0.1)
    one = ds.cloudfree.reconstruct(model=model)
    other = ds.assign(VV=ds.VV.copy(data=ds.VV - 3)).cloudfree.reconstruct(model=model)
    mask = ds.cloudfree.mask()
    difference = np.abs(one.B04 - other.B04)
    assert float(difference.where(mask).mean()) > 1e-3
    assert float(difference.where(~mask).max()) == 0


def test_few_tasks_a_block_and_no_weights_in_the_graph():
    empty = {n: da.zeros((c, 1024, 1024), "float32", chunks=(c, 64, 64)) for n, c in CHANNELS}
    scene = big_scene(1, 1).isel(y=0, x=0, drop=True)
    scene = scene.assign({n: ((*scene[n].dims, "y", "x"), empty[n], scene[n].attrs) for n in empty})
    out = scene.cloudfree.reconstruct(model=random_model())
    (graph,) = dask.optimize(out.s2.data)
    blocks = 16 * 16
    assert len(graph.dask) <= (3 + 1) * blocks + 8  # two sources, one reconstruction, one pick
    assert len(pickle.dumps(graph)) < 1.4e6 - 370e3  # the weights alone are 1.4 MB


@pytest.mark.parametrize("scheduler", ["sync", "threads"])  # processes: io/test_large_area
def test_schedulers_agree(scheduler):
    ds = make_bands()
    model = random_model(base="prior")
    expected = ds.cloudfree.reconstruct(model=model)
    lazy = ds.chunk(y=23, x=19).cloudfree.reconstruct(model=model)
    result = lazy.compute(scheduler=scheduler, num_workers=2)
    xr.testing.assert_allclose(result, expected, atol=1e-6)


def test_masks_of_every_kind_drive_the_reconstruction():
    ds = make_bands()
    model = random_model(base="prior")
    given = xr.zeros_like(ds.B02, dtype=bool)
    given[:, 3:9, 3:9] = True
    for mask in (given, lambda scene: given, given.isel(time=0, drop=True)):
        out = ds.chunk(y=20).cloudfree.reconstruct(model=model, mask=mask)
        np.testing.assert_array_equal(out.provenance == 2, given)
    wide = ds.cloudfree.reconstruct(model=model, mask=given, dilate=2)
    np.testing.assert_array_equal(wide.provenance == 2, ds.cloudfree.mask(given, dilate=2))
    with pytest.raises(CloudFreeError, match="astype"):
        ds.cloudfree.reconstruct(model=model, mask=given.astype(int))
    with pytest.raises(GridError, match="grid of the scene"):
        ds.cloudfree.reconstruct(model=model, mask=given.assign_coords(x=given.x + 5))


def test_the_halo_covers_the_mask_as_well(scene):
    model = random_model(base="prior", mask_input=True)
    options = {"model": model, "mask": "reference-code", "dilate": 5}
    expected = scene.cloudfree.reconstruct(**options)
    result = scene.chunk(y=173, x=128).cloudfree.reconstruct(**options)
    np.testing.assert_array_equal(result.provenance, expected.provenance)
    assert np.abs(result.s2 - expected.s2).max() <= 1e-6


def test_wrong_data_is_refused():
    ds = make_bands()
    model = random_model()
    with pytest.raises(MissingBandError, match="B07"):
        ds.drop_vars("B07").cloudfree.reconstruct(model=model)
    with pytest.raises(MissingBandError, match="VH"):
        ds.drop_vars("VH").cloudfree.reconstruct(model=model)
    surface = ds.cloudfree.calibrate(level="BOA")
    with pytest.raises(UnitsError, match="TOA"):
        surface.cloudfree.reconstruct(model=model)
    low = random_model(optical_bands=("B01", "B02", "B03", "B04", "B11"), level="BOA")
    undeclared = ds.drop_vars("B10").copy(deep=True)
    for name in S2_BANDS:
        if name != "B10":
            undeclared[name].attrs.pop("processing_level", None)
    with pytest.raises(UnitsError, match=r"calibrate\(level='BOA'\)"):
        undeclared.cloudfree.reconstruct(model=low, mask="l2a")
    with pytest.raises(ModelError, match=r"models.list\(\)"):
        ds.cloudfree.reconstruct(model=3)
    mixed = ds.assign(B04=ds.B04.astype("float64"))
    with pytest.raises(UnitsError, match="astype"):
        mixed.cloudfree.reconstruct(model=model)


def test_wrong_units_are_noticed_when_the_values_are_seen():
    ds = make_bands()
    power = ds.assign(VV=10 ** (ds.VV / 10), VH=10 ** (ds.VH / 10))
    for name in ("VV", "VH"):
        power[name].attrs = {"units": "dB"}
    with pytest.raises(UnitsError, match='sar="linear"'):
        power.cloudfree.reconstruct(model=random_model())
    lazy = power.chunk(y=20).cloudfree.reconstruct(model=random_model())
    with pytest.raises(UnitsError, match='sar="linear"'):
        lazy.compute()


@pytest.mark.parametrize("cover", ["cloudy", "clear"])
def test_decibels_declared_as_power_are_no_gap_of_the_radar(cover):
    ds = make_bands()
    if cover == "clear":
        ds = ds.assign({name: ds[name] * 0 + 0.01 for name in S2_BANDS})
        ds = ds.assign({name: ds[name].assign_attrs(processing_level="TOA") for name in S2_BANDS})
    wrong = ds.cloudfree.calibrate(sar="linear")
    with pytest.raises(UnitsError, match=r'calibrate\(sar="dB"\)'):
        wrong.cloudfree.reconstruct(model=random_model("carf-tiny"))


def test_warnings_say_what_the_weights_are():
    ds = make_bands()
    with pytest.warns(UntrainedWarning, match="not fitted"):
        ds.cloudfree.reconstruct(model=random_model())
    fitted = random_model()
    fitted.spec = fitted.spec.replace(trained=True)
    gamma = ds.cloudfree.calibrate(quantity="gamma0")
    with pytest.warns(QuantityWarning, match="gamma0"):
        gamma.cloudfree.reconstruct(model=fitted)


@pytest.mark.filterwarnings("ignore:.*does not reconstruct")
def test_bands_that_the_model_lacks_become_no_data_under_the_mask():
    ds = make_bands()
    model = random_model(optical_bands=("B02", "B03", "B04"), base="prior")
    out = ds.cloudfree.reconstruct(model=model)
    mask = ds.cloudfree.mask()
    assert out.B08.where(mask).isnull().all()
    assert (out.B08 == ds.B08).where(~mask, True).all()
    assert out.B04.notnull().all()


def test_weights_changed_in_place_are_used():
    ds = make_bands()
    model = random_model(base="prior")
    before = ds.cloudfree.reconstruct(model=model).B04
    torch.nn.init.constant_(model.network.restore.bias, 0.2)
    after = ds.cloudfree.reconstruct(model=model).B04
    assert np.abs(after - before).max() > 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"blend": "linear"}, {"dilate": 2.5}, {"dilate": True}, {"halo": True}, {"halo": "wide"},
        {"device": "gpu"}, {"device": "meta"}, {"device": 3.5},
    ],
)  # fmt: skip
def test_wrong_options_are_refused_at_once(wrong):
    kind = CloudFreeError if "dilate" in wrong else ModelError  # of the mask, or of the model
    with pytest.raises(kind, match=r"reconstruct\("):
        make_bands().cloudfree.reconstruct(model=random_model(), **wrong)


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_weights_that_overflow_are_noticed(dtype):
    """Finite weights, but no pixel may be called reconstructed that has no value."""
    model = random_model()
    torch.nn.init.constant_(model.network.restore.weight, 1e38)
    with pytest.raises(xcf.exceptions.WeightsError, match=r"not finite.*reconstruct\(model="):
        make_bands(dtype=dtype).cloudfree.reconstruct(model=model)


def test_a_device_may_be_one_of_torch():
    ds, model = make_bands(dates=1), random_model(base="prior")
    by_name = ds.cloudfree.reconstruct(model=model, device="cpu")
    given = ds.cloudfree.reconstruct(model=model, device=torch.device("cpu"))
    xr.testing.assert_identical(without_record(given), without_record(by_name))


@pytest.mark.parametrize("lazy", [False, True])
def test_one_band_and_one_polarisation_are_enough(lazy):
    """Variables give what an array with a band dimension of length 1 gives."""
    ds = make_bands()
    model = random_model(base="prior", optical_bands=("B04",), polarisations=("VH",))
    options = {"model": model, "mask": ds.cloudfree.mask()}
    s2 = ds[["B04"]].to_dataarray("band").assign_attrs(ds.B04.attrs)
    s1 = ds[["VH"]].to_dataarray("polarisation").assign_attrs(ds.VH.attrs)
    expected = xr.Dataset({"s2": s2, "s1": s1}).cloudfree.reconstruct(**options).s2[0]
    alone = ds[["B04", "VH"]]
    out = (alone.chunk(y=20, x=20) if lazy else alone).cloudfree.reconstruct(**options)
    np.testing.assert_array_equal(out.B04, expected)
    assert (out.B04 != ds.B04).any()


def test_threads_may_refer_to_one_model_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = random_model()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: reference(model)[0], range(24)))
    assert len(set(found)) == 1
    assert [p.suffix for p in (tmp_path / "xcloudfree").iterdir()] == [".safetensors"]


def test_a_changed_file_is_noticed(tmp_path):
    path = randomised(xcf.models.create("carf-tiny"), seed=77).save(tmp_path / "m.safetensors")
    lazy = make_bands().chunk(y=20).cloudfree.reconstruct(model=path)
    randomised(xcf.models.create("carf-tiny"), seed=9).save(path)
    with pytest.raises(xcf.exceptions.WeightsError, match="changed"):
        lazy.compute()
