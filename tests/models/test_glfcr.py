"""GLF-CR and the published code of CARF, against the authors' own arithmetic."""

import itertools
from functools import partial

import pytest
import torch
from torch.nn import functional

from tests.goldens import golden, renamed
from xcloudfree.models.carf import Carf, CarfConfig
from xcloudfree.models.glfcr import Glfcr, GlfcrConfig, JointDenseBlock, JointLayer, published_name
from xcloudfree.models.joint_attention import JointWindowAttention
from xcloudfree.models.parts import CrossGate, DynamicFilter, apply_kernels

MASK_SAR = {"glfcr": True, "carf_reference_code": False}


def small(**options):
    """A network of few channels whose last convolution says something."""
    defaults = {"features": 8, "growth": 8, "layers": 2, "stages": 1, "heads": 2}
    torch.manual_seed(0)
    network = Glfcr(GlfcrConfig(**{**defaults, **options})).eval()
    torch.nn.init.normal_(network.restore.weight)
    return network


def loaded(case, module, theirs="", ours=""):
    """A module with the weights of a case, whose names lack the way from the whole network."""
    state = renamed(case.state(), lambda name: published_name(theirs + name))
    assert all(name.startswith(ours) for name in state)
    module.load_state_dict({name.removeprefix(ours): value for name, value in state.items()})
    return module.eval()


@pytest.mark.parametrize("folder", MASK_SAR)
def test_network_equals_the_authors(folder):
    """On 128 px; test_published does it on 64 px."""
    case = golden(f"{folder}/size128")
    network = loaded(case, Glfcr(GlfcrConfig(mask_sar=MASK_SAR[folder])))
    assert sum(p.numel() for p in network.parameters()) == 14_827_373
    with torch.inference_mode():
        case.check("out", network(**case.inputs()))


@pytest.mark.parametrize(
    ("folder", "shift"), [("glfcr", 0), ("glfcr", 4), ("carf_reference_code", 4)]
)
def test_dense_layer_equals_the_authors(folder, shift):
    case = golden(f"{folder}_blocks/dense_layer_shift{shift}")
    config = GlfcrConfig(mask_sar=MASK_SAR[folder])
    layer = loaded(
        case, JointLayer(144, config, shift, 0.1), "RDBs.0.convs.1.", "dense.0.layers.1."
    )
    with torch.inference_mode():
        for name, out in zip(("optical", "sar"), layer(**case.inputs()), strict=True):
            case.check(name, out)


@pytest.mark.parametrize("folder", MASK_SAR)
def test_dense_block_equals_the_authors(folder):
    case = golden(f"{folder}_blocks/rdb")
    block = JointDenseBlock(GlfcrConfig(mask_sar=MASK_SAR[folder]))
    block = loaded(case, block, "RDBs.0.", "dense.0.")
    with torch.inference_mode():
        for name, out in zip(("optical", "sar"), block(**case.inputs()), strict=True):
            case.check(name, out)


@pytest.mark.parametrize(
    ("folder", "masked"),
    [("glfcr", "unmasked"), ("glfcr", "masked"), ("carf_reference_code", "masked")],
)
def test_window_attention_equals_the_authors(folder, masked):
    case = golden(f"{folder}_blocks/window_attention_{masked}")
    attention = JointWindowAttention(48, 8, 8, 0)
    attention = loaded(case, attention, "RDBs.0.convs.0.attn.", "dense.0.layers.0.attention.")
    inputs = case.inputs()
    # cells that see the same cells belong together: name each group by its first cell
    groups = (inputs["mask"] == 0).long().argmax(-1) if masked == "masked" else None
    with torch.inference_mode():
        out = attention.attend(
            inputs["optical_windows"],
            inputs["sar_windows"],
            regions=groups,
            sar_regions=groups if MASK_SAR[folder] else None,
        )
    for name, windows in zip(("optical_windows", "sar_windows"), out, strict=True):
        case.check(name, windows)


def test_application_of_kernels_equals_the_authors():
    case = golden("glfcr_blocks/dynamic_filter_apply")
    inputs = case.inputs()
    padded = functional.pad(inputs["features"], (2, 2, 2, 2), mode="replicate")
    case.check("filtered", apply_kernels(padded, inputs["kernels"]))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dynamic_filter_equals_the_authors(memory_format):
    case = golden("glfcr_blocks/dynamic_filter_generate_apply")
    block = loaded(case, DynamicFilter(96), "DF.0.", "cross.0.filter.")
    optical, sar = (
        case.inputs()[name].contiguous(memory_format=memory_format) for name in ("optical", "sar")
    )
    with torch.inference_mode():
        case.check("kernels", block.kernels(block.evidence(optical, sar), slice(0, 96)))
        filtered = block(optical, sar)
    assert filtered.is_contiguous(memory_format=memory_format)
    case.check("filtered_sar", filtered)


def test_local_fusion_equals_the_authors():
    case = golden("glfcr_blocks/local_fusion")
    fusion = loaded(case, CrossGate(96, filtered=True), "", "cross.0.")
    with torch.inference_mode():
        for name, out in zip(("optical", "sar"), fusion(**case.inputs()), strict=True):
            case.check(name, out)


def groups(size, window, shift, wrap):
    """Cells of an axis that see each other, each with its place in the window."""
    padded = -(-size // window) * window
    rolled = [(i + shift) % padded for i in range(padded)]
    for start in range(0, padded, window):
        cells = [(i, place) for place, i in enumerate(rolled[start : start + window]) if i < size]
        parts = [cells] if wrap else [[c for c in cells if (c[0] < shift) == s] for s in (0, 1)]
        yield from (part for part in parts if part)


@pytest.mark.parametrize("mask_sar", [True, False])
def test_attention_on_odd_sizes_is_attention_among_the_real_cells_of_each_window(mask_sar):
    """Against a loop over windows that only ever sees real cells."""
    torch.manual_seed(0)
    attention = JointWindowAttention(6, 2, 4, 2, mask_sar)
    torch.nn.init.normal_(attention.relative_bias)
    maps = {"optical": torch.rand(2, 7, 9, 6), "sar": torch.rand(2, 7, 9, 6)}

    def part(rows, columns):
        """Queries, keys, values of both branches and the bias of some cells."""
        cells = list(itertools.product(rows, columns))
        ys, xs = [y for (y, _), _ in cells], [x for _, (x, _) in cells]
        place = [py * 4 + px for (_, py), (_, px) in cells]
        bias = attention.relative_bias[attention.index[place][:, place]].permute(2, 0, 1)
        qkv = {
            name: attention.qkv[name](x[:, ys, xs]).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
            for name, x in maps.items()
        }
        logits = {name: q @ k.transpose(-2, -1) / 3**0.5 + bias for name, (q, k, _) in qkv.items()}
        return (slice(None), ys, xs), qkv, logits

    def check(name, got, where, logits, values):
        seen = (torch.softmax(logits, -1) @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(got[where], attention.proj[name](seen), atol=1e-6, rtol=1e-5)

    optical, sar = attention(maps["optical"], maps["sar"])
    split = [list(groups(n, 4, 2, wrap=False)) for n in (7, 9)]
    for where, qkv, logits in itertools.starmap(part, itertools.product(*split)):
        difference = logits["sar"] - logits["optical"]
        blended = logits["optical"] + torch.sigmoid(attention.gate(difference)) * difference
        check("optical", optical, where, blended, qkv["optical"][2])
    joined = [list(groups(n, 4, 2, wrap=not mask_sar)) for n in (7, 9)]
    for where, qkv, logits in itertools.starmap(part, itertools.product(*joined)):
        check("sar", sar, where, logits["sar"], qkv["sar"][2])


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 3), (7, 16), (31, 33)])
@pytest.mark.parametrize("mask_sar", [True, False])
def test_any_size_runs(size, mask_sar):
    network = small(mask_sar=mask_sar)
    out = network(torch.rand(2, 13, *size), torch.rand(2, 2, *size))
    assert out.shape == (2, 13, *size)
    assert out.isfinite().all()


def test_untrained_network_is_the_identity():
    x = torch.rand(1, 13, 20, 37)
    network = Glfcr(GlfcrConfig(stages=1)).eval()
    assert torch.equal(network(x, torch.rand(1, 2, 20, 37)), x)


@pytest.mark.parametrize("stages", [1, 2])
def test_influence_ends_at_the_declared_reach(stages):
    """Gradient of one aligned block: exact zeros beyond the reach, none missing before it."""
    network = small(stages=stages, layers=3)
    reach, stride = network.config.reach, network.config.stride
    start = -(-reach // stride) * stride + stride
    size = 2 * start + stride
    x = torch.rand(1, 13, size, size, requires_grad=True)
    r = torch.rand(1, 2, size, size, requires_grad=True)
    block = slice(start, start + stride)
    network(x, r)[..., block, block].sum().backward()
    for gradient in (x.grad, r.grad):
        rows = gradient.abs().amax(dim=(0, 1, 3)).nonzero()[:, 0]
        assert rows.min() >= start - reach
        assert rows.max() < start + stride + reach
        assert rows.min() < start - reach + stride


def test_reach_of_the_published_size():
    """Counted by hand: 24 cells a stage, 3 at the exit, 3 at the entrance, 2 px a cell."""
    assert GlfcrConfig().reach == 2 * (33 + 5 * 24 + 3) == 312
    assert (GlfcrConfig().stride, GlfcrConfig().tile) == (16, None)
    joined = GlfcrConfig(mask_sar=False)
    assert (joined.reach, joined.stride, joined.tile) == (None, 16, 256)


@pytest.mark.parametrize("mask_sar", [True, False])
def test_only_unmasked_backscatter_reaches_the_opposite_border(mask_sar):
    network = small(mask_sar=mask_sar)
    r = torch.rand(1, 2, 160, 16, requires_grad=True)
    network(torch.rand(1, 13, 160, 16), r)[:, :, :8].sum().backward()
    assert bool((r.grad[:, :, -8:] != 0).any()) != mask_sar


def same_as_the_crop(network, size, core, margin):
    """Whether windows on the stride grid give the very numbers of the whole."""
    x, r = torch.rand(1, 13, *size), torch.rand(1, 2, *size)
    with torch.inference_mode():
        whole = network(x, r)
        for start in range(0, size[1], core):
            stop = min(start + core, size[1])
            low, high = max(start - margin, 0), min(stop + margin, size[1])
            tile = network(x[..., low:high].clone(), r[..., low:high].clone())
            tile = tile[..., start - low : stop - low]
            assert torch.equal(tile, whole[..., start:stop])


@pytest.mark.parametrize("stages", [1, 2])
def test_windows_equal_the_whole_bit_for_bit(stages):
    network = small(stages=stages, features=16, growth=16)  # not so few that torch changes method
    same_as_the_crop(network, (102, 300), 96, -(-network.config.reach // 16) * 16)


@pytest.mark.slow
def test_windows_of_the_published_size_equal_the_whole_bit_for_bit():
    torch.manual_seed(0)
    network = Glfcr(GlfcrConfig()).eval()
    torch.nn.init.normal_(network.restore.weight)
    same_as_the_crop(network, (48, 1000), 128, 320)


def test_chunks_of_windows_do_not_change_a_batch(monkeypatch):
    """A batch of three, whose windows fall into chunks differently, equals its images alone."""
    network = small()
    x, r = torch.rand(3, 13, 41, 50), torch.rand(3, 2, 41, 50)
    together = network(x, r)
    for i in range(3):
        torch.testing.assert_close(together[i], network(x[i : i + 1], r[i : i + 1])[0])


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    attention = JointWindowAttention(4, 2, 2, 1).double()
    maps = [torch.rand(1, 3, 4, 4, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(attention, maps)
    block = DynamicFilter(5, size=3).double()
    maps = [torch.rand(1, 5, 3, 4, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(block, maps)


def test_paths_are_dropped_in_training_only_and_more_towards_the_end():
    network = Glfcr(GlfcrConfig(features=8, growth=8, heads=2))
    rates = [layer.drop for block in network.dense for layer in block.layers]
    torch.testing.assert_close(torch.tensor(rates), torch.linspace(0, 0.2, 30))
    layer = JointLayer(3, GlfcrConfig(growth=8), 0, drop=0.5)
    for branch in layer.feed.values():
        torch.nn.init.zeros_(branch[2].weight)
        torch.nn.init.zeros_(branch[2].bias)
    x = torch.rand(1, 3, 8, 8).expand(64, -1, -1, -1)
    entered = functional.relu(layer.conv["optical"](x))
    whole = layer.eval()(x, x)[0] - entered
    dropped = layer.train()(x, x)[0] - entered
    share = (dropped / whole).amax(dim=(1, 2, 3)).round(decimals=2)
    assert set(share.tolist()) == {0.0, 2.0}


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="heads=1"):
        GlfcrConfig(heads=5)
    with pytest.raises(ValueError, match="drop_path"):
        GlfcrConfig(drop_path=1.0)


def test_unknown_names_stay_so_that_loading_names_them():
    assert published_name("RDBs.0.surprise.weight") == "RDBs.0.surprise.weight"
    assert published_name("RDBs.0.convs.1.attn_mask") is None


def test_filtered_gates_of_carf_read_the_same_in_both_memory_layouts():
    torch.manual_seed(0)
    network = Carf(CarfConfig(features=6, growth=4, heads=2, stages=1, cross="gate+dfg")).eval()
    torch.nn.init.normal_(network.restore.weight)
    x, r = torch.rand(1, 13, 24, 24), torch.rand(1, 2, 24, 24)
    run = partial(network.to(memory_format=torch.channels_last), x, r)
    plain = Carf(network.config).eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(run(), plain(x, r))
