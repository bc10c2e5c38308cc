"""The trivial estimates: closed forms, an independent solver, and real patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xcloudfree.exceptions import DataError
from xcloudfree.judge.baselines import TrainingImage, fit_constant, fit_ridge
from xcloudfree.judge.metrics import image_metrics
from xcloudfree.methods.regression import (
    local_mean,
    moments,
    sar_features,
    solve_ridge,
    squared_error,
)


def backscatter(seed: int, shape: tuple[int, int] = (24, 30)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-20, -5, shape), rng.uniform(-28, -12, shape)]).astype(np.float32)


def test_constant_is_the_mean_over_valid_pixels_of_all_images() -> None:
    small = np.full((2, 1, 1), 0.5)
    large = np.full((2, 3, 1), 0.1)
    large[1, 0, 0] = np.nan  # the pixel is out in both bands
    spectrum = fit_constant([TrainingImage(small), TrainingImage(large)])
    np.testing.assert_allclose(spectrum, (0.5 + 2 * 0.1) / 3)


def test_local_mean_counts_only_valid_pixels_inside() -> None:
    image = np.arange(25.0).reshape(5, 5)
    image[2, 2] = np.nan
    means = local_mean(image, 3)
    assert means[0, 0] == pytest.approx(np.mean([0, 1, 5, 6]))
    assert means[2, 2] == pytest.approx(np.nanmean(image[1:4, 1:4]))


def test_ridge_features_are_nan_exactly_where_backscatter_is() -> None:
    sar = backscatter(0)
    sar[1, 3, 4] = np.nan
    missing = np.isnan(sar_features(sar)).any(axis=-1)
    assert np.argwhere(missing).tolist() == [[3, 4]]


@pytest.mark.parametrize("penalty", [0.0, 0.3, 1e9])
def test_ridge_equals_the_least_squares_of_the_augmented_system(penalty: float) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal((3, -20, 0.1), (1, 5, 0.01), (200, 3))
    y = x @ rng.normal(size=(3, 2)) + 1.7 + rng.normal(size=(200, 2))
    standard = (x - x.mean(0)) / x.std(0)
    rows = np.concatenate([standard / np.sqrt(200), np.sqrt(penalty) * np.eye(3)])
    right = np.concatenate([(y - y.mean(0)) / np.sqrt(200), np.zeros((3, 2))])
    slope = np.linalg.lstsq(rows, right, rcond=None)[0]
    expected = standard @ slope + y.mean(0)
    sums = moments(x[None], y.T[:, None])
    got = solve_ridge(sums, penalty)
    np.testing.assert_allclose(x @ got[1:] + got[0], expected, rtol=1e-7, atol=1e-7)
    residual = ((y - x @ got[1:] - got[0]) ** 2).sum()
    assert squared_error(sums, got) == pytest.approx(residual, rel=1e-7)


def test_the_penalty_comes_from_groups_left_out() -> None:
    # within each group reflectance follows VV perfectly, with opposite sign between the groups:
    # only the mean carries over, so the largest penalty must win
    images = []
    for group, sign in (("A", 1), ("B", -1)):
        sar = backscatter(5)
        optical = (0.4 + sign * (sar[:1] + 12.5) / 100).astype(np.float32)
        images.append(TrainingImage(optical, sar, group))
    opposed = fit_ridge(images)
    assert opposed.penalty == max(opposed.errors)
    same = [TrainingImage(images[0].optical, images[0].sar, group) for group in "AB"]
    assert fit_ridge(same).penalty == min(opposed.errors)


def test_errors_by_group_equal_an_explicit_loop() -> None:
    rng = np.random.default_rng(6)
    images = []
    for seed, group in enumerate("AABC"):
        sar = backscatter(seed)
        noise = rng.normal(0, 0.05, (2, *sar.shape[1:]))
        images.append(TrainingImage(0.3 - sar / 100 + noise, sar, group))
    ridge = fit_ridge(images, penalties=[0.1])
    total = 0.0
    for group in "ABC":
        fitted = fit_ridge([i for i in images if i.group != group], penalties=[0.1])
        for image in images:
            if image.group == group:
                predicted = fitted.predict(image.sar)
                total += ((predicted - image.optical) ** 2).sum()
    values = sum(i.optical.size for i in images)
    assert ridge.errors[0.1] == pytest.approx(np.sqrt(total / values))


def test_ridge_invents_nothing_without_backscatter() -> None:
    sar = backscatter(8)
    optical = np.stack([0.2 - sar[0] / 100, 0.1 - sar[1] / 200]).astype(np.float32)
    ridge = fit_ridge([TrainingImage(optical, sar, g) for g in "AB"], penalties=[0.0])
    gap = sar.copy()
    gap[0, 0, 0] = np.nan
    out = ridge.predict(gap)
    assert np.isnan(out[:, 0, 0]).all()
    away = np.ones(sar.shape[1:], bool)
    away[:6, :6] = False  # its neighbours' local means miss one pixel
    np.testing.assert_allclose(out[:, away], optical[:, away], atol=1e-5)


def test_bad_input_is_refused_with_the_call_that_mends_it() -> None:
    cloudy = np.zeros((2, 3, 3))
    with pytest.raises(DataError, match="fit_constant"):
        fit_constant([TrainingImage(np.full((2, 3, 3), np.nan))])
    with pytest.raises(DataError, match="fit_ridge"):
        fit_ridge([TrainingImage(cloudy)])
    with pytest.raises(DataError, match="fit_ridge"):
        fit_ridge([])


GROUPS = {"A": (316, 581, 746), "B": (1302,), "C": (2729,), "D": (3968,)}
GROUPS |= {"E": (4065, 4287, 4294, 4433, 4438), "F": (5254, 5278, 5349), "H": (6553, 6780)}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_constant_row_of_the_real_patches(data_root: Path) -> None:
    """Values that an independent prototype gave: 26.71 dB on D and H, 27.59 dB on p839."""
    import rasterio

    def optical(path: Path) -> np.ndarray:
        with rasterio.open(path) as source:
            clipped: np.ndarray = np.clip(source.read(), 0, 10_000).astype(np.float32)
        return clipped / np.float32(10_000)

    triplets = data_root / "triplets"
    spectrum = fit_constant(
        TrainingImage(optical(triplets / str(i) / "s2_cloudfree.tif"), group=g)
        for g in "ABCEF"
        for i in GROUPS[g]
    )
    truths = [optical(triplets / str(i) / "s2_cloudfree.tif") for g in "DH" for i in GROUPS[g]]
    truths.append(
        optical(data_root / "sen12mscr/ROIs1970_fall_s2/s2_139/ROIs1970_fall_s2_139_p839.tif")
    )
    flat = np.broadcast_to(spectrum[:, None, None], truths[0].shape)
    psnr = [image_metrics(flat, t)[0, 0] for t in truths]
    assert np.mean(psnr[:3]) == pytest.approx(26.71, abs=0.006)
    assert psnr[3] == pytest.approx(27.59, abs=0.006)
