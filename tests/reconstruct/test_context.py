"""Temporal context: what other dates show, exact over chunks, and networks that read it."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xcloudfree as xcf
from tests.builders import FEW, as_array, blobs, make_series, stacked
from tests.checks import no_computes
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.exceptions import DataError, MissingBandError, ModelError, WeightsError
from xcloudfree.methods import temporal_context as kernel
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.pipeline import reconstruct

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")


@pytest.fixture(scope="module")
def series():
    return make_series()


def pixel(values, days, **bands):
    times = np.datetime64("2025-06-01", "ns") + np.array(days) * np.timedelta64(1, "D")
    data = {"B04": (("time", "y", "x"), np.array(values, "float32").reshape(-1, 1, 1))}
    return xr.Dataset(data, coords={"time": times})


def test_context_of_one_pixel_by_hand():
    ds = pixel([0.1, 0.9, 0.3, 0.8, 0.5], [0, 4, 6, 11, 21])
    around = ds.cloudfree.context(mask=ds.B04 > 0.6)
    found = {name: around[name].values.ravel() for name in around}
    np.testing.assert_allclose(found["before"], [np.nan, 0.1, 0.1, 0.3, 0.3], atol=1e-6)
    np.testing.assert_allclose(found["before_age"], [np.nan, 4, 6, 5, 15])
    np.testing.assert_allclose(found["after"], [0.3, 0.3, 0.5, 0.5, np.nan], atol=1e-6)
    np.testing.assert_allclose(found["after_age"], [6, 2, 15, 10, np.nan])


def test_what_is_near_is_passed_over():
    ds = pixel([0.1, 0.2, 0.3, 0.4], [0, 5, 10, 20])
    around = ds.cloudfree.context(mask=ds.B04 > 1, least=5)
    np.testing.assert_allclose(around.before.values.ravel(), [np.nan, np.nan, 0.1, 0.3])
    np.testing.assert_allclose(around.after.values.ravel(), [0.3, 0.4, 0.4, np.nan])
    np.testing.assert_allclose(around.after_age.values.ravel(), [10, 15, 10, np.nan])


def test_each_observation_is_a_clear_one_and_none_lies_between(series):
    mask = blobs().values
    around = series.cloudfree.context(mask=blobs())
    days = (series.time.values - series.time.values[0]) / np.timedelta64(1, "D")
    truth = np.stack([series[str(b)].values for b in around.band.values], 1)
    for side in ("before", "after"):
        values, ages = around[side].values, around[f"{side}_age"].values
        for t, y, x in np.ndindex(7, 40, 33):
            dates = [
                s for s in (range(t) if side == "before" else range(t + 1, 7)) if not mask[s, y, x]
            ]
            if not dates:
                assert np.isnan(values[t, :, y, x]).all()
                assert np.isnan(ages[t, y, x])
                continue
            nearest = max(dates) if side == "before" else min(dates)
            assert (values[t, :, y, x] == truth[nearest, :, y, x]).all()
            assert ages[t, y, x] == abs(days[t] - days[nearest])


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_chunks_give_the_same_bits(series, data):
    sizes = {d: data.draw(st.integers(1, n)) for d, n in (("time", 7), ("y", 40), ("x", 33))}
    sizes = {d: max(n, 7 if d != "time" else 1) for d, n in sizes.items()}
    few = series[FEW]
    with no_computes():
        lazy = few.chunk(sizes).cloudfree.context(mask=blobs())
    assert lazy.before.chunksizes["time"] == few.chunk(sizes).chunksizes["time"]
    xr.testing.assert_identical(lazy.compute(scheduler="sync"), few.cloudfree.context(mask=blobs()))


@pytest.mark.parametrize("form", [stacked, as_array])
def test_every_form_has_the_same_context(series, form):
    plain = series.cloudfree.context(mask=blobs())
    other = form(series).cloudfree.context(mask=blobs())
    xr.testing.assert_equal(plain.drop_vars("provenance", errors="ignore"), other)
    assert plain.before.dims == ("time", "band", "y", "x")
    assert plain.before.attrs["units"] == "1"
    assert plain.before_age.attrs["units"] == "days"
    assert plain.before.dtype == plain.after_age.dtype == np.float32


def test_the_order_of_dates_does_not_matter(series):
    order = [3, 0, 6, 1, 5, 2, 4]
    mixed = series.isel(time=order).cloudfree.context(mask=blobs().isel(time=order))
    xr.testing.assert_equal(mixed.sortby("time"), series.cloudfree.context(mask=blobs()))


def test_hidden_values_have_no_influence(series):
    garbage = series.copy()
    for name in ("B02", "B8A"):
        garbage[name] = series[name].where(~blobs(), 0.77)
    xr.testing.assert_equal(
        garbage.cloudfree.context(mask=blobs()), series.cloudfree.context(mask=blobs())
    )


def test_scaled_planes_tell_age_and_absence():
    names = kernel.NAMES[:4]  # kernel-fusion is like the regression
    raw = np.full((1, kernel.planes(names, 2), 1, 2), np.nan, np.float32)
    raw[0, :3, 0, 0] = [0.2, 0.4, 60.0]
    raw[0, 6:, 0, 1] = [0.1, 0.3, 0.02, 0.03, 0.2, 0.5]
    out = kernel.scale(raw, names, 2, PRESETS["dsen2cr"])[0, :, 0]
    assert out.shape[0] == kernel.scaled_planes(names, 2)
    np.testing.assert_allclose(out[:, 0], [0.2, 0.4, 1 / 3, 1, *12 * [0]], atol=1e-6)
    np.testing.assert_allclose(out[:, 1], [*8 * [0], 0.1, 0.3, 0.2, 0.3, 1, 0.2, 0.5, 1], atol=1e-6)


BASES = [
    ("carf-tiny-regression", {}, "area-regression"),
    ("carf-tiny", {"base": "context"}, "linear-time"),
    ("carf-tiny", {"base": "kernel-fusion"}, "kernel-fusion"),
]


@pytest.mark.parametrize("blend", ["feather", pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "options", "method"), BASES)
def test_the_untrained_network_is_the_best_cheap_method(series, blend, name, options, method):
    model = xcf.models.create(name, **options)
    out = series.cloudfree.reconstruct(model=model, mask=blobs(), blend=blend)
    cheap = series.cloudfree.reconstruct(model=method, mask=blobs(), blend=blend)
    known = cheap.provenance == 2
    assert int(known.sum()) > 1000
    for band in model.spec.optical_bands:
        np.testing.assert_allclose(
            out[band].where(known), cheap[band].where(known), atol=1e-6, equal_nan=True
        )


def test_without_any_other_date_the_base_is_the_prior(series):
    mask = blobs().copy()
    mask[:, 3, 3] = True
    model = xcf.models.create("carf-tiny-regression")
    out = series.cloudfree.reconstruct(model=model, mask=mask, blend=None)
    np.testing.assert_allclose(out.B04.values[:, 3, 3], 0.1, atol=1e-6)
    assert (out.provenance[:, 3, 3] == 2).all()


WITHOUT = {"polarisations": (), "moved": False, "features": 8, "growth": 4, "stages": 1}


def randomised(name, **options):
    model = xcf.models.create(name, **options)
    torch.manual_seed(3)
    torch.nn.init.normal_(model.network.restore.weight, std=0.02)
    if hasattr(model.network, "nearby"):
        torch.nn.init.normal_(model.network.nearby, std=0.05)
    return model


@pytest.fixture(scope="module")
def wide():
    return make_series(112, 64, dates=4)


DATES, ROWS = {"time": 1, "y": 48, "x": 40}, {"time": 3, "y": 60, "x": 64}


@pytest.mark.parametrize(
    ("base", "sizes"),
    [
        ("regression", DATES),
        ("kernel-fusion", ROWS),
        pytest.param("regression", ROWS, marks=pytest.mark.slow),
        pytest.param("kernel-fusion", DATES, marks=pytest.mark.slow),
    ],
)
def test_a_network_with_context_is_exact_over_chunks(wide, base, sizes):
    model = randomised("carf-tiny", base=base)
    mask = blobs(112, 64, 4)
    whole = reconstruct(wide, model=model, mask=mask)
    with no_computes():
        lazy = wide.chunk(sizes).cloudfree.reconstruct(model=model, mask=mask)
    assert lazy.B02.chunksizes["y"] == wide.chunk(sizes).chunksizes["y"]
    tolerance = 3e-6 if base == "regression" else 0
    xr.testing.assert_allclose(lazy.compute(scheduler="sync"), whole, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dates", [None, 0])
def test_a_network_on_kernel_fusion_keeps_what_that_does(series, dates):
    """A series or one date: its flags, its deviation, and where it has no estimate."""
    ds, mask = (a if dates is None else a.isel(time=dates) for a in (series, blobs()))
    bare = ds.drop_vars(["VV", "VH"])
    model = xcf.models.create("carf-bandwise", base="kernel-fusion", context=(), **WITHOUT)
    out = bare.cloudfree.reconstruct(model=model, mask=mask)
    base = bare.cloudfree.reconstruct(model="kernel-fusion", mask=mask)
    xr.testing.assert_allclose(out.drop_attrs(), base.drop_attrs(), rtol=0, atol=1e-6)
    assert int(out.quality.max()) > 0
    moved = randomised("carf-bandwise", base="kernel-fusion", context=(), **WITHOUT)
    assert not moved.spec.polarisations
    other = bare.cloudfree.reconstruct(model=moved, mask=mask)
    assert float(abs(other.B04 - base.B04).where(mask).max()) > 1e-3
    xr.testing.assert_identical(other.quality.drop_attrs(), base.quality.drop_attrs())


def test_garbage_under_the_clouds_changes_nothing(series):
    model = randomised("carf-tiny-regression")
    garbage = series.copy()
    for name in model.spec.optical_bands:
        garbage[name] = series[name].where(~blobs(), 0.77)
    one, other = (
        reconstruct(ds, model=model, mask=blobs())[["B02", "B12"]] for ds in (series, garbage)
    )
    xr.testing.assert_equal(one, other)


def test_ages_and_sides_are_read():
    model = randomised("carf-tiny", context=("before", "after"))
    optical, sar = torch.rand(1, 13, 32, 32), torch.rand(1, 2, 32, 32)
    planes = np.full((1, 28, 32, 32), 0.2, np.float32)
    planes[:, [13, 27]] = 10
    older, single = planes.copy(), planes.copy()
    older[:, 13] = 40
    single[:, :14] = np.nan
    outs = [
        model.network(optical, sar, context=model.scale_context(p)) for p in (planes, older, single)
    ]
    assert not torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    assert all(o.isfinite().all() for o in outs)
    with pytest.raises(ValueError, match="context"):
        model.network(optical, sar)


def test_the_specification_survives_a_file(tmp_path):
    model = xcf.models.create("carf-small-regression", context=("after", "regression"))
    again = xcf.models.load(model.save(tmp_path / "a.safetensors"))
    assert again.spec == model.spec
    assert again.spec.context == ("after", "regression")
    assert again.digest == model.digest
    lie = model.spec.replace(context=("before",))
    model.spec = lie
    with pytest.raises(WeightsError, match="context"):
        xcf.models.load(model.save(tmp_path / "lie.safetensors"))


def test_a_specification_without_context_is_written_as_before():
    plain = json.loads(xcf.models.create("carf-tiny").spec.to_json())
    assert plain["spec_version"] == 1
    assert "context" not in plain
    assert ModelSpec.from_json(json.dumps(plain)).context == ()
    wide = json.loads(xcf.models.create("carf-small-context").spec.to_json())
    assert (wide["spec_version"], wide["context"]) == (2, ["before", "after"])


def test_what_cannot_work_is_refused_with_the_call_that_mends_it(series):
    model, mask = xcf.models.create("carf-tiny-regression"), blobs()
    with pytest.raises(DataError, match="assign_coords"):
        series.drop_vars("time").cloudfree.reconstruct(model=model, mask=mask)
    with pytest.raises(DataError, match="longer interval"):
        series.isel(time=[0]).cloudfree.reconstruct(model=model, mask=mask[:1])
    with pytest.raises(DataError, match="least=15"):
        series.cloudfree.context(mask=mask, least=-1)
    with pytest.raises(MissingBandError, match="optical"):
        series[["VV", "VH"]].cloudfree.context(mask=mask)
    with pytest.raises(MissingBandError, match="Sentinel-1"):
        series.drop_vars(["VV", "VH"]).cloudfree.reconstruct(model=model, mask=mask)
    with pytest.raises(ModelError, match="before"):
        xcf.models.create("carf-tiny", context=("yesterday",))


def test_what_is_visible_nearby_can_be_laid_over_what_is_hidden():
    model = xcf.models.create("carf-tiny", base="context")
    planes = np.full((1, 28, 32, 32), 0.2, np.float32)
    planes[:, [13, 27]] = 10
    optical = torch.full((1, 13, 32, 32), 0.22)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 15:18, 15:18] = 1
    optical[..., 15:18, 15:18] = 0.9
    inputs = {"mask": mask, "context": model.scale_context(planes)}
    with torch.no_grad():
        before = model.network(optical, torch.rand(1, 2, 32, 32), **inputs)
        model.network.nearby[0] = 0.1
        after = model.network(optical, torch.rand(1, 2, 32, 32), **inputs)
    np.testing.assert_allclose(before[..., 16, 16], 0.2, atol=1e-6)
    np.testing.assert_allclose(after[..., 16, 16], 0.22, atol=2e-3)
    far = mask.clone()
    far[..., 3:30, 3:30] = 1
    with torch.no_grad():
        alone = model.network(
            optical, torch.rand(1, 2, 32, 32), mask=far, context=inputs["context"]
        )
    np.testing.assert_allclose(alone[..., 16, 16], 0.2, atol=1e-6)


def test_bounds_of_a_network_that_reads_other_dates_are_the_same_over_all_chunks():
    cover = [0.1, 0.4, 0.05, 0.3]
    ds = xcf.datasets.simulate_scene((32, 24), dates=4, cover=cover, seed=2, level="BOA")
    bands = ["B02", "B03", "B04", "B8A"]
    model = randomised("carf-tiny", base="kernel-fusion", level="BOA", optical_bands=bands)
    ds = ds[[*model.spec.optical_bands, "VV", "VH"]]
    mask = xr.zeros_like(ds.B02, bool)
    mask[1, 4:20, 4:16] = True
    options = {"model": model, "mask": mask, "shadow": False, "interval": 0.9}
    whole = ds.cloudfree.reconstruct(**options)
    assert (whole.B02_lower < whole.B02_upper).where(mask, True).all()
    lazy = ds.chunk(time=1, y=16, x=13).cloudfree.reconstruct(**options)
    lazy = lazy[["B02_lower", "B03_upper"]].compute()
    for name in lazy:
        np.testing.assert_array_equal(lazy[name], whole[name])
