"""What users get wrong is refused in one line, which ends with the call that mends it."""

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from xcloudfree import judge as bench
from xcloudfree import train
from xcloudfree.exceptions import CloudFreeError

pytest.importorskip("torch")
pytest.importorskip("lightning")


@pytest.fixture(scope="module")
def ds():
    return xcf.datasets.simulate_scene((32, 32), dates=3, cover=0.4)


REFUSED = {
    "a time that is none": (lambda ds: ds.cloudfree.plot(time="soon"), "plot(time='2025-06-10"),
    "times that are none": (
        lambda ds: ds.cloudfree.plot.series(dates=["soon"]), "plot(time='2025-06-10"
    ),
    "no mask": (lambda ds: ds.cloudfree.mask(None), "mask(method='score')"),
    "a mask without a type": (
        lambda ds: ds.cloudfree.mask([[True]]), "not a list; convert it"
    ),
    "a threshold in words": (
        lambda ds: ds.cloudfree.mask(threshold="a"), "mask(threshold=0.2)"
    ),
    "a threshold that is no number": (
        lambda ds: ds.cloudfree.mask(threshold=float("nan")), "mask(threshold=0.2)"
    ),
    "a scale without end": (
        lambda ds: ds.cloudfree.calibrate(scale=float("inf")), "calibrate(scale=1e-4, offset=-0.1)"
    ),
    "an offset that is no number": (
        lambda ds: ds.cloudfree.calibrate(scale=1e-4, offset=float("nan")), "offset=-0.1)"
    ),
    "a mask by name to judge with": (
        lambda ds: xcf.evaluate(ds, ds, mask="score"), "mask=observed.cloudfree.mask('score'))"
    ),
    "bands that are no numbers": (
        lambda ds: ds.astype(str).cloudfree.mask(), "ds['B01'].astype('float32')"
    ),
    "one row without its dimension": (
        lambda ds: ds.isel(time=0, x=0).cloudfree.mask(), "ds.expand_dims('x')"
    ),
    "nothing at all": (lambda ds: xr.Dataset().cloudfree.mask(), "xr.Dataset({'B02': "),
    "backscatter without names": (
        lambda ds: xr.Dataset({"s1": ds[["VV", "VH"]].to_dataarray("pol").drop_vars("pol")})
        .cloudfree.mask(), "array.assign_coords(pol=['VV', 'VH'])"
    ),
    "bands as rioxarray names them": (
        lambda ds: ds[["B02", "B03"]].to_dataarray("band").assign_coords(band=[1, 2])
        .assign_attrs(long_name=("B02", "B03")).cloudfree.mask(),
        "array.assign_coords(band=list(array.long_name))",
    ),
    "dates by another name": (
        lambda ds: ds.rename(time="timestamp").cloudfree.reconstruct(
            model="linear-time", mask=ds.B02.rename(time="timestamp") > 1
        ),
        "ds.rename({'timestamp': 'time'})",
    ),
    "one band alone": (
        lambda ds: ds.B02.cloudfree.mask(), "xr.Dataset({'B02': array, ...})"
    ),
    "a weight in words": (lambda ds: ds.cloudfree.weights(alpha="a"), "weights(alpha=0.8)"),
    "a level by the name of the product": (
        lambda ds: ds.cloudfree.calibrate(level="L2A"), "calibrate(level='BOA') for Level-2A"
    ),
    "a scale in words": (
        lambda ds: ds.cloudfree.calibrate(scale="1e-4"), "calibrate(scale=1e-4, offset=-0.1)"
    ),
    "an offset in words": (
        lambda ds: ds.cloudfree.calibrate(scale=1e-4, offset="-0.1"), "offset=-0.1)"
    ),
    "no data in words": (lambda ds: ds.cloudfree.calibrate(nodata="none"), "calibrate(nodata=0)"),
    "a mask of another size": (
        lambda ds: xcf.evaluate(ds, ds, mask=np.zeros((3, 3), bool)), "mask=mask.sel(y=truth.y)"
    ),
    "bands that are not there": (
        lambda ds: xcf.evaluate(ds, ds, bands=["B99"]), "bands=['B01', 'B02'"
    ),
    "other estimates without names": (
        lambda ds: xcf.evaluate(ds, ds, others=[ds]), "others={'its name': image}"
    ),
    "images without a band in common": (
        lambda ds: xcf.evaluate(ds[["B02"]], ds[["B03"]]), "images of the same bands"
    ),
    "a path to fit on": (
        lambda ds: xcf.fit("a.zarr", "carf-tiny"), "fit(xcloudfree.io.open_zarr(path), ...)"
    ),
    "a learning rate that is none": (
        lambda ds: xcf.fit(ds, "carf-tiny", learning_rate=-1), "fit(..., learning_rate=2e-4)"
    ),
    "weights to be created": (
        lambda ds: xcf.models.create("carf-small-demo"), "models.load('carf-small-demo')"
    ),
    "no model to fit": (lambda ds: xcf.fit(ds, None), "xcloudfree.models.list()"),
    "a recipe that is a dict": (
        lambda ds: xcf.fit(ds, "carf-tiny", recipe={"average": 0.9}), "recipe=Recipe(average=0.99)"
    ),
    "a precision that there is not": (
        lambda ds: train.Recipe(precision="fp16"), "'auto', 'float32' or 'bfloat16'"
    ),
    "a split at no date": (
        lambda ds: train.split_series(ds, before="soon"), "before='2025-07-01'"
    ),
    "a shape of one number": (lambda ds: xcf.datasets.simulate_scene(64), "shape=(1024, 1024)"),
    "a seed in words": (
        lambda ds: xcf.datasets.simulate_scene((8, 8), seed="one"), "simulate_scene(..., seed=0)"
    ),
    "more cloud than all": (
        lambda ds: xcf.datasets.simulate_scene((8, 8), cover=3), "simulate_scene(..., cover=0.4"
    ),
    "a projection that there is not": (
        lambda ds: xcf.datasets.simulate_scene((8, 8), crs="EPSG:99999999"), 'crs="EPSG:32633"'
    ),
    "a folder without a model": (
        lambda ds: xcf.models.load("no/such.safetensors"), "models.list()"
    ),
    "memory without a unit": (
        lambda ds: xcf.io.to_zarr(ds, "out.zarr", memory="much"), "memory='2 GiB'"
    ),
    "nothing to store": (lambda ds: xcf.io.to_zarr(None, "out.zarr"), "xcf.io.to_zarr("),
    "a scene instead of cases": (lambda ds: xcf.benchmark([ds], ["idw"]), "hidden_dates(series)"),
    "a kind that there is not": (
        lambda ds: list(bench.hidden_dates(ds, clear="score", kinds=["parital"])),
        "kinds=['partial', 'full']",
    ),
    "a series without a clear date": (
        lambda ds: list(bench.hidden_dates(ds, clear="score")), "clear=...) with another mask"
    ),
    "a part that there is not": (
        lambda ds: list(bench.sen12mscr("no/where", part="validation")), "part='test'"
    ),
    "a patch without its truth": (
        lambda ds: bench.patch_case("a", ds), "patch.assign(target=clear)"
    ),
    "no region": (lambda ds: list(bench.leave_one_region_out([])), "Case(..., region=...)"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_the_call_that_mends_it(ds, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, mend = REFUSED[what]
    with pytest.raises(CloudFreeError) as caught:
        call(ds)
    assert mend in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_one_part_of_a_context_may_be_named_without_a_list():
    assert "median" in xcf.models.create("carf-tiny", context="median").spec.context


def test_one_band_may_be_named_without_a_list(ds):
    alone = xcf.evaluate(ds, ds, bands="B02")
    xr.testing.assert_identical(alone, xcf.evaluate(ds, ds, bands=["B02"]))
    assert xcf.models.create("carf-tiny", optical_bands="B02").spec.optical_bands == ("B02",)
