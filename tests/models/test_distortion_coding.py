"""Distortion coding: what its code does, and its reach."""

import pytest
import torch

from xcloudfree.models.distortion_coding import (
    DistortionCoding,
    DistortionCodingConfig,
    DistortionUnit,
)

SMALL = DistortionCodingConfig(features=8, units=3)


def inputs(*size):
    generator = torch.Generator().manual_seed(5)
    return [2 * torch.rand(1, n, *size, generator=generator) - 1 for n in (13, 2)]


def coded(network, value):
    """The network with one code everywhere."""
    with torch.no_grad():
        network.leave.weight[: network.config.scale**2] = 0
        network.leave.bias[: network.config.scale**2] = value
    return network


def test_pixels_that_are_coded_as_clear_pass_unchanged_and_the_others_do_not_show():
    torch.manual_seed(0)
    network, (optical, sar) = DistortionCoding(SMALL), inputs(12, 14)
    torch.nn.init.normal_(network.leave.weight)
    with torch.inference_mode():
        torch.testing.assert_close(coded(network, -40.0)(optical, sar), optical)
        restored = coded(network, 40.0)(optical, sar)
        half = coded(network, 0.0)(optical, sar)
    assert float((restored - optical).abs().mean()) > 0.3
    assert float(restored.abs().max()) <= 1 + 1e-6
    torch.testing.assert_close(half, (optical + restored) / 2)


def test_a_unit_changes_features_only_as_far_as_it_codes_them():
    torch.manual_seed(0)
    unit, x, code = DistortionUnit(4), torch.randn(1, 4, 9, 9), torch.zeros(1, 1, 9, 9)
    with torch.inference_mode():
        unit.code.weight.zero_()
        changes = []
        for bias in (-40.0, 0.0, 40.0):
            unit.code.bias.fill_(bias)
            out, found = unit(x, code)
            torch.testing.assert_close(found, torch.full_like(found, bias).sigmoid())
            changes.append(out - x)
    assert float(changes[0].abs().max()) < 1e-6
    torch.testing.assert_close(changes[1], changes[2] / 2)


def test_influence_ends_at_the_declared_reach():
    """Gradient of one cell, through positive weights so that nothing cancels."""
    network = DistortionCoding(SMALL)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    reach = SMALL.reach
    assert (reach, SMALL.stride, DistortionCodingConfig().reach) == (18, 2, 38)
    optical, sar = (x.requires_grad_() for x in inputs(2 * reach + 10, 2 * reach + 10))
    middle = reach + 4
    network(optical, sar)[..., middle : middle + 2, middle : middle + 2].sum().backward()
    for gradient in (optical.grad, sar.grad):
        touched = gradient.abs().amax(dim=(0, 1, 3)).nonzero()[:, 0]
        assert (int(touched.min()), int(touched.max())) == (middle - reach, middle + 1 + reach)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (31, 33)])
def test_any_size_and_bands_run(size):
    assert DistortionCoding(SMALL)(*inputs(*size)).shape == (1, 13, *size)
    config = DistortionCodingConfig(features=4, units=1, optical_bands=4, sar_bands=0)
    out = DistortionCoding(config)(torch.rand(2, 4, *size), torch.rand(2, 0, *size))
    assert out.shape == (2, 4, *size)
