"""Splits without leakage, early stopping on the masked error of what is held out."""

import csv

import numpy as np
import pytest
import rioxarray  # noqa: F401
import torch
import xarray as xr

import xcloudfree as xcf
from tests.builders import QUICK, fields
from xcloudfree.exceptions import DataError
from xcloudfree.train import Recipe, check_apart, split
from xcloudfree.train.splits import OFFICIAL


def patches(labels):
    return xr.Dataset(
        {"v": ("patch", np.arange(len(labels)))}, coords={"region": ("patch", list(labels))}
    )


@pytest.mark.parametrize("by", ["region", "paper"])
def test_no_region_is_in_two_parts_and_every_patch_in_one(by):
    labels = [f"r{i % 30}" for i in range(400)]
    parts = split(patches(labels), by, seed=3)
    sets = [set(p.region.values.tolist()) for p in parts]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 30
    assert sorted(np.concatenate([p.v.values for p in parts])) == list(range(400))
    sizes = [p.sizes["patch"] for p in parts]
    np.testing.assert_allclose(np.array(sizes) / 400, [0.8, 0.1, 0.1], atol=0.05)
    other = split(patches(labels), by, seed=4)
    assert set(other.test.region.values.tolist()) != sets[2]
    assert split(patches(labels), by, seed=3).test.equals(parts.test)


@pytest.mark.parametrize("count", range(3, 9))
def test_few_regions_leave_no_part_empty(count):
    for seed in range(5):
        parts = split(patches([f"r{i}" for i in range(count)]), seed=seed)
        assert min(p.sizes["patch"] for p in parts) >= 1
    with pytest.raises(DataError, match="2 regions or dates but 3 parts"):
        split(patches("ab"))


def test_the_official_regions_of_sen12mscr():
    season = ["spring", "summer", "fall", "winter", "fall", "summer"]
    roi = [44, 127, 139, 8, 44, 73]
    ds = xr.Dataset(
        {"v": ("patch", range(6))}, coords={"season": ("patch", season), "roi": ("patch", roi)}
    )
    parts = split(ds, "official")
    assert [p.v.values.tolist() for p in parts] == [[3, 4], [1], [0, 2, 5]]
    sizes = [sum(map(len, s.values())) for s in OFFICIAL.values()]
    assert sizes == [10, 10]
    with pytest.raises(DataError, match="season and roi"):
        split(patches("abc"), "official")


def test_dates_are_split_in_order_and_days_stay_together():
    days = np.array(["2020-01-05", "2020-01-01", "2020-01-09", "2020-01-09", "2020-01-07"])
    ds = georeferenced(500_000).expand_dims(time=days.astype("datetime64[ns]"))
    ds = ds.assign_coords(v=("time", range(5)))
    parts = split(ds, "date", shares=(0.5, 0.25, 0.25))
    assert [p.v.values.tolist() for p in parts] == [[0, 1], [4], [2, 3]]
    check_apart(parts.train, parts.test)
    with pytest.raises(DataError, match="same pixels"):
        check_apart(ds, parts.test)
    with pytest.raises(DataError, match="'time'"):
        split(patches("abc"), "date")


def georeferenced(west, crs="EPSG:32631"):
    x, y = west + 10.0 * np.arange(8) + 5, 5_000_000 - 10.0 * np.arange(8)
    ds = xr.Dataset({"B02": (("y", "x"), np.zeros((8, 8), "float32"))}, coords={"y": y, "x": x})
    return ds.rio.write_crs(crs)


def test_data_that_share_ground_are_refused():
    with pytest.raises(DataError, match=r"share ground \(b\).*split"):
        check_apart(patches("ab"), patches("bc"))
    check_apart(patches("ab"), patches("cd"))
    with pytest.raises(DataError, match="outlines"):
        check_apart(georeferenced(500_000), georeferenced(500_040))
    check_apart(georeferenced(500_000), georeferenced(500_080))  # they only touch
    elsewhere = georeferenced(500_040).rio.reproject("EPSG:4326")
    with pytest.raises(DataError, match="outlines"):
        check_apart(georeferenced(500_000), elsewhere)
    with pytest.warns(UserWarning, match="it is unknown"):
        check_apart(fields(), fields())
    one = fields().assign_coords(region=("patch", ["a", "b", "c"]))
    with pytest.raises(DataError, match="share ground"):
        xcf.fit(one, "carf-tiny", validation=one.isel(patch=[1]), **QUICK)


def test_a_share_holds_out_whole_regions_or_refuses():
    with pytest.raises(DataError, match="assign_coords"):
        xcf.fit(fields(), "carf-tiny", validation=0.3, **QUICK)
    named = fields().assign_coords(region=("patch", ["a", "b", "b"]))
    fitted = xcf.fit(named, "carf-tiny", validation=0.3, **QUICK)
    assert "mean absolute error under the mask" in fitted.spec.note
    with pytest.raises(DataError, match="validation=0.1"):
        xcf.fit(named, "carf-tiny", validation=1.5, **QUICK)


def test_the_best_weights_are_returned_and_patience_ends_it(tmp_path):
    """With a rate that destroys, the first validation is the best one and the third the last."""
    train, other = fields(seed=0), fields(seed=9)
    train, other = (
        ds.assign_coords(region=("patch", [n] * 3)) for ds, n in ((train, "a"), (other, "b"))
    )
    common = {"batch": 2, "crop": 32, "progress": False, "loss": "mse", "validation": other}
    recipe = Recipe(every=1, average=0.0, warm_up=1, clip=1e6, held_out=1)
    log = tmp_path / "log"
    fitted = xcf.fit(
        train,
        "carf-tiny",
        steps=40,
        learning_rate=0.05,
        patience=2,
        recipe=recipe,
        log=log,
        **common,
    )

    with (log / "metrics.csv").open() as file:
        errors = [float(row["validation_error"]) for row in csv.DictReader(file)]
    assert len(errors) < 40
    best = int(np.argmin(errors))
    assert len(errors) == best + 3
    assert f"under the mask {min(errors):.4f}" in fitted.spec.note
    assert f"{len(errors)} steps" in fitted.spec.note


def test_the_validation_error_is_the_masked_one():
    from xcloudfree.train.objective import masked_error

    truth = torch.full((1, 2, 2, 2), 0.2)
    truth[0, 0, 0, 0] = torch.nan
    guess, mask = torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 2, 2)
    mask[..., 0, :] = 1
    total, count = masked_error(guess, truth, mask)
    assert count == 3
    assert total == pytest.approx(0.6)


def test_resuming_keeps_the_best_weights(tmp_path):
    named = fields(4).assign_coords(region=("patch", list("aabb")))
    how = QUICK | {"steps": 4, "validation": 0.5, "recipe": Recipe(every=1, held_out=1)}
    whole = xcf.fit(named, "carf-tiny", **how)
    xcf.fit(named, "carf-tiny", checkpoints=tmp_path, **how)
    again = xcf.fit(named, "carf-tiny", checkpoints=tmp_path, **how)
    assert again.digest == whole.digest
    assert again.spec.note == whole.spec.note
