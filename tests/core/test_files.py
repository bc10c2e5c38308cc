"""Files of all kinds on a disk without room."""

import importlib.util
from contextlib import contextmanager

import pytest

import xcloudfree as xcf
from xcloudfree.exceptions import DataError
from xcloudfree.judge.result import Record, Store

resource = pytest.importorskip("resource")

SCENE = xcf.datasets.simulate_scene((24, 24), dates=3, cover=0.3, seed=1, level="BOA")
NEEDS = {"safetensors": "torch", "html": "matplotlib", "gif": "matplotlib"}
WRITERS = {
    "model.safetensors": (
        lambda path: xcf.models.create("carf-tiny").save(path),
        r"model\.save\('.*model\.safetensors'\) again",
    ),
    "page.html": (
        lambda path: SCENE.cloudfree.plot.swipe(path, observed=SCENE),
        r"plot\.swipe\('.*page\.html'\) again",
    ),
    "film.gif": (
        lambda path: SCENE.cloudfree.plot.movie(path, observed=SCENE),
        r"plot\.movie\('.*film\.gif'\) again",
    ),
    "record.json": (
        lambda path: Store(path.parent).write(path, Record(failure="d" * 5000)),
        r"benchmark\(\.\.\., folder='.*'\) again",
    ),
}


@contextmanager
def no_room():
    """No file can have more than a thousand bytes, not even one that the tests report to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_finds_no_room_is_an_error_of_ours_and_leaves_the_old_one(tmp_path, name):
    needed = NEEDS.get(name.split(".")[1], "numpy")
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    write, call = WRITERS[name]
    (tmp_path / name).write_text("old")
    problem = rf"{name} stopped: File too large; .*{call}$"
    with pytest.raises(DataError, match=problem), no_room():
        write(tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_catalog_that_finds_no_room_is_an_error_of_ours(tmp_path):
    call = rf"publish\(ds, '{tmp_path}'\) again$"
    with pytest.raises(DataError, match=rf"B02\.tif stopped: .*{call}"), no_room():
        xcf.stac.publish(SCENE[["B02"]], tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in (tmp_path / "items", tmp_path / "collections"):
        path.write_text("a file where a folder is needed")
    with pytest.raises(DataError, match=rf"json stopped: .*{call}"):
        xcf.stac.publish(SCENE[["B02"]], tmp_path)


def test_a_file_in_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(DataError, match=r"No such file or directory; .*choose another folder"):
        WRITERS["page.html"][0](tmp_path / "nowhere" / "page.html")
