"""Networks, specifications and files."""

import gc
import json
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import xcloudfree as xcf
from tests.builders import randomised
from xcloudfree.exceptions import ModelError, WeightsError
from xcloudfree.models import VARIANTS, cache
from xcloudfree.models.carf import Carf, CarfConfig
from xcloudfree.models.parts import DynamicFilter, WindowAttention
from xcloudfree.models.spec import ModelSpec
from xcloudfree.models.weights_file import write_tensors

MILLIONS = {
    "carf-tiny": 0.37, "carf-small": 1.0, "carf-small-f4": 2.3, "carf-base": 4.4,
    "carf-base-f4": 10.5, "carf-large": 19.0,
}  # fmt: skip
HALO = {
    "carf-tiny": (48, 16), "carf-small": (64, 16), "carf-small-f4": (128, 32),
    "carf-base": (144, 16), "carf-base-f4": (288, 32), "carf-large": (304, 16),
}  # fmt: skip


@pytest.mark.parametrize("name", MILLIONS)
def test_sizes_and_halos_of_the_variants(name):
    model = xcf.models.load(name)
    count = sum(p.numel() for p in model.network.parameters()) / 1e6
    assert count == pytest.approx(MILLIONS[name], rel=0.02)
    halo = -(-model.spec.reach // model.spec.stride) * model.spec.stride
    assert (halo, model.spec.stride) == HALO[name]


@pytest.mark.parametrize("name", ["carf-tiny", "carf-small-f4"])
def test_untrained_network_is_the_identity(name):
    network = xcf.models.load(name).network
    x = torch.rand(2, 13, 37, 50)
    assert torch.equal(network(x, torch.rand(2, 2, 37, 50)), x)


def test_untrained_prior_is_one_spectrum_under_the_mask():
    network = xcf.models.create("carf-tiny", base="prior", mask_input=True).network
    x, mask = torch.rand(1, 13, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    with torch.no_grad():
        out = network(x, torch.rand(1, 2, 32, 32), mask=mask)
    assert torch.equal(out[..., :8, :], x[..., :8, :])
    assert out[..., 8:20, 8:20].var(dim=(-2, -1)).max() < 1e-12
    with pytest.raises(ValueError, match="mask=mask"):
        network(x, torch.rand(1, 2, 32, 32))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 3), (7, 16), (31, 33)])
@pytest.mark.parametrize("scale", [2, 4])
def test_any_size_runs(size, scale):
    network = Carf(CarfConfig(features=8, growth=4, scale=scale, heads=2, stages=1))
    assert network(torch.rand(1, 13, *size), torch.rand(1, 2, *size)).shape[-2:] == size


@pytest.mark.parametrize("cross", ["gate", "gate+dfg", "none"])
def test_backscatter_reaches_the_output_unless_told_not_to(cross):
    torch.manual_seed(0)
    model = randomised(xcf.models.create("carf-tiny", cross=cross))
    x, r = torch.rand(1, 13, 32, 32), torch.rand(1, 2, 32, 32, requires_grad=True)
    out = model.network(x, r)
    changed = model.network(x, r.detach() * 0.5)
    if cross == "none":
        assert torch.equal(out, changed)
        return
    out.sum().backward()
    assert (r.grad.abs() > 0).all()
    assert (out - changed).abs().max() > 1e-3


@pytest.mark.parametrize("cross", ["gate", "gate+dfg"])
@pytest.mark.parametrize("scale", [2, 4])
def test_influence_ends_at_the_declared_reach(cross, scale):
    """Gradient of one aligned block: exact zeros beyond the reach, none missing before it."""
    config = CarfConfig(features=8, growth=4, heads=2, scale=scale, blocks=3, stages=1, cross=cross)
    torch.manual_seed(0)
    network = Carf(config)
    torch.nn.init.normal_(network.restore.weight)
    start = -(-config.reach // config.stride) * config.stride + config.stride
    size = 2 * start + config.stride
    x = torch.rand(1, 13, size, size, requires_grad=True)
    r = torch.rand(1, 2, size, size, requires_grad=True)
    block = slice(start, start + config.stride)
    network(x, r)[..., block, block].sum().backward()
    for gradient in (x.grad, r.grad):
        rows = gradient.abs().amax(dim=(0, 1, 3)).nonzero()[:, 0]
        assert rows.min() >= start - config.reach
        assert rows.max() < start + config.stride + config.reach
    assert rows.min() < start - config.reach + scale * config.window


def test_window_attention_equals_attention_among_the_cells_of_each_window():
    """Against a loop over windows that only ever sees real cells."""
    torch.manual_seed(0)
    attention = WindowAttention(6, 2, 4, 2)
    x = torch.rand(1, 7, 9, 6)
    out = attention(x)
    edges = {n: [0, *range(2, n, 4), n] for n in (7, 9)}
    index = attention.index
    for top, bottom in zip(edges[7], edges[7][1:], strict=False):
        for left, right in zip(edges[9], edges[9][1:], strict=False):
            cells = x[:, top:bottom, left:right].reshape(1, -1, 6)
            q, k, v = attention.qkv(cells).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
            place = [
                ((y + 2) % 4) * 4 + (c + 2) % 4
                for y in range(top, bottom)
                for c in range(left, right)
            ]
            bias = attention.relative_bias[index[place][:, place]].permute(2, 0, 1)
            weights = torch.softmax(q @ k.transpose(-2, -1) / 3**0.5 + bias, -1)
            expected = attention.proj((weights @ v).transpose(1, 2).flatten(2))
            got = out[:, top:bottom, left:right].reshape(1, -1, 6)
            torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def test_dynamic_filter_with_a_constant_kernel_is_a_box_sum_with_replicated_border():
    block = DynamicFilter(3)
    torch.nn.init.zeros_(block.kernel.weight)
    torch.nn.init.ones_(block.kernel.bias)
    sar = torch.rand(1, 3, 9, 11)
    padded = torch.nn.functional.pad(sar, (2, 2, 2, 2), mode="replicate")
    expected = 25 * torch.nn.functional.avg_pool2d(padded, 5, stride=1)
    torch.testing.assert_close(block(torch.rand(1, 3, 9, 11), sar), expected)


def test_equation_6_as_printed_has_one_residual():
    torch.manual_seed(0)
    both = [Carf(CarfConfig(single_residual=flag)).optical[0].swin[0] for flag in (False, True)]
    both[1].load_state_dict(both[0].state_dict())
    x = torch.rand(1, 48, 8, 8)
    inner = x.permute(0, 2, 3, 1)
    attended = both[0].attention(both[0].norm1(inner)).permute(0, 3, 1, 2)
    torch.testing.assert_close(both[0](x) - both[1](x), attended, atol=1e-5, rtol=1e-4)


def test_normalisation_goes_there_and_back():
    model = xcf.models.load("carf-tiny")
    reflectance = np.linspace(0, 1, 13 * 16, dtype="float32").reshape(1, 13, 4, 4)
    backscatter = np.stack([np.full((4, 4), -12.5), np.full((4, 4), -16.25)])[None]
    for kind in (np.asarray, torch.as_tensor):
        x, r = model.normalise(kind(reflectance), kind(backscatter))
        assert x.dtype == r.dtype == torch.float32
        assert torch.allclose(r, torch.tensor(0.5))
        np.testing.assert_allclose(model.denormalise(x), reflectance, atol=1e-7)
        np.testing.assert_allclose(model.denormalise(x.numpy()), reflectance, atol=1e-7)


def test_a_saved_model_comes_back(tmp_path):
    model = randomised(xcf.models.create("carf-tiny", base="prior", mask_input=True, seed=3))
    path = model.save(tmp_path / "mine.safetensors")
    again = xcf.models.load(path)
    assert again.spec == model.spec
    assert again.digest == model.digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.safetensors"]
    assert xcf.models.load(str(path)).digest == model.digest


def test_no_file_stays_open(tmp_path):
    path = xcf.models.create("carf-tiny").save(tmp_path / "m.safetensors")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        xcf.models.load(path)
        with pytest.raises(WeightsError):
            xcf.models.convert(path, "glfcr")
        gc.collect()
    assert not [w for w in seen if issubclass(w.category, ResourceWarning)]


def test_loading_leaves_the_random_numbers_of_torch_alone(tmp_path):
    path = xcf.models.create("carf-tiny").save(tmp_path / "m.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    xcf.models.load(path)
    assert torch.equal(torch.rand(2), expected)


def test_a_normalisation_that_the_network_does_not_read_is_refused(tmp_path):
    for options in (
        {"scale_by": 1.0},
        {"normalisation": "uncrtaints"},
        {"normalisation": "pix2pix"},
    ):
        with pytest.raises(ModelError, match=r"does not read.*models\.create\('uncrtaints'\)"):
            xcf.models.create("uncrtaints", width=16, **options)
    model = xcf.models.create("uncrtaints-l2", width=16)
    model.spec = model.spec.replace(normalisation="uncrtaints-10")
    with pytest.raises(WeightsError, match="contradicts its network in normalisation"):
        xcf.models.load(model.save(tmp_path / "lie.safetensors"))


def test_the_digest_follows_the_weights():
    one, other = (randomised(xcf.models.create("carf-tiny"), seed=s) for s in (1, 2))
    assert one.digest != other.digest
    assert one.digest == randomised(xcf.models.create("carf-tiny"), seed=1).digest


def test_bad_files_are_refused(tmp_path):
    good = xcf.models.create("carf-tiny").save(tmp_path / "good.safetensors")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(good.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="truncated"):
        xcf.models.load(truncated)
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match="model.save"):
        xcf.models.load(corrupt)
    with pytest.raises(WeightsError, match=r"models.list\(\)"):
        xcf.models.load(tmp_path / "absent.safetensors")
    bare = tmp_path / "bare.safetensors"
    save_file({"a": torch.zeros(1)}, bare)
    with pytest.raises(WeightsError, match="no specification"):
        xcf.models.load(bare)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.999])
def test_a_flipped_bit_is_refused(tmp_path, place):
    path = xcf.models.create("carf-tiny").save(tmp_path / "mine.safetensors")
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")  # of the weights
    content[start + int(place * (len(content) - start))] ^= 1  # the least digit of a number
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not those that were written"):
        xcf.models.load(path)


class Payload:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_never_runs(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    if zipped:
        torch.save({"a": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(WeightsError, match="pickle"):
        xcf.models.load(path)
    assert not (tmp_path / "executed").exists()


def test_a_specification_of_the_future_is_refused(tmp_path):
    model = xcf.models.create("carf-tiny")
    values = json.loads(model.spec.to_json())
    with pytest.raises(WeightsError, match="pip install --upgrade"):
        ModelSpec.from_json(json.dumps(values | {"spec_version": 3}))
    with pytest.raises(WeightsError, match="unknown fields"):
        ModelSpec.from_json(json.dumps(values | {"surprise": 1}))
    with pytest.raises(WeightsError, match="unknown fields"):
        ModelSpec.from_json(json.dumps(values | {"optical_bands": 13}))
    with pytest.raises(WeightsError, match="no readable"):
        ModelSpec.from_json("{}")


@pytest.mark.parametrize("lie", [{"stride": 2}, {"reach": 8}, {"optical_bands": ("B02",)}])
def test_a_specification_that_contradicts_the_network_is_refused(tmp_path, lie):
    model = xcf.models.create("carf-tiny")
    model.spec = model.spec.replace(**lie)
    with pytest.raises(WeightsError, match="contradicts"):
        xcf.models.load(xcf.models.save(model, tmp_path / "lie.safetensors"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("normalisation", "none"), ("level", "L1C"), ("sar_quantity", "beta0"),
        ("polarisations", ("HH", "HV")), ("optical_bands", ("red",) * 13),
    ],
)  # fmt: skip
def test_a_specification_with_unknown_names_is_refused(tmp_path, field, value):
    model = xcf.models.create("carf-tiny")
    model.spec = model.spec.replace(**{field: value})
    with pytest.raises(WeightsError, match=rf"names {field} .*which may only contain"):
        xcf.models.load(model.save(tmp_path / "lie.safetensors"))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = xcf.models.create("carf-tiny")
    model.network.restore.bias.data[0] = torch.nan
    with pytest.raises(WeightsError, match="finite"):
        xcf.models.load(model.save(tmp_path / "nan.safetensors"))
    with pytest.raises(WeightsError, match="no folder"):
        model.save(tmp_path / "absent" / "m.safetensors")
    with pytest.raises(WeightsError, match="is a folder"):
        model.save(tmp_path)


def test_statistics_that_are_no_numbers_are_refused(tmp_path):
    model = xcf.models.create("uncrtaints", width=16, decoder_blocks=1)
    model.network.decoder[0].norm.running_var[0] = torch.inf
    with pytest.raises(WeightsError, match="finite"):
        xcf.models.load(model.save(tmp_path / "nan.safetensors"))


def test_weights_of_another_network_are_refused(tmp_path):
    model = xcf.models.create("carf-tiny")
    model.spec = model.spec.replace(options={**model.spec.options, "features": 16})
    path = model.save(tmp_path / "wrong.safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        xcf.models.load(path)


def test_unknown_names_are_refused():
    with pytest.raises(ModelError, match=r"models.list\(\)"):
        xcf.models.load("carf-huge")
    with pytest.raises(ModelError, match="do not divide"):
        xcf.models.create("carf-tiny", heads=5)
    for wrong in ({"window": 0}, {"heads": 0}, {"scale": 0}, {"stages": 0}):
        with pytest.raises(ModelError, match="cannot be built"):
            xcf.models.create("carf-tiny", **wrong)
    for wrong in ({"depth": 5}, {"cross": "x"}, {"base": "x"}):
        with pytest.raises(ModelError, match="cannot be built"):
            xcf.models.create("carf-tiny", **wrong)
    for field, wrong in {
        "normalisation": "x", "polarisations": ("HH", "HV"), "optical_bands": ("blue",),
        "level": "L2A", "sar_quantity": "sigma",
    }.items():  # fmt: skip
        with pytest.raises(ModelError, match=rf"create\(..., {field}=...\)"):
            xcf.models.create("carf-tiny", **{field: wrong})


def test_a_folder_does_not_hide_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "carf-tiny").mkdir()
    assert xcf.models.load("carf-tiny").spec.name == "carf-tiny"


def test_what_a_model_declares_is_known_before_it_is_built(tmp_path):
    wanted = ("name", "architecture", "optical_bands", "polarisations", "level", "sar_quantity")
    path = xcf.models.create("carf-tiny", optical_bands=("B02", "B03")).save(
        tmp_path / "m.safetensors"
    )
    with pytest.raises(WeightsError, match="there is no file"):
        xcf.models.declared(tmp_path / "none.safetensors")
    for source in (*xcf.models.list(), "carf", path, str(path)):
        declared = xcf.models.declared(source)
        if declared is None:
            assert xcf.models.load(source).network.config.any_bands
            continue
        spec = xcf.models.load(source).spec
        assert [getattr(declared, n) for n in wanted] == [getattr(spec, n) for n in wanted]


def test_what_does_not_suit_is_refused_without_torch():
    code = """
import sys, xcloudfree as xcf
scene = xcf.datasets.simulate_scene((8, 8), level="BOA")
for call in (
    lambda: scene.cloudfree.reconstruct("carf-small-demo"),
    lambda: scene.cloudfree.reconstruct("uncrtaints"),
    lambda: scene.cloudfree.reconstruct("gone.safetensors"),
    lambda: xcf.fit(scene),
    lambda: xcf.fit(scene.B02),
    lambda: xcf.fit(scene, target="truth", steps=0),
    lambda: xcf.fit(scene, "carf-smal", target=scene),
    lambda: xcf.fit(scene, "gone.safetensors", target=scene),
    lambda: xcf.fit(scene, "carf-small-demo", target=scene),
    lambda: xcf.fit(scene.drop_vars("B04"), "carf-small-demo", target=scene),
):
    try:
        call()
    except xcf.exceptions.CloudFreeError:
        assert "torch" not in sys.modules
    else:
        sys.exit(2)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shipped_weights_are_small_and_describe_themselves():
    names = [n for n in xcf.models.list() if n not in (*VARIANTS, "carf")]
    assert names == ["carf-series", "carf-small-demo"]
    for name in names:
        model = xcf.models.load(name)
        assert model.spec.name == name
        assert model.spec.trained
        assert model.spec.demonstration == name.endswith("-demo")
        assert model.spec.training_data != "none"
        assert all(torch.isfinite(p).all() for p in model.network.parameters())
        assert np.isfinite(list(model.spec.metrics.values())).all()
        assert model.spec.metrics


def test_a_saved_model_is_as_open_as_any_other_file(tmp_path):
    (tmp_path / "other").write_text("")
    saved = xcf.models.create("carf-tiny").save(tmp_path / "mine.safetensors")
    assert saved.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("options", {"stages": 1000}),
        ("options", {"blocks": 10**9}),
        ("options", {"stages": 50, "blocks": 50, "layers": 50}),
        ("options", {"features": 10**9}),
        ("options", {"layers": "many"}),
        ("options", {"features": {"a": [1]}}),
        ("options", ["features"]),
        ("architecture", ["carf"]),
        ("level", ["TOA"]),
        ("normalisation", {"a": 1}),
        ("optical_bands", [["B02"]]),
        ("optical_bands", 13),
        ("metrics", {"psnr": [[1]]}),
        ("stride", "16"),
        ("deep", None),
    ],
)
def test_damaged_specifications_are_our_errors_in_bounded_time(tmp_path, field, value):
    model = xcf.models.create("carf-tiny")
    said = json.loads(model.spec.to_json())
    if field == "options" and isinstance(value, dict):
        value = {**said["options"], **value}
    text = "[" * 100_000 if field == "deep" else json.dumps({**said, field: value})
    path = tmp_path / "damaged.safetensors"
    write_tensors(path, model.network.state_dict(), {"xcloudfree": text})
    start = time.process_time()
    with pytest.raises((ModelError, WeightsError), match=r"model\.save\(|models\.create"):
        xcf.models.load(path)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("damage", ["a flipped bit", "truncated", "empty", "lost"])
def test_a_damaged_copy_in_the_cache_is_made_anew(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_SLOTS", {})  # as in another process
    model = xcf.models.create("carf-tiny")
    ref = cache.reference(model)[0]
    source = Path(ref.source)
    content = bytearray(source.read_bytes())
    content[-2] ^= 1
    size = {"truncated": 200, "empty": 0}.get(damage)
    source.unlink() if damage == "lost" else source.write_bytes(content[:size])
    with pytest.raises(WeightsError, match=r"since this .*; call reconstruct\(\) again$"):
        cache.slot(ref, "cpu")
    assert cache.slot(cache.reference(model)[0], "cpu").model.digest == model.digest


def test_a_file_on_this_machine_goes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    model = xcf.models.create("carf-tiny")
    model.save("owner/name")
    assert xcf.models.from_pretrained("owner/name").digest == model.digest
