"""Data as other tools write it: what docs/guides/forms.md opens is right, and can be stored.

The code is that of the page, the files are those of tests/forms.py, the truth is the series itself.
"""

import re

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr

import xcloudfree as xcf
from tests import forms
from tests.fences import blocks
from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.recognise import read
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import MissingBandError

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
PAGE = "docs/guides/forms.md"
MARKS = {
    "EOPF Zarr Level-2A": "_MSIL2A_*.zarr",
    "EOPF Zarr Level-1C": "_MSIL1C_",
    "openEO netCDF": "openEO.nc",
    "openEO Zarr": "openEO.zarr",
    "xee": "earth[",
    "cubo": "cube.cloudfree",
    "stackstac": "stack.cloudfree",
    "odc-stac": "odc.stac.load",
    "sentle": "sentle.zarr",
    "HLS S30": "HLS.S30",
    "band descriptions": "long_name",
    "SAFE": "SAFE",
}
"""A word of the block that opens each form."""

COARSE = {"SAFE": 2}
LEVEL = {"EOPF Zarr Level-1C": "TOA"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Every form as the page opens it."""
    folder = tmp_path_factory.mktemp("forms")
    names, found = forms.everything(folder), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks(PAGE):
            if block.kind != "run" or "out = " in block.code:
                continue
            exec(compile(block.source, PAGE, "exec"), names)
            for form, mark in MARKS.items():
                if mark in block.code:
                    found[form] = names["ds"]
        yield found


def truth_of(form):
    ds = forms.truth(LEVEL.get(form, "TOA" if form == "HLS S30" else "BOA"))
    step = COARSE.get(form, 1)
    start = step // 2
    dates = forms.TREES if form.startswith("EOPF") else None
    return ds.isel(time=slice(dates), y=slice(start, None, step), x=slice(start, None, step))


def bands_of(ds):
    """Optical bands in the order time, y, x, by canonical name."""
    scene = read(ds)
    arrays = dict(zip(scene.optical.names, scene.optical.by_band(), strict=True))
    return scene, {k: np.asarray(v) for k, v in arrays.items()}


@pytest.mark.parametrize("form", MARKS)
def test_reflectance_is_that_of_the_series(opened, form):
    ds, truth = opened[form], truth_of(form)
    scene, bands = bands_of(ds)
    decode = scene.calibration().decode
    assert len(bands) >= 4
    for name, numbers in bands.items():
        np.testing.assert_allclose(decode(numbers), truth[name], atol=6e-5, err_msg=name)
    np.testing.assert_array_equal(utc_times(ds["time"]), truth.time)


@pytest.mark.parametrize("form", MARKS)
def test_it_masks_reconstructs_and_is_stored(opened, form, tmp_path):
    ds, truth = opened[form], truth_of(form)
    mask = ds.cloudfree.mask()
    assert mask.compute().any()
    hidden = truth.SCL == 9
    epsg = 4326 if form == "xee" else truth.rio.crs.to_epsg()
    stated = coordinate_system(ds, read(ds).optical.arrays[0])
    assert rasterio.CRS.from_user_input(stated).to_epsg() == epsg

    aligned = hidden.drop_vars(hidden.coords).data
    dims = [d for d in ("time", "lat", "y") if d in ds.dims] + [
        d for d in ("lon", "x") if d in ds.dims
    ]
    aligned = xr.DataArray(aligned, dims=dims)
    out = ds.cloudfree.reconstruct("median", mask=aligned)
    names = list(read(ds).optical.names)
    right = truth[names].cloudfree.reconstruct("median", mask=hidden)
    scene, bands = bands_of(out)
    decode = scene.calibration().decode
    for name in names:
        np.testing.assert_allclose(decode(bands[name]), right[name], atol=1.1e-4)

    back = xcf.io.to_zarr(out, tmp_path / "out.zarr", progress=False)
    scene, again = bands_of(back)
    for name in names:
        np.testing.assert_array_equal(again[name], bands[name])
        empty = np.isnan(scene.calibration().decode(again[name]))
        np.testing.assert_array_equal(empty, np.isnan(right[name]))
    assert list(utc_times(back["time"])) == list(utc_times(ds["time"]))
    stated = coordinate_system(back, scene.optical.arrays[0])
    assert rasterio.CRS.from_user_input(stated).to_epsg() == epsg

    if form == "HLS S30":
        out = out.drop_vars("Fmask")  # which has another no data
    path = xcf.io.to_cog(out.isel(time=[1]), tmp_path / "out.tif", progress=False)[0]
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == epsg
        assert file.nodata is not None
        names_in = [re.sub("^b", "B", str(d)) for d in file.descriptions]
        first = next(n for n, d in enumerate(names_in) if xcf.bands.optical_band(d) == "B02")
        empty = file.read_masks(first + 1) == 0
    np.testing.assert_array_equal(empty, np.isnan(right["B02"].values[1]))


def test_radar_of_sentle_is_read_and_both_orbits_at_once_are_refused(opened):
    ds = opened["sentle"]
    sar = read(ds).sar
    assert sar.names == ("VV", "VH")
    power = 10 * np.log10(np.asarray(sar.by_band()[0]))
    np.testing.assert_allclose(power, truth_of("sentle").VV, atol=1e-4)
    both = xr.concat([ds, ds.isel(band=[-1]).assign_coords(band=["vh_desc"])], "band")
    with pytest.raises(MissingBandError) as error:
        both.cloudfree.mask()
    call = re.search(r"array\..*", error.value.fix).group()
    assert eval(call, {"array": both}).sizes["band"] == ds.sizes["band"]


def test_hls_is_never_called_level_1c(opened):
    ds = opened["HLS S30"]
    assert "B10" in ds
    assert "the data is BOA" in repr(ds.cloudfree)
    hidden = ds.cloudfree.mask("fmask").compute()
    np.testing.assert_array_equal(hidden, truth_of("HLS S30").SCL == 9)


def test_both_dimension_orders_of_xee_are_accepted():
    kinds = [forms.xee(order)[["B2", "B3", "B4", "B8"]] for order in
             (("time", "lon", "lat"), ("time", "lat", "lon"))]  # fmt: skip
    one, other = (
        k.cloudfree.calibrate(scale=1e-4, offset=0, level="BOA").cloudfree.mask(
            lambda s: s.B2 > 2000
        )
        for k in kinds
    )
    assert one.any()
    np.testing.assert_array_equal(one.transpose(*other.dims), other)
