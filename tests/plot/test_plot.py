"""Pictures: which panels there are, one stretch for all, and what the pixels show."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import make_series
from xcloudfree.exceptions import CloudFreeError, DataError, MissingBandError
from xcloudfree.plot import PROVENANCE, percentile_limits, plot, stretch

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")

SHAPE = (30, 40)
CLOUD = np.s_[5:15, 10:30]


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    matplotlib.pyplot.close("all")


def inputs(*, times: int = 0) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Cloudy input with backscatter, reconstruction with provenance, and truth."""
    rng = np.random.default_rng(0)
    clear = {n: rng.uniform(0.02, 0.2, SHAPE).astype(np.float32) for n in ("B02", "B03", "B04")}
    cloudy, flags = {n: a.copy() for n, a in clear.items()}, np.ones(SHAPE, np.uint8)
    for array in cloudy.values():
        array[CLOUD] = 0.9
    flags[CLOUD] = 2
    flags[0, :4] = 3
    sar = {"VV": rng.normal(-10, 2, SHAPE), "VH": rng.normal(-17, 2, SHAPE)}

    def dataset(arrays: dict[str, np.ndarray], units: dict[str, str]) -> xr.Dataset:
        ds = xr.Dataset({n: (("y", "x"), a, {"units": units[n]}) for n, a in arrays.items()})
        ds = ds.assign_coords(y=10.0 * np.arange(30)[::-1], x=10.0 * np.arange(40))
        if times:
            dates = np.datetime64("2025-06-01", "ns") + 10 * np.arange(times).astype("m8[D]")
            ds = ds.expand_dims(time=dates).copy()
        return ds

    units = dict.fromkeys(clear, "1") | {"VV": "dB", "VH": "dB"}
    observed = dataset(cloudy | sar, units)
    truth = dataset(clear, units)
    out = truth.assign(provenance=(("y", "x"), flags), VV=observed.VV, VH=observed.VH)
    return observed, out, truth


def titles(figure: Any) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def pixels(figure: Any, title: str) -> np.ndarray:
    (axis,) = (a for a in figure.axes if a.get_title() == title)
    return np.asarray(axis.images[0].get_array())


def test_panels_of_what_is_there() -> None:
    observed, out, truth = inputs()
    sar = "Sentinel-1: VV, VH, VV-VH"
    assert titles(plot(out, observed=observed, truth=truth)) == [
        "cloudy input",
        sar,
        "provenance",
        "reconstruction",
        "truth",
    ]
    assert titles(plot(observed)) == ["Sentinel-2", sar]
    assert titles(plot(truth)) == ["Sentinel-2"]
    assert titles(plot(truth, mask=np.zeros(SHAPE, bool))) == ["Sentinel-2", "mask"]
    assert titles(plot(out)) == [sar, "provenance", "reconstruction"]
    assert titles(plot(observed[["VV"]])) == ["Sentinel-1"]


def test_one_stretch_for_all_optical_panels_without_the_clouds() -> None:
    observed, out, truth = inputs()
    figure = plot(out, observed=observed, truth=truth)
    cloudy, filled, clear = (pixels(figure, t) for t in ("cloudy input", "reconstruction", "truth"))
    outside = np.ones(SHAPE, bool)
    outside[CLOUD] = False
    np.testing.assert_array_equal(cloudy[outside], clear[outside])
    np.testing.assert_array_equal(filled, clear)
    assert (cloudy[CLOUD] == 1).all()
    # uniform reflectance 0.02-0.2 spread over the whole range: the cloud did not set the limits
    assert 0.45 < clear.mean() < 0.55
    assert clear.std() > 0.25


def test_without_truth_the_clear_pixels_set_the_stretch() -> None:
    observed, _, _ = inputs()
    mask = np.zeros(SHAPE, bool)
    mask[CLOUD] = True
    seen = pixels(plot(observed, mask=mask), "Sentinel-2")
    assert seen[~mask].std() > 0.25
    assert (seen[mask] == 1).all()
    with_cloud = pixels(plot(observed), "Sentinel-2")
    assert with_cloud[~mask].std() < 0.1


def test_red_green_and_blue_are_the_bands_asked_for() -> None:
    _, _, truth = inputs()
    usual = pixels(plot(truth), "Sentinel-2")
    assert np.corrcoef(usual[..., 0].ravel(), truth.B04.values.ravel())[0, 1] > 0.99
    swapped = pixels(plot(truth, bands=("blue", "B03", "B04")), "Sentinel-2")
    np.testing.assert_array_equal(swapped, usual[..., ::-1])


def test_stretch_is_monotonic_bounded_and_grey_without_data() -> None:
    ramp = np.linspace(-0.1, 1.2, 50)[None, None].repeat(3, axis=0)
    ramp[1, 0, 7] = np.nan
    colours = stretch(ramp, np.array([[0.0, 0.5], [0.1, 0.9], [0.2, 1.0]]))
    assert colours.shape == (1, 50, 3)
    assert colours.min() == 0
    assert colours.max() == 1
    assert len(set(colours[0, 7])) == 1
    rest = np.delete(colours[0], 7, axis=0)
    assert (np.diff(rest, axis=0) >= 0).all()
    assert rest[25, 0] == pytest.approx(1)
    np.testing.assert_array_equal(percentile_limits(np.full((1, 3), np.nan)), [[0, 1]])


def test_provenance_has_a_legend_with_the_shares() -> None:
    _, out, _ = inputs()
    figure = plot(out)
    (axis,) = (a for a in figure.axes if a.get_title() == "provenance")
    legend = axis.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["observed 83%", "reconstructed 17%", "unreconstructable < 1%"]
    figure.canvas.draw()
    image = axis.images[0]
    colour = image.cmap(image.norm(np.array([2])))[0]
    assert matplotlib.colors.to_hex(colour) == PROVENANCE[2][1]


def test_dates_are_chosen_by_time_or_number_and_named() -> None:
    _, _, truth = inputs(times=3)
    truth = (truth * xr.DataArray([1.0, 2.0, 4.0], dims="time")).assign_attrs(units="1")
    for order in ([2, 0, 1], [2, 1, 1], [0, 1, 2]):  # unsorted, with equal dates, as usual
        by_time = plot(truth.isel(time=order), time="2025-06-12")
        assert by_time.get_suptitle() == "2025-06-11"
    by_number = plot(truth, index=1)
    np.testing.assert_array_equal(pixels(by_time, "Sentinel-2"), pixels(by_number, "Sentinel-2"))
    assert plot(truth).get_suptitle() == "2025-06-01"
    assert plot(truth.isel(time=0)).get_suptitle() == "2025-06-01"  # one date without a dimension


def test_what_stands_beside_a_reconstruction_is_of_the_same_date() -> None:
    observed, out, _ = inputs(times=4)
    series = (observed * xr.DataArray([1.0, 0.9, 0.8, 0.7], dims="time")).assign_attrs(units="1")
    limits: dict[str, Any] = {"vmin": 0, "vmax": 1, "mask": None}

    def beside(of: xr.Dataset, name: str, other: xr.Dataset, **options: Any) -> np.ndarray:
        figure = plot(of, **{name: other}, **limits, **options)
        return pixels(figure, "cloudy input" if name == "observed" else name)

    expected = series.B04.isel(time=2)
    later = out.isel(time=slice(2, None))  # begins at another date than its input
    np.testing.assert_allclose(beside(later, "observed", series)[..., 0], expected, rtol=1e-6)
    alone = out.isel(time=2)  # has the date as a mere label
    np.testing.assert_allclose(beside(alone, "observed", series)[..., 0], expected, rtol=1e-6)
    backwards = series.isel(time=slice(None, None, -1))
    found = beside(out, "truth", backwards, time="2025-06-21")
    np.testing.assert_allclose(found[..., 0], expected, rtol=1e-6)
    hours = series.assign_coords(time=series.time + np.timedelta64(10, "h"))  # of the same days
    np.testing.assert_allclose(beside(alone, "observed", hours)[..., 0], expected, rtol=1e-6)
    strip = later.cloudfree.plot.series(observed=series, **limits)
    shown = np.asarray(strip.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown[..., 0], expected, rtol=1e-6)
    hidden = xr.zeros_like(series.B04, dtype=bool).drop_attrs()
    hidden[2] = True
    panel = pixels(plot(later, mask=hidden), "mask")
    assert panel.all()
    assert not pixels(plot(later, mask=hidden, index=1), "mask").any()


def test_a_date_or_a_grid_that_is_not_there_is_refused() -> None:
    observed, out, truth = inputs(times=4)
    few = observed.isel(time=slice(0, 2))
    with pytest.raises(DataError, match="observed has nothing of 2025-06-21 among its 2 from"):
        plot(out, observed=few, index=2)
    with pytest.raises(DataError, match="truth has nothing of 2025-07-01"):
        plot(out, truth=truth.isel(time=slice(0, 2)), index=3)
    # one clear image of another date is a truth, but never the input
    assert "truth" in titles(plot(out, truth=truth.isel(time=[0]), index=2))
    with pytest.raises(DataError, match="observed has nothing"):
        plot(out, observed=observed.isel(time=[0]), index=2)
    with pytest.raises(DataError, match="4 images without times"):
        plot(out.isel(time=2, drop=True), observed=observed.drop_vars("time"))
    with pytest.raises(DataError, match="observed has 20 x 40 pixels"):
        plot(out, observed=observed.isel(y=slice(20)))
    with pytest.raises(DataError, match="a mask of shape"):
        plot(out, mask=np.zeros((3, 3), bool))


def test_large_and_lazy_images_are_thinned_out() -> None:
    _, out, _ = inputs()
    figure = plot(out.chunk(x=7), max_size=16)
    assert pixels(figure, "reconstruction").shape == (10, 14, 3)
    assert pixels(figure, "provenance").shape == (10, 14)
    np.testing.assert_array_equal(pixels(figure, "provenance"), out.provenance[::3, ::3])


def test_the_picture_is_drawn(tmp_path: Any) -> None:
    observed, out, truth = inputs()
    path = tmp_path / "out.png"
    plot(out, observed=observed, truth=truth, figsize=(10, 3)).savefig(path, dpi=80)
    image = matplotlib.image.imread(path)
    assert image.shape[:2] == (240, 800)
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 500


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    observed, out, _ = inputs()
    with pytest.raises(DataError, match=r"plot\(out, bands="):
        plot(out, bands=("B04", "B03"))
    with pytest.raises(MissingBandError, match="B11"):
        plot(out, bands=("B11", "B03", "B02"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CloudFreeError, match=r"pip install 'xcloudfree\[plot\]'$"):
        plot(observed)


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, xcloudfree.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_before_is_known_as_long_as_the_input_is_there() -> None:
    scene = xcf.datasets.simulate_scene((40, 40), dates=2, seed=3)
    out = scene.cloudfree.reconstruct(model="idw")
    assert "cloudy input" in titles(out.cloudfree.plot())
    assert "cloudy input" not in titles(out.copy().cloudfree.plot())
    del scene
    gc.collect()
    assert "cloudy input" not in titles(out.cloudfree.plot())


def test_one_date_is_computed_and_only_once() -> None:
    scene = xcf.datasets.simulate_scene((48, 48), dates=3, chunks={"time": 1, "y": 48, "x": 48})
    blocks: list[Any] = []

    def count(block: np.ndarray) -> np.ndarray:
        blocks.append(block.shape)
        return block

    counted = scene.assign(B02=scene.B02.copy(data=scene.B02.data.map_blocks(count, dtype="f4")))
    out = counted.cloudfree.reconstruct(model="idw")
    blocks.clear()
    plot(out, index=1, observed=counted)
    assert blocks == [(1, 48, 48)]


def test_standard_deviation_has_a_panel_and_a_scale() -> None:
    _, out, _ = inputs()
    spread = out.B04 * 0 + 0.05
    factors = {"B04_std": 1, "B03_std": 2, "B02_std": 3, "B11_std": 9}
    wide = plot(out.assign({name: spread * factor for name, factor in factors.items()}))
    np.testing.assert_allclose(pixels(wide, "standard deviation"), 0.1, rtol=1e-6)
    stack = xr.concat([out[b] for b in ("B02", "B03", "B04")], "band").assign_coords(
        band=["B02", "B03", "B04"]
    )
    array = stack.assign_coords(std=stack * 0 + 0.03, provenance=out.provenance)
    np.testing.assert_allclose(pixels(plot(array), "standard deviation"), 0.03, rtol=1e-6)
    with pytest.raises(DataError, match="uncertainty=True"):
        out.cloudfree.plot.uncertainty()


def test_single_pictures_draw_where_they_are_told() -> None:
    observed, out, _ = inputs(times=3)
    figure, axes = matplotlib.pyplot.subplots(1, 4)
    on_earth = observed.rio.write_crs("EPSG:32633")
    assert on_earth.cloudfree.plot.rgb(index=1, ax=axes[0]) is figure
    assert out.cloudfree.plot.provenance(time="2025-06-20", ax=axes[1]) is figure
    hidden = np.zeros(SHAPE, bool)
    hidden[CLOUD] = True
    observed.cloudfree.plot.mask(hidden, ax=axes[2])
    observed.cloudfree.plot.mask(hidden, bands=None, ax=axes[3])
    assert [a.get_title() for a in axes] == ["2025-06-11", "2025-06-21", "2025-06-01", "2025-06-01"]
    assert axes[2].get_legend().get_texts()[0].get_text() == f"occluded {hidden.mean():.0%}"
    np.testing.assert_array_equal(axes[3].images[0].get_array(), hidden)
    # ten metres a pixel, in kilometres, the first pixel's centre at 0
    np.testing.assert_allclose(axes[0].images[0].get_extent(), [-0.005, 0.395, -0.005, 0.295])
    with pytest.raises(DataError, match="returns it"):
        observed.cloudfree.plot.provenance()
    with pytest.raises(DataError, match="method=your_array"):
        observed.cloudfree.plot.mask()


def test_rows_that_go_up_are_drawn_with_north_above() -> None:
    _, _, truth = inputs()
    up = truth.sortby("y")
    usual, turned = plot(truth), plot(up)
    np.testing.assert_array_equal(pixels(usual, "Sentinel-2"), pixels(turned, "Sentinel-2"))
    assert usual.axes[0].images[0].get_extent() == turned.axes[0].images[0].get_extent()


def test_dates_beside_each_other_share_one_stretch() -> None:
    _, _, truth = inputs(times=3)
    bright = (truth * xr.DataArray([1.0, 0.5, 0.25], dims="time")).assign_attrs(units="1")
    figure = bright.cloudfree.plot.rgb(col="time", col_wrap=2)
    means = [np.asarray(a.images[0].get_array()).mean() for a in figure.axes if a.images]
    assert len(means) == 3
    assert means[0] > 1.4 * means[1] > 1.4 * means[2]
    with pytest.raises(DataError, match="no dimension 'patch'"):
        bright.cloudfree.plot.rgb(col="patch")


def test_limits_that_are_asked_for_are_taken() -> None:
    _, _, truth = inputs()
    figure = truth.cloudfree.plot.rgb(vmin=0, vmax=[0.2, 0.4, 0.8])
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown[..., 1], truth.B03 / 0.4, rtol=1e-6)
    with pytest.raises(DataError, match="vmin and vmax"):
        truth.cloudfree.plot.rgb(vmin=[0, 1])


def test_a_strip_tells_how_much_of_each_date_is_hidden() -> None:
    observed, out, _ = inputs(times=4)
    flags = out.provenance.expand_dims(time=4).copy()
    flags[2] = 1
    flags[2, :3] = 2
    flags[3, :15] = 0
    figure = out.assign(provenance=flags).cloudfree.plot.series(observed=observed, dates=3)
    assert len(figure.axes) == 7
    bars = figure.axes[-1]
    assert [t.get_text() for t in bars.texts] == ["17%", "10%", "0%"]
    assert figure.axes[0].get_title() == "2025-06-01"
    with pytest.raises(DataError, match="no time dimension"):
        out.isel(time=0).cloudfree.plot.series()


def test_degrees_are_labelled_as_such() -> None:
    _, _, truth = inputs()
    place = truth.rename(y="latitude", x="longitude")
    place = place.assign_coords(latitude=50 - 1e-4 * np.arange(30), longitude=1e-4 * np.arange(40))
    axis = plot(place).axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("longitude (°)", "latitude (°)")
    assert plot(truth.drop_vars(["x", "y"])).axes[0].get_xlabel() == "column"
    metres = plot(truth.rio.write_crs("EPSG:32633")).axes[0]
    assert metres.get_xlabel() == "easting (km)"


def test_a_partly_hidden_date_is_shown_first_and_nothing_is_computed_to_find_it() -> None:
    cover = [0.0, 0.1, 0.5, 1.0]
    scene = xcf.datasets.simulate_scene((40, 40), dates=4, cover=cover, seed=3)
    assert scene.cloudfree.plot().get_suptitle() == "2025-06-20 10:06"
    out = scene.cloudfree.reconstruct(model="idw")
    assert out.cloudfree.plot().get_suptitle() == "2025-06-20 10:06"
    assert plot(out, index=0).get_suptitle() == "2025-06-10 10:06"
    lazy = out.chunk(time=1)
    assert plot(lazy).get_suptitle() == "2025-06-10 10:06"
    for name in ("cloud_cover", "eo:cloud_cover"):  # xcf.stac.load, stackstac
        stated = lazy.assign_coords({name: ("time", [0.0, np.nan, 45.0, 99.0])})
        assert plot(stated).get_suptitle() == "2025-06-20 10:06"
    assert plot(lazy.assign_coords(cloud_cover=("time", [np.nan] * 4))).axes


def test_a_calendar_has_a_row_a_month_and_a_column_a_day():
    ds = make_series(24, 24, dates=6)
    ds = ds.assign_coords(time=pd.DatetimeIndex(
        ["2025-01-03", "2025-01-31", "2025-03-01", "2025-03-11 10:00", "2025-03-11", "2025-03-21"]
    ))  # fmt: skip
    shares = ds.cloudfree.clearness("score").clear.values
    axis = ds.cloudfree.plot.calendar("score", sample=None).axes[0]
    table = axis.images[0].get_array().filled(np.nan)
    assert table.shape == (3, 31)
    assert [t.get_text() for t in axis.get_yticklabels()] == ["2025-01", "2025-02", "2025-03"]
    places = [(0, 2), (0, 30), (2, 0), (2, 20)]
    np.testing.assert_allclose([table[p] for p in places], shares[[0, 1, 2, 5]], atol=1e-6)
    assert table[2, 10] == pytest.approx(max(shares[3:5]), abs=1e-6)
    assert np.isfinite(table).sum() == 5
    with pytest.raises(DataError, match="needs dates"):
        ds.isel(time=0, drop=True).cloudfree.plot.calendar("score")


def test_nothing_is_cut_off_when_a_tall_picture_is_saved_at_once(tmp_path: Any) -> None:
    from matplotlib.image import imread

    scene = xcf.datasets.simulate_scene((94, 62), cover=0.4, seed=2)
    scene.cloudfree.plot(mask="score").savefig(tmp_path / "tall.png")
    border = imread(tmp_path / "tall.png")[..., :3]
    border[2:-2, 2:-2] = 1
    assert border.min() == 1


def test_a_notebook_shows_a_picture_once_also_with_a_semicolon() -> None:
    import nbclient
    import nbformat

    first = "%matplotlib inline\nimport xcloudfree as xcf\n"
    first += "ds = xcf.datasets.simulate_scene((32, 32), dates=2)"
    calls = ["rgb(mask=None)", "calendar(mask='score')", "series(dates=2)"]
    plots = [f"ds.cloudfree.plot.{call}" for call in calls]
    cells = [
        first,
        *plots,
        *(f"{plot};" for plot in plots),
        f"figure = {plots[0]}",
        "figure",
        "figure",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(book, timeout=300).execute()
    counts = [sum("image/png" in o.get("data", {}) for o in cell.outputs) for cell in book.cells]
    assert counts == [0] + [1] * (len(cells) - 1)
