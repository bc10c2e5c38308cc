"""A product made again from its passport and the catalog, byte for byte."""

import json
import re

import pytest
from click.testing import CliRunner

import xcloudfree as xcf
from tests.builders import contents
from xcloudfree.cli import main

pytest.importorskip("rustac")
pytestmark = pytest.mark.network

OPTIONS = {"mask": "l2a", "dilate": 1, "quality": True, "age": True}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    scene = xcf.datasets.simulate_scene((48, 40), dates=3, cover=0.3, seed=2, level="BOA")
    xcf.stac.publish(scene, folder)
    with xcf.stac.serve(folder) as served:
        yield served.url, folder, scene


def loaded(catalog):
    url, _, scene = catalog
    bands = ["B02", "B03", "B04", "B08", "B11", "B01"]
    box = scene.odc.geobox.geographic_extent.boundingbox
    return xcf.stac.load(
        url, bbox=tuple(box), datetime="2025-06", bands=bands, chunks={"x": 40, "y": 24}
    )


def run(*arguments):
    return CliRunner().invoke(main, ["remake", *map(str, arguments), "--quiet"])


@pytest.mark.parametrize("encoding", [None, "int16"])
def test_a_store_is_made_again_byte_for_byte(tmp_path, catalog, encoding):
    out = loaded(catalog).cloudfree.reconstruct(model="median", **OPTIONS)
    path = tmp_path / "out.zarr"
    xcf.io.to_zarr(out, path, encoding=encoding, chunks=32, progress=False)
    result = run(f"{path}.item.json", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "again" / "out.zarr") == contents(path)
    first, second = (f / "out.zarr.item.json" for f in (tmp_path, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_files_are_made_again_byte_for_byte(tmp_path, catalog):
    out = loaded(catalog).cloudfree.reconstruct(model="kernel-fusion", uncertainty=True, **OPTIONS)
    files = xcf.io.to_cog(out, tmp_path / "out.tif", progress=False)
    result = run(f"{files[1]}.item.json", tmp_path / "again", "--catalog", catalog[0])
    assert result.exit_code == 0, result.output
    for file in files:
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_what_a_judged_model_made_is_made_again_with_its_table(tmp_path, catalog):
    ds = loaded(catalog)
    names = ["median", "linear-time"]
    own = xcf.datasets.simulate_scene((64, 64), dates=6, cover=[0, 0.6] * 3, level="BOA")
    table = own.cloudfree.judge(names, gaps=[0], cases=1, mask="l2a", progress=False)
    path = tmp_path / "out.zarr"
    out = ds.cloudfree.reconstruct(table, **OPTIONS)
    xcf.io.to_zarr(out, path, chunks=32, multiscales=True, progress=False)
    xcf.remake(f"{path}.item.json", tmp_path / "again", progress=False)
    assert contents(tmp_path / "again" / "out.zarr") == contents(path)
    assert set(json.loads(out.provenance.attrs["judge_table"])["models"]) > set(names)


def test_python_is_told_calls_and_the_command_line_options(tmp_path, passport):
    item = item_with(passport, tmp_path / "a.json", request={"catalog": None, "sar_catalog": None})
    with pytest.raises(xcf.exceptions.DataError, match=r"xcf\.remake\(\.\.\., catalog="):
        xcf.remake(item, tmp_path / "x")
    assert "use --catalog ADDRESS" in run(item, tmp_path / "x").output


def item_with(path, to, **changes):
    item = json.loads(path.read_text())
    item["properties"] |= {f"xcloudfree:{k}": v for k, v in changes.items()}
    to.write_text(json.dumps(item))
    return to


@pytest.fixture(scope="module")
def passport(tmp_path_factory, catalog):
    out = loaded(catalog).cloudfree.reconstruct(model="median", **OPTIONS)
    path = tmp_path_factory.mktemp("product") / "out.zarr"
    xcf.io.to_zarr(out, path, progress=False)
    return path.with_name("out.zarr.item.json")


def test_what_cannot_be_made_again_is_refused(tmp_path, catalog, passport):
    told = json.loads(passport.read_text())["properties"]
    given = {**told["xcloudfree:parameters"], "mask": {"given": "DataArray"}}
    refused = {
        "mask \\(a DataArray\\)": {"parameters": given},
        "other items now: without \\['S2X'\\]": {"item_id": ["S2X", *told["xcloudfree:item_id"]]},
        "names no catalog": {"request": {**told["xcloudfree:request"], "catalog": None}},
        "differs from what .* in xcloudfree:blend": {"blend": "none"},
    }
    for number, (words, changes) in enumerate(refused.items()):
        item = item_with(passport, tmp_path / f"{number}.json", **changes)
        result = run(item, tmp_path / f"again{number}")
        assert result.exit_code == 1
        assert re.search(words, result.output), result.output
    assert "would replace" in run(passport, passport.parent).output
    (tmp_path / "none.json").write_text("{}")
    assert "is no STAC item" in run(tmp_path / "none.json", tmp_path / "x").output


def test_a_catalog_whose_pixels_have_changed_is_noticed(tmp_path, catalog):
    out = loaded(catalog).cloudfree.reconstruct(model="median", **OPTIONS)
    (file, *_) = xcf.io.to_cog(out[["B02", "provenance"]], tmp_path / "out.tif", progress=False)
    result = run(f"{file}.item.json", tmp_path / "more")  # bands were left out before writing
    assert "differs from what" in result.output
    scene = catalog[2]
    changed = scene.assign(B02=(scene.B02 + 0.01).assign_attrs(scene.B02.attrs))
    (file, *_) = xcf.io.to_cog(out, tmp_path / "whole.tif", progress=False)
    xcf.stac.publish(changed, tmp_path / "changed")
    with xcf.stac.serve(tmp_path / "changed") as served:
        result = run(f"{file}.item.json", tmp_path / "again", "--catalog", served.url)
    assert result.exit_code == 1
    assert "differs from what" in result.output
    assert "data behind the catalog has changed" in result.output
