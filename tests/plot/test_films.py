"""The curve of a place, films, and the page of before and after."""

from __future__ import annotations

import gc
import io
import re
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from xcloudfree.exceptions import DataError
from xcloudfree.plot import percentile_limits, stretch

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
animation = pytest.importorskip("matplotlib.animation")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def series():
    days = list(pd.date_range("2025-04-03T10:06", periods=7, freq="6D"))
    return xcf.datasets.simulate_scene((36, 44), dates=days, cover=[0.1, 0.5] * 3 + [0.2], seed=2)


@pytest.fixture(scope="module")
def hidden(series):
    return series.cloudfree.mask("score")


@pytest.fixture(scope="module")
def out(series, hidden):
    return series.cloudfree.reconstruct(
        "area-regression", mask=hidden, shadow=False, uncertainty=True
    )


def drawn(figure, label, axis=0):
    """x and y of the line with a label."""
    (line,) = (x for x in figure.axes[axis].get_lines() if x.get_label() == label)
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def place(ds, row, column):
    return float(ds.x[column]), float(ds.y[row])


def test_a_curve_shows_each_date_by_where_it_comes_from(series, out, hidden):
    row, column = np.argwhere((out.provenance == 2).sum("time").values == 3)[0]
    pixel = out.isel(y=row, x=column)
    # a place that is not the centre of its pixel
    at = float(out.x[column]) + 3, float(out.y[row]) - 4
    figure = out.cloudfree.plot.series(at=at, of="B08")
    for label, flag in (("observed", 1), ("reconstructed", 2)):
        times, values = drawn(figure, label)
        chosen = (pixel.provenance == flag).values
        np.testing.assert_array_equal(times, out.time.values[chosen])
        source = series.isel(y=row, x=column) if flag == 1 else pixel
        np.testing.assert_array_equal(values, source.B08.values[chosen])
    times, values = drawn(figure, "hidden by cloud or shadow")
    np.testing.assert_array_equal(times, out.time.values[hidden[:, row, column].values])
    for name in ("VV", "VH"):
        np.testing.assert_allclose(drawn(figure, name, 1)[1], pixel[name], rtol=1e-6)
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    made = (pixel.provenance == 2).values
    ends = [(pixel.B08 + sign * pixel.B08_std).values[made] for sign in (-1, 1)]
    for end in np.concatenate(ends):
        assert np.isclose(band, end).any()


def test_a_curve_of_an_index_without_a_reconstruction(series, hidden):
    pytest.importorskip("spyndex")
    figure = series[["B04", "B08"]].cloudfree.plot.series(
        at=place(series, 20, 30), of="NDVI", mask=hidden
    )
    assert len(figure.axes) == 1
    pixel = series.isel(y=20, x=30)
    clear = ~hidden[:, 20, 30].values
    expected = ((pixel.B08 - pixel.B04) / (pixel.B08 + pixel.B04)).values[clear]
    np.testing.assert_allclose(drawn(figure, "observed")[1], expected, rtol=1e-5)


def test_bounds_are_drawn_before_deviations(out):
    bounds = {"lower": 0.1, "upper": 0.4}
    wide = out.assign(
        {f"{b}_{k}": out[f"{b}_std"] * 0 + v for b in xcf.bands.S2_BANDS for k, v in bounds.items()}
    )
    row, column = np.argwhere((out.provenance == 2).any("time").values)[0]
    figure = wide.cloudfree.plot.series(at=place(out, row, column))
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert np.isclose(band, 0.1).any()
    assert np.isclose(band, 0.4).any()


def test_a_regular_cube_keeps_the_observed_dates_beside_it(series, hidden):
    cube = series.cloudfree.reconstruct("linear-time", mask=hidden, shadow=False, times="5D")
    at = place(series, 20, 30)
    figure = cube.cloudfree.plot.series(at=at, observed=series, mask=hidden)
    np.testing.assert_array_equal(drawn(figure, "reconstructed")[0], cube.time)
    clear = ~hidden[:, 20, 30].values
    np.testing.assert_array_equal(drawn(figure, "observed")[0], series.time.values[clear])


def test_a_place_outside_is_refused_with_one_inside(series):
    with pytest.raises(DataError, match=r"x = 0 lies outside .* at=\(500225"):
        series.cloudfree.plot.series(at=(0, 0))


def test_a_curve_without_coordinates_counts_pixels_of_one_array(series, hidden):
    bands = ["B04", "B08"]
    array = series[bands].to_dataarray("band").transpose("time", "band", "y", "x")
    bare = array.drop_vars(["x", "y"]).assign_attrs(processing_level="TOA")
    figure = bare.cloudfree.plot.series(at=(30, 20), mask=None)
    np.testing.assert_array_equal(drawn(figure, "observed")[1], series.B08[:, 20, 30])


def test_a_film_has_a_frame_for_each_date(tmp_path, series, out, hidden):
    path = out.cloudfree.plot.movie(tmp_path / "film.gif", observed=series)
    one = series.cloudfree.plot.movie(tmp_path / "one.gif", mask=hidden)
    with Image.open(path) as film, Image.open(one) as other:
        assert film.n_frames == other.n_frames == 7
        assert film.size[0] > 1.5 * other.size[0]
        frames = []
        for n in range(7):
            film.seek(n)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
    middle = frames[0].shape[1] // 2
    left = np.stack([frame[40:, :middle] for frame in frames])
    right = np.stack([frame[40:, middle:] for frame in frames])
    assert np.ptp(left, axis=0).mean() > 1.4 * np.ptp(right, axis=0).mean()  # clouds come and go


def test_a_film_of_another_kind_is_refused(tmp_path, series):
    with pytest.raises(DataError, match=r"call plot.movie\('film.gif'\)"):
        series.cloudfree.plot.movie(tmp_path / "film.avi")
    with pytest.raises(DataError, match="no time dimension"):
        series.isel(time=0).cloudfree.plot.movie(tmp_path / "film.gif")


def test_a_film_of_several_scenes_is_refused(tmp_path, series):
    with pytest.raises(DataError, match=r"ds.isel\(member=0\)"):
        series.expand_dims(member=2).cloudfree.plot.movie(tmp_path / "film.gif", mask=None)


def test_without_ffmpeg_an_mp4_is_refused_and_a_gif_offered(tmp_path, series):
    with (
        matplotlib.rc_context({"animation.ffmpeg_path": "no-such-program"}),
        pytest.raises(DataError, match=r"ffmpeg, which is not .* call plot.movie\('film.gif'\)"),
    ):
        series.cloudfree.plot.movie(tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not animation.writers.is_available("ffmpeg"), reason="the program ffmpeg is not installed"
)
def test_an_mp4_has_the_frames_of_the_gif(tmp_path, series, hidden):
    path = series.cloudfree.plot.movie(tmp_path / "film.mp4", mask=hidden)
    program = matplotlib.rcParams["animation.ffmpeg_path"]
    options = ["-vf", "scale=96:96", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    command = [program, "-v", "error", "-i", path, *options]
    pixels = subprocess.run(command, check=True, capture_output=True).stdout
    mp4 = np.frombuffer(pixels, np.uint8).reshape(-1, 96, 96, 3).astype(int)
    gif = np.empty_like(mp4)
    with Image.open(series.cloudfree.plot.movie(tmp_path / "film.gif", mask=hidden)) as film:
        assert film.n_frames == len(mp4) == 7
        for n in range(7):
            film.seek(n)
            gif[n] = np.asarray(film.convert("RGB").resize((96, 96), Image.Resampling.BICUBIC))
    assert abs(mp4 - gif).mean() < 8
    assert abs(mp4 - gif[::-1]).mean() > 2 * abs(mp4 - gif).mean()


class Page(HTMLParser):
    """Elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def named(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def test_the_page_holds_both_pictures_with_one_stretch_and_nothing_else(tmp_path, out, series):
    gc.collect()
    path = out.cloudfree.plot.swipe(tmp_path / "page.html", index=1)  # the input is known
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    # nothing is fetched: no addresses, no sheets, no scripts of others
    assert not re.search(r"https?:|url\(|@import", text)
    assert not page.named("link")
    assert [a.get("src") for a in page.named("script")] == [None]
    after, before = page.named("img")
    seen, made = (
        scene[["B04", "B03", "B02"]].isel(time=1).to_dataarray().values for scene in (series, out)
    )
    limits = percentile_limits(seen[:, out.provenance[1].values == 1])
    for picture, values in ((before, seen), (after, made)):
        assert picture["src"].startswith("data:image/png;base64,")
        pixels = Image.open(io.BytesIO(b64decode(picture["src"].partition(",")[2])))
        shown = np.asarray(pixels.convert("RGB")) / 255
        np.testing.assert_allclose(shown, stretch(values, limits), atol=1 / 255)
        assert (picture["width"], picture["height"]) == ("44", "36")
        assert "2025-04-09" in picture["alt"]
    (handle,) = page.named("input")
    assert handle["type"] == "range"  # what keyboards, mice and fingers move by themselves
    assert handle["aria-label"]
    assert page.named("html") == [{"lang": "en"}]


def test_a_page_without_the_input_is_refused(tmp_path, out):
    alone = out.copy()
    with pytest.raises(DataError, match="observed=ds"):
        alone.cloudfree.plot.swipe(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_words_of_a_page_are_escaped(tmp_path, series):
    odd = xr.concat([series.isel(time=0, drop=True)] * 2, "patch").assign_coords(
        patch=["<b>&", "b"]
    )
    odd.cloudfree.plot.swipe(tmp_path / "page.html", observed=odd, index=0, mask="score")
    assert "&lt;b&gt;&amp;" in (tmp_path / "page.html").read_text()
