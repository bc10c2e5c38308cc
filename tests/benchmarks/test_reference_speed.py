"""What the CARF authors' network costs against writing it down as it is described.

Run with ``make bench``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from xcloudfree.models.carf import Carf, CarfConfig
from xcloudfree.models.glfcr import Glfcr, GlfcrConfig
from xcloudfree.models.joint_attention import JointWindowAttention
from xcloudfree.models.parts import MASKED, CrossGate

pytestmark = pytest.mark.slow

SIZE, ROUNDS = 128, 5
BRANCHES = ("optical", "sar")


def timed(*forwards: Callable[[], Tensor]) -> list[list[float]]:
    """CPU seconds of each forward, in rounds, so that a busy moment meets all of them."""
    seconds: list[list[float]] = [[] for _ in forwards]
    with torch.inference_mode():
        for forward in forwards:
            forward()
        for _ in range(ROUNDS):
            for forward, mine in zip(forwards, seconds, strict=True):
                start = time.process_time()
                forward()
                mine.append(time.process_time() - start)
    return seconds


def ratios(one: list[float], other: list[float]) -> list[float]:
    """Of two forwards, round by round."""
    return [a / b for a, b in zip(one, other, strict=True)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: with more, waiting for a core that others use counts as CPU time as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def reference() -> Glfcr:
    """The network of the authors' code, whose last convolution says something."""
    torch.manual_seed(0)
    network = Glfcr(GlfcrConfig(mask_sar=False)).eval()
    nn.init.normal_(network.restore.weight, std=0.05)
    return network


@pytest.fixture
def patch() -> tuple[Tensor, Tensor]:
    return torch.rand(1, 13, SIZE, SIZE), torch.rand(1, 2, SIZE, SIZE)


def test_reference_takes_at_most_six_tenths_of_its_description(
    reference: Glfcr, patch: tuple[Tensor, Tensor], record: Record
) -> None:
    with torch.inference_mode():
        difference = reference(*patch) - straightforward(reference, *patch)
    assert difference.abs().max() <= 1e-5
    ours, plain = timed(lambda: reference(*patch), lambda: straightforward(reference, *patch))
    found = ratios(ours, plain)
    what = f"`carf-reference` over the same written down plainly, {SIZE} x {SIZE}, CPU-seconds"
    record("networks", what, spread(found), "at most 0.6", statistics.median(found) <= 0.6)


def test_default_network_takes_at_most_a_tenth_of_the_reference(
    reference: Glfcr, patch: tuple[Tensor, Tensor], record: Record
) -> None:
    network = Carf(CarfConfig()).eval().to(memory_format=torch.channels_last)
    near = tuple(x.contiguous(memory_format=torch.channels_last) for x in patch)
    small, large = timed(lambda: network(*near), lambda: reference(*patch))
    found = ratios(small, large)
    what = f"`carf-small` over `carf-reference`, {SIZE} x {SIZE}, CPU-seconds"
    record("networks", what, spread(found, 3), "at most 0.1", statistics.median(found) <= 0.1)


def straightforward(network: Glfcr, optical: Tensor, sar: Tensor) -> Tensor:
    """The published arithmetic operation by operation: NCHW, unfold, explicit attention."""
    first = network.enter["optical"](functional.pixel_unshuffle(optical, 2))
    x = network.refine["optical"](first)
    r = network.refine["sar"](network.enter["sar"](functional.pixel_unshuffle(sar, 2)))
    stages = []
    for block, cross in zip(network.dense, network.cross, strict=True):
        start_x, start_r = x, r
        for layer in block.layers:
            new = [functional.relu(layer.conv[b](y)) for b, y in zip(BRANCHES, (x, r), strict=True)]
            tokens = [y.flatten(2).transpose(1, 2) for y in new]
            attended = windowed(layer.attention, *tokens, side=x.shape[-1])
            for i, b in enumerate(BRANCHES):
                z = tokens[i] + attended[i]
                z = z + layer.feed[b](layer.norm[b](z))
                new[i] = z.transpose(1, 2).unflatten(2, (x.shape[-2:]))
            x, r = torch.cat([x, new[0]], 1), torch.cat([r, new[1]], 1)
        x, r = block.fuse["optical"](x) + start_x, block.fuse["sar"](r) + start_r
        x, r = local_fusion(cross, x, r)
        stages.append(x)
    y = network.fuse(torch.cat(stages, 1)) + first
    y = functional.pixel_shuffle(network.expand(y), 2)
    return network.restore(y) + optical


def windowed(
    attention: JointWindowAttention, optical: Tensor, sar: Tensor, side: int
) -> list[Tensor]:
    """Cyclic shift, partition into windows, attention of both branches, and back."""
    shift, window = attention.shift, attention.window
    count = side // window
    parts = []
    for tokens in (optical, sar):
        grid = tokens.view(-1, side, side, tokens.shape[-1])
        if shift:
            grid = torch.roll(grid, (-shift, -shift), (1, 2))
        grid = grid.view(-1, count, window, count, window, tokens.shape[-1])
        parts.append(grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, window**2, tokens.shape[-1]))
    mask = shifted_mask(side, window, shift) if shift else None
    out = []
    for cells in explicit(attention, *parts, mask=mask):
        grid = cells.view(-1, count, count, window, window, cells.shape[-1])
        grid = grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, cells.shape[-1])
        if shift:
            grid = torch.roll(grid, (shift, shift), (1, 2))
        out.append(grid.reshape(-1, side**2, cells.shape[-1]))
    return out


def explicit(
    attention: JointWindowAttention, optical: Tensor, sar: Tensor, mask: Tensor | None
) -> list[Tensor]:
    """Logits and softmax of both branches, optical logits blended with those of the radar."""
    bias = attention.relative_bias[attention.index].permute(2, 0, 1)[None]
    values, logits = [], []
    for branch, cells in zip(BRANCHES, (optical, sar), strict=True):
        q, k, v = attention.qkv[branch](cells).unflatten(2, (3, attention.heads, -1)).permute(
            2, 0, 3, 1, 4
        )  # fmt: skip
        logits.append((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias)
        values.append(v)
    difference = logits[1] - logits[0]
    logits[0] = logits[0] + torch.sigmoid(attention.gate(difference)) * difference
    if mask is not None:
        for i in range(2 if attention.mask_sar else 1):
            shaped = logits[i].unflatten(0, (-1, len(mask))) + mask[:, None]
            logits[i] = shaped.flatten(0, 1)
    out = []
    for i, branch in enumerate(BRANCHES):
        attended = torch.softmax(logits[i], -1) @ values[i]
        out.append(attention.proj[branch](attended.transpose(1, 2).flatten(2)))
    return out


@cache
def shifted_mask(side: int, window: int, shift: int) -> Tensor:
    """Which cells of a cyclically shifted window do not belong together."""
    axis = torch.zeros(side)
    axis[-window:-shift], axis[-shift:] = 1, 2
    region = (3 * axis[:, None] + axis).unflatten(0, (-1, window)).unflatten(2, (-1, window))
    region = region.transpose(1, 2).reshape(-1, window**2)
    return MASKED * (region[:, :, None] != region[:, None, :])


def local_fusion(cross: CrossGate, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
    """Dynamic filter with all kernels and all shifted features in memory, then the gates."""
    assert cross.filter is not None
    features = cross.filter.evidence(optical, sar)
    kernels = functional.leaky_relu(cross.filter.kernel(features), 0.1)
    columns = functional.unfold(functional.pad(sar, (2, 2, 2, 2), mode="replicate"), 5)
    columns = columns.view_as(kernels)
    filtered = (columns * kernels).unflatten(1, (-1, 25)).sum(2)
    difference = filtered - optical
    new = optical + torch.sigmoid(cross.to_optical(difference)) * difference
    difference = new - filtered
    return new, sar + torch.sigmoid(cross.to_sar(difference)) * difference
