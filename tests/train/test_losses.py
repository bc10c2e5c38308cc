"""Weights and losses against closed forms and other libraries."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from xcloudfree.judge import metrics
from xcloudfree.train.losses import LOSSES, cloud_aware_loss, cloud_weights, shrink_means, ssim_map


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 13, 40, 36, generator=generator)
    guess = (truth + 0.1 * torch.randn(truth.shape, generator=generator)).clamp(0, 1)
    mask = (torch.rand(2, 1, 40, 36, generator=generator) > 0.6).float()
    return guess, truth, mask


def numpy_ssim(guess, truth):
    """The float64 map that the published metrics confirm, band by band."""
    planes = [
        metrics.ssim_map(g, t)
        for g, t in zip(
            guess.double().numpy().reshape(-1, 40, 36),
            truth.double().numpy().reshape(-1, 40, 36),
            strict=True,
        )
    ]
    return np.stack(planes).reshape(guess.shape)


def test_ssim_equals_the_numpy_map(pair):
    guess, truth, _ = pair
    expected = numpy_ssim(guess, truth)
    np.testing.assert_allclose(ssim_map(guess, truth).numpy(), expected, atol=2e-5)


def test_ssim_equals_torchmetrics_inside(pair):
    guess, truth, _ = pair
    _, theirs = structural_similarity_index_measure(
        guess, truth, data_range=1.0, sigma=1.5, return_full_image=True
    )
    inside = (..., slice(5, -5), slice(5, -5))
    assert torch.allclose(ssim_map(guess, truth)[inside], theirs[inside], atol=1e-4)


def test_equation_18_pixel_by_pixel(pair):
    guess, truth, mask = pair
    structure = numpy_ssim(guess, truth)
    weights = 0.8 * mask.numpy() + 0.2 * (1 - mask.numpy())
    squared = (guess - truth).double().numpy() ** 2
    expected = (weights * (0.5 * squared + 0.5 * (1 - structure))).mean()
    assert float(LOSSES["paper"](guess, truth, mask, 0.8, guess)) == pytest.approx(
        expected, rel=1e-5
    )


def test_equation_17():
    mask = torch.tensor([0.0, 1.0])
    assert cloud_weights(mask, 0.8).tolist() == pytest.approx([0.2, 0.8])
    assert cloud_weights(mask, 0.5).tolist() == [0.5, 0.5]


def test_alpha_half_is_half_of_the_unweighted_loss(pair):
    guess, truth, mask = pair
    even = cloud_aware_loss(guess, truth, mask, 0.5, pixel=1.0, structure=0.0)
    assert float(even) == pytest.approx(0.5 * float(((guess - truth) ** 2).mean()), rel=1e-5)


def test_unknown_targets_count_for_nothing(pair):
    guess, truth, mask = pair
    holes = truth.clone()
    holes[:, 3, 5:20, 5:20] = float("nan")
    guess = guess.clone().requires_grad_()
    value = cloud_aware_loss(guess, holes, mask, pixel=1.0, structure=0.0)
    value.backward()
    assert torch.isfinite(value)
    assert (guess.grad[..., 5:20, 5:20] == 0).all()
    keep = torch.ones(40, 36, dtype=bool)
    keep[5:20, 5:20] = False
    expected = (cloud_weights(mask, 0.8) * (guess - truth) ** 2)[..., keep].mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_shrinking_moves_the_mean_and_keeps_the_texture(pair):
    _, truth, mask = pair
    spectrum = torch.linspace(0, 1, 13)
    shrunk = shrink_means(truth, mask, spectrum, 0.75)
    inside = mask[0, 0] > 0
    before, after = truth[0][:, inside].mean(1), shrunk[0][:, inside].mean(1)
    assert torch.allclose(after, 0.25 * before + 0.75 * spectrum, atol=1e-5)
    assert torch.allclose(shrunk[0].std((1, 2)), truth[0].std((1, 2)), atol=1e-5)
    assert torch.equal(shrink_means(truth, torch.zeros_like(mask), spectrum, 0.75), truth)


def test_the_loss_of_the_published_code(pair):
    guess, truth, mask = pair
    error = (guess - truth).abs().double().numpy()
    masked = (mask.numpy() * error).mean()
    expected = 2 * masked + 0.5 * error.mean() + 0.5 * (1 - numpy_ssim(guess, truth).mean())
    found = LOSSES["reference-code"](guess, truth, mask, 0.8, guess)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_cloud_adaptive_loss_holds_clear_pixels_to_the_input(pair):
    guess, truth, mask = pair
    cloudy = (truth + 0.3).clamp(0, 1)
    inside = mask.bool().expand_as(guess)
    wanted = torch.where(inside, truth, cloudy)
    expected = (guess - wanted).abs().mean() + (guess - truth).abs().mean()
    assert float(LOSSES["carl"](guess, truth, mask, 0.8, cloudy)) == pytest.approx(float(expected))
    clear = torch.zeros_like(mask)
    best = LOSSES["carl"](cloudy, truth, clear, 0.8, cloudy)
    assert float(best) == pytest.approx(float((cloudy - truth).abs().mean()), rel=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_what_is_unknown_in_the_target_moves_nothing(pair, name):
    """Neither the value nor the gradient of a loss knows what stands behind a gap.

    A window of 11 pixels around the first known row reaches 5 rows into it.
    """
    guess, truth, mask = pair
    truth = truth.clone()
    truth[:, 3, :20] = torch.nan
    found = []
    for garbage in (0.0, 0.9):
        free = guess.clone()
        free[:, :, :15] = garbage
        free.requires_grad_()
        value = LOSSES[name](free, truth, mask, 0.8, truth)
        value.backward()
        assert torch.isfinite(free.grad).all()
        assert (free.grad[:, :, :15] == 0).all()
        found.append(float(value.detach()))
    assert found[0] == pytest.approx(found[1])


def test_plain_losses(pair):
    guess, truth, mask = pair
    for name, power in (("l1", 1), ("mse", 2)):
        expected = ((guess - truth).abs() ** power).mean()
        assert float(LOSSES[name](guess, truth, mask, 0.8, guess)) == pytest.approx(float(expected))
