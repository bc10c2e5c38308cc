"""Published checkpoints become models, and nothing in them is ever executed."""

import hashlib
import os
import pickle
import struct

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import xcloudfree as xcf
from tests.goldens import golden
from xcloudfree.cli import main
from xcloudfree.exceptions import ModelError, WeightsError
from xcloudfree.models import VARIANTS
from xcloudfree.models.networks import architecture

CASES = {
    "uncrtaints/mono_64": "uncrtaints",
    "uncrtaints/mono_l2_32": "uncrtaints",
    "uncrtaints/t3_64": "uncrtaints",
}
FITTING = {
    "uncrtaints/mono_l2_32": "uncrtaints-l2",
    "uncrtaints/t3_64": "uncrtaints-t3",
}
WRAPPINGS = {
    "bare": lambda state: state,
    "data parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "compiled": lambda state: {"network": {f"_orig_mod.{k}": v for k, v in state.items()}},
    "listed": lambda state: [3, {"params": state}],
    "training": lambda state: {
        "epoch": 7,
        "state_dict": {
            **{f"netG.module.{k}": v for k, v in state.items()},
            "criterion.weight": torch.ones(3),
        },
        "state_dict_D": {"model.0.weight": torch.zeros(2, 2)},
        "optimizer_G": {
            "state": {0: {"exp_avg": torch.zeros(3)}},
            "param_groups": [{"lr": 1e-4, "params": [0]}],
        },
    },
}


def whole_state(case):
    """The authors' state dict with its masks, indices and counters, here of another size."""
    extra = {
        entry["name"]: torch.zeros([2 * n for n in entry["shape"]])
        for entry in case.about["state_dict"]
        if entry["fill"] == "buffer"
    }
    return case.state() | extra


def outputs(network, case):
    """Outputs of a network for the inputs of a case, whatever these are called."""
    given = case.inputs()
    if "sequence" in given:  # backscatter first
        optical, sar = given["sequence"][:, :, 2:], given["sequence"][:, :, :2]
    elif "input" in given:
        optical, sar = given["input"][:, 2:], given["input"][:, :2]
    else:
        optical, sar = given["optical"], given["sar"]
    further = {"dates": given["dates"]} if "dates" in given else {}
    if network.config.dates == 1 and optical.ndim == 5:
        optical, sar = optical[:, 0], sar[:, 0]
    if network.config.variance:
        further["variance"] = True
    with torch.inference_mode():
        out = network(optical, sar, **further)
    return out if isinstance(out, tuple) else (out,)


def check(network, case):
    got = outputs(network, case)
    assert len(got) == len(case.about["outputs"])
    for name, tensor in zip(case.about["outputs"], got, strict=True):
        case.check(name, tensor)


def small(seed=1):
    return xcf.models.create("carf-tiny", seed=seed).network


def dsen2cr_state(features=8, blocks=2, optical=13, sar=2):
    """Weights of a DSen2-CR in the authors' names."""
    sizes = [(features, optical + sar), *[(features, features)] * 2 * blocks, (optical, features)]
    inner = [f"{b + 2}.conv_block.{layer}" for b in range(blocks) for layer in (0, 2)]
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, size in zip(["0", *inner, str(blocks + 2)], sizes, strict=True):
        state[f"model.{name}.weight"] = 0.1 * torch.randn(*size, 3, 3, generator=generator)
        state[f"model.{name}.bias"] = 0.1 * torch.randn(size[0], generator=generator)
    return state


SMALL = {"features": 8, "blocks": 2}


@pytest.fixture
def saved(tmp_path):
    def save(value, name="weights.pth", **options):
        torch.save(value, tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("case", CASES)
def test_a_published_checkpoint_gives_the_published_output_also_when_saved(case, saved, tmp_path):
    example = golden(case)
    path = saved(WRAPPINGS["training"](whole_state(example)))
    model = xcf.models.convert(path, CASES[case])
    check(model.network, example)
    variant = FITTING.get(case, CASES[case])
    family, options = VARIANTS[variant]
    assert model.spec.name == f"{variant}-weights"
    default = architecture(family).normalisation
    assert model.spec.normalisation == options.get("normalisation", default)
    again = xcf.models.load(model.save(tmp_path / "ours.safetensors"))
    assert again.digest == model.digest


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappers_and_containers_do_not_matter(saved, wrapping, legacy):
    state = dsen2cr_state()
    path = saved(WRAPPINGS[wrapping](state), _use_new_zipfile_serialization=not legacy)
    network = xcf.models.convert(path, "dsen2cr", **SMALL).network
    assert torch.equal(network.restore.weight, state["model.4.weight"])
    assert torch.equal(network.blocks[1].first.bias, state["model.3.conv_block.0.bias"])


def test_safetensors_are_read(tmp_path):
    state = dsen2cr_state()
    save_file(WRAPPINGS["data parallel"](state), tmp_path / "theirs.safetensors")
    model = xcf.models.convert(tmp_path / "theirs.safetensors", "dsen2cr", **SMALL)
    assert torch.equal(model.network.enter.weight, state["model.0.weight"])


def test_the_specification_says_where_the_weights_come_from(saved):
    path = saved(dsen2cr_state(optical=3), "best.pth")
    model = xcf.models.convert(
        path, "dsen2cr", optical_bands=("B04", "B03", "B02"), level="BOA", name="mine", **SMALL
    )
    spec = model.spec
    assert (spec.name, spec.trained, spec.level, spec.sar_quantity) == (
        "mine",
        True,
        "BOA",
        "sigma0",
    )
    assert spec.optical_bands == ("B04", "B03", "B02")
    assert spec.normalisation == "dsen2cr-2000"
    assert spec.options["features"] == 8
    assert "best.pth" in spec.note
    assert hashlib.sha256(path.read_bytes()).hexdigest() in spec.note
    assert "Meraner" in spec.training_data
    assert spec.licence == xcf.models.networks.architecture("dsen2cr").licence


def test_half_precision_becomes_single(saved):
    state = {k: v.half() for k, v in dsen2cr_state().items()}
    network = xcf.models.convert(saved(state), "dsen2cr", **SMALL).network
    assert torch.equal(network.enter.weight, state["model.0.weight"].float())
    assert network.enter.weight.dtype == torch.float32


def test_our_own_state_dict_is_read_too(saved):
    network = small()
    model = xcf.models.convert(saved({"net_G": network.state_dict()}), "carf")
    assert model.spec.name == "carf-tiny-weights"
    assert torch.equal(model.network.restore.weight, network.restore.weight)


class Payload:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


class Shell:
    """Of a module that torch refuses with other words."""

    def __reduce__(self):
        return (os.system, ("touch executed",))


def test_a_shell_command_in_a_checkpoint_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": dsen2cr_state(), "args": Shell()}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"system besides tensors.*nothing was read"):
        xcf.models.convert(tmp_path / "model.pth", "dsen2cr", **SMALL)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "beside"])
def test_code_in_a_checkpoint_never_runs(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(), 2))
    else:
        content = {"state_dict": dsen2cr_state(), "args": Payload()}
        content = content if kind == "beside" else Payload()
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    with pytest.raises(WeightsError, match=r"exec besides tensors.*nothing was read") as caught:
        xcf.models.convert(path, "dsen2cr", **SMALL)
    assert caught.value.__suppress_context__
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / "executed").exists()  # where it may run, it does


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("name", ["dsen2cr", "simulation-fusion-gan"])
def test_no_file_and_three_files_are_refused(saved, name, count):
    paths = [saved(dsen2cr_state())] * count
    with pytest.raises(WeightsError, match=rf"{count} files were given; call .*path_of_G1"):
        xcf.models.convert(paths, name)


def test_files_that_hold_no_weights_are_named_as_what_they_are(saved, tmp_path):
    good = saved(dsen2cr_state()).read_bytes()
    contents = {
        "empty": (b"", "is empty"),
        "truncated": (good[:-500], "truncated"),
        "beginning": (good[:80], "truncated"),
        "page": (b"<!DOCTYPE html><html>", "web page"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS"),
        "noise": (bytes(range(256)) * 9, "not a PyTorch state dict"),
        "header": (struct.pack("<Q", 10**6) + b'{"a":', "truncated"),
    }
    for name, (content, words) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=words):
            xcf.models.convert(tmp_path / name, "dsen2cr")
    with pytest.raises(WeightsError, match="is a folder"):
        xcf.models.convert(tmp_path, "dsen2cr")
    with pytest.raises(WeightsError, match="there is no file"):
        xcf.models.convert(tmp_path / "absent.pth", "dsen2cr")
    with pytest.raises(WeightsError, match="no named tensors"):
        xcf.models.convert(saved({"epoch": 3}), "dsen2cr")
    with pytest.raises(ModelError, match="unknown architecture"):
        xcf.models.convert(saved(dsen2cr_state()), "resnet")


def test_values_that_are_no_numbers_are_refused(saved):
    state = dsen2cr_state()
    state["model.0.bias"][0] = torch.nan
    with pytest.raises(WeightsError, match=r"not finite in enter\.bias"):
        xcf.models.convert(saved(state), "dsen2cr", **SMALL)
    state = dsen2cr_state() | {"model.0.bias": torch.zeros(8, dtype=torch.int32)}
    with pytest.raises(WeightsError, match=r"enter\.bias as torch\.int32"):
        xcf.models.convert(saved(state), "dsen2cr", **SMALL)


def test_a_misfit_is_told_by_name_count_and_shape(saved):
    state = dsen2cr_state(features=6)
    del state["model.2.conv_block.0.weight"], state["model.2.conv_block.0.bias"]
    state |= {f"attention.{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(WeightsError) as caught:
        xcf.models.convert(saved(state), "dsen2cr", **SMALL)
    words = str(caught.value)
    assert "lacks blocks.0.first.weight, blocks.0.first.bias," in words
    assert "also has attention.0, attention.1, attention.2 and 2 more" in words
    assert "enter.weight (6, 15, 3, 3) for (8, 15, 3, 3)" in words
    assert "option=..." in words


def test_two_entries_for_one_weight_are_not_merged(saved):
    state = dsen2cr_state() | {"model.9.bias": torch.zeros(13)}
    with pytest.raises(WeightsError, match=r"also has model\.9\.bias"):
        xcf.models.convert(saved(state), "dsen2cr", **SMALL)


def test_other_bands_and_other_architectures_are_told_by_shape_and_name(saved):
    with pytest.raises(WeightsError, match=r"\(8, 6, 3, 3\) for \(8, 15, 3, 3\).*optical_bands="):
        xcf.models.convert(saved(dsen2cr_state(optical=4)), "dsen2cr", **SMALL)
    with pytest.raises(WeightsError, match=r"does not fit dsen2cr.*or its own architecture"):
        xcf.models.convert(saved(small().state_dict()), "dsen2cr")


def test_weights_that_two_networks_can_hold_need_a_name(saved, monkeypatch):
    monkeypatch.setitem(VARIANTS, "dsen2cr", ("dsen2cr", SMALL))
    monkeypatch.setitem(VARIANTS, "damped", ("dsen2cr", {**SMALL, "residual_scale": 0.2}))
    monkeypatch.setitem(VARIANTS, "damped-more", ("dsen2cr", {**SMALL, "residual_scale": 0.3}))
    path = saved(dsen2cr_state())
    assert xcf.models.convert(path, "dsen2cr").network.config.residual_scale == 0.1
    assert xcf.models.convert(path, "damped").network.config.residual_scale == 0.2
    monkeypatch.setitem(VARIANTS, "dsen2cr", ("dsen2cr", {}))
    with pytest.raises(WeightsError, match="fits damped and damped-more"):
        xcf.models.convert(path, "dsen2cr")


def test_several_sets_of_weights_need_a_choice(saved):
    one, other = dsen2cr_state(), {k: v + 1 for k, v in dsen2cr_state().items()}
    same = saved({"state_dict": one, "state_dict_G": dict(one)})
    assert xcf.models.convert(same, "dsen2cr", **SMALL).spec.trained
    with pytest.raises(WeightsError, match="'params' and 'params_ema'"):
        xcf.models.convert(saved({"params": one, "params_ema": other}), "dsen2cr", **SMALL)


def test_our_own_file_is_sent_to_load(tmp_path):
    path = xcf.models.create("carf-tiny").save(tmp_path / "ours.safetensors")
    with pytest.raises(WeightsError, match=r"models\.load\("):
        xcf.models.convert(path, "carf")


PAIR = "simulation-fusion-gan"


RESNETS = ("g1_resnet9_64", "g2_resnet9_64x96")


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (("g1_unet7_128", "g2_unet7_128"), "two files"),
        pytest.param(RESNETS, "two files", marks=pytest.mark.slow),
        (RESNETS, "one file"),
        (RESNETS, "prefixes"),
    ],
)
def test_two_generators_make_one_model(saved, names, layout):
    cases = [golden(f"simulation_fusion/{name}") for name in names]
    one, two = (WRAPPINGS["data parallel"](whole_state(case)) for case in cases)
    if layout == "two files":
        path = (saved({"model": one}, "G1.pth"), saved(two, "G2.pth"))
    elif layout == "one file":
        path = saved({"netG1": one, "netG2": two, "epoch": 3})
    else:
        path = saved({f"G{i}.{k}": v for i, s in ((1, one), (2, two)) for k, v in s.items()})
    network = xcf.models.convert(path, PAIR).network
    with torch.inference_mode():
        cases[0].check("out", network.simulation(*cases[0].inputs().values()))
        cases[1].check("out", network.fusion(*cases[1].inputs().values()))


def test_half_a_pair_and_a_pair_too_much_are_refused(saved):
    path = saved(dsen2cr_state())
    with pytest.raises(WeightsError, match="path_of_G1, path_of_G2"):
        xcf.models.convert(path, PAIR)
    with pytest.raises(WeightsError, match="is one network but 2 files"):
        xcf.models.convert((path, path), "dsen2cr")


def keras_file(path, state, blocks, *, full=False, names=None, attributes=True, split=False):
    """A file as Keras 2 writes it: the published layout, kernels as (h, w, in, out)."""
    inner = [f"model.{b + 2}.conv_block.{layer}" for b in range(blocks) for layer in (0, 2)]
    theirs = ["model.0", *inner, f"model.{blocks + 2}"]
    layers = names or ["conv2d", *[f"conv2d_{i}" for i in range(1, len(theirs))]]
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if full else file
        if full:
            file.create_group("optimizer_weights")["iterations:0"] = np.zeros((3, 3, 1, 1))
        listed = [b"input_1"]
        root.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for layer, name in zip(layers, theirs, strict=True):
            group = root.create_group(layer)
            weights = [f"{layer}/kernel:0", f"{layer}/bias:0"]
            group[weights[0]] = state[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            group[weights[1]] = state[f"{name}.bias"].numpy()
            if attributes:
                group.attrs["weight_names"] = np.array([w.encode() for w in weights])
            activation = root.create_group(f"activation_{layer}")
            activation.attrs["weight_names"] = np.array([], "S1")
            listed += [layer.encode(), f"activation_{layer}".encode()]
        if attributes and split:
            root.attrs["layer_names0"], root.attrs["layer_names1"] = listed[:9], listed[9:]
        elif attributes:
            root.attrs["layer_names"] = np.array(listed)
        root.attrs["backend"] = b"tensorflow"
    return path


def test_the_authors_keras_file_gives_the_published_output(tmp_path):
    case = golden("dsen2cr/size48x80")
    path = keras_file(tmp_path / "model.hdf5", case.state(), 16)
    check(xcf.models.convert(path, "dsen2cr").network, case)


@pytest.mark.parametrize(
    "layout", [{"split": True}, {"attributes": False}, {"names": [*"zfaqwe"]}, {"full": True}]
)
def test_keras_layers_come_in_the_order_of_the_model(tmp_path, layout):
    """13 blocks, so that conv2d_10 sorts before conv2d_2 in the alphabet and in HDF5."""
    blocks = 2 if "names" in layout else 13
    state = dsen2cr_state(blocks=blocks)
    path = keras_file(tmp_path / "weights.h5", state, blocks, **layout)
    network = xcf.models.convert(path, "dsen2cr", features=8, blocks=blocks).network
    for block in range(blocks):
        expected = state[f"model.{block + 2}.conv_block.0.weight"]
        assert torch.equal(network.blocks[block].first.weight, expected)


def test_keras_3_files_are_read(tmp_path):
    state, blocks = dsen2cr_state(blocks=6), 6
    inner = [f"model.{b + 2}.conv_block.{layer}" for b in range(blocks) for layer in (0, 2)]
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["optimizer/vars/0"] = np.zeros((3, 3, 1, 1))
        for i, name in enumerate(["model.0", *inner, "model.8"]):
            group = file.create_group(f"layers/conv2d{f'_{i}' if i else ''}/vars")
            group["0"] = state[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            group["1"] = state[f"{name}.bias"].numpy()
    path = tmp_path / "m.weights.h5"
    network = xcf.models.convert(path, "dsen2cr", features=8, blocks=6).network
    assert torch.equal(network.blocks[4].second.weight, state["model.6.conv_block.2.weight"])


def test_keras_files_that_are_something_else_are_refused(tmp_path):
    good = keras_file(tmp_path / "good.h5", dsen2cr_state(), 2)
    with pytest.raises(WeightsError, match=r"convert\(.*good\.h5', 'dsen2cr'\)"):
        xcf.models.convert(good, "carf")
    (tmp_path / "short.h5").write_bytes(good.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match="truncated"):
        xcf.models.convert(tmp_path / "short.h5", "dsen2cr")
    unordered = keras_file(
        tmp_path / "unordered.h5", dsen2cr_state(), 2, attributes=False,
        names=["conv2d_in", "conv2d_x", "conv2d_y", "conv2d_z", "conv2d_w", "conv2d_out"],
    )  # fmt: skip
    with pytest.raises(WeightsError, match="order of its layers"):
        xcf.models.convert(unordered, "dsen2cr")
    with h5py.File(tmp_path / "dense.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file.create_group("dense").attrs["weight_names"] = [b"kernel:0"]
        file["dense/kernel:0"] = np.zeros((3, 4))
    with pytest.raises(WeightsError, match="no convolutions"):
        xcf.models.convert(tmp_path / "dense.h5", "dsen2cr")


def test_the_command_converts_one_file_and_two(tmp_path, saved):
    out = tmp_path / "ours.safetensors"
    path = saved({"net_G": small().state_dict()})
    run = CliRunner().invoke(
        main, ["models", "convert", str(path), str(out), "--architecture", "carf", "--name", "mine"]
    )
    assert run.exit_code == 0, run.output
    assert "'mine'" in run.output
    assert xcf.models.load(out).spec.trained
    run = CliRunner().invoke(
        main, ["models", "convert", str(path), str(path), str(out), "--architecture", "carf"]
    )
    assert run.exit_code == 1
    assert "2 files were given" in run.output


def test_the_command_takes_names_with_blanks_between(tmp_path, saved):
    network = xcf.models.create("carf-tiny", optical_bands=("B02", "B03"), polarisations=("VH",))
    path, out = saved(network.network.state_dict()), tmp_path / "ours.safetensors"
    words = ["--architecture", "carf", "--optical-bands", "B02, B03", "--polarisations", " VH"]
    run = CliRunner().invoke(main, ["models", "convert", str(path), str(out), *words])
    assert run.exit_code == 0, run.output
    spec = xcf.models.load(out).spec
    assert (spec.optical_bands, spec.polarisations) == (("B02", "B03"), ("VH",))


@pytest.mark.parametrize("start", [b"\x80", b"<", b"PK"])
def test_a_safetensors_header_of_any_length_is_no_pickle(tmp_path, start):
    """Such a file begins with the length of its header, low byte first."""
    model = xcf.models.create("carf-tiny")
    content = model.save(tmp_path / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    padded = next(n for n in range(length, 1 << 20) if struct.pack("<Q", n).startswith(start))
    header = content[8 : 8 + length].ljust(padded)
    path = tmp_path / "padded.safetensors"
    path.write_bytes(struct.pack("<Q", padded) + header + content[8 + length :])
    assert xcf.models.load(path).digest == model.digest
    with pytest.raises(WeightsError, match=r"models\.load\("):
        xcf.models.convert(path, "carf")
