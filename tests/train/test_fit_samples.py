"""Samples: read once, cached, without what is hidden in targets or silent in radar."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import xcloudfree as xcf
from tests.builders import QUICK, fields
from xcloudfree.exceptions import DataError
from xcloudfree.train import Recipe
from xcloudfree.train.inputs import pair
from xcloudfree.train.loop import Loop
from xcloudfree.train.reading import Chunks, LeastRecentlyUsed
from xcloudfree.train.samples import PatchSamples


def drawn(ds, size=6, **options):
    spec = xcf.models.load("carf-tiny").spec
    settings = {"crop": 32, "simulated": 0.5, "mask": "score"} | options
    samples = PatchSamples([pair(ds, "target")], spec=spec, **settings)
    return samples.draw(np.random.default_rng(3), size)


def assert_same(one, other):
    for name in ("cloudy", "target", "sar", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("chunks", [{"patch": 2}, {"y": 17, "x": 9}, {"patch": 1, "y": 48, "x": 5}])
def test_chunks_do_not_matter(chunks):
    assert_same(drawn(fields()), drawn(fields().chunk(chunks)))


def test_a_chunk_is_read_once():
    reads = []

    def count(block):
        reads.append(block.shape)
        return block

    ds = fields().chunk(patch=1, y=24, x=24)
    array = ds.s2.copy(data=ds.s2.data.map_blocks(count, meta=ds.s2.data._meta))
    array = array.rename(patch="sample")
    planes, rng = Chunks(array, LeastRecentlyUsed()), np.random.default_rng(0)
    for _ in range(50):
        y, x = rng.integers(0, 16, 2)
        window = (int(rng.integers(3)), slice(None), slice(y, y + 32), slice(x, x + 32))
        np.testing.assert_array_equal(planes[window], fields().s2.values[window])
    assert len(reads) == 3 * 2 * 2


def test_what_is_kept_has_a_limit():
    array = fields().s2.rename(patch="sample").chunk(sample=1)
    kept = LeastRecentlyUsed(limit=array.nbytes // 3)
    planes = Chunks(array, kept)
    for sample in (0, 1, 2, 1, 0):
        planes[sample, slice(None), slice(0, 4), slice(0, 4)]
        assert len(kept.values) == 1


def test_the_cache_gives_the_same_and_knows_its_data(tmp_path):
    folder = tmp_path / "cache"
    plain, first = drawn(fields()), drawn(fields(), cache=folder)
    (folder / "0" / "about.json").stat()
    assert_same(plain, first)
    assert_same(plain, drawn(fields(), cache=folder))
    with pytest.raises(DataError, match="other data"):
        drawn(fields(seed=7), cache=folder)
    (tmp_path / "mine/0").mkdir(parents=True)
    (tmp_path / "mine/0/notes.txt").write_text("something")
    with pytest.raises(DataError, match="something other than"):
        drawn(fields(), cache=tmp_path / "mine")


def test_a_fit_from_the_cache_is_the_same(tmp_path):
    plain = xcf.fit(fields(), "carf-tiny", **QUICK)
    assert xcf.fit(fields().chunk(patch=1), "carf-tiny", cache=tmp_path / "c", **QUICK).digest == (
        plain.digest
    )


def under_cloud(ds, rows):
    target = ds.target.copy()
    target[0, :, :rows] = 0.8
    target[0, 10, :rows], target[0, 11, :rows] = 0.1, 0.4
    return ds.assign(target=target)


def test_targets_under_cloud_are_refused_left_out_or_kept():
    cloudy = under_cloud(fields(), rows=30)
    with pytest.raises(DataError, match=r"1 targets lie mostly under cloud.*sample 0.*'keep'"):
        drawn(cloudy)
    omitted = drawn(cloudy, 30, cloudy_targets="omit", simulated=0.0)
    assert np.isnan(omitted.target).any()
    assert np.nanmax(omitted.target) < 0.5
    kept = drawn(cloudy, 30, cloudy_targets="keep", simulated=0.0)
    assert kept.target.max() > 0.5
    fitted = xcf.fit(cloudy, "carf-tiny", recipe=Recipe(cloudy_targets="omit"), **QUICK)
    assert all(p.isfinite().all() for p in fitted.network.parameters())


def test_a_mask_that_hides_everything_is_refused():
    """As over bright desert or with a wrong scale: there is nothing that the mask calls clear."""
    ds = fields()
    for name in ("s2", "target"):
        ds[name] = ds[name].copy(data=3 * ds[name].values + 0.3)
    with pytest.raises(DataError, match="3 targets lie mostly under cloud"):
        xcf.fit(ds, "carf-tiny", **QUICK)


def test_pixels_without_radar_ask_for_nothing():
    ds = fields()
    ds.s1[:, 1, :, 30:] = np.nan
    batch = drawn(ds, 20)
    silent = ~np.isfinite(batch.sar).all(1)
    assert silent.any()
    assert np.isnan(np.moveaxis(batch.target, 1, -1)[silent]).all()
    assert np.isfinite(np.moveaxis(batch.target, 1, -1)[~silent]).all()
    ds.s1[:] = np.nan
    with pytest.raises(DataError, match="no valid backscatter"):
        drawn(ds)


def test_samples_say_where_they_come_from():
    ds = fields().assign_coords(patch=["north", "south", "west"])
    batch = drawn(ds, 8)
    for target, origin in zip(batch.target, batch.origins, strict=True):
        _, name, rows, columns = origin.split(", ")
        (y0, y1), (x0, x1) = (map(int, part.split()[1].split(":")) for part in (rows, columns))
        there = ds.target.sel(patch=name.split()[1]).values[:, y0:y1, x0:x1]
        np.testing.assert_allclose(np.sort(target.ravel()), np.sort(there.ravel()))


def test_what_simulated_clouds_hide_is_known_without_the_bands_of_a_mask():
    ten = [b for b in fields().band.values if b not in ("B01", "B09", "B10")]
    surface = fields().sel(band=ten)
    for name in ("s2", "target"):
        surface[name].attrs["processing_level"] = "BOA"
    spec = xcf.models.create("carf-tiny", optical_bands=ten, level="BOA").spec
    options = {"spec": spec, "crop": 32, "mask": "simulated"}
    data = [pair(surface, "target")]
    batch = PatchSamples(data, simulated=1.0, **options).draw(np.random.default_rng(3), 20)
    changed = (np.abs(batch.cloudy - batch.target).max(1) > 1e-6)[:, None]
    assert not (batch.mask & ~changed).any()
    assert 0.2 < batch.mask.mean() < 0.95
    shown = np.abs(batch.cloudy - batch.target).max(1)[~batch.mask[:, 0]]
    hidden = np.abs(batch.cloudy - batch.target).max(1)[batch.mask[:, 0]]
    assert np.median(hidden) > 0.05 > 0.01 > np.median(shown)
    infrared = ten.index("B08")
    kept = batch.cloudy[:, infrared] / batch.target[:, infrared]
    assert kept[~batch.mask[:, 0]].min() > 0.8 > kept.min()  # shadow is hidden, too
    with pytest.raises(DataError, match=r"simulated=1.0"):
        PatchSamples(data, simulated=0.5, **options)
    start = xcf.models.create("carf-tiny", optical_bands=ten, level="BOA")
    fitted = xcf.fit(surface, start, mask="simulated", simulated=1.0, **QUICK)
    assert fitted.spec.optical_bands == tuple(ten)


def test_shadow_over_surface_reflectance_takes_more_of_the_blue():
    blue = []
    for level in ("TOA", "BOA"):
        ds = fields()
        for name in ("s2", "target"):
            ds[name].attrs["processing_level"] = level
        spec = xcf.models.create("carf-tiny", level=level).spec
        samples = PatchSamples(
            [pair(ds, "target")], spec=spec, crop=32, mask="simulated", simulated=1.0
        )
        batch = samples.draw(np.random.default_rng(3), 20)
        kept = batch.cloudy / batch.target
        dark = kept[:, spec.optical_bands.index("B8A")] < 0.6
        blue.append(float(np.median(kept[:, spec.optical_bands.index("B02")][dark])))
    assert blue[1] < blue[0] - 0.05


def test_what_layers_draw_depends_on_seed_and_step_and_on_nothing_else():
    def drawn(seed, step, rank=0):
        settings, device = SimpleNamespace(seed=seed), torch.device("cpu")
        loop = SimpleNamespace(settings=settings, global_rank=rank, device=device)
        with Loop._seeded(loop, step):
            return torch.rand(3).tolist()

    before = torch.get_rng_state()
    assert drawn(1, 2) == drawn(1, 2)
    others = [drawn(2, 2), drawn(1, 3), drawn(1, 2, rank=1)]
    assert drawn(1, 2) not in others
    assert torch.equal(torch.get_rng_state(), before)


def test_pairs_of_one_date_come_with_the_estimate_of_kernel_fusion():
    """The reflectance of these patches follows from backscatter, so the estimate finds it."""
    model = xcf.models.create("carf-tiny", base="kernel-fusion")
    ds, settings = fields(), {"crop": 48, "simulated": 0.0, "mask": "score"}
    rng = np.random.default_rng
    batch = PatchSamples([pair(ds, "target")], spec=model.spec, **settings).draw(rng(3), 3)
    assert batch.context.shape == (3, 26, 48, 48)
    hidden = np.broadcast_to(batch.mask, batch.target.shape)
    assert 0.3 < hidden.mean() < 0.9
    mean, deviation = batch.context[:, :13][hidden], batch.context[:, 13:][hidden]
    assert np.isfinite(mean).all()
    assert (deviation >= 0).all()
    assert (deviation > 0).mean() > 0.9
    assert np.abs(mean - batch.target[hidden]).mean() < 0.005
    other = ds.assign(target=0.5 * ds.target)  # the truth is no part of its estimate
    again = PatchSamples([pair(other, "target")], spec=model.spec, **settings).draw(rng(3), 3)
    np.testing.assert_array_equal(again.context, batch.context)


def test_crops_that_show_nothing_have_no_estimate_and_ask_for_nothing():
    model = xcf.models.create("carf-tiny", base="kernel-fusion")
    ds, settings = fields(), {"crop": 48, "simulated": 0.0, "mask": "score"}
    ds["s2"] = ds.s2.copy(data=np.repeat(ds.s2.values[..., -1:], 48, -1))
    samples = PatchSamples([pair(ds, "target")], spec=model.spec, **settings)
    batch = samples.draw(np.random.default_rng(3), 2)
    assert batch.mask.all()
    assert np.isnan(batch.context).all()
    assert np.isnan(batch.target).all()


def test_a_network_on_kernel_fusion_is_fitted_on_pairs():
    model = xcf.models.create("carf-tiny", base="kernel-fusion")
    fitted = xcf.fit(fields(), model, **QUICK)
    assert fitted.spec.trained
    assert fitted.digest == xcf.fit(fields(), model, **QUICK).digest
