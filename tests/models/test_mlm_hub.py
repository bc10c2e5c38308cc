"""Models described for catalogs, and handed over in folders and through the Hub."""

import dataclasses
import hashlib
import json
import re
import sys
import traceback

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pystac
import pytest
import torch
import yaml
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from stac_model.schema import MLModelProperties

import xcloudfree as xcf
from tests.fake_hub import serving
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.exceptions import ModelError, WeightsError
from xcloudfree.models import hub
from xcloudfree.models.variants import VARIANTS

TOKEN = "hf_" + "verysecret" * 3


def fitted(name="carf-tiny", **changes):
    """A model that says of itself what a fitted one does."""
    model = xcf.models.create(name, seed=5)
    torch.nn.init.normal_(model.network.restore.weight)
    said = {"trained": True, "training_data": "ten scenes", "metrics": {"psnr": 31.25}}
    model.spec = model.spec.replace(**{**said, **changes})
    return model


def described(model, **options):
    return xcf.models.to_stac_mlm(model, **options).to_dict()


@pytest.mark.parametrize("name", VARIANTS)
def test_items_are_valid_stac_and_valid_mlm(name):
    with torch.device("meta"):  # no memory for the weights
        model = xcf.models.load(name)
    item = described(model)
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
    fields = {k: v for k, v in item["properties"].items() if k.startswith("mlm:")}
    read = MLModelProperties(**fields)
    known = {f"mlm:{field}" for field in MLModelProperties.model_fields}
    assert set(fields) <= known  # the schema forbids any other field of this prefix
    assert (read.name, read.architecture) == (name, VARIANTS[name][0])
    assert re.fullmatch(r"\d+\.\d+\.\d+", read.framework_version)
    count = sum(p.numel() for p in model.network.parameters())
    assert read.total_parameters == count
    assert (read.pretrained, read.pretrained_source) == (False, None)
    named = {band["name"] for band in item["properties"]["bands"]}
    for entry in [*read.input, *read.output]:
        structure = entry.input if hasattr(entry, "input") else entry.result
        assert set(entry.bands) <= named
        assert ("bands" in structure.dim_order) == bool(entry.bands)
        assert all(re.fullmatch("[a-z_-]+", dim) for dim in structure.dim_order)
        if entry.bands:
            assert structure.shape[structure.dim_order.index("bands")] == len(entry.bands)
    (asset,) = item["assets"].values()
    assert "mlm:model" in asset["roles"]
    assert asset["mlm:artifact_type"] == "safetensors.torch.save_file"


def test_pystac_reads_the_item():
    mlm = pytest.importorskip("pystac.extensions.mlm", reason="pystac older than this extension")
    item = xcf.models.to_stac_mlm(fitted())
    read = mlm.MLMExtension.ext(pystac.Item.from_dict(item.to_dict()))
    assert read.mlm_name == "carf-tiny"
    assert read.framework == "PyTorch"
    assert read.pretrained_source == "ten scenes"
    assert [entry.name for entry in read.input] == ["optical", "sar"]
    assert read.input[1].bands == ["VV", "VH"]
    assert read.input[0].input.shape == [-1, 13, -1, -1]
    assert read.hyperparameters.to_dict()["features"] == 32


@pytest.mark.parametrize("preset", PRESETS)
def test_the_scaling_that_is_written_is_the_scaling_that_is_done(preset):
    """The expressions of the item, run by numpy, against the model's own normalisation."""
    model = xcf.models.create("carf-tiny", normalisation=preset)
    properties = described(model)["properties"]
    optical, sar = properties["mlm:input"]
    values = {
        "optical": np.linspace(-0.5, 1.5, 13 * 40).reshape(1, 13, 8, 5),
        "sar": np.linspace(-40, 5, 2 * 40).reshape(1, 2, 8, 5),
    }
    got = model.normalise(values["optical"], values["sar"])
    for entry, expected in zip((optical, sar), got, strict=True):
        scalings = entry["value_scaling"]
        bands = len(entry["bands"])
        assert len(scalings) in (1, bands)
        for band in range(bands):
            scaled = applied(scalings[band % len(scalings)], values[entry["name"]][:, band])
            np.testing.assert_allclose(scaled, expected[:, band], atol=1e-5)
    back = properties["mlm:output"][0]["post_processing_function"]
    np.testing.assert_allclose(
        applied(back, got[0].numpy()), np.clip(values["optical"], 0, 1), atol=1e-6
    )


def applied(how, values):
    if how.get("type") == "clip":
        return np.clip(values, how["minimum"], how["maximum"])
    assert how["format"] == "gdal-calc"
    return eval(how["expression"], {"A": values, "clip": np.clip})


def test_dates_mask_and_variance_are_inputs_and_outputs():
    model = xcf.models.create("carf-tiny", mask_input=True)
    assert [i["name"] for i in described(model)["properties"]["mlm:input"]] == [
        "optical", "sar", "mask",
    ]  # fmt: skip
    properties = described(xcf.models.load("uncrtaints-t3"))["properties"]
    assert [i["name"] for i in properties["mlm:input"]] == ["optical", "sar", "dates"]
    assert properties["mlm:input"][0]["input"]["shape"] == [-1, 3, 13, -1, -1]
    mean, variance = properties["mlm:output"]
    assert (mean["name"], variance["name"]) == ("reflectance", "variance")
    expression = variance["post_processing_function"]["expression"]
    model = xcf.models.load("uncrtaints-t3")
    given = torch.tensor([[[[4.0]]]])
    assert eval(expression, {"A": 4.0}) == pytest.approx(model.deviation(given).item() ** 2)


def test_a_file_on_this_machine_is_described_by_size_and_checksum(tmp_path):
    model = fitted()
    path = model.save(tmp_path / "mine.safetensors")
    item = described(model, href=path)
    asset = item["assets"]["model"]
    assert asset["file:size"] == path.stat().st_size
    assert asset["file:checksum"] == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert any("/file/" in uri for uri in item["stac_extensions"])
    remote = described(model, href="https://example.com/mine.safetensors")["assets"]["model"]
    assert remote["href"] == "https://example.com/mine.safetensors"
    assert "file:size" not in remote


def test_names_and_licences_are_written_as_the_schemas_allow():
    pattern = r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]"  # of mlm:name
    for name in ("glfcr-CR_net", "7 seas/é: best!", "_", "x"):
        model = fitted()
        model.spec = model.spec.replace(name=name)
        assert re.fullmatch(pattern, described(model)["properties"]["mlm:name"]), name
    free = described(fitted(licence="ask the authors"))["properties"]
    assert free["license"] == "other"
    assert "ask the authors" in free["description"]
    assert described(fitted())["properties"]["license"] == "Apache-2.0"


def test_the_specification_survives_in_the_item():
    model = fitted()
    stored = described(model)["properties"]["xcloudfree:spec"]
    assert stored == json.loads(json.dumps(dataclasses.asdict(model.spec)))


def test_a_folder_holds_weights_and_a_card(tmp_path):
    model = fitted(demonstration=True, note="a | b", licence="Apache-2.0")
    folder = xcf.models.save_pretrained(model, tmp_path / "deep" / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "model.safetensors"]
    for place in (folder, folder / "model.safetensors", str(folder / "model.safetensors")):
        assert xcf.models.from_pretrained(place).digest == model.digest  # the hub is not asked
    card = (folder / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["library_name"] == "xcloudfree"
    assert matter["license"] == "apache-2.0"
    assert {"sentinel-2", "carf"} <= set(matter["tags"])
    for said in ("B8A", "VV, VH", "sigma0", "TOA", "dsen2cr", "ten scenes", "31.25", "no claim"):
        assert said in body, said
    assert r"a \| b" in body
    huggingface_hub.ModelCard(card).data.to_dict()  # the Hub's own reader
    other = hub.card(fitted(licence="no licence is stated").spec, "a/b")
    assert yaml.safe_load(other.split("---\n")[1])["license"] == "other"


def test_the_lines_of_the_card_run(tmp_path):
    folder = xcf.models.save_pretrained(fitted(), tmp_path / "model")
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]

    class Scene:
        @property
        def cloudfree(self):
            return self

        def reconstruct(self, *, model):
            return model.spec.name

    space = {"ds": Scene()}
    exec(code, space)
    assert space["clear"] == "carf-tiny"


def test_folders_without_a_model_and_no_names_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="there is no file"):
        xcf.models.from_pretrained(tmp_path)
    for wrong in ("justaname", "a/b/c/d", tmp_path / "absent", "a/b@"):
        with pytest.raises(ModelError, match=r"from_pretrained\('owner/name'\)"):
            xcf.models.from_pretrained(wrong)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be made"):
        xcf.models.save_pretrained(fitted(), tmp_path / "file")


@pytest.fixture
def remote(tmp_path, monkeypatch):
    with serving(TOKEN) as fake:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", fake.endpoint)
        monkeypatch.setattr(
            huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            fake.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )  # fmt: skip
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield fake


def test_what_is_pushed_comes_back(remote):
    model = fitted()
    address = model.push_to_hub("me/clear", private=True, token=TOKEN)
    assert address == f"{remote.endpoint}/me/clear"
    assert remote.private == {"me/clear": True}
    files = remote.revisions["me/clear@main"]
    assert sorted(files) == ["README.md", "model.safetensors"]
    assert 'from_pretrained("me/clear")' in files["README.md"].decode()
    assert not any(TOKEN.encode() in content for content in files.values())
    assert xcf.models.from_pretrained("me/clear").digest == model.digest


def test_revisions_are_kept_apart(remote):
    first, second = fitted(), fitted(note="second")
    first.push_to_hub("me/clear", token=TOKEN)
    remote.tag("me/clear", "v1")
    second.push_to_hub("me/clear", token=TOKEN)
    assert xcf.models.from_pretrained("me/clear@v1").digest == first.digest
    assert xcf.models.from_pretrained("me/clear").digest == second.digest


def test_the_token_of_the_environment_is_used(remote, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fitted().push_to_hub("me/clear")
    assert "me/clear@main" in remote.revisions


def test_no_error_tells_the_token(remote, monkeypatch):
    """The server repeats what it was sent, and so does the client's message."""
    wrong = "hf_" + "othersecret" * 3
    model = fitted()
    for given, in_environment in ((wrong, None), (None, wrong), (wrong + "\n", None)):
        if in_environment:
            monkeypatch.setenv("HF_TOKEN", in_environment)
        with pytest.raises(ModelError, match=r"push_to_hub\('me/clear', token=\.\.\.\)") as caught:
            model.push_to_hub("me/clear", token=given)
        shown = "".join(traceback.format_exception(caught.value))
        assert "othersecret" not in shown
        assert "***" in str(caught.value) or given != wrong
    assert "secret" not in repr(model)
    assert not remote.revisions


def test_absent_repositories_and_files_are_told(remote):
    with pytest.raises(ModelError, match=r"nobody/nothing cannot be fetched.*from_pretrained"):
        xcf.models.from_pretrained("nobody/nothing")
    remote.revisions["me/empty@main"] = {"README.md": b""}
    with pytest.raises(ModelError, match="me/empty cannot be fetched"):
        xcf.models.from_pretrained("me/empty")
    with pytest.raises(ModelError, match=r"push_to_hub\('owner/name'\)"):
        fitted().push_to_hub("noowner")


def test_a_pickle_on_the_hub_is_refused(remote):
    remote.revisions["me/bad@main"] = {"model.safetensors": b"\x80\x02}q\x00."}
    with pytest.raises(WeightsError, match="pickle"):
        xcf.models.from_pretrained("me/bad")


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'xcloudfree\[hub\]'"):
        xcf.models.from_pretrained("me/clear")
    with pytest.raises(ModelError, match=r"pip install 'xcloudfree\[hub\]'"):
        fitted().push_to_hub("me/clear")
