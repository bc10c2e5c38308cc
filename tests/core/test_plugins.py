"""Plug-ins: masks and models of another package, present, absent, broken and claimed twice."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import tomli
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, make_bands, stacked
from xcloudfree.core.plugins import names, problems
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.recognise import read
from xcloudfree.core.windows import Tiles
from xcloudfree.exceptions import CloudFreeError, MissingBandError, PluginError, UnitsError
from xcloudfree.masks import adapters as plugged
from xcloudfree.masks import resolve as occlusion

EXAMPLE = Path(__file__).parents[1] / "plugin_example"


def install(folder: Path, *, name: str = "", version: str = "") -> Path:
    """What ``pip install`` leaves of the example: its modules and its metadata."""
    project = tomli.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    name, version = name or project["name"], version or project["version"]
    shutil.copytree(EXAMPLE / "src", folder, dirs_exist_ok=True)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    plugged.mask_plugin.cache_clear()
    yield folder
    plugged.mask_plugin.cache_clear()
    for module in [m for m in sys.modules if m.startswith("cloudfree_example")]:
        del sys.modules[module]


def bright(ds: xr.Dataset, limit: float = 0.3) -> xr.DataArray:
    return (limit < ds.B02).rename("mask")


def test_a_mask_of_another_package_serves_by_its_name(example: Path) -> None:
    ds = make_bands()
    for scene in (ds, stacked(ds), as_array(ds)):
        found = scene.cloudfree.mask("bright-blue")
        np.testing.assert_array_equal(found, bright(ds))
        assert found.attrs["method"] == "bright-blue"
    assert 0 < int(bright(ds).sum()) < ds.B02.size
    np.testing.assert_array_equal(ds.cloudfree.mask("bright-blue", threshold=0.6), bright(ds, 0.6))


def test_integers_reach_a_plugin_as_reflectance(example: Path) -> None:
    ds = make_bands(dtype="uint16")
    expected = (ds.B02 * 1e-4 - 0.1) > 0.3
    ds.B02[0, :10, -10:] = 0  # no data
    found = ds.cloudfree.mask("bright-blue")
    assert not found[0, :10, -10:].any()
    expected[0, :10, -10:] = False
    np.testing.assert_array_equal(found, expected)


def test_a_mask_with_reach_does_not_depend_on_the_chunks(example: Path) -> None:
    ds = make_bands()
    whole = ds.cloudfree.mask("smoothed-blue", dilate=2)
    assert (whole != ds.cloudfree.mask("bright-blue", dilate=2)).any()
    tiled = ds.chunk(y=11, x=7).cloudfree.mask("smoothed-blue", dilate=2)
    np.testing.assert_array_equal(tiled, whole)
    plan = occlusion.plan_mask(read(ds), "smoothed-blue", None, 0)
    window = [ds.B02.values[0]]
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(plan)).compute(window[0:1]), plan.compute(window[0:1])
    )


def test_a_mask_of_whole_images_gets_fixed_tiles_of_the_scene(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occlusion, "TILE", 16)
    ds = make_bands(1)
    whole = ds.cloudfree.mask("whole-image")
    for chunks in (9, 16, 38):
        tiled = ds.chunk(y=chunks, x=chunks).cloudfree.mask("whole-image")
        np.testing.assert_array_equal(tiled.compute(scheduler="synchronous"), whole)
    function = plugged.TiledMask(
        plugged.mask_plugin("whole-image"), Calibration(), 0.3, Tiles(16, 4)
    )
    again = pickle.loads(pickle.dumps(function))
    core = slice(3, 30), slice(5, 20)
    planes = ds.B02.values[0][None]
    np.testing.assert_array_equal(again(planes, core=core)[0], function(planes, core=core)[0])
    monkeypatch.setattr(occlusion, "TILE", 1000)
    np.testing.assert_array_equal(ds.cloudfree.mask("whole-image"), ds.B02.mean() < ds.B02)
    assert (whole != ds.cloudfree.mask("whole-image")).any()


def test_a_plugin_mask_serves_a_reconstruction(example: Path) -> None:
    ds = make_bands(dates=3)
    out = ds.chunk(y=20, x=20).cloudfree.reconstruct(model="idw", mask="bright-blue")
    np.testing.assert_array_equal(out.provenance == 2, bright(ds))
    assert out.provenance.attrs["mask"] == "bright-blue"
    whole = ds.cloudfree.reconstruct(model="idw", mask="whole-image")
    np.testing.assert_array_equal(whole.provenance == 2, ds.cloudfree.mask("whole-image"))


@pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")
def test_an_architecture_of_another_package_is_built_fitted_saved_and_read(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "example-net" in xcf.models.list("example*")
    model = xcf.models.create("example-net", kernel=5)
    assert (model.spec.architecture, model.spec.reach) == ("example-net", 2)
    path = model.save(tmp_path / "own.safetensors")
    assert xcf.models.load(path).digest == model.digest
    ds = make_bands()
    whole = ds.cloudfree.reconstruct(model=path)
    tiled = ds.chunk(y=13, x=17).cloudfree.reconstruct(model=path)
    for name in ("B02", "B12"):
        np.testing.assert_array_equal(tiled[name], whole[name])
    monkeypatch.setenv("CLOUDFREE_EXAMPLE_WEIGHTS", str(path))
    sys.modules.pop("cloudfree_example.network", None)
    loaded = xcf.models.load("example-weights")
    assert loaded.spec == model.spec
    with pytest.raises(PluginError, match=r"call xcloudfree.models.load.*weights file"):
        xcf.models.create("example-weights")


def test_what_a_plugin_owes_is_checked(example: Path) -> None:
    ds = make_bands()
    with pytest.raises(PluginError, match="must return bool"):
        ds.cloudfree.mask("owes-bool")
    with pytest.raises(PluginError, match="is not a mask"):
        ds.cloudfree.mask("no-mask")
    with pytest.raises(MissingBandError, match="'bright-blue' needs B02"):
        ds[["B03", "VV"]].cloudfree.mask("bright-blue")
    boa = ds.drop_vars("B10").cloudfree.calibrate(level="BOA")
    with pytest.raises(UnitsError, match=r'made for TOA.*mask\("l2a"\)'):
        boa.cloudfree.mask("whole-image")


def test_a_broken_plugin_is_named_and_breaks_nothing_else(example: Path) -> None:
    ds = make_bands()
    with pytest.raises(PluginError, match=r"cloudfree-example 1\.2 .*ModuleNotFoundError"):
        ds.cloudfree.mask("broken")
    with pytest.raises(CloudFreeError, match=r"unknown mask method 'nonsense'.*bright-blue"):
        ds.cloudfree.mask("nonsense")
    np.testing.assert_array_equal(ds.cloudfree.mask("bright-blue"), bright(ds))
    page = repr(ds.cloudfree)
    assert "bright-blue" in page
    assert "broken" in page
    assert "example-net" in page
    code = "import xcloudfree, sys; sys.exit(any('cloudfree_example' in m for m in sys.modules))"
    place = {"PYTHONPATH": str(example)}
    done = subprocess.run([sys.executable, "-c", code], env=place, check=False)
    assert done.returncode == 0


def test_showing_the_page_imports_no_plugin_and_looks_once_at_what_is_installed(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    look = metadata.entry_points

    def counted(**options: Any) -> Any:
        looks.append(options)
        return look(**options)

    monkeypatch.setattr(metadata, "entry_points", counted)
    assert "bright-blue" in repr(make_bands().cloudfree)
    assert len(looks) == 1
    assert not [module for module in sys.modules if module.startswith("cloudfree_example")]


def test_our_own_names_are_not_taken_over_and_the_attempt_is_reported(example: Path) -> None:
    ds = make_bands()
    ds.B02[:] = 0.5
    expected = ds.cloudfree.score() > 0.2
    assert (expected != bright(ds)).any()
    np.testing.assert_array_equal(ds.cloudfree.mask("score"), expected)
    told = problems("masks", built_in=["score"])
    assert sum("'score'" in line and "cloudfree-example 1.2" in line for line in told) == 1
    assert any("'broken'" in line for line in told)


def test_a_name_that_two_packages_claim_is_refused(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    info = other / "second_example-3.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: second-example\nVersion: 3.0\n")
    (info / "entry_points.txt").write_text("[xcloudfree.masks]\nbright-blue = elsewhere:MASK\n")
    monkeypatch.syspath_prepend(str(other))
    with pytest.raises(PluginError, match=r"cloudfree-example 1\.2 and second-example 3\.0 both"):
        make_bands().cloudfree.mask("bright-blue")
    assert names("masks").count("bright-blue") == 1


def test_s2cloudless_on_real_patches_equals_the_package(data_root: Path) -> None:
    s2cloudless = pytest.importorskip("s2cloudless")
    rasterio = pytest.importorskip("rasterio")
    detector = s2cloudless.S2PixelCloudDetector(
        threshold=0.4, all_bands=True, average_over=4, dilation_size=2
    )
    shares = []
    for patch in ("6553", "3968"):
        folder = data_root / "triplets" / patch
        with rasterio.open(folder / "s2_cloudy.tif") as file:
            numbers = file.read()[:, :90, :90]
        array = xr.DataArray(
            numbers, dims=("band", "y", "x"), coords={"band": list(xcf.bands.S2_BANDS)}
        ).cloudfree.calibrate(scale=1e-4, offset=0, level="TOA")
        found = array.cloudfree.mask("s2cloudless")
        images = (numbers.astype(np.float32) * np.float32(1e-4)).transpose(1, 2, 0)[None]
        np.testing.assert_array_equal(found, detector.get_cloud_masks(images)[0].astype(bool))
        tiled = array.chunk(y=40, x=50).cloudfree.mask("s2cloudless")
        with dask.config.set(scheduler="synchronous"):
            assert (tiled != found).mean() < 1e-4
        shares.append(float(found.mean()))
    assert 0.2 < shares[0] < 0.95
    assert shares[1] > 0.95  # fully overcast


def test_s2cloudless_refuses_surface_reflectance() -> None:
    pytest.importorskip("s2cloudless")
    ds = make_bands().cloudfree.calibrate(level="BOA")
    with pytest.raises((UnitsError, MissingBandError), match="s2cloudless"):
        ds.drop_vars("B10").cloudfree.mask("s2cloudless")


STAND_IN = """
import numpy as np
calls = []
def predict_from_array(input_array, patch_size=1000, patch_overlap=300, batch_size=1, *,
                       no_data_value=0):
    calls.append((input_array.shape, patch_size, patch_overlap, no_data_value))
    if OFFLINE:
        raise ConnectionError("no route to the hub")
    if min(input_array.shape[1:]) < 32 or patch_size > min(input_array.shape[1:]):
        raise ValueError("too small")
    red, green, near = input_array
    classes = np.where(red > 0.4, 1, np.where(near < 0.03, 3, 0))
    return classes[None].astype(np.uint8)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with the interface of omnicloudmask 1.8, whose weights cannot be had offline."""
    if "omnicloudmask" in sys.modules:
        pytest.skip("the real package is imported")

    def write(offline: bool) -> None:
        (tmp_path / "omnicloudmask.py").write_text(f"OFFLINE = {offline}\n" + STAND_IN)
        monkeypatch.syspath_prepend(str(tmp_path))

    plugged.mask_plugin.cache_clear()
    yield write
    plugged.mask_plugin.cache_clear()
    sys.modules.pop("omnicloudmask", None)


def test_omnicloudmask_gets_red_green_and_near_infrared(stand_in: Any) -> None:
    stand_in(offline=False)
    ds = make_bands()
    found = ds.cloudfree.mask("omnicloudmask")
    np.testing.assert_array_equal(found, (ds.B04 > 0.4) | (ds.B8A < 0.03))
    import omnicloudmask

    assert omnicloudmask.calls == [((3, 50, 50), 50, 25, 0)] * 2  # a border without data


def test_omnicloudmask_without_its_weights_says_what_to_do(stand_in: Any) -> None:
    stand_in(offline=True)
    with pytest.raises(PluginError, match=r"no route to the hub; run it.*get_models\(\)"):
        make_bands().cloudfree.mask("omnicloudmask")


def test_a_mask_whose_package_is_absent_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugged.mask_plugin.cache_clear()
    monkeypatch.setattr(plugged, "find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"pip install s2cloudless"):
        make_bands().cloudfree.mask("s2cloudless")
