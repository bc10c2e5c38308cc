"""ds.cloudfree.judge(): against cases made by hand, twins, chunks, forms, winners, refusals."""

import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

import xcloudfree as xcf
from tests import real_series
from xcloudfree import judge as bench
from xcloudfree.exceptions import CloudFreeError, DataError, ModelError
from xcloudfree.judge.own_scene import PLACES, TRIES
from xcloudfree.judge.places import AROUND, windows_of
from xcloudfree.judge.scene_table import DISTANCES
from xcloudfree.reconstruct import reconstruct

FIGURES = ["psnr", "mae", "bias", "sam", "reconstructed", "pixels"]
CHEAP = ["linear-time", "median"]
COVER = [0, 0.5, 0, 0.5, 0, 0.6, 0, 0.4]


def simulated(side=48, **options):
    options = {"dates": len(COVER), "cover": COVER, "level": "BOA", "seed": 3} | options
    return xcf.datasets.simulate_scene((side, side), **options)


@pytest.fixture(scope="module")
def series():
    return simulated()[["B01", "B02", "B03", "B04", "B08", "B11", "VV", "VH"]]


@pytest.fixture(scope="module")
def table(series):
    return judged(series)


def judged(ds, models=CHEAP, **options):
    """A table with a quick mask."""
    options = {"gaps": [0, 7], "cases": 3, "mask": "l2a", "shadow": False} | options
    return ds.cloudfree.judge(models, progress=False, **options)


@pytest.fixture
def real(data_root):
    """Two bands of vegetation and more of a field in Tanzania, a year of it."""
    site = real_series.load(data_root, real_series.SITES[2])
    return site[["B05", "B8A", "B11", "B12", "SCL", "VV", "VH"]].isel(time=slice(0, 70))


def stack(ds, bands):
    return np.stack([ds[b].transpose("y", "x").values for b in bands]).clip(0, 1).astype(float)


def test_figures_of_a_real_series_are_those_of_a_benchmark_made_by_hand(real):
    table = real.cloudfree.judge(CHEAP, gaps=[0, 15], cases=3, seed=1, progress=False)
    whole = xcf.join_passes(real)
    hand = [
        case
        for case in bench.hidden_dates(
            whole, clear=whole.cloudfree.mask(), gaps=[0, 15], count=999, clouds=1, seed=1
        )
        if case.date in table.hidden_date.values
    ]
    assert len(hand) == 6
    result = xcf.benchmark(hand, ["do nothing", "clear mean", *CHEAP])
    means = bench.summary(result, ["gap"]).sel(pixels="cloudy")
    assert table.model.values.tolist() == means.method.values.tolist()
    assert table.gap.values.tolist() == means.gap.values.tolist()
    for name in ("psnr", "mae", "sam"):
        found = table[name].sel(distance="any")
        found = found if name == "sam" else found.sel(band="all")
        np.testing.assert_allclose(found, means.value.sel(metric=name), rtol=1e-10)


def test_bands_indices_and_distances_are_those_of_a_loop_written_by_hand(series):
    table = judged(series, ["median"], gaps=[0], cases=1)
    (date,) = table.hidden_date.values
    (case,) = (
        c
        for c in bench.hidden_dates(series, clear="l2a", gaps=[0], count=99, clouds=1)
        if c.date == date
    )
    bands = [str(b) for b in case.truth.data_vars]
    made = case.at_date(case.data.cloudfree.reconstruct(model="median", mask=case.hidden))
    guess, truth = stack(made, bands), stack(case.truth, bands)
    hidden, known = case.occluded.values, np.isfinite(truth).all(0)
    rows, columns = np.nonzero(~hidden & known)
    far = [np.hypot(rows - y, columns - x).min() for y, x in np.argwhere(hidden)]
    away = np.zeros(hidden.shape)
    away[hidden] = far
    found = table.sel(model="median", gap=0)
    total = 0
    for name, (low, high) in {"any": (0, np.inf), **DISTANCES}.items():
        use = hidden & known & (away > low) & (away <= high)
        total += use.sum() * (name != "any")
        assert found.pixels.sel(distance=name) == use.sum()
        if not use.any():
            assert np.isnan(found.psnr.sel(distance=name)).all()
            continue
        error = (guess - truth)[:, use]
        at = found.sel(distance=name)
        np.testing.assert_allclose(at.bias.sel(band=bands), error.mean(1), rtol=1e-9)
        np.testing.assert_allclose(at.mae.sel(band="all"), abs(error).mean(), rtol=1e-9)
        np.testing.assert_allclose(
            at.psnr.sel(band="B04"), -10 * np.log10((error[bands.index("B04")] ** 2).mean())
        )
        red, infrared = (bands.index(b) for b in ("B04", "B08"))
        ndvi = [(i[infrared] - i[red]) / (i[infrared] + i[red]) for i in (guess, truth)]
        np.testing.assert_allclose(
            at.bias.sel(band="NDVI"), (ndvi[0] - ndvi[1])[use].mean(), rtol=1e-9
        )
    assert total == found.pixels.sel(distance="any")


def twinned(series, seconds):
    """Half of the dates a second time, from another processing baseline."""
    twin = series.isel(time=slice(0, None, 2)).copy(deep=True)
    for band in (b for b in twin.data_vars if str(b).startswith("B")):
        twin[band] = twin[band] + np.float32(0.002)
    twin = twin.assign_coords(time=twin.time + np.timedelta64(seconds, "s"))
    return xr.concat([series, twin], "time").sortby("time")


@pytest.mark.parametrize("seconds", [pytest.param(0, marks=pytest.mark.slow), 12])
def test_another_image_of_the_same_pass_never_shows_the_truth(series, table, seconds):
    both = twinned(series, seconds)
    found = judged(both)
    xr.testing.assert_equal(found[FIGURES], table[FIGURES])  # joined: the first image of a pass
    # a mask that is given belongs to the images as they are, which are not joined
    given = judged(both, mask=both.cloudfree.mask("l2a"))
    assert both.sizes["time"] == 12
    np.testing.assert_array_equal(given.hidden_date.dt.floor("D"), table.hidden_date.dt.floor("D"))
    shown = {"distance": "any", "band": "all"}
    assert float((given.psnr - table.psnr).sel(shown).max()) < 1
    # a leak would be seen: the twin is 54 dB from the truth
    assert float(given.psnr.sel(shown).max()) < 45


@pytest.mark.parametrize("chunks", [{"y": 17, "x": 48}, {"time": 1, "y": 16, "x": 31}])
def test_chunks_change_no_bit(series, table, chunks):
    found = judged(series.chunk(chunks))
    xr.testing.assert_equal(found[FIGURES], table[FIGURES])
    assert found.psnr.chunks is None


def test_every_form_of_a_scene_has_the_same_table(series):
    names = [str(b) for b in series.data_vars if str(b).startswith("B")]
    optical, radar = series[names], series[["VV", "VH"]]
    attrs = {"units": "1", "processing_level": "BOA"}
    stacked = optical.to_dataarray("band").transpose("time", "band", "y", "x")
    s2, s1 = stacked.assign_attrs(attrs), radar.to_dataarray("polarization")
    two = xr.Dataset({"s2": s2, "s1": s1.assign_attrs(units="dB", quantity="gamma0")})
    one = s2.drop_attrs(deep=False).assign_attrs(attrs)
    expected = judged(series, gaps=[0])
    for form in (two, one, one.chunk(y=20), optical.rename(y="lat", x="lon")):
        found = judged(form, gaps=[0])
        xr.testing.assert_allclose(found[FIGURES], expected[FIGURES], rtol=1e-5)


def test_numbers_as_stored_have_the_same_table(series, table):
    stored = series.copy()
    for band in (b for b in series.data_vars if str(b).startswith("B")):
        numbers = (series[band] * 10000).round().astype("uint16")
        stored[band] = numbers.assign_attrs(scale_factor=1e-4, processing_level="BOA")
    found = judged(stored)
    assert abs(found.psnr - table.psnr).sel(distance="any", band="all").max() < 0.1


def test_of_a_large_lazy_scene_only_the_squares_are_read():
    read, small = [], simulated(96)

    def counting(block, block_info=None):
        read.append(block_info[0]["array-location"][-2:])
        return block

    large = small.pad(dict.fromkeys(("y", "x"), (0, 864)), mode="wrap").drop_vars(["y", "x"])
    lazy = large.chunk({"y": 64, "x": 64})  # 15 x 15 blocks
    lazy["B02"] = lazy.B02.copy(data=da.map_blocks(counting, lazy.B02.data, dtype="float32"))
    read.clear()  # dask tries the function once
    found = judged(lazy, ["median"], gaps=[0])
    assert lazy.B02.chunks is not None
    for row, column in zip(found.hidden_row.values, found.hidden_column.values, strict=True):
        assert any(a <= row < b and c <= column < d for (a, b), (c, d) in read)
    side = -(-(64 + 2 * AROUND) // 64) + 1
    assert len(read) <= PLACES * TRIES * side**2
    assert len(read) < 15**2 / 2


def test_squares_lie_in_a_grid_of_the_scene_and_are_drawn_by_the_seed():
    found = windows_of((261, 139), seed=4)
    assert len(found) == 8
    corners = {(rows.start, columns.start) for rows, columns in found}
    assert corners == {(2 + 64 * n, 5 + 64 * m) for n in range(4) for m in range(2)}
    assert found == windows_of((261, 139), seed=4)
    assert any(found != windows_of((261, 139), seed=s) for s in range(3))
    assert windows_of((50, 100), seed=0) == [(slice(0, 50), slice(18, 82))]


def broken(data, hidden):
    """Answers with the brightest cloud."""
    return data.map(lambda a: a.where(~hidden, 0.9).assign_attrs(a.attrs) if a.ndim == 3 else a)


def raising(data, hidden):
    raise ValueError("out of order")


def lazy_bones(data, hidden):
    """Fills half of what it could, and that perfectly by chance."""
    out = data.cloudfree.reconstruct(model="linear-time", mask=hidden)
    even = xr.DataArray(np.arange(out.sizes["x"]) % 2 == 0, dims="x")
    return out.map(lambda a: a.where(even | ~hidden) if a.dtype.kind == "f" else a)


def test_what_is_broken_loses_what_fails_says_so_and_what_leaves_out_is_not_ranked(series):
    rivals = {"median": "median", "broken": broken, "raising": raising, "half": lazy_bones}
    table = judged(series, rivals, gaps=[0], cases=2)
    psnr = table.psnr.sel(distance="any", band="all", gap=0)
    assert psnr.sel(model="broken") < psnr.sel(model="clear mean") < psnr.sel(model="median")
    assert table.attrs["winner"] == "median"
    assert np.isnan(psnr.sel(model="raising"))
    assert table.reconstructed.sel(model="raising", distance="any").item() == 0
    assert 0.3 < table.reconstructed.sel(model="half", distance="any").item() < 0.7
    text = bench.to_markdown(table)
    assert "raising failed on 2 of 2 cases: ValueError: out of order" in text
    assert "%)" in next(line for line in text.splitlines() if line.startswith("| half"))


def test_the_winner_is_the_best_mean_over_gaps_and_is_what_judged_takes(series, table):
    best = table.psnr.sel(distance="any", band="all", model=CHEAP).mean("gap").idxmax("model")
    assert table.attrs["winner"] == best.item()
    out = series.cloudfree.reconstruct(model=table)
    plain = series.cloudfree.reconstruct(model=best.item())
    xr.testing.assert_equal(out.drop_vars("provenance"), plain.drop_vars("provenance"))
    told = out.provenance.attrs
    assert told["model"] == best.item()
    assert told["model_reason"] == f"judged best: {table.attrs['winner_reason']}"
    assert (
        f"{float(table.psnr.sel(distance='any', band='all', model=best).mean()):.2f} dB"
        in (told["model_reason"])
    )


def test_the_table_travels_with_what_was_made_by_its_winner(series, table, tmp_path):
    out = series.cloudfree.reconstruct(model=table)
    found = json.loads(out.provenance.attrs["judge_table"])
    assert list(found["models"]) == table.model.values.tolist()
    assert found["gap_days"] == table.gap.values.tolist()
    for name, row in found["models"].items():
        expected = table.sel(model=name, distance="any", band="all")
        for figure in ("psnr", "mae", "bias", "reconstructed"):
            values = [np.nan if v is None else v for v in row[figure]]
            np.testing.assert_allclose(values, expected[figure], atol=1e-3)
    path = tmp_path / "out.zarr"
    assert xcf.io.to_zarr(out, path, progress=False).attrs["judge_table"]
    item = json.loads((tmp_path / "out.zarr.item.json").read_text())
    assert item["properties"]["xcloudfree:judge_table"] == found
    files = xcf.io.to_cog(out, tmp_path / "out.tif", progress=False)
    with rasterio.open(files[0]) as opened:
        assert json.loads(opened.tags()["judge_table"]) == found


def test_gaps_at_which_nothing_can_be_filled_do_not_decide(series):
    found = judged(series, gaps=[0, 400], cases=2)
    assert found.reconstructed.sel(gap=400, distance="any", model=CHEAP).max() < 0.99
    assert found.attrs["winner"] in CHEAP
    assert "mean over gaps of 0 days" in found.attrs["winner_reason"]
    lost = judged(series, gaps=[400], cases=1)
    assert lost.attrs["winner"] == ""
    with pytest.raises(ModelError, match="nothing has won"):
        series.cloudfree.reconstruct(model=lost)


def test_judged_judges_with_the_mask_of_the_call_first(series, monkeypatch):
    asked = []
    whole = bench.own_scene.judge_scene

    def few(obj, models=None, **options):
        asked.append(options)
        return whole(obj, CHEAP, gaps=[0], cases=1, mask=options["mask"], progress=False)

    monkeypatch.setattr(bench.own_scene, "judge_scene", few)
    out = series.cloudfree.reconstruct("judged", mask="l2a", dilate=2)
    assert out.provenance.attrs["model"] in CHEAP
    assert out.provenance.attrs["model_reason"].startswith("judged best: ")
    assert (asked[0]["mask"], asked[0]["dilate"]) == ("l2a", 2)
    with pytest.raises(ModelError, match=r'ds\.cloudfree\.reconstruct\(model="judged"\)$'):
        reconstruct(series, model="judged")
    with pytest.raises(ModelError, match="no table of judge"):
        series.cloudfree.reconstruct(model=series)


def test_a_method_with_settings_of_ones_own_is_judged_under_its_name(series):
    own = xcf.methods.get("median-10d")
    found = judged(series, [own, "median"], gaps=[0], cases=1)
    assert found.model.values.tolist()[-2:] == [own.name, "median"]
    assert (found.failure == "").all()


def test_the_table_is_printed_drawn_and_stored(table, tmp_path):
    text = bench.to_markdown(table, notes=False)
    assert text.splitlines()[0] == "| method | gap 0 | gap 7 |"
    row = next(line for line in text.splitlines() if line.startswith("| median"))
    shown = [float(cell.strip(" *")) for cell in row.split("|")[2:-1]]
    expected = table.psnr.sel(model="median", distance="any", band="all")
    np.testing.assert_allclose(shown, expected, atol=0.005001)
    assert "| up to 4 px |" in bench.to_markdown(table, by=["distance"])
    band = bench.to_markdown(table, by=["band"], metrics=["bias"]).splitlines()
    assert "| NDVI |" in band[0]
    bias = abs(table.bias.sel(distance="any", band="NDVI").mean("gap")).values
    best = str(table.model.values[int(bias.argmin())])
    column = band[0].split("|").index(" NDVI ")
    bold = [r.split("|")[1].strip() for r in band[2:] if "**" in r.split("|")[column]]
    assert bold == [best]
    assert r"\begin{tabular}{lrr}" in bench.to_latex(table)
    pytest.importorskip("matplotlib")
    (axis,) = bench.plot(table).axes
    assert {line.get_label() for line in axis.lines} >= set(CHEAP)
    pytest.importorskip("h5netcdf")
    table.to_netcdf(tmp_path / "table.nc", engine="h5netcdf")
    table.to_zarr(tmp_path / "table.zarr", zarr_format=2)
    for back in (xr.open_dataset(tmp_path / "table.nc"), xr.open_zarr(tmp_path / "table.zarr")):
        xr.testing.assert_equal(back[FIGURES].load(), table[FIGURES])
        assert back.attrs == table.attrs
        back.close()
    with pytest.raises(DataError, match="cases have no 'gab'"):
        bench.summary(table, ["gab"])


def test_one_image_is_hidden_under_its_own_clouds_mirrored():
    ds = simulated(64, dates=1, cover=0.35).isel(time=0)
    seen = []

    def spy(data, hidden):
        seen.append((data, hidden))
        return data.cloudfree.reconstruct(model="idw", mask=hidden)

    found = judged(ds, [spy, "idw"], cases=2)
    assert np.isnan(found.gap.values).all()
    assert found.attrs["winner"] in ("spy", "idw")
    psnr = found.psnr.sel(distance="any", band="all").squeeze()
    assert psnr.sel(model="idw") > psnr.sel(model="clear mean")
    np.testing.assert_array_equal(psnr.sel(model="idw"), psnr.sel(model="spy"))
    cloudy = ds.cloudfree.mask("l2a").values
    assert len(seen) == 2
    for (data, hidden), axis in zip(seen, (1, 0), strict=True):
        laid = np.flip(cloudy, axis)
        np.testing.assert_array_equal(hidden, cloudy | laid)
        asked = laid & ~cloudy
        same = data.B02.values[asked] == ds.B02.values[asked]
        assert same.mean() < 0.01  # what is judged is not shown
        np.testing.assert_array_equal(data.B02.values[~asked], ds.B02.values[~asked])
    assert found.pixels.sel(distance="any").item() == sum(
        (np.flip(cloudy, a) & ~cloudy).sum() for a in (1, 0)
    )
    alone = ds.expand_dims("time")
    again = judged(alone, ["idw"], cases=2, mask=alone.cloudfree.mask("l2a"))
    np.testing.assert_array_equal(again.psnr.sel(model="idw"), found.psnr.sel(model="idw"))
    assert "| idw |" in bench.to_markdown(again)


def test_without_two_partly_clouded_dates_the_whole_date_is_hidden():
    ds = simulated(32, dates=4, cover=[0, 0, 0.5, 0])
    found = judged(ds, ["median"], gaps=[0], cases=2)
    assert "wholly" in found.attrs["hidden"]
    assert found.pixels.sel(gap=0, distance="any") == 2 * 32 * 32
    assert found.pixels.sel(gap=0, distance="over 16 px") == 2 * 32 * 32


def test_what_cannot_be_judged_is_refused_before_anything_is_read(series):
    def fail(block):
        raise AssertionError("read")

    lazy = series.chunk(y=16).map(lambda a: a.copy(data=a.data.map_blocks(fail, dtype=a.dtype)))
    judge = lazy.cloudfree.judge
    for options, words in (
        ({"models": ["medain"]}, "did you mean 'median'"),
        ({"gaps": [-1]}, "gaps is"),
        ({"gaps": [5, 5]}, "gaps is"),
        ({"cases": 0}, "cases is 0"),
        ({"models": ["idw", "idw"]}, "two models are called 'idw'"),
    ):
        with pytest.raises(CloudFreeError, match=words):
            judge(**options)
    out = series.cloudfree.reconstruct(model="median", mask="l2a")
    for ds, words in (
        (lazy.isel(time=[0, 1]), "two dates are too few"),
        (lazy.drop_vars("time"), "no coordinate"),
        (series.expand_dims(patch=2), "isel(patch=0)"),
        (out, "not the truth"),
    ):
        with pytest.raises(CloudFreeError) as caught:
            ds.cloudfree.judge()
        assert words in str(caught.value)


def test_without_clear_ground_the_error_says_what_to_load():
    dark = simulated(32, dates=3, cover=[0.6, 0.7, 0.5])
    with pytest.raises(DataError, match=r"less than 2 % is hidden by mask 'l2a'.*judge\(mask="):
        judged(dark, ["median"])
    with pytest.raises(DataError, match="mirrored"):
        judged(simulated(32, dates=1, cover=0.0), ["idw"])


def test_the_terminal_tells_how_far_it_is(series, capsys):
    words = {"gaps": [0], "cases": 1, "mask": "l2a"}
    series.cloudfree.judge(["median"], **words)
    assert capsys.readouterr().err == ""  # nobody watches
    series.cloudfree.judge(["median"], **words, progress=True)
    told = capsys.readouterr().err
    assert "reading squares 100%|" in told
    assert "judging 100%|" in told


@pytest.mark.parametrize(
    "kind", ["text", *(pytest.param(k, marks=pytest.mark.slow) for k in ("zone", "objects"))]
)
def test_times_of_any_kind_give_the_same_table(series, table, kind):
    times = pd.DatetimeIndex(series.time.values).tz_localize("UTC")
    given = {
        "text": ("time", [f"{t:%Y-%m-%dT%H:%M:%S}Z" for t in times]),
        "zone": times,
        "objects": ("time", np.array(list(times), object)),
    }[kind]
    ds = series.assign_coords(time=given)
    np.testing.assert_array_equal(judged(ds)[FIGURES].to_array(), table[FIGURES].to_array())
    mask = ds.cloudfree.mask("l2a", shadow=False)
    judged(ds, mask=mask, gaps=[0], cases=1)
    cases = list(bench.hidden_dates(ds, clear="l2a", gaps=[0], count=2, clouds=1))
    same = bench.hidden_dates(series, clear="l2a", gaps=[0], count=2, clouds=1)
    assert [case.date for case in cases] == [case.date for case in same]
    out = ds.cloudfree.reconstruct(model="median", mask=mask)
    assert bench.overcast(ds, out, clear="l2a").time.dtype == "datetime64[ns]"
