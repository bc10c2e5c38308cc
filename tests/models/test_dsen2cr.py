"""DSen2-CR against the authors' network, and its exact tiling."""

import math

import numpy as np
import pytest
import torch

from tests.goldens import golden, renamed
from xcloudfree.exceptions import WeightsError
from xcloudfree.models.dsen2cr import (
    Dsen2cr,
    Dsen2crConfig,
    from_keras,
    keras_order,
    published_name,
)

SMALL = Dsen2crConfig(features=8, blocks=3)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def inputs(*size):
    generator = torch.Generator().manual_seed(5)
    optical = 5 * torch.rand(1, 13, *size, generator=generator)
    return optical, 2 * torch.rand(1, 2, *size, generator=generator)


@pytest.fixture(scope="module")
def published():
    case = golden("dsen2cr/size48x80")
    return case, case.state()


def test_dsen2cr_equals_the_published_network(published):
    case, state = published
    network = Dsen2cr(Dsen2crConfig()).eval()
    assert parameters(network) == 18_947_341
    network.load_state_dict(renamed(state, published_name))
    with torch.inference_mode():
        case.check("out", network(**case.inputs()))


def test_keras_kernels_become_the_same_state(published):
    """The golden's layers in its own order, kernels turned to Keras's (height, width, in, out)."""
    _, state = published
    weights = [name for name in state if name.endswith(".weight")]
    assert len(weights) == 34
    layers = [
        (state[name].permute(2, 3, 1, 0).numpy(), state[name.replace("weight", "bias")].numpy())
        for name in weights
    ]
    got, expected = from_keras(layers), renamed(state, published_name)
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in got)
    Dsen2cr(Dsen2crConfig()).load_state_dict(got)


def test_keras_order_is_the_order_of_our_layers():
    network = Dsen2cr(SMALL)
    ours = [name for name, part in network.named_modules() if isinstance(part, torch.nn.Conv2d)]
    assert keras_order(3) == ours


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [(15, 8), (8, 13)],
        [(15, 8), (8, 8), (8, 13)],
        [(15, 8), (8, 8), (9, 8), (8, 13)],
        [(15, 8), (8, 8), (8, 8), (8, 8), (8, 13)],
    ],
)
def test_layers_that_are_no_chain_of_blocks_are_refused(sizes):
    layers = [(np.zeros((3, 3, a, b)), np.zeros(b)) for a, b in sizes]
    with pytest.raises(WeightsError, match=r"from_keras\(\[\(kernel, bias\), ...\]\)$"):
        from_keras(layers)


def test_other_kernels_than_3x3_and_foreign_biases_are_refused():
    good = [(np.zeros((3, 3, a, b)), np.zeros(b)) for a, b in ((15, 8), (8, 8), (8, 8), (8, 13))]
    assert set(from_keras(good)) == set(Dsen2cr(Dsen2crConfig(features=8, blocks=1)).state_dict())
    for bad in (np.zeros((5, 5, 8, 8)), np.zeros(8)):
        with pytest.raises(WeightsError, match="are not DSen2-CR"):
            from_keras([good[0], (bad, np.zeros(8)), *good[2:]])
    with pytest.raises(WeightsError, match="are not DSen2-CR"):
        from_keras([*good[:3], (good[3][0], np.zeros(12))])


def test_unknown_names_reach_the_strict_load():
    assert published_name("model.2.extra.weight") == "model.2.extra.weight"
    state = {**Dsen2cr(SMALL).state_dict(), "model.2.extra.weight": torch.zeros(1)}
    with pytest.raises(RuntimeError, match="model.2.extra.weight"):
        Dsen2cr(SMALL).load_state_dict(state)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (1, 40), (31, 33)])
def test_any_size_runs(size):
    assert Dsen2cr(SMALL)(*inputs(*size)).shape == (1, 13, *size)


def test_channels_follow_the_bands():
    network = Dsen2cr(Dsen2crConfig(features=4, blocks=1, optical_bands=4, sar_bands=1))
    assert network(torch.rand(2, 4, 6, 7), torch.rand(2, 1, 6, 7)).shape == (2, 4, 6, 7)


def test_small_variant_is_of_the_size_in_the_literature():
    network = Dsen2cr(Dsen2crConfig(features=64, blocks=8))
    assert parameters(network) == pytest.approx(0.6e6, rel=0.02)
    assert (network.config.reach, Dsen2crConfig().reach) == (18, 34)


def test_weights_start_he_uniform_and_biases_at_zero():
    torch.manual_seed(0)
    network = Dsen2cr(Dsen2crConfig(features=64, blocks=2))
    for layer in (network.enter, network.blocks[1].second, network.restore):
        bound = math.sqrt(6 / (9 * layer.in_channels))
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert not layer.bias.any()


def test_without_its_last_convolution_the_network_returns_the_input():
    network = Dsen2cr(SMALL)
    torch.nn.init.zeros_(network.restore.weight)
    optical, sar = inputs(9, 11)
    assert torch.equal(network(optical, sar), optical)


def test_influence_ends_at_the_declared_reach():
    """Gradient of one pixel, through positive weights so that nothing cancels."""
    network = Dsen2cr(SMALL)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    reach = SMALL.reach
    optical, sar = (x.requires_grad_() for x in inputs(2 * reach + 9, 2 * reach + 9))
    middle = reach + 4
    network(optical, sar)[..., middle, middle].sum().backward()
    for gradient in (optical.grad, sar.grad):
        for dims in ((0, 1, 3), (0, 1, 2)):
            touched = gradient.abs().amax(dim=dims).nonzero()[:, 0]
            assert (int(touched.min()), int(touched.max())) == (middle - reach, middle + reach)


def tile_and_whole(network, corner, halo):
    """A block of 21 x 24 pixels from a window with this halo, and from the whole scene."""
    optical, sar = inputs(61, 77)
    top, left = corner
    above, before = max(top - halo, 0), max(left - halo, 0)
    window = (..., slice(above, top + 21 + halo), slice(before, left + 24 + halo))
    with torch.inference_mode():
        whole = network(optical, sar)[..., top : top + 21, left : left + 24]
        tile = network(optical[window].contiguous(), sar[window].contiguous())
    return tile[..., top - above :, left - before :][..., :21, :24], whole


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # from reading oneDNN's flags
@pytest.mark.parametrize("corner", [(0, 0), (17, 30), (40, 53)])
def test_tiles_equal_the_whole_bit_for_bit(corner):
    """Windows that start at any pixel, with a halo of the reach; one pixel less shows.

    oneDNN picks its kernels by the size of the input, so there the last bits may differ.
    """
    torch.manual_seed(1)
    network = Dsen2cr(SMALL).eval()
    with torch.backends.mkldnn.flags(enabled=False):
        tile, whole = tile_and_whole(network, corner, SMALL.reach)
        assert torch.equal(tile, whole)
        assert not torch.equal(*tile_and_whole(network, corner, SMALL.reach - 1))
    tile, whole = tile_and_whole(network, corner, SMALL.reach)
    torch.testing.assert_close(tile, whole, rtol=0, atol=1e-5 * float(whole.std()))
