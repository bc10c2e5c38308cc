"""New dates join a finished store, which then equals one that was written from the start."""

import json
import os
import signal
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import contents, make_series
from tests.processes import exit_code, pool
from tests.real_series import SITES, load
from xcloudfree.exceptions import DataError, GridError
from xcloudfree.io import append, open_zarr, to_zarr
from xcloudfree.io.ledger import Ledger
from xcloudfree.io.passport import passport_of

BANDS = ["B02", "B04", "SCL"]
REAL = ["B02", "B04", "B08", "SCL"]
CELLS = 2  # of a date


@cache
def every_date():
    ds = make_series(24, 20, dates=12).drop_vars("item_id")
    return ds.assign(SCL=(ds.B02 > 0.3).astype("uint8") * 5 + 4)  # clear is 4, cloud 9


def series(dates, bands=BANDS):
    ds = every_date()[bands].isel(time=slice(dates)).chunk(time=1, y=12, x=20)
    return ds.assign_coords(item_id=("time", [f"S2_{i}" for i in range(dates)]))


def single(dates, **options):
    """Each date by itself."""
    return series(dates).cloudfree.reconstruct(model="idw", mask="scl", **options)


def written(made, path, **options):
    to_zarr(made, path, progress=False, **options)
    return contents(path)


@pytest.fixture
def computed(monkeypatch):
    """Keys of the cells that are computed."""
    seen = []
    add = Ledger.add
    monkeypatch.setattr(Ledger, "add", lambda self, key: (seen.append(key), add(self, key)))
    return seen


def test_ten_dates_one_by_one_give_the_bytes_of_a_run_from_the_start(tmp_path, computed):
    expected = written(single(12), tmp_path / "whole" / "a.zarr")
    to_zarr(single(2), tmp_path / "a.zarr", progress=False)
    for count in range(3, 13):
        computed.clear()
        out = append(single(count), tmp_path / "a.zarr", progress=False)
        assert out.sizes["time"] == count
        assert len(computed) == CELLS
        assert all(key.startswith(f"time={count - 1}:{count},") for key in computed)
    assert contents(tmp_path / "a.zarr") == expected
    passports = [
        passport_of(p).read_bytes() for p in (tmp_path / "a.zarr", tmp_path / "whole/a.zarr")
    ]
    assert passports[0] == passports[1]


@pytest.mark.parametrize("model", ["linear-time", "area-regression"])
def test_methods_that_read_all_dates_compute_all_of_them_again(tmp_path, model, computed):
    def made(dates):
        radar = ["VV", "VH"] if model == "area-regression" else []
        return series(dates, BANDS + radar).cloudfree.reconstruct(model=model, mask="scl")

    expected = written(made(6), tmp_path / "whole.zarr")
    to_zarr(made(5), tmp_path / "a.zarr", progress=False)
    before = open_zarr(tmp_path / "a.zarr").compute()
    computed.clear()
    out = append(made(6), tmp_path / "a.zarr", progress=False)
    assert contents(tmp_path / "a.zarr") == expected
    assert len(computed) == 6 * CELLS
    changed = (out.isel(time=slice(5)).B02 != before.B02).any()  # which is why
    assert changed.compute()


def test_a_method_that_looks_back_computes_the_new_dates_from_the_series(tmp_path, computed):
    def made(dates):
        return series(dates).cloudfree.reconstruct(model="last-clear", mask="scl")

    expected = written(made(6), tmp_path / "whole.zarr")
    to_zarr(made(4), tmp_path / "a.zarr", progress=False)
    computed.clear()
    append(made(6), tmp_path / "a.zarr", progress=False)
    assert len(computed) == 2 * CELLS
    assert contents(tmp_path / "a.zarr") == expected
    with pytest.raises(DataError, match="lacks 6 of 6 dates"):
        append(made(8).isel(time=slice(6, 8)), tmp_path / "a.zarr", progress=False)


def test_real_dates_join_a_store(tmp_path, data_root):
    ds = load(data_root, SITES[0])[REAL].isel(time=slice(6)).chunk(time=1, y=64, x=64)

    def made(dates):
        return ds.isel(time=slice(dates)).cloudfree.reconstruct(model="linear-time")

    expected = written(made(6), tmp_path / "whole.zarr")
    to_zarr(made(4), tmp_path / "a.zarr", progress=False)
    append(made(5), tmp_path / "a.zarr", progress=False)
    append(made(6), tmp_path / "a.zarr", progress=False)
    assert contents(tmp_path / "a.zarr") == expected


@pytest.mark.parametrize("encoding", [None, "uint16"])
def test_an_object_with_the_new_dates_alone_suffices_where_each_date_stands_by_itself(
    tmp_path, encoding, computed
):
    whole = to_zarr(single(6), tmp_path / "whole.zarr", encoding=encoding, progress=False)
    to_zarr(single(4), tmp_path / "a.zarr", encoding=encoding, progress=False)
    computed.clear()
    out = append(single(6).isel(time=slice(4, 6)), tmp_path / "a.zarr", progress=False)
    assert len(computed) == 2 * CELLS
    xr.testing.assert_identical(out.compute(), whole.compute())
    if encoding is not None:
        with pytest.raises(DataError, match=r"write all dates, old and new.*encoding='int16'"):
            append((single(8) * 99).isel(time=slice(6, 8)), tmp_path / "a.zarr", progress=False)


def test_new_dates_keep_their_nanoseconds(tmp_path):
    made = single(4)
    later = np.array([0, 0, 2001 * 86400 * 10**9 + 1234567891, 2905 * 86400 * 10**9 + 37])
    made = made.assign_coords(time=made.time.values + later.astype("timedelta64[ns]"))
    to_zarr(made.isel(time=slice(2)), tmp_path / "a.zarr", progress=False)
    append(made.isel(time=[2]), tmp_path / "a.zarr", progress=False)
    out = append(made, tmp_path / "a.zarr", progress=False)
    np.testing.assert_array_equal(out.time, made.time)


@pytest.mark.parametrize(("old", "alone"), [(1, False), (2, True), (3, False), (3, True)])
def test_chunks_of_several_dates_are_completed(tmp_path, old, alone):
    expected = single(5).compute()
    to_zarr(single(old).chunk(time=2), tmp_path / "a.zarr", chunks=6, progress=False)
    new = single(5).chunk(time=5, y=24, x=7)  # the store keeps its own
    out = append(new.isel(time=slice(old if alone else 0, 5)), tmp_path / "a.zarr", progress=False)
    xr.testing.assert_equal(out.compute(), expected)
    assert out.B02.chunksizes["y"] == (12, 12)
    assert out.chunksizes["time"][0] == min(old, 2)
    assert out.B02.encoding["chunks"] == (1, 6, 5)


@pytest.mark.parametrize("form", ["array", "memory"])
def test_other_forms_are_appended_to(tmp_path, form):
    def made(dates):
        if form == "memory":
            return single(dates).compute()
        ds = series(dates)
        array = ds[BANDS[:2]].to_dataarray("band").transpose("time", "band", "y", "x")
        array = array.assign_attrs(ds.B02.attrs).rename("scene")
        return array.cloudfree.reconstruct(model="idw", mask=ds.SCL == 9)

    to_zarr(made(2), tmp_path / "a.zarr", progress=False)
    out = append(made(4), tmp_path / "a.zarr", progress=False)
    assert type(out) is type(made(4))
    xr.testing.assert_equal(out.compute(), made(4).compute())


def test_nothing_new_leaves_the_store_as_it_is(tmp_path, computed):
    before = written(single(3), tmp_path / "a.zarr")
    computed.clear()
    assert append(single(3), tmp_path / "a.zarr", progress=False).sizes["time"] == 3
    assert contents(tmp_path / "a.zarr") == before
    assert not computed


# ------------------------------------------------------------------ what is refused


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A store of three dates that stays as it is, and its files."""
    path = tmp_path_factory.mktemp("three") / "a.zarr"
    return path, written(single(3), path)


def wrong(made, kind):
    if kind == "grid":
        return made.assign_coords(x=made.x + 10)
    if kind == "system":
        return made.rio.write_crs(32634)
    if kind == "bands":
        return made.drop_vars("B04")
    if kind == "type":
        return made.assign(B04=made.B04.astype("float64"))
    if kind == "no dates":
        return made.isel(time=0, drop=True)
    if kind == "none of its dates":
        return made.isel(time=slice(0))
    if kind == "before the end":
        times = made.time.values.copy()
        times[3] = times[1] + np.timedelta64(1, "D")
        return made.assign_coords(time=times).sortby("time")
    if kind == "order":
        return made.isel(time=slice(None, None, -1))
    if kind == "old ones missing":
        return made.isel(time=slice(1, None))
    if kind == "items":
        return made.assign_coords(item_id=("time", ["S2_0", "S2_x", "S2_2", "S2_3"]))
    if kind == "values":
        return made.assign(B02=made.B02 + np.float32(1e-6))
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("grid", GridError, "x differs"),
        ("system", GridError, "spatial_ref|reference system"),
        ("bands", DataError, "the object lacks B04"),
        ("type", DataError, "B04 is .* of float64"),
        ("no dates", DataError, "has no dates"),
        ("none of its dates", DataError, "has no dates"),
        ("before the end", DataError, "2025-06-09T00:00:00 lies before 2025-06-13"),
        ("order", DataError, "not in ascending order"),
        ("old ones missing", DataError, "lacks 1 of 3 dates.* or new ones alone; select"),
        ("items", DataError, "was made from S2_1, and now from S2_x"),
        ("values", DataError, "B02 of 2025-06-01T00:00:00 has other values"),
    ],
)
def test_what_cannot_be_right_is_refused_and_the_store_stays(three, kind, error, words):
    path, before = three
    with pytest.raises(error, match=words):
        append(wrong(single(4), kind), path, progress=False)
    assert contents(path) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "median"}, "model is 'median', was 'idw'"),
        ({"dilate": 2}, "dilate is 2, was 0"),
        ({"mask": "scl+series"}, "mask is 'scl.series', was 'scl'"),
    ],
)
def test_another_model_or_parameter_is_refused(three, options, words):
    made = series(8).cloudfree.reconstruct(**{"model": "idw", "mask": "scl"} | options)
    with pytest.raises(DataError, match=words):
        append(made, three[0], progress=False)


def test_a_store_must_be_there_and_finished(tmp_path):
    with pytest.raises(DataError, match="no Zarr store"):
        append(single(3), tmp_path / "a.zarr", progress=False)


def test_another_version_is_told(tmp_path):
    to_zarr(single(3), tmp_path / "a.zarr", progress=False)
    made = single(4)
    made.provenance.attrs["xcloudfree_version"] = "9.9"
    with pytest.warns(UserWarning, match="3 kept dates"):
        append(made, tmp_path / "a.zarr", progress=False)


def test_only_dates_that_stand_alone_say_so():
    ds = series(8)
    wide = xcf.datasets.simulate_scene((64, 64), dates=8, seed=1).chunk(time=1)
    bare = xr.DataArray(np.zeros(24, bool), dims="y")
    for options, reads in (
        ({"model": "idw", "mask": "scl"}, "own"),
        ({"model": "last-clear", "mask": "scl"}, "earlier"),
        ({"model": "last-clear+offset", "mask": "scl"}, "all"),
        ({"model": "median", "mask": "scl"}, "all"),
        ({"model": "idw", "mask": "auto"}, "all"),
        ({"model": "idw", "mask": "score+series"}, "all"),
        ({"model": "idw", "mask": bare}, "all"),
        ({"model": "idw", "mask": "scl", "quality": True}, "all"),
        ({"model": "idw", "mask": "scl", "interval": 0.9}, "all"),
    ):
        scene = wide if str(options["mask"]) in ("score+series", "auto") else ds
        out = scene.cloudfree.reconstruct(**options)
        assert out.provenance.attrs["dates_read"] == reads, options


# ------------------------------------------------------------------ the process is killed


class Killed(BaseException):
    """The process ends here; the system releases its lock."""


def append_until_killed(path):
    """The child: kills itself at the fourth block."""
    add, adds = Ledger.add, iter(range(100))

    def killing(self, key):
        if next(adds) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        add(self, key)

    Ledger.add = killing
    append(single(5), path, progress=False)


def append_and_count(path):
    """The child that resumes: how many blocks it computes."""
    add, seen = Ledger.add, []
    Ledger.add = lambda self, key: (seen.append(key), add(self, key))[1]
    append(single(5), path, progress=False)
    return len(seen)


def stop_at(moment, monkeypatch):
    """End at a moment of the publication."""
    rename, renames = Path.rename, iter(range(100))

    def renamed(self, target):
        count = next(renames)
        if (moment, count) in (("before the renames", 0), ("between the renames", 1)):
            raise Killed
        out = rename(self, target)
        if (moment, count) == ("after the renames", 1):
            raise Killed
        return out

    monkeypatch.setattr(Path, "rename", renamed)


@pytest.mark.parametrize(
    "moment", ["at a block", "before the renames", "between the renames", "after the renames"]
)
def test_the_same_call_after_a_kill_gives_the_bytes_of_a_run_from_the_start(
    tmp_path, moment, computed
):
    expected = written(single(5), tmp_path / "whole.zarr")
    store = tmp_path / "a.zarr"
    before = written(single(3), store)
    if moment == "at a block":
        assert exit_code(append_until_killed, store) == -signal.SIGKILL
        with pytest.raises(DataError, match=r"or give it up: shutil.rmtree\('.*partial'"):
            append(single(6), store, progress=False)
    else:
        with pytest.MonkeyPatch.context() as patch:
            stop_at(moment, patch)
            with pytest.raises(Killed):
                append(single(5), store, progress=False)
    if moment in ("at a block", "before the renames"):
        assert contents(store) == before
        assert open_zarr(store).sizes["time"] == 3
    if moment == "at a block":  # another process resumes, as after a real kill
        with pool(1) as other:
            assert other.submit(append_and_count, store).result() == 2 * CELLS - 3
    else:
        computed.clear()
        append(single(5), store, progress=False)
        assert not computed
    assert open_zarr(store).sizes["time"] == 5
    assert contents(store) == expected
    assert not store.with_name("a.zarr.partial").exists()
    assert not store.with_name("a.zarr.replaced").exists()
    item = json.loads(passport_of(store).read_text())
    assert item["properties"]["xcloudfree:item_id"] == ["S2_0", "S2_1", "S2_2", "S2_3", "S2_4"]
