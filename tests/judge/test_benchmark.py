"""benchmark(): figures, failures, resuming, folds, protocols."""

import os
import signal

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import write_patch
from xcloudfree import judge as bench
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.judge.cost import measure
from xcloudfree.judge.metrics import METRICS, image_metrics

BANDS = ("B02", "B03", "B04")


def image(values):
    return xr.Dataset(
        {
            b: (("y", "x"), v.astype("float32"), {"units": "1"})
            for b, v in zip(BANDS, values, strict=True)
        }
    )


def make_case(name="one", region="A", seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.3, (3, 20, 24))
    hidden = rng.random((20, 24)) < 0.3
    seen = np.where(
        hidden, rng.uniform(0.4, 0.6, truth.shape), truth + rng.normal(0, 0.01, truth.shape)
    )
    mask = xr.DataArray(hidden, dims=("y", "x"))
    return bench.Case(name, image(seen), mask, image(truth), region=region, gap=float(seed))


def stack(ds):
    return np.stack([ds[b].values for b in BANDS])


def half(data, hidden):
    return data.map(lambda a: a.where(~hidden, 0.5).assign_attrs(a.attrs))


def test_equals_a_loop_written_by_hand():
    case = make_case()
    result = xcf.benchmark([case], {"nothing": "do nothing", "half": half, "idw": "idw"})
    assert result.value.dims == ("method", "case", "metric", "pixels")
    m = case.hidden.values
    filled = case.data.cloudfree.reconstruct(model="idw", mask=case.hidden)
    guesses = (stack(case.data), np.where(m, np.float32(0.5), stack(case.data)), stack(filled))
    for name, guess in zip(("nothing", "half", "idw"), guesses, strict=True):
        expected = image_metrics(guess, stack(case.truth), [None, m, ~m])
        one = result.sel({"method": name, "case": "one"})
        np.testing.assert_allclose(one.value.values.T, expected[:, : len(METRICS)])
        np.testing.assert_array_equal(one["count"], expected[:, -2])
    assert (result.cpu_seconds >= 0).all()
    assert (result.failure == "").all()


def test_one_date_of_a_series_is_judged():
    dates = np.array(["2025-06-01", "2025-06-11"], "datetime64[ns]")
    truth = image(np.full((3, 4, 5), 0.2))
    data = xr.concat([truth + 0.3, truth + 0.1], xr.IndexVariable("time", dates))
    data = data.map(lambda a: a.assign_attrs(units="1"))
    hidden = xr.DataArray(np.ones((2, 4, 5), bool), {"time": dates}, dims=("time", "y", "x"))
    case = bench.Case("late", data, hidden, truth, date=dates[1])
    methods = {"series": "do nothing", "date": lambda d, h: d.isel(time=1)}
    found = xcf.benchmark([case], methods).value.sel(metric="mae", pixels="cloudy")
    np.testing.assert_allclose(found.values.ravel(), 0.1, rtol=1e-6)


def test_pixels_that_the_truth_lacks_are_no_fault_of_a_method():
    case = make_case()
    gone = np.zeros((20, 24), bool)
    gone[:5, :6] = True
    truth = case.truth.copy()
    truth["B03"] = truth.B03.where(~xr.DataArray(gone, dims=("y", "x"))).assign_attrs(units="1")
    lacking = bench.Case("lacking", case.data, case.hidden, truth, region="A")
    result = xcf.benchmark([lacking], {"half": half, "gaps": gaps_in_what_is_hidden})
    hidden = case.hidden.values
    assert int(result.left_out.sel({"method": "half"}).sum()) == 0
    counts = result["count"].sel({"method": "half", "case": "lacking"}).values.tolist()
    assert counts == [(chosen & ~gone).sum() for chosen in (gone == gone, hidden, ~hidden)]
    left = result.left_out.sel({"method": "gaps", "pixels": "cloudy"}).item()
    assert left == (hidden[10:] & ~gone[10:]).sum()
    share = bench.summary(result).reconstructed.sel(pixels="cloudy").values.ravel()
    np.testing.assert_allclose(share, [1, 1 - left / (hidden & ~gone).sum()])


def gaps_in_what_is_hidden(data, hidden):
    lost = hidden & (xr.DataArray(np.arange(20), dims="y") >= 10)
    return data.map(lambda a: a.where(~hidden, 0.5).where(~lost).assign_attrs(a.attrs))


def test_one_clouded_date_is_enough_to_hide_others_once():
    ds = xcf.datasets.simulate_scene((16, 16), dates=4, cover=0, seed=1, level="BOA")
    hidden = ds.B02.isnull()
    hidden[2, :8] = True
    cases = list(bench.hidden_dates(ds, clear=hidden, gaps=[0], kinds=["partial"], clouds=1))
    assert len(cases) == 3
    with pytest.raises(DataError, match="clouds=1"):
        list(bench.hidden_dates(ds, clear=hidden, gaps=[0], kinds=["partial"], clouds=2))


def test_a_method_of_single_images_runs_once_for_all_gaps(series, tmp_path):
    cases = list(bench.hidden_dates(series, clear="scl", gaps=(0, 10), count=2, clouds=1))
    method = Counting(0.5)
    found = xcf.benchmark(cases, {"alone": bench.SingleDate(method), "idw": "idw"})
    assert method.calls == len(cases) / 2
    kept = xcf.benchmark(cases, {"alone": bench.SingleDate(method)}, folder=tmp_path)
    assert method.calls == len(cases)  # in a folder it is looked for there
    assert len(list(tmp_path.rglob("*.json"))) == len(cases) / 2
    again = xcf.benchmark(cases, {"alone": bench.SingleDate(method)}, folder=tmp_path)
    assert method.calls == len(cases)
    xr.testing.assert_identical(kept, again)
    xr.testing.assert_identical(found.value.sel({"method": "alone"}), kept.value[0])
    alone = xcf.benchmark(cases, {"idw": bench.SingleDate("idw")})
    xr.testing.assert_identical(alone.value, found.value.sel({"method": ["idw"]}))
    fit = bench.SingleDate(bench.Fit(lambda train: half))
    with pytest.raises(ModelError, match="fitted"):
        fit(cases[0].data, cases[0].hidden)


def test_a_method_that_fails_is_recorded_and_the_others_go_on(tmp_path):
    def broken(data, hidden):
        raise ValueError("no idea, call again")

    cases = [make_case("one"), make_case("two", "B", 1)]
    methods = {"broken": broken, "half": half}
    result = xcf.benchmark(cases, methods, folder=tmp_path)
    assert (
        result.failure.sel({"method": "broken"}).values.tolist()
        == ["ValueError: no idea, call again"] * 2
    )
    assert result.value.sel({"method": "broken"}).isnull().all()
    assert result.value.sel({"method": "half"}).notnull().all()
    assert bench.failures(result) == [
        "broken failed on 2 of 2 cases: ValueError: no idea, call again"
    ]
    again = xcf.benchmark(cases, methods, folder=tmp_path)
    xr.testing.assert_identical(result, again)


class Counting:
    """Counts its calls; may refuse, or kill the process."""

    def __init__(self, level, refuse_at=None, kill_at=None):
        self.level, self.refuse_at, self.kill_at, self.calls = level, refuse_at, kill_at, 0

    def fingerprint(self):
        return f"level {self.level}"

    def __call__(self, data, hidden):
        self.calls += 1
        if self.calls == self.refuse_at:
            raise ValueError("not now")
        if self.calls == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return data.map(lambda a: a.where(~hidden, self.level).assign_attrs(a.attrs))


def test_after_a_kill_a_second_call_goes_on(tmp_path):
    cases = [make_case(str(n), seed=n) for n in range(4)]
    child = os.fork()
    if child == 0:
        xcf.benchmark(cases, {"m": Counting(0.5, kill_at=3)}, folder=tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (tmp_path / "m" / "half-written.json.partial").write_text("{")
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == 2
    files[0].write_text('{"record": {"rows": [[')
    method = Counting(0.5)
    result = xcf.benchmark(cases, {"m": method}, folder=tmp_path)
    assert method.calls == 3
    expected = xcf.benchmark(cases, {"m": Counting(0.5)})
    xr.testing.assert_identical(result[["value", "count"]], expected[["value", "count"]])
    xcf.benchmark(cases, {"m": method}, folder=tmp_path)
    assert method.calls == 3


def test_what_is_kept_is_forgotten_when_case_method_or_options_change(tmp_path):
    case, method = make_case(), Counting(0.5)
    other = case.data.assign(B02=case.data.B02 + 1e-3)
    scaled = case.data.assign(B02=case.data.B02.assign_attrs(long_name="blue"))
    for data, calls in ((case.data, 1), (case.data, 1), (other, 2), (scaled, 3)):
        changed = bench.Case("one", data, case.hidden, case.truth)
        xcf.benchmark([changed], {"m": method}, folder=tmp_path)
        assert method.calls == calls
    method.level = 0.4
    xcf.benchmark([case], {"m": method}, folder=tmp_path)
    assert method.calls == 4
    prints = {
        bench.Reconstruct("idw").fingerprint(),
        bench.Reconstruct("idw", {"blend": None}).fingerprint(),
        bench.Reconstruct(xcf.models.create("carf-tiny", seed=0)).fingerprint(),
        bench.Reconstruct(xcf.models.create("carf-tiny", seed=1)).fingerprint(),
    }
    assert len(prints) == 4


def test_failures_are_tried_again_on_request(tmp_path):
    method = Counting(0.5, refuse_at=1)
    assert xcf.benchmark([make_case()], {"m": method}, folder=tmp_path).failure.item()
    assert xcf.benchmark([make_case()], {"m": method}, folder=tmp_path).failure.item()
    assert method.calls == 1
    found = xcf.benchmark([make_case()], {"m": method}, folder=tmp_path, retry=True)
    assert found.failure.item() == ""
    assert found.value.notnull().all()


def test_a_method_cannot_spoil_the_data_of_the_next():
    def vandal(data, hidden):
        data.B02.values[:] = 0
        hidden.values[:] = False
        return data

    found = xcf.benchmark([make_case()], {"vandal": vandal, "nothing": "do nothing"})
    alone = xcf.benchmark([make_case()], {"nothing": "do nothing"})
    xr.testing.assert_identical(found.value.isel(method=[1]), alone.value)


class Brightness:
    """Fits one number, and remembers on what."""

    def fingerprint(self):
        return "brightness"

    def __call__(self, train):
        self.seen.append([c.name for c in train])
        return Counting(float(np.mean([c.truth.B02.mean() for c in train])))


def test_each_region_is_left_out_once_and_fits_see_only_the_others(tmp_path):
    cases = [make_case(f"{r}{n}", r, n) for n, r in enumerate("AABBC")]
    trained, fit = [], Brightness()
    fit.seen = trained
    result = xcf.benchmark(
        bench.leave_one_region_out(cases), {"fit": bench.Fit(fit)}, folder=tmp_path
    )
    assert trained == [["B2", "B3", "C4"], ["A0", "A1", "C4"], ["A0", "A1", "B2", "B3"]]
    assert result.case.values.tolist() == ["A0", "A1", "B2", "B3", "C4"]
    assert (result.fit_cpu_seconds >= 0).all()
    level = np.mean([c.truth.B02.mean() for c in cases[2:]])
    hidden = cases[0].hidden.values
    guess = np.where(hidden, np.float32(level), stack(cases[0].data))
    expected = image_metrics(guess, stack(cases[0].truth), [hidden])[0, 0]
    got = float(result.value.isel(method=0, case=0).sel(metric="psnr", pixels="cloudy"))
    assert got == pytest.approx(expected, rel=1e-6)
    xcf.benchmark(bench.leave_one_region_out(cases), {"fit": bench.Fit(fit)}, folder=tmp_path)
    assert len(trained) == 3


def test_constants_are_means_over_pixels_and_over_regions():
    levels = {"A": (0.1, 0.2), "B": (0.5,)}
    train = []
    for region, values in levels.items():
        for value in values:
            truth = image(np.full((3, 4, 4), value))
            hidden = xr.DataArray(np.ones((4, 4), bool), dims=("y", "x"))
            train.append(bench.Case(f"{region}{value}", truth, hidden, truth, region))
    fold = bench.Fold(train, [make_case()])
    names = ["constant of training pixels", "constant of training regions"]
    result = xcf.benchmark([fold], names).value.sel(metric="mae", pixels="cloudy").values.ravel()
    truth = stack(fold.test[0].truth)[:, fold.test[0].hidden.values]
    np.testing.assert_allclose(
        result, [abs(truth - v).mean() for v in (0.8 / 3, 0.65 / 2)], rtol=1e-5
    )


def test_without_a_fold_what_must_be_fitted_fails_with_the_call_that_mends_it():
    result = xcf.benchmark([make_case()], ["ridge on SAR"])
    assert result.failure.item().endswith("leave_one_region_out(cases)")


def test_refusals_name_the_call_that_mends_them():
    case = make_case()
    with pytest.raises(DataError, match=r"Case\(name="):
        xcf.benchmark([case, case], ["do nothing"])
    with pytest.raises(DataError, match="hidden_dates"):
        xcf.benchmark([], ["do nothing"])
    with pytest.raises(ModelError, match="do nothing"):
        xcf.benchmark([case], ["no such thing"])
    with pytest.raises(ModelError, match=r"functions of \(data, hidden\)"):
        xcf.benchmark([case], {"m": 3})
    with pytest.raises(DataError, match="name them with"):
        xcf.benchmark([case], ["idw", "idw"])
    with pytest.raises(DataError, match="region="):
        list(bench.leave_one_region_out([case]))


def test_memory_that_tracemalloc_does_not_see_counts():
    import torch

    size = 64_000_000
    _, cost = measure(lambda: torch.ones(size // 4).sum())
    assert 0.8 * size < cost.memory < 2 * size
    _, small = measure(lambda: None)
    assert small.memory < size / 8
    assert cost.wall > 0


def test_cpu_time_is_not_waiting_time():
    import time

    _, asleep = measure(lambda: time.sleep(0.2))
    assert asleep.wall >= 0.2
    assert asleep.cpu < 0.1


def test_patches_of_a_split_become_lazy_cases(tmp_path):
    for roi, patch in ((106, 1), (106, 2), (1, 3), (17, 4)):
        for kind, fill in (("s1", -20), ("s2", 1000), ("s2_cloudy", 2000)):
            write_patch(tmp_path, kind, "spring", roi, patch, fill)
    test = list(bench.sen12mscr(tmp_path))
    assert [c.name for c in test] == ["1158_spring_106_p1", "1158_spring_106_p2"]
    assert [c.region for c in test] == ["spring 106"] * 2
    assert all(a.chunks is not None for a in (test[0].data.s2, test[0].truth.s2, test[0].hidden))
    assert "target" not in test[0].data
    result = xcf.benchmark(test[:1], ["do nothing"])
    assert float(result.value.sel(metric="mae", pixels="all").item()) == pytest.approx(0.1)
    assert [c.name for c in bench.sen12mscr(tmp_path, part="train")] == ["1158_spring_1_p3"]
    assert [c.name for c in bench.sen12mscr(tmp_path, part="val")] == ["1158_spring_17_p4"]


def test_splits_have_no_region_twice():
    regions = [(season, n) for season in ("spring", "fall") for n in range(85)]
    official = bench.sen12mscr_split(regions)
    assert official["spring", 106 - 100] == "train"
    assert [r for r, part in official.items() if part == "test"] == [("spring", 31), ("spring", 44)]
    drawn = [bench.sen12mscr_split(regions, "paper", seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for parts in drawn:
        counts = [list(parts.values()).count(p) for p in ("train", "val", "test")]
        assert counts == [136, 17, 17]
    with pytest.raises(DataError, match="'official'"):
        bench.sen12mscr_split(regions, "mine")


@pytest.fixture(scope="module")
def series():
    """20 dates of which every third is cloudy at the left or the right."""
    rng = np.random.default_rng(3)
    shape = (20, 12, 10)
    times = np.datetime64("2025-01-01", "ns") + np.arange(20) * np.timedelta64(5, "D")
    cloud = np.zeros(shape, bool)
    cloud[1::3, :, :4] = True
    cloud[2::3, :5] = True
    dims = ("time", "y", "x")
    ds = xr.Dataset(coords={"time": times, "y": np.arange(12.0), "x": np.arange(10.0)})
    for name in BANDS:
        values = rng.uniform(0.1, 0.3, shape) + 0.5 * cloud
        ds[name] = (dims, values.astype("float32"), {"units": "1", "processing_level": "BOA"})
    ds["SCL"] = (dims, np.where(cloud, 9, 4).astype("uint8"))
    return ds


def test_hidden_dates_equal_a_loop_written_by_hand(series):
    gaps = (0.0, 15.0)
    cases = list(bench.hidden_dates(series, region="S", gaps=gaps, count=3, clouds=1))
    assert len(cases) == 6
    ground = series.SCL.values == 4
    for case in cases:
        date = int(np.flatnonzero(series.time.values == case.date)[0])
        day, under = (np.datetime64(w) for w in case.name.split(",")[0].split()[1::2])
        cloud = int(np.flatnonzero(series.time.values.astype("M8[D]") == under)[0])
        assert day == case.date.astype("M8[D]")
        assert ground[date].all()
        hidden = ~ground[cloud]
        distance = abs(np.arange(20) - date) * 5
        keep = [i for i in range(20) if i == date or distance[i] > case.gap]
        np.testing.assert_array_equal(case.data.time, series.time[keep])
        assert "SCL" not in case.data
        for band in BANDS:
            values = np.where(ground, series[band].values, np.nan)
            values[date] = np.where(hidden, series[band].values[cloud], values[date])
            np.testing.assert_array_equal(case.data[band], values[keep])
            np.testing.assert_array_equal(case.truth[band], series[band].values[date])
        np.testing.assert_array_equal(case.occluded, hidden)
        assert int(case.hidden.sum()) == hidden.sum()
    first, second = cases[:3], cases[3:]
    assert [c.name.split(",")[0] for c in first] == [c.name.split(",")[0] for c in second]
    again = bench.hidden_dates(series, region="S", gaps=gaps, count=3, clouds=1)
    assert [c.fingerprint() for c in again] == [c.fingerprint() for c in cases]


def test_whole_images_may_be_hidden_and_the_mask_may_come_from_a_method(series):
    full = list(bench.hidden_dates(series, gaps=[0], kinds=["full"], count=2))
    assert [c.kind for c in full] == ["full", "full"]
    assert all(c.occluded.all() for c in full)
    assert (np.float32(0.9) == full[0].at_date(full[0].data).B02).all()

    def cloud(ds):
        return ds.B02 > 0.45

    by_mask = bench.hidden_dates(series.drop_vars("SCL"), clear=cloud, gaps=[0], count=2)
    by_class = bench.hidden_dates(series, gaps=[0], count=2)
    for one, other in zip(by_mask, by_class, strict=True):
        assert one.fingerprint() == other.fingerprint()


def test_stacked_series_give_the_same_cases(series):
    joined = series[list(BANDS)].to_dataarray("band").transpose("time", "band", "y", "x")
    attrs = {"units": "1", "processing_level": "BOA"}
    stacked = xr.Dataset({"s2": joined.assign_attrs(attrs), "SCL": series.SCL})
    a = next(bench.hidden_dates(stacked, gaps=[15.0]))
    b = next(bench.hidden_dates(series, gaps=[15.0]))
    for name in BANDS:
        np.testing.assert_array_equal(a.data.s2.sel(band=name), b.data[name])
    methods = ["linear-time", "clear mean", "nearest-date"]
    found = [xcf.benchmark([c], methods).value for c in (a, b)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_series_that_cannot_serve_are_refused_with_the_way_out(series):
    with pytest.raises(DataError, match="is time"):
        next(bench.hidden_dates(series.isel(time=0)))
    guessed = series.cloudfree.reconstruct(model="nearest-date", mask="scl")
    with pytest.raises(DataError, match="estimates are not the truth"):
        next(bench.hidden_dates(guessed))
    with pytest.raises(DataError, match="clear='l2a'"):
        next(bench.hidden_dates(series.drop_vars("SCL")))
    with pytest.raises(DataError, match=r"kinds=\['full'\]"):
        next(bench.hidden_dates(series.isel(time=slice(0, 1))))


@pytest.mark.slow
def test_trivial_rows_on_real_patches_are_those_of_the_model_card(data_root):
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    import results

    fold = next(results.patches())
    names = ["do nothing", "constant of training pixels", "constant of training regions"]
    found = xcf.benchmark([fold], [*names, "ridge on SAR"])
    assert found.case.values.tolist() == ["D 3968", "H 6553", "H 6780", "p839"]
    psnr = found.value.sel(metric="psnr", pixels="cloudy").values
    published = [  # docs of the weights, made by other code
        [10.36, 16.84, 24.61, 13.51],
        [29.56, 26.75, 28.38, 26.91],
        [30.53, 27.13, 29.12, 27.13],
        [29.59, 24.74, 25.31, 27.66],
    ]
    np.testing.assert_allclose(psnr, published, atol=0.006)


@pytest.mark.slow
def test_area_regression_reaches_what_was_published_of_it(data_root):
    import sys
    from pathlib import Path

    pytest.importorskip("h5netcdf")
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    from series_data import load

    series = load(data_root / "series/worldcereal_00002806639B424A")
    cases = bench.hidden_dates(series, region="Belgium", gaps=(0, 15, 30))
    means = bench.summary(xcf.benchmark(cases, ["area-regression"]), by=["gap"])
    psnr = means.value.sel(metric="psnr", pixels="cloudy").values.ravel()
    assert (psnr > np.array([32.94, 31.04, 29.30]) - 0.15).all()


SECONDS = [12, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 6000))]


def with_twins(series, seconds):
    """Every clear image comes twice, so many seconds apart, as two stations deliver it."""
    twins = series.isel(time=slice(0, None, 3))
    twins = twins.assign_coords(time=twins.time + np.timedelta64(seconds, "s"))
    return xr.concat([series, twins], "time").sortby("time")


@pytest.mark.parametrize("seconds", SECONDS)
def test_images_of_one_pass_change_no_figure(series, seconds):
    """Twins, and the two halves of an image, give what each pass gives once."""
    options = {"gaps": [0.0, 7.0], "count": 3, "clouds": 1}
    methods = ["nearest-date", "linear-time", "median"]
    once = xcf.benchmark(bench.hidden_dates(series, **options), methods).value
    twins = with_twins(series, seconds)
    west = twins.x < twins.x[twins.sizes["x"] // 2]
    second = twins.time.isin(series.time[::3] + np.timedelta64(seconds, "s"))
    second &= np.arange(len(second)) > 0
    halves = twins.where((west != second) | ~twins.time.isin(twins.time[:2]))
    for several in (twins, halves.map(lambda a: a.assign_attrs(twins[a.name].attrs))):
        other = xcf.benchmark(bench.hidden_dates(several, **options), methods).value
        np.testing.assert_array_equal(other, once)


@pytest.mark.parametrize("seconds", SECONDS)
def test_twins_of_a_hidden_date_do_not_show_the_truth(series, seconds):
    options = {"gaps": [0.0, 7.0], "count": 3, "clouds": 1}
    methods = ["nearest-date", "linear-time", "median"]
    once = list(bench.hidden_dates(series, **options))
    twins = with_twins(series, seconds)
    options["clear"] = ~twins.SCL.isin([4, 5, 6, 7])  # an array: the images stay as they are
    twice = list(bench.hidden_dates(twins, **options))
    assert [c.date for c in twice] == [c.date for c in once]
    for case in twice:
        days = abs(case.data.time.values - case.date) / np.timedelta64(1, "D")
        assert (days < 0.5).sum() == 1
    one, other = (xcf.benchmark(cases, methods).value for cases in (once, twice))
    nearest = {"method": ["nearest-date"]}
    np.testing.assert_array_equal(one.sel(nearest), other.sel(nearest))
    # the twin showed the truth: with it the error was 0
    assert (
        other.sel(metric="mae", pixels="cloudy")
        > 0.9 * one.sel(metric="mae", pixels="cloudy").values
    ).all()


def test_a_case_that_shows_a_twin_is_refused_with_the_call_that_joins(series):
    case = next(bench.hidden_dates(series, gaps=[0.0]))
    twin = case.data.sel(time=[case.date]).assign_coords(time=[case.date + np.timedelta64(12, "s")])
    twin = twin.map(lambda a: a.fillna(0.1).assign_attrs(a.attrs))
    data = xr.concat([case.data, twin], "time")
    hidden = case.hidden.reindex(time=data.time, fill_value=False)
    shown = bench.Case("shown", data, hidden, case.truth, date=case.date)
    with pytest.raises(DataError, match=r"xcf\.join_passes\(ds\)"):
        xcf.benchmark([shown], ["median"])
    both = hidden.copy()
    both.loc[{"time": twin.time}] = case.occluded.values
    hidden_too = bench.Case("hidden too", data, both, case.truth, date=case.date)
    assert xcf.benchmark([hidden_too], ["median"]).failure.item() == ""


def test_realistic_dates_keep_the_rim_of_the_clouds_visible(series):
    from scipy import ndimage

    options = {"gaps": [0.0], "count": 2, "clouds": 1}
    clean = list(bench.hidden_dates(series, **options))
    real = list(bench.hidden_dates(series, **options, visible="realistic", rim=2))
    disk = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    for one, other in zip(clean, real, strict=True):
        cover = one.occluded.values  # the whole cloud, on a date that is all ground
        inner = ndimage.binary_erosion(cover, disk, border_value=1)
        np.testing.assert_array_equal(other.occluded, inner)
        assert 0 < inner.sum() < cover.sum()
        for band in BANDS:  # the same values: what was hidden as cloud now stays visible as cloud
            np.testing.assert_array_equal(
                one.at_date(one.data)[band], other.at_date(other.data)[band]
            )
        assert other.protocol == "hidden-dates, realistic"
        assert other.name != one.name
        xr.testing.assert_identical(one.truth, other.truth)
    with pytest.raises(DataError, match="visible='realistic'"):
        next(bench.hidden_dates(series, visible="clouds"))


def test_realistic_dates_that_are_wholly_hidden_show_what_an_overcast_one_leaves(series):
    with pytest.raises(DataError, match=r"kinds=\['partial'\]"):
        next(bench.hidden_dates(series, kinds=["full"], visible="realistic"))
    closed = series.copy(deep=True)
    closed["SCL"][4] = 9
    closed["SCL"][4, 3, 3] = 7  # what the classification missed
    options = {"gaps": [0.0], "kinds": ["full"], "count": 2, "visible": "realistic"}
    for case in bench.hidden_dates(closed, **options, rim=1):
        assert case.kind == "full"
        visible = ~case.occluded.values
        expected = np.zeros((12, 10), bool)
        expected[3, 2:5] = expected[2:5, 3] = True
        np.testing.assert_array_equal(visible, expected)
        for band in BANDS:
            np.testing.assert_array_equal(case.at_date(case.data)[band], closed[band][4])


def test_scene_classes_that_are_none_make_no_cases(series):
    broken = series.assign(SCL=series.SCL * 0.5)
    with pytest.raises(DataError, match="SCL holds 4.5"):
        next(bench.hidden_dates(broken))


def test_overcast_dates_are_compared_with_their_own_clear_pixels(series):
    """The ratio by hand; ground brighter by a half gives 1.5, and dates that are clear no row."""
    closed = series.copy(deep=True)
    closed["SCL"][7] = 9
    closed["SCL"][7, 0, 0] = 4
    out = closed.drop_vars("SCL")
    hidden = ~closed.SCL.isin([4]).values
    near = abs(np.arange(20) - 7) * 5 <= 20
    usual = np.nanmedian(np.where(~hidden[near], closed.B02.values[near], np.nan), 0)
    out["B02"] = out.B02.where(~hidden, 1.5 * usual).astype("float32").assign_attrs(units="1")
    flags = np.where(hidden, 2, 1).astype("uint8")
    out["provenance"] = (("time", "y", "x"), flags)
    found = bench.overcast(closed, out, days=20)
    np.testing.assert_array_equal(found.time, closed.time[[7]])
    assert found.hidden.item() == pytest.approx(119 / 120)
    expected = 1.5 * np.median(usual[hidden[7]]) / np.median(usual[hidden[7]])
    assert found.ratio.item() == pytest.approx(expected, rel=1e-6)
    out["provenance"][7] = 3  # not filled
    assert np.isnan(bench.overcast(closed, out).ratio.item())
    with pytest.raises(DataError, match="carries provenance"):
        bench.overcast(closed, out.drop_vars("provenance"))
