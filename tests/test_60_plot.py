"""Pictures: which panels there are, one stretch for all, and what the pixels show."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xcloudfree.exceptions import CloudFreeError, DataError, MissingBandError
from xcloudfree.plot import PROVENANCE, percentile_limits, plot, stretch

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

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
    assert titles(plot(observed)) == [sar, "Sentinel-2"]
    assert titles(plot(truth)) == ["Sentinel-2"]
    assert titles(plot(truth, mask=np.zeros(SHAPE, bool))) == ["mask", "Sentinel-2"]
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
    by_time = plot(truth, time="2025-06-12")
    assert by_time.get_suptitle() == "2025-06-11T00:00"
    by_number = plot(truth, index=1)
    np.testing.assert_array_equal(pixels(by_time, "Sentinel-2"), pixels(by_number, "Sentinel-2"))
    assert plot(truth).get_suptitle() == "2025-06-01T00:00"


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
    with pytest.raises(CloudFreeError, match=r"pip install 'xcloudfree\[plot\]'\.$"):
        plot(observed)


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, xcloudfree.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
