"""The reader of SEN12MS-CR: layout, pairing, laziness."""

import pytest

import xcloudfree as xcf
from tests.builders import write_patch
from tests.checks import check_scene, no_computes
from xcloudfree.exceptions import DataError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def root(tmp_path):
    for patch in (30, 4):
        for kind, fill in (("s1", -20), ("s2", 1000), ("s2_cloudy", 5000)):
            write_patch(tmp_path, kind, "spring", 1, patch, fill + patch)
    write_patch(tmp_path, "s2", "winter", 7, 9, 1)
    return tmp_path


def test_patches_are_paired_and_lazy(root):
    with no_computes(), pytest.warns(UserWarning, match="1 of 3 patches"):
        ds = xcf.datasets.sen12mscr(root)
    assert ds.patch.values.tolist() == ["1158_spring_1_p4", "1158_spring_1_p30"]
    assert ds.s2.chunksizes["patch"] == (1, 1)
    assert dict(ds.sizes) == {"patch": 2, "band": 13, "y": 256, "x": 256, "polarisation": 2}
    first = ds.isel(patch=0).compute()
    assert float(first.s2.sel(band="B8A").mean()) == 5004 + 8
    assert float(first.target.sel(band="B01").mean()) == 1004
    assert float(first.s1.sel(polarisation="VH").mean()) == -20 + 4 + 1
    check_scene(ds.drop_vars("target"), level="TOA", lazy=True, crs=None)


def test_incomplete_patches_on_request(root):
    ds = xcf.datasets.sen12mscr(root, incomplete="nodata").sel(patch="1158_winter_7_p9")
    assert int(ds.s2.max()) == 0
    assert ds.s1.isnull().all()
    assert int(ds.target.max()) == 13


def test_selection_and_refusal(root, tmp_path_factory):
    assert xcf.datasets.sen12mscr(root, seasons=["spring"], rois=[1]).sizes["patch"] == 2
    with (
        pytest.raises(DataError, match="incomplete='nodata'"),
        pytest.warns(UserWarning, match="1 of 1"),
    ):
        xcf.datasets.sen12mscr(root, seasons=["winter"])
    with pytest.raises(DataError, match=r"spring 1, winter 7, .*seasons=\['spring'\], rois=\[1\]"):
        xcf.datasets.sen12mscr(root, seasons=["autumn"])
    with pytest.raises(DataError, match=r"incomplete='keep'.*sen12mscr\(root\)"):
        xcf.datasets.sen12mscr(root, incomplete="keep")
    with pytest.raises(DataError, match=r"sen12mscr\(root\)"):
        xcf.datasets.sen12mscr(tmp_path_factory.mktemp("empty"))


@pytest.mark.filterwarnings("ignore:.*patches lack an image")
def test_real_patch(data_root):
    ds = xcf.datasets.sen12mscr(data_root / "sen12mscr", rois=[139])
    scene = ds.drop_vars("target")
    assert float(scene.cloudfree.mask("score").mean()) == pytest.approx(0.528, abs=1e-3)
    do_nothing = xcf.evaluate(scene, ds[["target"]].rename(target="s2"))
    psnr = do_nothing.psnr.sel(pixels="all", estimate="prediction")
    assert psnr.compute().item() == pytest.approx(15.956, abs=1e-3)
