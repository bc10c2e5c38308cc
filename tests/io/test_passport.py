"""The STAC item beside a product, and the attributes that Zarr and GeoTIFF carry."""

import hashlib
import json

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.warp import transform_bounds

import xcloudfree as xcf
from tests.builders import blobs, contents, make_bands, make_series
from xcloudfree.exceptions import UntrainedWarning
from xcloudfree.io.passport import passport_of


@pytest.fixture(scope="module")
def product():
    ds, mask = make_series(dates=3).chunk(time=1), blobs(dates=3)
    ds = ds.assign_coords(item_id=("time", ["S2_a", "S2_b", "S2_c"]))
    return ds.cloudfree.reconstruct(model="linear-time", mask=mask, dilate=1, quality=True)


def item_of(path):
    """The item of a product, valid as far as the core of STAC goes; pystac reads it."""
    item = json.loads(passport_of(path).read_text())
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
    assert pystac.Item.from_dict(item).id == path.name
    return item


def test_a_store_has_a_valid_item_with_its_place_dates_bands_and_making(tmp_path, product):
    path = tmp_path / "out.zarr"
    xcf.io.to_zarr(product, path, encoding="uint16", progress=False)
    item = item_of(path)
    said = item["properties"]
    assert said["datetime"] is None
    assert (said["start_datetime"], said["end_datetime"]) == (
        "2025-06-01T00:00:00Z",
        "2025-06-13T00:00:00Z",
    )
    expected = transform_bounds(32633, 4326, 400000, 4999600, 400330, 5000000)
    np.testing.assert_allclose(item["bbox"], expected, atol=1e-5)
    assert (said["proj:code"], said["proj:shape"]) == ("EPSG:32633", [40, 33])
    assert said["xcloudfree:model"] == "linear-time"
    assert said["xcloudfree:item_id"] == ["S2_a", "S2_b", "S2_c"]
    assert said["xcloudfree:parameters"]["dilate"] == 1
    assert said["xcloudfree:parameters"]["mask"] == {"given": "DataArray"}
    assert said["processing:software"] == {"xcloudfree": xcf.__version__}
    (asset,) = item["assets"].values()
    assert asset["href"] == "./out.zarr"
    assert asset["file:size"] == sum(map(len, contents(path).values()))
    bands = {band["name"]: band for band in asset["bands"]}
    assert bands["B8A"] == {
        "name": "B8A",
        "data_type": "uint16",
        "nodata": bands["B8A"]["nodata"],
        "unit": "1",
        "raster:scale": 1e-4,
        "raster:offset": bands["B8A"]["raster:offset"],
        "eo:common_name": "nir08",
    }
    assert "eo:common_name" not in bands["VV"]
    assert "nodata" not in bands["provenance"]  # every number of it is a flag


def test_files_of_each_date_have_an_item_with_their_checksums(tmp_path, product):
    files = xcf.io.to_cog(product[["B02", "B08", "provenance"]], tmp_path / "o.tif", progress=False)
    for number, (file, flags) in enumerate(zip(files[:3], files[3:], strict=True)):
        item = item_of(file)
        stamp = np.datetime_as_string(product.time[number].values, unit="s") + "Z"
        assert item["properties"]["datetime"] == stamp
        asset, beside = item["assets"].values()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert asset["file:checksum"] == "1220" + digest  # multihash: SHA-256, 32 bytes
        assert asset["file:size"] == file.stat().st_size
        assert [b["name"] for b in asset["bands"]] == ["B02", "B08"]
        assert beside["href"] == f"./{flags.name}"
        assert (asset["roles"], beside["roles"]) == (["data"], ["metadata"])
    few = product[["B02", "provenance"]]
    per = xcf.io.to_cog(few, tmp_path / "b.tif", per="band", progress=False)
    item = item_of(tmp_path / "b_20250601T000000.tif")
    assert [tmp_path / a["href"] for a in item["assets"].values()] == per[:2]


def test_how_it_was_made_survives_store_and_file_alike(tmp_path, product):
    store = xcf.io.to_zarr(product, tmp_path / "out.zarr", progress=False)
    files = xcf.io.to_cog(store[["B02", "provenance"]], tmp_path / "out.tif", progress=False)
    made = product.provenance.attrs
    with rasterio.open(files[0]) as opened, rasterio.open(files[3]) as beside:
        tags, flags = opened.tags(), beside.tags(1)
        assert beside.tags()["model"] == made["model"]
    for key in ("model", "mask", "blend", "parameters", "xcloudfree_version"):
        assert store.attrs[key] == made[key]
        assert tags[key] == made[key]
    assert json.loads(tags["item_id"]) == store.attrs["item_id"] == ["S2_a", "S2_b", "S2_c"]
    assert flags["flag_values"] == "0 1 2 3"
    assert flags["flag_meanings"] == made["flag_meanings"]
    files = xcf.io.to_cog(product[["B02", "quality"]], tmp_path / "q.tif", progress=False)
    with rasterio.open(files[3]) as opened:
        assert opened.tags(1)["flag_meanings"] == product.quality.attrs["flag_meanings"]


def test_the_item_says_what_each_flag_means(tmp_path, product):
    files = xcf.io.to_cog(
        product[["B02", "provenance", "quality"]], tmp_path / "q.tif", progress=False
    )
    item = item_of(files[0])
    assert any("classification" in name for name in item["stac_extensions"])
    bands = {b["name"]: b for asset in item["assets"].values() for b in asset["bands"]}
    assert [c["name"] for c in bands["provenance"]["classification:classes"]] == [
        "nodata", "observed", "reconstructed", "unreconstructable",
    ]  # fmt: skip
    with rasterio.open(tmp_path / "q_20250601T000000_quality.tif") as opened:
        assert opened.dtypes == ("uint16",)
        numbers = opened.read(1).astype(int)
    attrs, found = product.quality.attrs, 0
    by_cf = dict(
        zip(
            attrs["flag_meanings"].split(),
            zip(attrs["flag_masks"].tolist(), attrs["flag_values"].tolist(), strict=True),
            strict=True,
        )
    )
    for field in bands["quality"]["classification:bitfields"]:
        part = (numbers >> field["offset"]) & ((1 << field["length"]) - 1)
        for one in field["classes"]:
            mask, value = by_cf.pop(one["name"])
            expected = (numbers & mask) == value
            np.testing.assert_array_equal(part == one["value"], expected)
            found += expected.any()
    assert not by_cf
    assert found > 3


def test_the_same_product_has_the_same_item(tmp_path, product):
    for folder in ("a", "b"):
        xcf.io.to_zarr(product, tmp_path / folder / "out.zarr", progress=False)
    first, second = (passport_of(tmp_path / f / "out.zarr").read_bytes() for f in "ab")
    assert first == second


def test_what_has_no_place_says_so_and_what_is_no_product_has_no_item(tmp_path, product):
    path = tmp_path / "a.zarr"
    bare = product.drop_vars(["spatial_ref", "y", "x"])
    xcf.io.to_zarr(bare, path, progress=False)
    assert item_of(path)["geometry"] is None
    one = bare.isel(time=0, drop=True)  # an item must have a date
    for other in (one, make_bands(2)[["B02", "B03"]]):
        xcf.io.to_zarr(bare, path, progress=False)
        xcf.io.to_zarr(other, path, progress=False)
        assert not passport_of(path).exists()  # nor that of what was there before


def test_a_network_is_named_with_its_digest(tmp_path):
    pytest.importorskip("torch")
    model = xcf.models.create("carf-tiny", base="prior")
    ds = make_bands(1)
    with pytest.warns(UntrainedWarning):
        out = ds.cloudfree.reconstruct(model=model, mask=xr.ones_like(ds.B02, bool))
    xcf.io.to_zarr(out, tmp_path / "out.zarr", progress=False)
    item = item_of(tmp_path / "out.zarr")
    assert item["properties"]["xcloudfree:model_digest"] == model.digest
    link = next(one for one in item["links"] if one["rel"] == "mlm:model")
    assert (link["rel"], link["title"]) == ("mlm:model", model.spec.name)
    assert model.digest in link["href"]
    path = model.save(tmp_path / "mine.safetensors") or tmp_path / "mine.safetensors"
    with pytest.warns(UntrainedWarning):
        out = ds.cloudfree.reconstruct(model=path, mask=xr.ones_like(ds.B02, bool))
    xcf.io.to_zarr(out, tmp_path / "out.zarr", progress=False)
    assert item_of(tmp_path / "out.zarr")["links"][0]["href"] == str(path)


def collection_of(path):
    """The collection of a product, valid as far as the core of STAC goes; pystac follows it."""
    file = path.with_name(path.name + ".collection.json")
    found = json.loads(file.read_text())
    JsonSchemaSTACValidator().validate_core(found, pystac.STACObjectType.COLLECTION, "1.1.0")
    return found, pystac.Collection.from_file(str(file))


def test_a_store_has_a_collection_that_leads_to_item_and_data(tmp_path, product):
    path = tmp_path / "out.zarr"
    xcf.io.to_zarr(product, path, progress=False)
    found, collection = collection_of(path)
    (item,) = collection.get_items()
    assert item.id == "out.zarr"
    assert item.get_collection().id == found["id"] == "out.zarr"
    assert found["assets"]["data"]["href"] == "./out.zarr"
    expected = transform_bounds(32633, 4326, 400000, 4999600, 400330, 5000000)
    np.testing.assert_allclose(found["extent"]["spatial"]["bbox"], [expected], atol=1e-5)
    assert found["extent"]["temporal"]["interval"] == [
        ["2025-06-01T00:00:00Z", "2025-06-13T00:00:00Z"]
    ]
    assert found["summaries"]["proj:code"] == ["EPSG:32633"]
    assert {"B02", "VV", "provenance"} <= {band["name"] for band in found["summaries"]["bands"]}


def test_files_of_several_dates_have_one_collection(tmp_path, product):
    few = product[["B02", "provenance"]]
    files = xcf.io.to_cog(few, tmp_path / "out.tif", progress=False)
    found, collection = collection_of(tmp_path / "out.tif")
    items = list(collection.get_items())
    assert [item.id for item in items] == [file.name for file in files[:3]]
    assert "assets" not in found
    assert found["extent"]["temporal"]["interval"] == [
        ["2025-06-01T00:00:00Z", "2025-06-13T00:00:00Z"]
    ]
    for item in items:
        assert item.get_collection().id == "out.tif"
        assert len(item.assets) == 2
        for asset in item.assets.values():
            with rasterio.open(asset.get_absolute_href()) as opened:
                assert opened.count == 1


def test_no_collection_is_left_of_what_has_no_place(tmp_path, product):
    path = tmp_path / "out.zarr"
    xcf.io.to_zarr(product, path, progress=False)
    xcf.io.to_zarr(product.drop_vars(["spatial_ref", "y", "x"]), path, progress=False)
    assert not path.with_name("out.zarr.collection.json").exists()
    item = json.loads(passport_of(path).read_text())
    assert "collection" not in item
