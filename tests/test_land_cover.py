"""The example of land cover: what hides what, and that no pixel is mapped by its own label."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import land_cover as module

    yield module
    del sys.modules["land_cover"]


def masks(shares):
    times = np.datetime64("2018-01-01", "ns") + np.arange(len(shares)) * np.timedelta64(5, "D")
    planes = [np.arange(100).reshape(10, 10) < 100 * share for share in shares]
    return xr.DataArray(np.array(planes), {"time": times}, ("time", "y", "x"))


def test_every_feature_date_is_hidden_by_the_nearest_cloudy_date_that_is_left(example):
    hidden = masks([0, 0.5, 0, 1, 0, 0.1, 0, 0.6, 0])
    labelled, features, lenders = example.split(hidden)
    assert labelled.tolist() == [0, 4, 8]
    assert features.tolist() == [2, 6]
    assert lenders.tolist() == [1, 7]  # the date with 10 % lends nothing
    scarce = masks([0, 0, 0, 0, 1])
    assert example.split(scarce)[2].tolist() == [4, 4]


def test_the_cloud_of_the_other_date_is_pasted_with_its_mask(example):
    hidden = masks([0, 0.5, 0.2])
    level = np.array([1.0, 2.0, 3.0], "float32")[:, None, None]
    scene = xr.Dataset({"B02": hidden.astype("float32") + level})
    cloudy, mask = example.covered(scene, hidden, [0], [1])
    np.testing.assert_array_equal(mask[0], hidden[1])
    np.testing.assert_array_equal(cloudy.B02[0], np.where(hidden[1], scene.B02[1], scene.B02[0]))
    xr.testing.assert_equal(cloudy.isel(time=[1, 2]), scene.isel(time=[1, 2]))
    empty = example.table(cloudy, scene.time.values[:1], mask)
    np.testing.assert_array_equal(np.isnan(empty[:, 0]), hidden[1].values.ravel())


def test_no_pixel_is_mapped_by_the_labels_of_its_own_half(example):
    board = example.checkerboard((32, 32))
    assert board.sum() == 512
    features = np.random.default_rng(0).integers(0, 3, (1024, 1)).astype(float)
    classes = np.where(board, features[:, 0], 2 - features[:, 0]).astype(int)  # halves contradict
    made = example.mapped(features, classes, board, seed=0)
    np.testing.assert_array_equal(made, 2 - classes)


def test_features_that_say_nothing_agree_by_chance_and_no_better(example):
    rng = np.random.default_rng(0)
    classes = np.arange(1024) % 4
    ways = {"clear": classes[:, None].astype(float), "noise": rng.normal(size=(1024, 3))}
    found = example.compare(ways, classes, example.checkerboard((32, 32)), seeds=[0, 1])
    np.testing.assert_allclose(found["clear"], 1)
    assert (abs(found["noise"][:, 1]) < 0.12).all()
    np.testing.assert_array_equal(found["noise"][:, 0], found["noise"][:, 2])
