"""UnCRtainTS against the authors' network, and what it does with dates and variances."""

import numpy as np
import pytest
import torch

from tests.goldens import golden, renamed
from xcloudfree.models.uncrtaints import (
    InvertedBottleneck,
    TemporalAttention,
    Uncrtaints,
    UncrtaintsConfig,
    day_encoding,
    published_name,
    resize_weights,
    weighted_over_dates,
)

CASES = {
    "mono_64": {},
    "mono_l2_32": {"uncertainty": False, "scale_by": 1.0},
    "t3_64": {"acquisitions": 3},
    "t3_padded_40x48": {"acquisitions": 3},
}
SMALL = {"width": 16, "heads": 4, "d_model": 32, "decoder_blocks": 2}


def published(name):
    """A case, its network with the case's weights, and its inputs."""
    case = golden(f"uncrtaints/{name}")
    network = Uncrtaints(UncrtaintsConfig(**CASES[name])).eval()
    network.load_state_dict(renamed(case.state(), published_name))
    given = case.inputs()
    sequence = given["sequence"]  # backscatter first
    return case, network, sequence[:, :, 2:], sequence[:, :, :2], given.get("dates")


def small(**options):
    torch.manual_seed(0)
    return Uncrtaints(UncrtaintsConfig(**{**SMALL, **options})).eval()


def series(dates, height=12, width=10, n=1):
    generator = torch.Generator().manual_seed(dates)
    optical = 10 * torch.rand(n, dates, 13, height, width, generator=generator)
    sar = 10 * torch.rand(n, dates, 2, height, width, generator=generator)
    return optical, sar, 4000 + 5.5 * torch.arange(dates).expand(n, dates)


@pytest.mark.parametrize("name", CASES)
def test_uncrtaints_equals_the_published_network(name):
    case, network, optical, sar, dates = published(name)
    assert sum(p.numel() for p in network.parameters()) == case.about["n_parameters"]
    with torch.inference_mode():
        if network.config.variance:
            mean, variance = network(optical, sar, dates=dates, variance=True)
            case.check("variance", variance)
        else:
            mean = network(optical, sar)
        case.check("mean", mean)
        assert torch.equal(network(optical, sar, dates=dates), mean)


@pytest.mark.parametrize("name", ["t3_64", "t3_padded_40x48"])
def test_attention_maps_equal_the_published_ones(name):
    """Intermediate values, which the layers behind them could hide."""
    case, network, optical, sar, dates = published(name)
    seen = []
    network.temporal.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.inference_mode():
        network(optical, sar, dates=dates)
    maps = seen[0].permute(2, 0, 1, 3, 4)
    probe = case.about["probes"]["values"]["temporal_encoder"]
    assert list(maps.shape) == probe["shape"]
    assert float(maps.std()) == pytest.approx(probe["std"], abs=1e-5)
    got = maps.reshape(-1)[probe["flat_index"]].numpy()
    np.testing.assert_allclose(got, probe["value"], atol=2e-5)


@pytest.mark.parametrize("name", ["mono_64", "t3_64", "mono_l2_32"])
def test_every_published_entry_has_one_name_of_ours(name):
    case = golden(f"uncrtaints/{name}")
    names = [entry["name"] for entry in case.about["state_dict"]]
    ours = [published_name(entry) for entry in names]
    counters = [name for name in names if name.endswith("num_batches_tracked")]
    kept = [entry for entry in ours if entry is not None]
    assert len(kept) == len(set(kept)) == len(names) - len(counters)
    assert len(counters) == 20
    state = Uncrtaints(UncrtaintsConfig(**CASES[name])).state_dict()
    assert set(kept) == {name for name in state if not name.endswith("num_batches_tracked")}


def test_unknown_names_reach_the_strict_load():
    for name in ("in_block.0.conv.fn.9.weight", "temporal_encoder.mlp.weight", "surprise"):
        assert published_name(name) == name


@pytest.mark.parametrize("acquisitions", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (1, 40), (33, 2), (31, 33), (36, 70)])
def test_any_size_runs(size, acquisitions):
    network = small(acquisitions=acquisitions)
    optical, sar, days = series(acquisitions, *size)
    with torch.inference_mode():
        mean, variance = network(optical, sar, dates=days, variance=True)
    assert mean.shape == variance.shape == (1, 13, *size)
    assert mean.isfinite().all()
    assert variance.isfinite().all()


def test_odd_sizes_are_not_padded():
    """Squeeze-excitation and group norm read all pixels, so none may be invented."""
    network = small()
    optical, sar, _ = series(1, 7, 9)
    seen = []
    network.enter.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    network(optical, sar)
    assert seen[0][-2:] == (7, 9)


def test_one_date_comes_with_or_without_its_dimension():
    network = small()
    optical, sar, days = series(1)
    with torch.inference_mode():
        expected = network(optical[:, 0], sar[:, 0])
        assert torch.equal(network(optical, sar), expected)
        assert torch.equal(network(optical, sar, dates=days), expected)


def test_backscatter_goes_first():
    network = small()
    optical, sar, _ = series(1)
    torch.nn.init.zeros_(network.enter.weight[:, :2])
    with torch.inference_mode():
        assert torch.equal(network(optical, sar), network(optical, torch.zeros_like(sar)))
        assert not torch.equal(network(optical, sar), network(0.5 * optical, sar))


@pytest.mark.parametrize("dates", [1, 2, 5])
def test_any_number_of_dates_runs(dates):
    optical, sar, days = series(dates, n=2)
    with torch.inference_mode():
        assert small(acquisitions=3)(optical, sar, dates=days).shape == (2, 13, 12, 10)


def test_the_order_of_the_dates_does_not_matter_but_their_days_do():
    _, network, optical, sar, days = published("t3_64")
    order = [2, 0, 1]
    with torch.inference_mode():
        mean = network(optical, sar, dates=days)
        shuffled = network(optical[:, order], sar[:, order], dates=days[:, order])
        mismatched = network(optical[:, order], sar[:, order], dates=days)
    torch.testing.assert_close(shuffled, mean, atol=2e-5, rtol=0)
    assert (mismatched - mean).abs().max() > 1e-2


def test_a_padded_date_gets_no_weight_and_its_day_is_never_read():
    _, network, optical, sar, days = published("t3_padded_40x48")
    assert not optical[:, 1].any()
    seen = []
    network.temporal.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.inference_mode():
        mean = network(optical, sar, dates=days)
        for day in (9999.0, torch.nan):
            other = days.clone()
            other[:, 1] = day
            assert torch.equal(network(optical, sar, dates=other), mean)
        barely = sar.clone()
        barely[0, 1, 0, 0, 0] = 1e-3  # an acquisition again
        assert (network(optical, barely, dates=days) - mean).abs().max() > 1e-2
    assert not seen[0][:, 1].any()
    torch.testing.assert_close(seen[0].sum(1), torch.ones_like(seen[0][:, 0]))
    assert seen[-1][:, 1].any()


def test_padding_is_per_sample():
    network = small(acquisitions=3)
    optical, sar, days = series(3, n=2)
    optical[1, 2] = sar[1, 2] = 0
    with torch.inference_mode():
        both = network(optical, sar, dates=days)
        for i in range(2):
            one = slice(i, i + 1)
            alone = network(optical[one], sar[one], dates=days[one])
            torch.testing.assert_close(both[one], alone, atol=1e-5, rtol=0)


def test_a_series_of_padding_carries_no_features():
    network = small(acquisitions=3)
    optical, sar, days = series(3)
    seen = []
    network.decoder.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    mean, variance = network(0 * optical, 0 * sar, dates=days, variance=True)
    assert not seen[0].any()
    assert mean.isfinite().all()
    assert variance.isfinite().all()


def test_padding_without_a_day_does_not_spoil_the_gradient():
    network = small(acquisitions=3).train()
    optical, sar, days = series(3, n=2)
    optical[0, 1], sar[0, 1] = 0, 0
    days = days.clone()
    days[0, 1] = torch.nan
    network(optical, sar, dates=days).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    assert network.temporal.query.grad.abs().sum() > 0


def test_variance_is_positive_and_bounded_by_its_floor():
    for scale_by, floor in ((10.0, 1e-3), (1.0, 1e-9)):
        network = small(scale_by=scale_by)
        optical, sar, _ = series(1)
        torch.nn.init.constant_(network.head.bias, -1000.0)
        with torch.inference_mode():
            mean, variance = network(optical, sar, variance=True)
        torch.testing.assert_close(variance, torch.full_like(variance, floor))
        assert not mean.any()
        torch.nn.init.constant_(network.head.bias, 1000.0)
        mean, variance = network(optical, sar, variance=True)
        torch.testing.assert_close(mean, torch.full_like(mean, scale_by))
        torch.testing.assert_close(variance, torch.full_like(variance, 1000.0), rtol=0.01, atol=0)


def test_only_networks_with_variance_return_one():
    network = small(uncertainty=False)
    optical, sar, _ = series(1)
    assert network.head.out_channels == 13
    assert isinstance(network(optical, sar), torch.Tensor)
    with pytest.raises(ValueError, match=r'create\("uncrtaints", uncertainty=True\)$'):
        network(optical, sar, variance=True)


def test_dates_that_do_not_fit_are_refused():
    optical, sar, days = series(3)
    with pytest.raises(ValueError, match=r'create\("uncrtaints", acquisitions=3\)$'):
        small()(optical, sar)
    network = small(acquisitions=3)
    for wrong in (None, days[:, :2], days[0]):
        with pytest.raises(ValueError, match=r"network\(optical, sar, dates=days\)$"):
            network(optical, sar, dates=wrong)
    with pytest.raises(ValueError, match=r"dates=days\)$"):
        network(optical[:, 0], sar[:, 0], dates=days)


def test_the_configuration_declares_itself():
    declared = UncrtaintsConfig(acquisitions=3).declared()
    assert declared == {
        "stride": 1, "reach": None, "tile": 256, "dates": 3, "variance": True, "needs_mask": False,
        "context": (),
    }  # fmt: skip
    assert UncrtaintsConfig(uncertainty=False).declared()["variance"] is False
    for wrong in (
        {"width": 30},
        {"acquisitions": 3, "heads": 12},
        {"acquisitions": 3, "width": 24},
    ):
        with pytest.raises(ValueError, match="must be a multiple"):
            UncrtaintsConfig(**wrong)
    with pytest.raises(ValueError, match="1 or more"):
        UncrtaintsConfig(acquisitions=0)


def test_attention_is_dropped_in_training_only():
    network = small(acquisitions=3)
    optical, sar, days = series(3)
    with torch.inference_mode():
        assert torch.equal(*(network(optical, sar, dates=days) for _ in range(2)))
        seen = []
        network.dropout.register_forward_hook(lambda m, given, out: seen.append((given[0], out)))
        network.train()
        network(optical, sar, dates=days)
    maps, dropped = seen[0]
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.03)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], maps[kept] / 0.9)


def test_all_weights_learn():
    network = small(acquisitions=3).train()
    optical, sar, days = series(3, n=2)
    mean, variance = network(optical, sar, dates=days, variance=True)
    (mean.square().mean() + variance.mean()).backward()
    still = [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0]
    # a bias common to the keys of all dates cancels in the softmax
    assert still in ([], ["temporal.key.bias"])


def test_days_are_coded_by_sines_of_geometric_frequencies():
    days = torch.tensor([[0.0, 1500.5, 4019.0]])
    got = day_encoding(days, 16).numpy()[0]
    for row, day in zip(got, days[0].tolist(), strict=True):
        for i in range(16):
            angle = day / 1000 ** (2 * (i // 2) / 16)
            assert row[i] == pytest.approx(np.sin(angle) if i % 2 == 0 else np.cos(angle), abs=5e-4)
    half = day_encoding(torch.tensor([[4019.0, 4020.0]], dtype=torch.float64), 16)
    assert half.dtype == torch.float32
    assert (half[:, 0] - half[:, 1]).abs().max() > 0.1


def test_equal_dates_get_equal_weights():
    torch.manual_seed(0)
    attention = TemporalAttention(16, 4, 32, 4)
    x = torch.rand(2, 1, 16, 40, 50).expand(-1, 4, -1, -1, -1)
    weights = attention(x, torch.full((2, 4), 4000.0), torch.zeros(2, 4, dtype=torch.bool))
    torch.testing.assert_close(weights, torch.full((2, 4, 4, 32, 32), 0.25))


def test_maps_are_averaged_down_and_interpolated_up():
    maps = torch.rand(1, 3, 4, 32, 32)
    down = torch.nn.functional.avg_pool2d(maps[0], 4)[None]
    torch.testing.assert_close(resize_weights(maps, (8, 8)), down)
    assert torch.equal(resize_weights(maps, (32, 32)), maps)
    ramp = torch.arange(32.0).expand(1, 1, 1, 32, 32)
    up = resize_weights(ramp, (64, 64))[0, 0, 0, 5]
    torch.testing.assert_close(up[1:-1], torch.arange(62) / 2 + 0.25)
    mixed = resize_weights(ramp.mT, (64, 8))[0, 0, 0, :, 3]  # one side larger: interpolated
    torch.testing.assert_close(mixed[1:-1], torch.arange(62) / 2 + 0.25)
    wide = resize_weights(ramp, (8, 64))[0, 0, 0, 5]
    torch.testing.assert_close(wide, up)


def test_each_head_weighs_its_own_channels():
    x = torch.rand(2, 3, 8, 5, 6)
    weights = torch.rand(2, 3, 4, 5, 6)
    got = weighted_over_dates(x, weights)
    for channel in range(8):
        expected = (x[:, :, channel] * weights[:, :, channel // 2]).sum(1)
        torch.testing.assert_close(got[:, channel], expected)


def test_the_block_reflects_at_the_border():
    """A filter that picks the upper neighbour sees row 1 above row 0, and a map by hand."""
    block = InvertedBottleneck(4, 1, lambda n: torch.nn.Identity())
    with torch.no_grad():
        for layer in (block.widen, block.narrow):
            layer.weight.copy_(torch.eye(4)[..., None, None])
        block.depthwise.weight.zero_()
        block.depthwise.weight[:, :, 0, 1] = 1
        block.excite.weight.zero_()  # gates of one half
        x = torch.rand(1, 4, 5, 6)
        gelu = torch.nn.functional.gelu
        shifted = torch.cat([gelu(x)[:, :, 1:2], gelu(x)[:, :, :-1]], 2)
        torch.testing.assert_close(block(x), x + 0.5 * gelu(shifted))
