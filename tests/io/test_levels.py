"""Overviews: their values, places and conventions; the same bytes after interruptions."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

import xcloudfree as xcf
from tests.builders import contents, make_series
from tests.real_series import SITES, load
from xcloudfree.exceptions import GridError
from xcloudfree.io import append, open_zarr, to_zarr
from xcloudfree.io.ledger import Ledger
from xcloudfree.io.levels import halved
from xcloudfree.io.passport import passport_of


def scene(dates=2, chunks=24):
    """Odd sizes, holes, and every kind of variable."""
    ds = make_series(45, 38, dates=dates)[["B02", "B04", "VV"]]
    rng = np.random.default_rng
    holes = xr.DataArray(rng(3).random(ds.B02.shape) < 0.3, dims=ds.B02.dims)
    classes = xr.DataArray(rng(4).integers(0, 3, ds.B02.shape).astype("uint8"), dims=ds.B02.dims)
    flags = {"flag_values": np.arange(3, dtype="uint8"), "flag_meanings": "a b c"}
    ds = ds.assign(
        B02=ds.B02.where(~holes), VV=ds.VV.where(~holes), SCL=classes.assign_attrs(flags),
        cloud=ds.B04 > 0.3, when=("time", np.arange(dates)),
    )  # fmt: skip
    return ds.chunk(time=1, y=chunks, x=chunks)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("levels") / "a.zarr"
    to_zarr(scene(), path, chunks=8, multiscales=True, progress=False)
    return path


def levels(path):
    names = [p.name for p in sorted(path.iterdir()) if p.is_dir()]
    return [xr.open_zarr(path, group=n, mask_and_scale=False, chunks=None).load() for n in names]


def most_frequent(values):
    """Of the four values, the most frequent; the first of those in a tie."""
    counts = Counter(values)
    return max(values, key=lambda v: counts[v])  # max returns the first


def test_every_level_is_the_mean_of_valid_pixels_of_the_one_before(store):
    found = levels(store)
    assert [dict(one.sizes)["y"] for one in found] == [45, 23, 12, 6]
    for one, half in pairwise(found):
        pooled = one[["B02", "B04"]].coarsen(y=2, x=2, boundary="pad").mean()
        for name in ("B02", "B04"):
            np.testing.assert_allclose(half[name], pooled[name], rtol=1e-6)
        power = (10 ** (one.VV / 10)).coarsen(y=2, x=2, boundary="pad").mean()
        np.testing.assert_allclose(half.VV, 10 * np.log10(power), rtol=1e-5)
        xr.testing.assert_equal(half.when, one.when)


def test_flags_and_masks_are_the_most_frequent_value(store):
    found = levels(store)
    for one, half in pairwise(found):
        for name in ("SCL", "cloud"):
            assert half[name].dtype == one[name].dtype
            values = np.pad(one[name].values, ((0, 0), (0, one.sizes["y"] % 2),
                                               (0, one.sizes["x"] % 2)), "edge")  # fmt: skip
            for t, y, x in np.ndindex(half[name].shape):
                four = values[t, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel().tolist()
                assert half[name].values[t, y, x] == most_frequent(four)


@pytest.mark.parametrize("encoding", ["int16", "uint16"])
def test_integers_keep_their_scale_and_leave_no_data_out(tmp_path, encoding):
    path = tmp_path / "a.zarr"
    to_zarr(scene(), path, chunks=16, multiscales=True, encoding=encoding, progress=False)
    full, half = (xr.open_zarr(path, group=group).compute() for group in "01")  # decoded
    expected = full.B02.coarsen(y=2, x=2, boundary="pad").mean()
    np.testing.assert_allclose(half.B02, expected, atol=0.51e-4)
    assert np.isnan(half.B02).any()
    assert half.B02.encoding["dtype"] == encoding


def test_levels_lie_where_the_full_resolution_lies(store):
    full = open_zarr(store)
    for number, one in enumerate(levels(store)):
        opened = xr.open_zarr(store, group=str(number), decode_coords="all")
        assert opened.rio.crs == full.rio.crs
        step = 10 * 2**number
        assert tuple(opened.rio.transform())[:6] == (step, 0, 400000, 0, -step, 5000000)
        assert one.y.attrs["standard_name"] == "projection_y_coordinate"


def test_the_root_follows_the_conventions(store):
    conventions = pytest.importorskip("zarr_cm")
    root = json.loads((store / "zarr.json").read_text())["attributes"]
    conventions.validate_all(root)
    assert {c["name"] for c in root["zarr_conventions"]} == {"multiscales", "spatial", "proj"}
    for one in root["zarr_conventions"]:
        assert one == conventions.convention_metadata(one["name"])
    assert root["proj:code"] == "EPSG:32633"
    assert root["spatial:bbox"] == [400000, 4999550, 400380, 5000000]
    layout = root["multiscales"]["layout"]
    for number, (level, ds) in enumerate(zip(layout, levels(store), strict=True)):
        assert level["spatial:shape"] == [ds.sizes["y"], ds.sizes["x"]]
        assert level["spatial:transform"][0] == 10 * 2**number
        assert level.get("derived_from") == (str(number - 1) if number else None)


def test_xarray_opens_all_levels_and_the_library_the_first(store):
    tree = xr.open_datatree(store, engine="zarr")
    assert list(tree.children) == ["0", "1", "2", "3"]
    assert tree["2"].sizes["y"] == 12
    xr.testing.assert_equal(open_zarr(store).compute(), scene().compute())


@pytest.mark.parametrize("chunks", [13, 32])
def test_levels_do_not_depend_on_the_chunks(store, tmp_path, chunks):
    to_zarr(scene(chunks=chunks), tmp_path / "b.zarr", chunks=8, multiscales=True, progress=False)
    for one, other in zip(levels(store), levels(tmp_path / "b.zarr"), strict=True):
        xr.testing.assert_identical(one.drop_attrs(deep=False), other.drop_attrs(deep=False))


def test_a_block_of_an_overview_is_as_large_as_one_below():
    half = halved(scene(chunks=16))
    assert half.B02.chunks == ((1, 1), (16, 7), (16, 3))


def test_real_flags_and_reflectance_agree_with_gdal(tmp_path, data_root):
    ds = load(data_root, SITES[0])[["B04", "SCL"]].isel(time=slice(2))
    to_zarr(
        ds.chunk(time=1, y=32, x=32),
        tmp_path / "a.zarr",
        chunks=32,
        multiscales=True,
        progress=False,
    )
    half = levels(tmp_path / "a.zarr")[1]
    from rasterio.enums import Resampling

    for date in range(2):
        one = ds.isel(time=date).rio.write_crs(32631)
        mean = one.B04.rio.reproject(
            32631, transform=_double(one), shape=(32, 32), resampling=Resampling.average
        )
        np.testing.assert_allclose(half.B04[date], mean, rtol=1e-5)
        mode = one.SCL.rio.reproject(
            32631, transform=_double(one), shape=(32, 32), resampling=Resampling.mode
        )
        four = ds.SCL[date].coarsen(y=2, x=2).construct(y=("y", "i"), x=("x", "j"))
        tied = (four == mode.values[:, None, :, None]).sum(("i", "j")) < 3  # GDAL takes another
        assert (~tied).mean() > 0.5
        assert (half.SCL[date].values == mode.values)[~tied.values].all()


def _double(ds):
    return ds.rio.transform() * ds.rio.transform().scale(2)


# ------------------------------------------------------------------ interruptions, and appending


@pytest.mark.parametrize("moment", ["in the full resolution", "in an overview", "before one"])
def test_the_same_call_after_an_interruption_gives_the_same_bytes(
    store, tmp_path, moment, monkeypatch
):
    expected, path = contents(store), tmp_path / "a.zarr"
    add, seen = Ledger.add, []
    start = {
        "in the full resolution": "time=1",
        "in an overview": "1/time=1",
        "before one": "2/begun",
    }

    def stop(self, key):
        if key.startswith(start[moment]):
            raise KeyboardInterrupt
        add(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            to_zarr(scene(), path, chunks=8, multiscales=True, progress=False)
    assert not path.exists()
    with pytest.raises(xcf.exceptions.DataError, match="interrupted"):
        open_zarr(path)
    monkeypatch.setattr(Ledger, "add", lambda self, key: (seen.append(key), add(self, key)))
    to_zarr(scene(), path, chunks=8, multiscales=True, progress=False)
    if moment != "in the full resolution":
        assert not any(key.startswith("time=") for key in seen)
    assert contents(path) == expected


def test_new_dates_join_all_levels(tmp_path, monkeypatch):
    def made(dates):
        ds = scene(dates)[["B02", "SCL"]]
        return ds.cloudfree.reconstruct(model="idw", mask="scl").chunk(time=1)

    options = {"chunks": 16, "multiscales": True, "progress": False}
    to_zarr(made(3), tmp_path / "whole" / "a.zarr", **options)
    to_zarr(made(2), tmp_path / "a.zarr", **options)
    add, seen = Ledger.add, []
    monkeypatch.setattr(Ledger, "add", lambda self, key: (seen.append(key), add(self, key)))
    append(made(3), tmp_path / "a.zarr", progress=False)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "whole" / "a.zarr")
    assert all("time=2:3" in key or key.endswith("begun") for key in seen)
    told = [
        json.loads(passport_of(p / "a.zarr").read_text()) for p in (tmp_path, tmp_path / "whole")
    ]
    assert told[0] == told[1]
    assert told[0]["properties"]["xcloudfree:written"]["multiscales"] is True


def test_what_has_no_grid_has_no_overviews(tmp_path):
    with pytest.raises(GridError, match="no rows and columns"):
        to_zarr(scene()[["when"]], tmp_path / "a.zarr", multiscales=True)
    odd = scene().assign_coords(x=np.arange(38.0) ** 2)
    with pytest.raises(GridError, match="not evenly spaced"):
        to_zarr(odd, tmp_path / "a.zarr", multiscales=True)


def test_without_coordinates_the_layout_alone_is_told(tmp_path):
    bare = scene().drop_vars(["x", "y", "spatial_ref"])
    to_zarr(bare, tmp_path / "a.zarr", chunks=16, multiscales=True, progress=False)
    root = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]
    assert [c["name"] for c in root["zarr_conventions"]] == ["multiscales"]
    assert len(root["multiscales"]["layout"]) == 3
