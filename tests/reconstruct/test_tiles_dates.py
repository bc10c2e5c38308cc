"""Networks that read their whole input, several dates, or estimate their own error."""

import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, make_bands, stacked
from tests.checks import check_kept, no_computes
from tests.goldens import golden, renamed
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError, ModelError, SeamWarning
from xcloudfree.models.uncrtaints import UncrtaintsConfig, published_name
from xcloudfree.reconstruct.dates import nearest_dates, nearest_groups
from xcloudfree.reconstruct.network import MICRO_BATCH

pytestmark = [
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.SeamWarning"),
]

BANDS = list(S2_BANDS)
SMALL = {"width": 16, "heads": 4, "d_model": 16, "decoder_blocks": 1}


@pytest.fixture
def tiled(monkeypatch):
    """A network that sees all of its input, in tiles of 16 pixels."""
    monkeypatch.setattr(UncrtaintsConfig, "tile", 16)
    return xcf.models.create("uncrtaints", **SMALL)


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(("chunk", "blend"), [(7, "feather"), (16, None), (19, "feather")])
def test_tiles_give_one_result_for_all_chunks(tiled, chunk, blend):
    ds = stacked(make_bands())
    options = {"model": tiled, "blend": blend, "uncertainty": True, "dilate": 1}
    whole = ds.cloudfree.reconstruct(**options)
    with no_computes():
        lazy = ds.chunk(y=chunk, x=chunk, time=1).cloudfree.reconstruct(**options)
    lazy = lazy.compute()
    for name in ("s2", "s2_std", "provenance"):
        same(lazy[name], whole[name])


def test_a_tile_is_what_the_network_says_of_that_tile_alone(tiled):
    """With no overlap, and away from a second tile, the output is the network's own."""
    ds = stacked(make_bands(dates=1))
    out = ds.cloudfree.reconstruct(model=tiled, blend=None, halo=0)
    part = {"y": slice(16, 32), "x": slice(0, 16)}
    x, r = tiled.normalise(ds.s2.isel(part).values, ds.s1.isel(part).values)
    with torch.inference_mode():
        own = tiled.denormalise(tiled.network(x, r))
    alone = {"y": slice(16, 29), "x": slice(0, 16)}  # the last tile begins at 45 - 16
    np.testing.assert_allclose(out.s2.isel(alone).values, own[:, :, :13], atol=2e-6)


def test_tiles_are_announced_in_words(tiled):
    with pytest.warns(SeamWarning, match=r"fixed tiles of 16 x 16 pixels that overlap by 4"):
        make_bands().cloudfree.reconstruct(model=tiled)
    with pytest.raises(ModelError, match=r"reconstruct\(halo=4\)"):
        make_bands().cloudfree.reconstruct(model=tiled, halo=9)


def test_batches_change_nothing_but_rounding(tiled, monkeypatch):
    ds = stacked(make_bands())
    one = ds.cloudfree.reconstruct(model=tiled, device="cpu").s2
    monkeypatch.setitem(MICRO_BATCH, "cpu", 3)
    several = ds.cloudfree.reconstruct(model=tiled, device="cpu").s2
    np.testing.assert_allclose(several, one, atol=2e-6)


@pytest.mark.parametrize("form", [lambda ds: ds, stacked, as_array])
def test_the_standard_deviation_comes_in_the_form_of_the_input(tiled, form):
    ds = form(make_bands(dtype="uint16")).chunk(y=20, x=20, time=1)
    with no_computes():
        out = ds.cloudfree.reconstruct(model=tiled, uncertainty=True)
    check_kept(ds, out.drop_vars("std", errors="ignore"))
    spread = out["std"] if "std" in out.coords else out.get("s2_std", out.get("B02_std"))
    assert spread.dtype == "float32"
    if "band" in spread.dims:
        spread = spread.sel(band="B02")
    known = spread.notnull()
    same(known, (out.provenance == 2).transpose(*known.dims))
    assert (spread.where(known, 1) > 0).all()


def test_a_network_without_variance_has_the_deviation_of_hidden_ground():
    model = xcf.models.create("carf-tiny", base="prior")
    ds, mask = make_bands(), xr.zeros_like(make_bands().B02, bool)
    mask[..., 5:20, 5:25] = True
    options = {"model": model, "mask": mask, "interval": 0.9, "uncertainty": True}
    whole = ds.cloudfree.reconstruct(**options)
    assert (whole.B02_std > 0).where(whole.provenance == 2, True).all()
    lazy = ds.chunk(y=16, x=20).cloudfree.reconstruct(**options)
    for name in ("B02_std", "B8A_lower", "B8A_upper"):
        same(lazy[name], whole[name])


def test_the_dates_nearest_in_time_are_taken():
    days = np.array([10.0, 0.0, 12.0, 30.0, 30.0])
    assert nearest_dates(days, 3).tolist() == [
        [0, 2, 1], [1, 0, 2], [2, 0, 1], [3, 4, 2], [4, 3, 2],
    ]  # fmt: skip


def physical(case):
    """A golden sequence as a scene: (time, band, y, x) in reflectance and dB."""
    inputs = case.inputs()
    sequence = inputs["sequence"][0].double().numpy() / 10
    days = inputs["dates"][0].double().numpy()
    times = np.datetime64("2014-04-03", "ns") + (days * 86400e9).astype("timedelta64[ns]")
    dims = ("time", "band", "y", "x")
    s2 = xr.DataArray(
        sequence[:, 2:].astype("float32"), dims=dims, coords={"band": BANDS, "time": times},
        attrs={"units": "1", "processing_level": "TOA"},
    )  # fmt: skip
    s1 = xr.DataArray(
        (sequence[:, :2] * 25 - 25).astype("float32"), dims=("time", "polarisation", "y", "x"),
        coords={"polarisation": ["VV", "VH"]}, attrs={"units": "dB"},
    )  # fmt: skip
    return xr.Dataset({"s2": s2, "s1": s1})


@pytest.mark.parametrize("lazy", [False, True])
def test_a_series_gives_the_golden_image_at_every_date(lazy):
    """The output does not depend on the order of the dates, so each date gets the same image."""
    case = golden("uncrtaints/t3_64")
    model = xcf.models.create("uncrtaints-t3")
    model.network.load_state_dict(renamed(case.state(), published_name))
    ds = physical(case)
    if lazy:
        ds = ds.chunk(time=1, y=40, x=64)
    out = ds.cloudfree.reconstruct(model=model, blend=None, uncertainty=True).compute()
    expected = np.load(case.folder / "io.npz")
    tolerance = case.about["tolerance"]["mean"]["max_abs"]
    for date in range(3):
        got = out.isel(time=date)
        assert np.abs(got.s2 * 10 - expected["out_mean"][0]).max() < 2 * tolerance
        assert np.abs((got.s2_std * 10) ** 2 - expected["out_variance"][0]).max() < 3 * tolerance


def test_the_day_lies_between_the_two_sensors():
    ds = make_bands(dates=3)
    model = xcf.models.create("uncrtaints-t3", **SMALL)
    plain = ds.cloudfree.reconstruct(model=model, blend=None)
    gap = ("time", np.array([2, 2, -30], "timedelta64[D]").astype("timedelta64[ns]"))
    moved = ds.assign_coords(time_gap=gap).cloudfree.reconstruct(model=model, blend=None)
    assert np.abs(plain.B02 - moved.B02).max() > 1e-7


def test_the_day_of_a_date_lies_halfway_between_the_sensors():
    ds = make_bands(dates=3)
    spec = xcf.models.create("uncrtaints-t3", **SMALL).spec
    plain = nearest_groups(read(ds), spec)[0][0][:, 0, 0]
    gap = ("time", np.array([24, -12, "NaT"], "timedelta64[h]").astype("timedelta64[ns]"))
    days = nearest_groups(read(ds.assign_coords(time_gap=gap)), spec)[0][0][:, 0, 0]
    np.testing.assert_allclose(days - plain, [0.5, -0.25, 0], atol=1e-3)
    np.testing.assert_array_equal(np.diff(plain), [5, 5])


def test_too_few_dates_and_no_time_are_refused():
    model = xcf.models.create("uncrtaints-t3", **SMALL)
    with pytest.raises(DataError, match=r'3 dates and the data has 2.*model="uncrtaints"'):
        make_bands(dates=2).cloudfree.reconstruct(model=model)
    with pytest.raises(DataError, match=r"no time coordinate.*assign_coords"):
        make_bands(dates=2).isel(time=0, drop=True).cloudfree.reconstruct(model=model)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0, 1, 2], r"contains int64 instead of dates.*assign_coords\(time="),
        (["1 June 2025", "2 June 2025", "4 June 2025"], r"instead of dates.*pandas\.to_datetime"),
        (["June", "July", "later"], r"instead of dates.*pandas\.date_range"),
        (np.array(["2025-06-01", "NaT", "2025-06-11"], "datetime64[ns]"), r"1 of 3.*notnull"),
    ],
)
def test_a_time_that_is_no_date_is_refused(times, words):
    model = xcf.models.create("uncrtaints-t3", **SMALL)
    with pytest.raises(DataError, match=words):
        make_bands(dates=3).assign_coords(time=times).cloudfree.reconstruct(model=model)


def test_one_band_is_enough_for_a_series():
    model = xcf.models.create(
        "uncrtaints-t3", optical_bands=("B04",), polarisations=("VV",), **SMALL
    )
    ds = make_bands(dates=3)
    options = {"model": model, "mask": ds.B04 > 0.3}
    alone = ds[["B04", "VV"]]
    s2 = ds[["B04"]].to_dataarray("band").assign_attrs(ds.B04.attrs)
    s1 = ds[["VV"]].to_dataarray("polarisation").assign_attrs(ds.VV.attrs)
    expected = xr.Dataset({"s2": s2, "s1": s1}).cloudfree.reconstruct(**options).s2[0]
    same(alone.cloudfree.reconstruct(**options).B04, expected)
    lazy = alone.chunk(time=1, y=20).cloudfree.reconstruct(**options).B04
    np.testing.assert_allclose(lazy, expected, atol=2e-6)  # sums over a tile, by other threads


def test_half_precision_changes_reflectance_by_little():
    ds = stacked(make_bands())
    model = xcf.models.create("carf-tiny", base="prior")
    torch.nn.init.normal_(model.network.restore.weight, std=0.02)
    full = ds.cloudfree.reconstruct(model=model, blend=None).s2
    half = ds.cloudfree.reconstruct(model=model, blend=None, precision="bfloat16").s2
    difference = np.abs(full - half)
    assert 0 < difference.max() < 0.02
    with pytest.raises(ModelError, match="precision='float32'"):
        ds.cloudfree.reconstruct(model=model, precision="float16")
