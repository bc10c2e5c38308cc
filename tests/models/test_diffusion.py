"""The diffusion bridge, against the closed forms of a Brownian bridge and its regression."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from xcloudfree.models.diffusion import (
    LOWEST,
    Diffusion,
    DiffusionConfig,
    noise_fields,
    preconditioning,
)

SMALL = {"features": 16, "blocks": 1, "period": 16}


def lively(config, seed=0):
    """Random last layers, so that the prediction says something."""
    torch.manual_seed(seed)
    network = Diffusion(config)
    torch.nn.init.normal_(network.restore.weight, std=0.1)
    torch.nn.init.normal_(network.trust.weight, std=0.1)
    return network.eval()


def scene(height, width, n=1):
    return torch.rand(n, 13, height, width), torch.rand(n, 2, height, width)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_the_untrained_network_returns_the_cloudy_image(steps):
    x, r = scene(37, 50, n=2)
    network = Diffusion(DiffusionConfig(**SMALL, steps=steps))
    assert torch.equal(network(x, r), x)


@pytest.mark.parametrize(
    ("options", "millions"), [({}, 1.81), ({"features": 32, "blocks": 4}, 0.144)]
)
def test_sizes_of_the_variants(options, millions):
    network = Diffusion(DiffusionConfig(**options))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 3), (7, 16), (31, 33)])
def test_any_size_runs(size):
    network = lively(DiffusionConfig(**SMALL))
    x, r = scene(*size, n=2)
    assert network(x, r).shape == x.shape
    assert network.denoise(x, torch.tensor([0.2, 1.0]), x, r).shape == x.shape


@pytest.mark.parametrize("steps", [1, 3])
def test_influence_ends_at_the_declared_reach(steps):
    """Gradient of one aligned block: exact zeros beyond the reach, and none left before it."""
    config = DiffusionConfig(**SMALL, steps=steps)
    network = lively(config)
    start = -(-config.reach // 16) * 16 + 16
    x, r = (t.requires_grad_() for t in scene(2 * start + 16, 2 * start + 16))
    block = slice(start, start + 16)
    network(x, r)[..., block, block].sum().backward()
    for gradient in (x.grad, r.grad):
        rows = gradient.abs().amax(dim=(0, 1, 3)).nonzero()[:, 0]
        assert rows.min() == start - config.reach
        assert rows.max() == start + 15 + config.reach


def test_tiles_of_a_scene_agree_bit_for_bit():
    """Windows on the grid of the noise give the crop of the whole; off the grid they do not."""
    config = DiffusionConfig(features=64, blocks=2, period=16, steps=3)
    network = lively(config)
    x, r = scene(135, 121)
    halo = -(-config.reach // 16) * 16
    with torch.inference_mode():
        whole = network(x, r)
        for top, left in ((0, 0), (48, 64), (119, 96)):
            first = tuple(max(n // 16 * 16 - halo, 0) for n in (top, left))
            window = (..., slice(first[0], top + 32 + halo), slice(first[1], left + 32 + halo))
            part = network(x[window], r[window])[..., top - first[0] :, left - first[1] :]
            rows, columns = min(16, 135 - top), min(16, 121 - left)
            expected = whole[..., top : top + rows, left : left + columns]
            assert torch.equal(part[..., :rows, :columns], expected)
        off = network(x[..., 8:, :], r[..., 8:, :])[..., 48:64, 48:64]
    assert (off - whole[..., 56:72, 48:64]).abs().max() > 1e-3


def test_one_seed_gives_one_answer_and_another_seed_another():
    x, r = scene(40, 40, n=2)
    x[1], r[1] = x[0], r[0]
    outs = [lively(DiffusionConfig(**SMALL, noise_seed=seed))(x, r).detach() for seed in (7, 7, 8)]
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0][0], outs[0][1])  # no matter where in the batch
    assert (outs[0] - outs[2]).abs().mean() > 1e-3
    single = [lively(DiffusionConfig(**SMALL, noise_seed=seed, steps=1))(x, r) for seed in (7, 8)]
    assert torch.equal(*single)  # one step draws nothing


def test_torchs_own_generator_plays_no_part_in_sampling():
    x, r = scene(20, 20)
    network = lively(DiffusionConfig(**SMALL))
    state = torch.get_rng_state()
    first = network(x, r)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(network(x, r), first)


def test_noise_is_standard_normal_and_repeats_with_its_period():
    config = DiffusionConfig(steps=4, period=64)
    fields = noise_fields(config, torch.zeros(1, 13, 150, 70))
    assert fields.shape == (3, 13, 150, 70)
    assert torch.equal(fields[..., 64:128, :], fields[..., :64, :])
    assert torch.equal(fields[..., 64:], fields[..., :6])
    tile = fields[..., :64, :64].flatten(1)
    assert tile.mean() == pytest.approx(0, abs=0.01)
    assert tile.std() == pytest.approx(1, abs=0.01)
    between = np.corrcoef(tile.numpy())[np.triu_indices(3, 1)]
    assert np.abs(between).max() < 0.02


def test_states_for_fitting_follow_the_bridge():
    """Mean x + (c - x) t and deviation noise sqrt(t (1 - t)), the cloudy image itself at 1."""
    network = Diffusion(DiffusionConfig(**SMALL, noise=0.3))
    x, c = torch.full((800, 13, 4, 4), 0.1), torch.full((800, 13, 4, 4), 0.7)
    y, t = network.training_pair(x, c, torch.Generator().manual_seed(0))
    assert torch.equal(y[t == 1], c[t == 1])
    assert (t == 1).float().mean() == pytest.approx(0.25, abs=0.04)
    assert LOWEST <= t.min() < LOWEST + 0.01
    assert t[t < 1].mean() == pytest.approx((1 + LOWEST) / 2, abs=0.02)
    inner = t < 0.98
    y, t = y[inner].flatten(1), t[inner]
    standard = (y - (0.1 + 0.6 * t)[:, None]) / (0.3 * (t * (1 - t)).sqrt())[:, None]
    assert standard.mean() == pytest.approx(0, abs=0.01)
    assert standard.std() == pytest.approx(1, abs=0.01)
    again, levels = network.training_pair(x, c, torch.Generator().manual_seed(0))
    assert torch.equal(again[inner].flatten(1), y)
    assert torch.equal(levels[inner], t)


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_sampling_visits_the_states_of_the_same_bridge(steps, monkeypatch):
    """With a network that knows the truth, all states have the law of those for fitting."""
    config = DiffusionConfig(features=4, blocks=0, steps=steps, noise=0.3, period=128)
    network, truth, visited = Diffusion(config), torch.full((1, 13, 128, 128), 0.2), []

    def knows(noisy, level, optical, sar):
        visited.append((level, noisy))
        return truth

    monkeypatch.setattr(network, "denoise", knows)
    cloudy = torch.full_like(truth, 0.9)
    assert torch.equal(network(cloudy, torch.zeros(1, 2, 128, 128)), truth)
    assert [level for level, _ in visited] == pytest.approx([1 - i / steps for i in range(steps)])
    assert torch.equal(visited[0][1], cloudy)
    for t, y in visited[1:]:
        assert y.mean() == pytest.approx(0.2 + 0.7 * t, abs=0.003)
        assert y.std() == pytest.approx(0.3 * (t * (1 - t)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("level", [0.1, 0.4, 0.9])
def test_preconditioning_is_the_least_squares_estimate(level):
    config = DiffusionConfig(noise=0.3, spread=0.2)
    generator = torch.Generator().manual_seed(0)
    difference = 0.2 * torch.randn(400_000, generator=generator)  # x - c
    noise = 0.3 * (level * (1 - level)) ** 0.5 * torch.randn(400_000, generator=generator)
    seen = (1 - level) * difference + noise  # y - c
    slope = (seen * difference).mean() / (seen**2).mean()
    left = (difference - slope * seen).std()
    skip, scale = (value.item() for value in preconditioning(config, torch.tensor([level])))
    assert skip == pytest.approx(slope.item(), rel=0.01)
    assert scale == pytest.approx(left.item(), rel=0.01)


def test_the_loss_weighs_levels_alike_and_pixels_as_told(monkeypatch):
    """Of a prediction that is wrong by the best linear estimate's own error everywhere."""
    network = Diffusion(DiffusionConfig(**SMALL, spread=0.5))
    target = torch.rand(6, 13, 8, 8)
    off = torch.linspace(0.5, 2, 8).expand(6, 13, 8, 8)

    def denoise(noisy, level, optical, sar):
        return target + off * preconditioning(network.config, level)[1]

    monkeypatch.setattr(network, "denoise", denoise)
    x, r = scene(8, 8, n=6)
    assert network.bridge_loss(target, x, r) == pytest.approx(0.25 * (off**2).mean())
    weights = torch.zeros(6, 1, 8, 8)
    weights[..., 7] = 3
    assert network.bridge_loss(target, x, r, weights=weights) == pytest.approx(0.25 * 4)
    holes = target.clone()
    holes[..., 1:] = torch.nan
    assert network.bridge_loss(holes, x, r) == pytest.approx(0.25 * 0.25)


def linear_world(n, size, generator):
    """Reflectance that is linear in the backscatter, under clouds of random thickness."""
    coarse = torch.rand(n, 2, size // 8, size // 8, generator=generator)
    sar = functional.interpolate(coarse, scale_factor=8, mode="bilinear")
    mixing = torch.linspace(-0.3, 0.5, 8).view(4, 2)
    target = 0.2 + torch.einsum("bs,nshw->nbhw", mixing, sar)
    cover = torch.rand(n, 1, 3, 3, generator=generator)
    cover = functional.interpolate(cover, size=(size, size), mode="bilinear")
    cover = (3 * cover - 1).clamp(0, 1)
    return target, target * (1 - cover) + 0.8 * cover, sar


@pytest.mark.parametrize("steps", [1, 3])
def test_fitting_lowers_the_error_of_the_samples(steps):
    torch.manual_seed(0)
    config = DiffusionConfig(optical_bands=4, features=16, blocks=2, steps=steps)
    network, generator = Diffusion(config), torch.Generator().manual_seed(1)
    target, cloudy, sar = linear_world(8, 64, torch.Generator().manual_seed(9))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)

    def error():
        with torch.no_grad():
            return float((network(cloudy, sar) - target).square().mean().sqrt())

    start = error()
    for _ in range(60):
        loss = network.bridge_loss(*linear_world(4, 32, generator), generator=generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    assert error() < 0.4 * start


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "from 1 to 5"), ({"steps": 6}, "from 1 to 5"),
        ({"period": 9}, "multiple of 2"), ({"noise": 0}, "above 0"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DiffusionConfig(**options)
