"""The adversarial networks, against the U-Nets, residual generators and discriminator published."""

import re

import pytest
import torch
from torch import nn

from tests.goldens import golden, renamed
from xcloudfree.models import sar_opt_cgan, simulation_fusion
from xcloudfree.models.pix2pix import (
    Doubling,
    PatchDiscriminator,
    ResNetGenerator,
    UNet,
)
from xcloudfree.models.sar_opt_cgan import SarOptCgan, SarOptCganConfig
from xcloudfree.models.simulation_fusion import SimulationFusion, SimulationFusionConfig, randomised

SMALL = {"features": 4, "blocks": 2}


def restored(network, case, published, below=""):
    """Fill a network from a case in the authors' names and count its parameters."""
    state = renamed(case.state(), published)
    assert all(name.startswith(below) for name in state)
    network.load_state_dict({name.removeprefix(below): w for name, w in state.items()})
    assert sum(p.numel() for p in network.parameters()) == case.about["n_parameters"]
    return network.eval()


def lively(network, seed=0):
    """Weights large enough that no branch drowns in rounding, and statistics off their start."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.8, 1.2, generator=generator)
    return network.eval()


def test_generator_equals_the_published_unet_of_eight_levels():
    case = golden("sar_opt_cgan/generator_256")
    network = restored(SarOptCgan(SarOptCganConfig()), case, sar_opt_cgan.published_name)
    (x,) = case.inputs().values()
    with torch.inference_mode():
        case.check("out", network(optical=x[:, 2:], sar=x[:, :2]))


def published_discriminator_name(name: str) -> str:
    """Our name of an entry of the 70 px discriminator; others keep theirs."""
    layers = {"0": "enter", "11": "leave"} | {
        str(2 + 3 * stage + index): f"stages.{stage}.{part}"
        for stage in range(3)
        for index, part in enumerate(("conv", "norm"))
    }
    match = re.fullmatch(r"model\.(\d+)\.(\w+)", name)
    if match is None or match[1] not in layers:
        return name
    return f"{layers[match[1]]}.{match[2]}"


def test_discriminator_equals_the_published_one():
    case = golden("sar_opt_cgan/discriminator_64")
    network = sar_opt_cgan.discriminator(SarOptCganConfig())
    restored(network, case, published_discriminator_name)
    (x,) = case.inputs().values()
    with torch.inference_mode():
        case.check("out", network(x[:, :15], x[:, 15:]))


@pytest.mark.parametrize(
    ("case", "part", "options"),
    [
        ("g1_unet7_128", "simulation", {"generator": "unet"}),
        ("g1_unet7_no_norm", "simulation", {"generator": "unet", "norm": False}),
        ("g2_unet7_128", "fusion", {"generator": "unet"}),
        (
            "g2_unet7_original_channels",
            "fusion",
            {"generator": "unet", "optical_bands": 3, "sar_bands": 3},
        ),
        ("g1_resnet9_64", "simulation", {"generator": "resnet"}),
        ("g2_resnet9_64x96", "fusion", {"generator": "resnet"}),
    ],
)
def test_generators_equal_the_published_ones(case, part, options):
    case = golden(f"simulation_fusion/{case}")
    prefix = {"simulation": "G1.", "fusion": "G2."}[part]

    def published(name):
        return simulation_fusion.published_name(prefix + name)

    network = SimulationFusion(SimulationFusionConfig(**options)).eval()
    generator = restored(getattr(network, part), case, published, f"{part}.")
    (x,) = case.inputs().values()
    with torch.inference_mode():
        case.check("out", network.simulate(x) if part == "simulation" else generator(x))


def test_the_second_generator_reads_backscatter_then_cloudy_image_then_simulation():
    """Both generators with published weights, joined by hand."""
    network = SimulationFusion(SimulationFusionConfig(generator="resnet")).eval()
    both = {}
    for prefix, name in (("G1.", "g1_resnet9_64"), ("G2.", "g2_resnet9_64x96")):
        state = golden(f"simulation_fusion/{name}").state()
        both |= {prefix + k: v for k, v in state.items()}
    network.load_state_dict(renamed(both, simulation_fusion.published_name))
    case = golden("simulation_fusion/g2_resnet9_64x96")
    (x,) = case.inputs().values()

    class Replaced(nn.Module):
        def forward(self, sar):
            assert torch.equal(sar, x[:, :2])
            return x[:, 15:]

    network.simulation = Replaced()
    with torch.inference_mode():
        case.check("out", network(optical=x[:, 2:15], sar=x[:, :2]))


@pytest.mark.parametrize("name", ["model.model.7.weight", "model.3.weight", "surprise"])
def test_names_that_are_not_the_networks_are_not_dropped(name):
    network = SimulationFusion(SimulationFusionConfig(generator="resnet", **SMALL))
    ours = simulation_fusion.published_name(f"G2.{name}")
    with pytest.raises(RuntimeError, match="Unexpected key"):
        network.load_state_dict(network.state_dict() | {ours: torch.zeros(1)})
    assert simulation_fusion.published_name("G1.model.2.num_batches_tracked") is None
    assert sar_opt_cgan.published_name("model.model.1.model.2.num_batches_tracked") is None


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 3), (7, 16), (31, 33)])
@pytest.mark.parametrize(
    "network",
    [
        SarOptCgan(SarOptCganConfig(features=2)),
        SimulationFusion(SimulationFusionConfig(generator="resnet", **SMALL)),
        SimulationFusion(SimulationFusionConfig(generator="unet", features=2)),
    ],
    ids=["sar-opt-cgan", "resnet", "unet"],
)
def test_any_size_runs(network, size):
    network.eval()
    out = network(torch.rand(2, 13, *size), torch.rand(2, 2, *size))
    assert out.shape == (2, 13, *size)
    assert out.abs().max() <= 1


def test_an_input_is_continued_by_reflection_and_the_answer_cropped():
    """A U-Net of three levels on 24 x 24 px, whose last rows and columns mirror the others."""
    network = lively(SarOptCgan(SarOptCganConfig(features=2, levels=3)))
    x, r = torch.rand(1, 13, 24, 24), torch.rand(1, 2, 24, 24)
    for t in (x, r):
        t[..., 21:, :] = t[..., [19, 18, 17], :]
        t[..., :, 22:] = t[..., :, [20, 19]]
    with torch.inference_mode():
        whole = network(x, r)[..., :21, :22]
        assert torch.equal(network(x[..., :21, :22], r[..., :21, :22]), whole)


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_influence_ends_at_the_declared_reach(blocks):
    """Gradient of one aligned block: exact zeros beyond the reach, and none left before it."""
    config = SimulationFusionConfig(generator="resnet", features=4, blocks=blocks)
    torch.manual_seed(0)
    network = lively(SimulationFusion(config))
    start = -(-config.reach // 4) * 4 + 4
    size = 2 * start + 4
    x = (2 * torch.rand(1, 13, size, size) - 1).requires_grad_()
    r = (2 * torch.rand(1, 2, size, size) - 1).requires_grad_()
    block = slice(start, start + 4)
    network(x, r)[..., block, block].sum().backward()
    rows = r.grad.abs().amax(dim=(0, 1, 3)).nonzero()[:, 0]
    reaches = (start - int(rows.min()), int(rows.max()) - (start + 3))
    assert max(reaches) == config.reach
    nearer = x.grad.abs().amax(dim=(0, 1, 3)).nonzero()[:, 0]
    assert start - config.reach < nearer.min()
    assert nearer.max() < start + 3 + config.reach


def test_tiles_of_a_scene_agree_bit_for_bit():
    config = SimulationFusionConfig(generator="resnet", features=32, blocks=2)
    torch.manual_seed(0)
    network = lively(SimulationFusion(config))
    halo = -(-config.reach // 4) * 4
    height, width = 2 * halo + 62, 2 * halo + 33
    x, r = 2 * torch.rand(1, 13, height, width) - 1, 2 * torch.rand(1, 2, height, width) - 1
    with torch.inference_mode():
        whole = network(x, r)
        for top, left in ((0, 0), (halo + 4, 8), (halo + 24, halo + 12)):
            read = (
                ...,
                slice(max(top - halo, 0), top + 20 + halo),
                slice(max(left - halo, 0), left + 20 + halo),
            )
            inner = (
                ...,
                slice(top - read[1].start, top - read[1].start + 20),
                slice(left - read[2].start, left - read[2].start + 20),
            )
            part = network(x[read], r[read])[inner]
            assert torch.equal(part, whole[..., top : top + 20, left : left + 20])
        shifted = network(x[..., 2:, :], r[..., 2:, :])[..., halo : halo + 20, halo : halo + 20]
    off_grid = whole[..., halo + 2 : halo + 22, halo : halo + 20]
    assert (shifted - off_grid).abs().max() > 1e-3


def test_a_unet_declares_no_reach_and_fixed_tiles():
    for config in (SarOptCganConfig(), SimulationFusionConfig(generator="unet")):
        assert config.declared() == {
            "stride": 1, "reach": None, "tile": 256,
            "dates": 1, "variance": False, "needs_mask": False, "context": (),
        }  # fmt: skip


def test_randomised_bands_are_linear_maps_of_bands_in_another_order():
    """Each keeps its pattern, up to sign, under some other index; moments follow the draw."""
    torch.manual_seed(3)
    image = torch.rand(2, 6, 20, 20)
    out = randomised(image)
    for before, after in zip(image, out, strict=True):
        both = torch.cat([before.flatten(1), after.flatten(1)])
        match = torch.corrcoef(both)[:6, 6:].abs()
        order = match.argmax(0)
        assert sorted(order.tolist()) == list(range(6))
        assert match.max(0).values.min() > 0.9999
    assert not torch.equal(order, torch.arange(6))
    many = randomised(torch.rand(4000, 3, 4, 4) * 0.2)
    deviation = many.std(dim=(-2, -1), correction=0)
    assert many.mean() == pytest.approx(0, abs=0.03)  # e2 replaces the mean
    assert many.mean(dim=(-2, -1)).std() == pytest.approx(1, rel=0.03)
    # deviation = |0.058 + e1|, of which the square has the mean 1 + 0.058^2
    assert (deviation**2).mean() == pytest.approx(1.0033, rel=0.05)
    assert torch.isfinite(randomised(torch.ones(1, 2, 1, 1))).all()


def test_while_fitting_the_simulation_is_random_and_learns_from_its_own_loss_only():
    torch.manual_seed(0)
    network = SimulationFusion(SimulationFusionConfig(generator="resnet", features=4, blocks=1))
    x, r = torch.rand(1, 13, 16, 16), torch.rand(1, 2, 16, 16)
    network.eval()
    assert torch.equal(network(x, r), network(x, r))
    network.train()
    torch.manual_seed(1)
    first = network(x, r)
    torch.manual_seed(1)
    assert torch.equal(network(x, r), first)
    assert not torch.equal(network(x, r), first)
    first.sum().backward()
    assert all(p.grad is None for p in network.simulation.parameters())
    assert all(p.grad is not None for p in network.fusion.parameters())
    (network.simulate(r) - x).abs().mean().backward()
    assert all(p.grad is not None for p in network.simulation.parameters())


def test_dropout_acts_in_the_decoder_levels_beside_the_bottleneck(monkeypatch):
    """Three of them with eight levels, two with seven, none with five."""
    shapes = []

    def record(x, share, training):
        shapes.append((x.shape[1], share, training))
        return x

    monkeypatch.setattr("torch.nn.functional.dropout", record)
    for levels in (8, 7, 5):
        UNet(2, 3, levels, 2)(torch.rand(1, 2, 256, 256))
    assert shapes == [(16, 0.5, True)] * 5


def test_doubling_equals_the_transposed_convolution():
    layer = Doubling(8, 4, 3, 2, 1, output_padding=1, bias=False)
    x = torch.rand(2, 8, 5, 7)
    torch.testing.assert_close(layer(x), nn.ConvTranspose2d.forward(layer, x))


def test_a_discriminator_patch_sees_70_pixels():
    torch.manual_seed(0)
    network = lively(PatchDiscriminator(5, features=4))
    x = torch.rand(1, 2, 160, 160, requires_grad=True)
    out = network.logits(x, torch.rand(1, 3, 160, 160))
    assert out.shape == (1, 1, 18, 18)
    out[..., 9, 9].sum().backward()
    rows = x.grad.abs().amax(dim=(0, 1, 3)).nonzero()[:, 0]
    assert int(rows.max() - rows.min()) + 1 == 70
    with pytest.raises(ValueError, match="24 x 24"):
        network(torch.rand(1, 2, 23, 40), torch.rand(1, 3, 23, 40))
    assert network(torch.rand(1, 2, 24, 24), torch.rand(1, 3, 24, 24)).shape == (1, 1, 1, 1)


def test_a_discriminator_learns_to_tell_two_kinds_of_image():
    torch.manual_seed(0)
    config = SimulationFusionConfig(generator="resnet", features=8)
    judge = simulation_fusion.discriminator(config)
    optimiser = torch.optim.Adam(judge.parameters(), 1e-3, betas=(0.5, 0.999))
    for _ in range(15):
        sar = torch.rand(4, 2, 32, 32)
        real, fake = torch.rand(4, 13, 32, 32), torch.rand(4, 13, 32, 32).mean(1, True)
        logits = judge.logits(sar, real), judge.logits(sar, fake.expand(-1, 13, -1, -1))
        loss = sum(
            nn.functional.binary_cross_entropy_with_logits(value, torch.full_like(value, truth))
            for value, truth in zip(logits, (1.0, 0.0), strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert judge(sar, real).min() > judge(sar, fake.expand(-1, 13, -1, -1)).max()


def test_published_initial_weights_are_normal_with_deviation_0_02():
    torch.manual_seed(0)
    for network in (UNet(3, 3, 5, 16), ResNetGenerator(3, 3, 16, 2), PatchDiscriminator(6, 16)):
        convs = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        weights = torch.cat([m.weight.flatten() for m in convs])
        assert weights.detach().std() == pytest.approx(0.02, rel=0.02)
        assert all(not m.bias.any() for m in convs if m.bias is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator": "swin"}, "'swin'; give 'resnet' or 'unet'"),
        ({"generator": "resnet", "norm": False}, "generator='unet'"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SimulationFusionConfig(**options)
