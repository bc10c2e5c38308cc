"""Metrics of one image: reference values, closed forms and torchmetrics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xcloudfree.judge.metrics import METRICS, gaussian_window, image_metrics, ssim_map

ALL = "definition (spec/models.md 0.4, float64, values clipped to 0..1)"
CLOUD = "definition, cloud pixels only"
CLEAR = "definition, clear pixels only"
KEYS = dict(
    zip(METRICS, ("PSNR", "SSIM", "MAE", "RMSE", "SAM_degrees"), strict=True)
)  # ours: theirs


def compare(row: np.ndarray, expected: dict[str, float | None]) -> None:
    for value, name in zip(row, METRICS, strict=False):
        reference = expected[KEYS[name]]
        if reference is None:
            assert np.isposinf(value)
        else:
            assert value == pytest.approx(reference, abs=1e-9), name


@pytest.mark.parametrize(
    "pair", ["smooth_noise", "zeros_and_out_of_range", "identical", "real_do_nothing"]
)
def test_equals_the_definition_goldens(goldens_root: Path, pair: str) -> None:
    case = json.loads((goldens_root / "metrics/case.json").read_text())
    arrays = np.load(goldens_root / "metrics/arrays.npz")
    values = case["pairs"][pair]["values"]
    prediction, truth = arrays[f"pred_{pair}"], arrays[f"target_{pair}"]
    if CLOUD in values:
        mask = arrays[f"mask_{pair}"]
        rows = image_metrics(prediction, truth, [None, mask, ~mask])
        for row, key in zip(rows, (ALL, CLOUD, CLEAR), strict=True):
            compare(row, values[key])
        assert rows[0, 5] == rows[1, 5] + rows[2, 5] == mask.size
    else:
        compare(image_metrics(prediction, truth)[0], values[ALL])


def images(seed: int = 0, shape: tuple[int, int, int] = (5, 40, 33)) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.95, shape)
    return np.clip(truth + rng.normal(0, 0.05, shape), 0, 1), truth


def test_closed_forms_of_a_constant_offset() -> None:
    truth = np.full((13, 30, 30), 0.4)
    psnr, ssim, mae, rmse, sam, count, left_out = image_metrics(truth + 0.2, truth)[0]
    assert psnr == pytest.approx(-20 * np.log10(0.2))
    assert (mae, rmse) == (pytest.approx(0.2), pytest.approx(0.2))
    assert sam == pytest.approx(0, abs=1e-5)  # parallel spectra
    assert (count, left_out) == (900, 0)
    # far from the border both variances vanish and only the luminance term is left
    inner = np.zeros((30, 30), bool)
    inner[5:-5, 5:-5] = True
    luminance = (2 * 0.6 * 0.4 + 1e-4) / (0.6**2 + 0.4**2 + 1e-4)
    assert image_metrics(truth + 0.2, truth, [inner])[0, 1] == pytest.approx(luminance, abs=1e-12)
    assert ssim < luminance  # zeros beyond the border make both images look structured


def test_angle_of_known_spectra() -> None:
    prediction = np.zeros((2, 1, 3))
    truth = np.zeros((2, 1, 3))
    prediction[:, 0, 0], truth[:, 0, 0] = (1, 0), (0, 1)  # 90 degrees
    prediction[:, 0, 1], truth[:, 0, 1] = (0.5, 0.5), (0.5, 0)  # 45 degrees
    prediction[:, 0, 2], truth[:, 0, 2] = (0, 0), (0.5, 0)  # undefined: not in the mean
    assert image_metrics(prediction, truth)[0, 4] == pytest.approx(67.5)


def test_values_are_clipped_before_the_comparison() -> None:
    truth = np.full((3, 20, 20), 1.4)
    row = image_metrics(np.full((3, 20, 20), 1.0), truth)[0]
    assert np.isposinf(row[0])
    assert row[1] == pytest.approx(1)


def test_ssim_window_is_the_outer_product_of_a_centred_gaussian() -> None:
    # one bright pixel against black: the map is C1 C2 over products of local moments, written out
    # here with the two-dimensional window itself
    image = np.zeros((21, 21))
    image[10, 10] = 0.8
    y, x = np.mgrid[-5:6, -5:6]
    window = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    window /= window.sum()
    mean, square = 0.8 * window, 0.64 * window
    expected = 1e-4 * 9e-4 / ((mean**2 + 1e-4) * (square - mean**2 + 9e-4))
    got = ssim_map(image, np.zeros_like(image))
    np.testing.assert_allclose(got[5:16, 5:16], expected, rtol=1e-10)
    assert got[0, 0] == pytest.approx(1)
    assert gaussian_window().sum() == pytest.approx(1)


def test_ssim_at_the_corner_sees_zeros_beyond_both_borders() -> None:
    # constants a and b where the window is inside (its mass m there), zero outside
    a, b = 0.6, 0.3
    taps = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    m = (taps[5:].sum() / taps.sum()) ** 2
    luminance = (2 * a * b * m**2 + 1e-4) / ((a**2 + b**2) * m**2 + 1e-4)
    spread = m - m**2
    structure = (2 * a * b * spread + 9e-4) / ((a**2 + b**2) * spread + 9e-4)
    got = ssim_map(np.full((20, 20), a), np.full((20, 20), b))
    for corner in (got[0, 0], got[0, -1], got[-1, 0], got[-1, -1]):
        assert corner == pytest.approx(luminance * structure, abs=1e-12)


def test_pixels_with_nan_are_left_out_and_counted() -> None:
    prediction, truth = images()
    base = image_metrics(prediction, truth)[0]
    broken = prediction.copy()
    broken[2, 10:14, 20:25] = np.nan
    valid = np.ones(truth.shape[1:], bool)
    valid[10:14, 20:25] = False
    gap = truth.copy()
    gap[1, 0, 0] = np.nan
    valid[0, 0] = False
    row = image_metrics(broken, gap)[0]
    expected = image_metrics(prediction, truth, [valid])[0]
    np.testing.assert_allclose(row[[0, 2, 3, 4]], expected[[0, 2, 3, 4]], rtol=1e-12)
    assert row[5:].tolist() == [valid.sum(), 21]
    # the windows of neighbours see zeros there, in both images
    holes = image_metrics(prediction * valid, truth * valid, [valid])[0]
    assert row[1] == pytest.approx(holes[1], abs=1e-12)
    assert base[5:].tolist() == [valid.size, 0]


def test_an_empty_selection_and_an_all_nan_image_give_nan() -> None:
    prediction, truth = images()
    nothing = np.zeros(truth.shape[1:], bool)
    row = image_metrics(prediction, truth, [nothing])[0]
    assert np.isnan(row[:5]).all()
    assert row[5:].tolist() == [0, 0]
    row = image_metrics(np.full_like(prediction, np.nan), truth)[0]
    assert np.isnan(row[:5]).all()
    assert row[5:].tolist() == [0, nothing.size]


def test_selections_of_all_pixels_recombine() -> None:
    prediction, truth = images(3)
    mask = np.random.default_rng(4).random(truth.shape[1:]) < 0.3
    whole, one, other = image_metrics(prediction, truth, [None, mask, ~mask])
    share = mask.mean()
    for column in (1, 2, 4):  # means over pixels
        assert whole[column] == pytest.approx(share * one[column] + (1 - share) * other[column])
    assert whole[3] ** 2 == pytest.approx(share * one[3] ** 2 + (1 - share) * other[3] ** 2)


def test_agrees_with_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    prediction, truth = images(7)
    p, t = (torch.from_numpy(a)[None] for a in (prediction, truth))
    inner = np.s_[5:-5, 5:-5]  # torchmetrics mirrors beyond the border
    psnr = functional.peak_signal_noise_ratio(p, t, data_range=1.0)
    sam = torch.rad2deg(functional.spectral_angle_mapper(p, t))
    _, similarity = functional.structural_similarity_index_measure(
        p, t, data_range=1.0, kernel_size=11, sigma=1.5, return_full_image=True
    )
    row = image_metrics(prediction, truth)[0]
    assert row[0] == pytest.approx(float(psnr), abs=1e-5)  # it works in float32
    assert row[4] == pytest.approx(float(sam), abs=1e-5)
    for band in range(5):
        ours = ssim_map(prediction[band], truth[band])[inner]
        np.testing.assert_allclose(ours, similarity[0, band].numpy()[inner], atol=1e-10)
