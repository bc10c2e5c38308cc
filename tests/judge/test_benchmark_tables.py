"""Means, comparisons, tables and pictures of a benchmark."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from xcloudfree import judge as bench
from xcloudfree.exceptions import DataError
from xcloudfree.judge.metrics import METRICS


def result(psnr, regions, gaps=None, left_out=None, failure=None):
    """A result with the given PSNR (method, case), other metrics from it, and 100 pixels a case."""
    psnr = np.asarray(psnr, float)
    many, cases = psnr.shape
    mse = 10 ** (-psnr / 10)
    by_metric = {"psnr": psnr, "ssim": 1 - mse, "mae": mse, "rmse": mse**0.5, "sam": 90 * mse}
    values = np.stack([by_metric[m] for m in METRICS], axis=-1)
    values = np.repeat(values[..., None], 3, axis=-1)
    left = np.zeros((many, cases)) if left_out is None else np.asarray(left_out)
    count = np.where(np.isnan(psnr), 0, 100 - left)
    three = np.ones((1, 1, 3), int)
    pair = ("method", "case")
    return xr.Dataset(
        {
            "value": ((*pair, "metric", "pixels"), values),
            "count": ((*pair, "pixels"), count[..., None].astype(int) * three),
            "left_out": ((*pair, "pixels"), left[..., None].astype(int) * three),
            "cpu_seconds": (pair, np.arange(many * cases, dtype=float).reshape(many, cases)),
            "wall_seconds": (pair, np.ones((many, cases))),
            "peak_memory": (pair, np.full((many, cases), 12.4)),
            "failure": (pair, np.full((many, cases), "") if failure is None else failure),
        },
        {
            "method": [f"m_{i}" for i in range(many)],
            "case": [f"c{i}" for i in range(cases)],
            "metric": list(METRICS),
            "pixels": ["all", "cloudy", "clear"],
            "region": ("case", list(regions)),
            "gap": ("case", np.full(cases, np.nan) if gaps is None else np.asarray(gaps, float)),
            "protocol": ("case", [""] * cases),
            "kind": ("case", [""] * cases),
        },
    )


def test_the_bootstrap_of_two_regions_is_enumerated():
    found = bench.compare(result([[20, 20, 20], [21, 23, 20]], "AAB"), "m_0")
    one = found.sel({"method": "m_1"})
    assert float(one.difference) == pytest.approx(1.0)  # regions 2 and 0, not cases 1, 3 and 0
    assert (float(one.low), float(one.high)) == (0.0, 2.0)
    assert float(one.better) == pytest.approx(0.25 + 0.5 + 0.25 / 2)
    assert (int(one.regions), int(one.cases), int(one.regions_ahead)) == (2, 3, 1)
    assert "too few" in found.attrs["statement"]
    assert "0.5." in found.attrs["statement"]


def test_the_bootstrap_of_three_regions_equals_all_27_draws():
    gain = np.array([0.3, -0.1, 1.0])
    found = bench.compare(result([np.zeros(3), gain], "ABC"), "m_0", level=0.8)
    draws = np.sort([gain[[i, j, k]].mean() for i in range(3) for j in range(3) for k in range(3)])
    one = found.sel({"method": "m_1"})
    assert float(one.low) == pytest.approx(draws[int(np.ceil(2.7)) - 1])
    assert float(one.high) == pytest.approx(draws[int(np.ceil(24.3)) - 1])
    assert float(one.better) == pytest.approx((draws > 0).mean())


def test_the_bootstrap_of_many_regions_agrees_with_scipy_and_is_seeded():
    gain = np.random.default_rng(1).normal(0.3, 1, 30)
    table = result([np.zeros(30), gain], [f"r{i}" for i in range(30)])
    found = bench.compare(table, "m_0", seed=5).sel({"method": "m_1"})
    theirs = stats.bootstrap((gain,), np.mean, method="percentile", n_resamples=20_000)
    assert float(found.low) == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert float(found.high) == pytest.approx(theirs.confidence_interval.high, abs=0.03)
    xr.testing.assert_identical(found, bench.compare(table, "m_0", seed=5).sel({"method": "m_1"}))
    other = bench.compare(table, "m_0", seed=6).sel({"method": "m_1"})
    assert float(other.low) != float(found.low)


def test_less_error_is_better_and_infinite_or_missing_pairs_do_not_count():
    table = result([[20, 20, 20, 20], [30, np.inf, np.nan, 25]], "ABCD")
    psnr = bench.compare(table, "m_0").sel({"method": "m_1"})
    assert (int(psnr.cases), int(psnr.regions)) == (2, 2)
    mae = bench.compare(table, "m_0", metric="mae").sel({"method": "m_1"})
    assert float(mae.difference) < 0
    assert float(mae.better) == pytest.approx(1.0)
    with pytest.raises(DataError, match=r"\['m_0', 'm_1'\]"):
        bench.compare(table, "nobody")


def test_the_statement_names_methods_that_have_fewer_regions():
    table = result([[20] * 4, [21] * 4, [22, np.nan, np.nan, 21]], "ABCD")
    words = bench.compare(table, "m_0").attrs["statement"]
    assert words.startswith("4 regions are too few")
    assert words.endswith("Not compared in all of them: m_2 in 2.")
    assert "Not compared" not in bench.compare(table, "m_2").attrs["statement"]
    assert bench.compare(table, "m_2").attrs["statement"].startswith("2 regions")


@pytest.mark.parametrize(
    ("regions", "words"), [(1, "cannot separate"), (5, "0.0625"), (6, "too narrow"), (5, "too few")]
)
def test_the_statement_says_what_so_few_regions_can_show(regions, words):
    assert words in bench.statement(regions)


def test_means_are_over_the_cases_of_each_group():
    means = bench.summary(result([[20, 30, 40], [22, 28, 41]], "AAB", [0, 30, 30]), ["gap"])
    assert means.group.values.tolist() == ["gap 0", "gap 30"]
    got = means.value.sel(metric="psnr", pixels="all").values.tolist()
    assert got == [[20, 35], [22, 34.5]]
    assert means.cpu_seconds.values.tolist() == [[0, 1.5], [3, 4.5]]
    with pytest.raises(DataError, match="'region'"):
        bench.summary(result([[20]], "A"), ["weather"])


def test_who_left_pixels_out_or_failed_does_not_win():
    table = result([[20, 20], [25, 25], [26, np.nan]], "AA", left_out=[[0, 0], [1, 3], [0, 0]])
    means = bench.summary(table)
    share = means.reconstructed.sel(pixels="cloudy").values.ravel()
    np.testing.assert_allclose(share, [1, 0.98, 0.5])
    won = bench.winners(means).sel(pixels="cloudy")
    assert won.any(["group"]).all("metric").values.tolist() == [True, False, False]
    text = bench.to_markdown(table)
    assert "| m_0 | **20.00** |" in text
    assert "| m_1 | 25.00 (98 %) |" in text
    assert "| m_2 | 26.00 (50 %) |" in text


def test_markdown_is_literally_this():
    failure = np.array([["", ""], ["", ""], ["E: x", "E: x"]])
    table = result([[20, 30], [21, 30], [np.nan, np.nan]], "AB", failure=failure)
    assert bench.to_markdown(table, metrics=["psnr", "mae"], cost=True, mean=True) == (
        "| method | A: PSNR dB | A: MAE | B: PSNR dB | B: MAE | mean: PSNR dB | mean: MAE "
        "| CPU s | peak MB |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        "| m_0 | 20.00 | 0.0100 | **30.00** | **0.0010** | 25.00 | 0.0055 | 0.50 | 12 |\n"
        "| m_1 | **21.00** | **0.0079** | **30.00** | **0.0010** | **25.50** | **0.0045** "
        "| 2.50 | 12 |\n"
        "| m_2 | – | – | – | – | – | – | 4.50 | 12 |\n"
        "\n"
        "* m_2 failed on 2 of 2 cases: E: x"
    )


def test_latex_is_literally_this():
    table = result([[20, 30], [21, 30]], ["A & B", "C"], left_out=[[0, 2], [0, 0]])
    assert bench.to_latex(table) == (
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        "method & A \\& B & C \\\\\n"
        "\\midrule\n"
        "m\\_0 & 20.00 & 30.00 (98 \\%) \\\\\n"
        "m\\_1 & \\textbf{21.00} & \\textbf{30.00} \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}"
    )


def test_every_place_where_something_simpler_wins_is_named():
    table = result([[20, 30, 25], [21, 29, 24], [22, 28, np.nan]], "ABC")
    lines = bench.upsets(table, ["m_0"], metrics=["psnr", "mae"], pixels=["cloudy"])
    assert lines == [
        "A, PSNR dB of cloudy pixels: m_0 20.00 is beaten by m_2 22.00, m_1 21.00",
        "A, MAE of cloudy pixels: m_0 0.0100 is beaten by m_2 0.0063, m_1 0.0079",
    ]
    assert bench.upsets(table, ["m_0"], metrics=["psnr"], pixels=["all"], rivals=["m_1"]) == [
        "A, PSNR dB of all pixels: m_0 20.00 is beaten by m_1 21.00"
    ]


def test_pictures_show_every_method_and_region():
    lines = bench.plot(result(np.arange(8).reshape(2, 4), "AABB", [0, 30, 0, 30]))
    first = lines.axes[0]
    assert [a.get_title() for a in lines.axes] == ["A", "B"]
    curves = {a.get_label(): a.get_xydata().tolist() for a in first.lines}
    assert curves["m_1"] == [[0, 4], [30, 5]]
    points = bench.plot(result([[20, 30], [21, 29]], "AB"))
    ticks = [t.get_text() for t in points.axes[0].get_yticklabels()]
    assert ticks == ["m_0", "m_1"]
