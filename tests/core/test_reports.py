"""Situations of public threads: what users bring, and the right value of each."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from xcloudfree.core.grid import coordinate_system
from xcloudfree.exceptions import CloudFreeError, DataError, GridError, UnitsError

BANDS = ["B02", "B03", "B04", "B08", "B11", "B12"]


@pytest.fixture(scope="module")
def scene():
    """A series of 24 x 24 px with radar."""
    ds = xcf.datasets.simulate_scene((24, 24), dates=4, cover=0.3, seed=1, level="BOA")
    return ds[[*BANDS, "VV", "VH"]]


@pytest.fixture(scope="module")
def hidden(scene):
    """Which pixels clouds hide."""
    whole = xcf.datasets.simulate_scene((24, 24), dates=4, cover=0.3, seed=1, level="BOA")
    return whole.cloudfree.mask("l2a")


def counts(ds, offset=0.0):
    """The bands as integers of Sentinel-2 that declare nothing."""
    out = {b: ((ds[b] - offset) * 1e4).round().clip(1, 60000).astype("uint16") for b in BANDS}
    return xr.Dataset({b: v.drop_attrs() for b, v in out.items()}).assign_coords(
        spatial_ref=ds.spatial_ref
    )


def filled(ds, bands, value, where):
    """A scene with a number in the place of measurements."""
    new = {b: ds[b].where(~where, value).astype("float32").assign_attrs(ds[b].attrs) for b in bands}
    return ds.assign(new)


def same(one, other):
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


def west(ds, columns=8):
    return ds.x < ds.x[columns]


@pytest.mark.parametrize("model", ["area-regression", "pixel-fusion", "regression-kriging"])
@pytest.mark.parametrize("gap", ["-inf", "power 0", "declared", "one polarisation"])
def test_radar_without_a_measurement_is_the_same_as_nan(scene, hidden, model, gap):
    """02: however it is written, the same bits come out, without a warning of numpy."""
    bands = ["VH"] if gap == "one polarisation" else ["VV", "VH"]
    wanted = filled(scene, bands, np.nan, west(scene))
    if gap in ("-inf", "one polarisation"):
        other = filled(scene, bands, -np.inf, west(scene))
    elif gap == "power 0":
        linear = {b: (10 ** (scene[b] / 10)).where(~west(scene), 0) for b in bands}
        with np.errstate(divide="ignore"):
            other = scene.assign(
                {b: (10 * np.log10(v)).astype("float32") for b, v in linear.items()}
            )
        other = other.cloudfree.calibrate(sar="dB")
        wanted = filled(other, bands, np.nan, west(scene))
    else:
        other = filled(scene, bands, -9999, west(scene)).cloudfree.calibrate(sar_nodata=-9999)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        results = [x.cloudfree.reconstruct(model=model, mask=hidden) for x in (other, wanted)]
    for name in (*BANDS, "provenance"):
        np.testing.assert_array_equal(results[0][name].values, results[1][name].values)


@pytest.mark.parametrize("chunks", [None, 8])
@pytest.mark.parametrize(
    ("bands", "value", "call"),
    [
        (BANDS, -9999, "calibrate(nodata=-9999)"),
        (BANDS, 1e20, "calibrate(nodata=1e+20)"),
        (BANDS, 6.4535, "calibrate(nodata=6.4535)"),
        (BANDS, -0.1, "calibrate(nodata=-0.1)"),
        (["VV", "VH"], -9999, "calibrate(sar_nodata=-9999)"),
        (["VV", "VH"], -99, "calibrate(sar_nodata=-99)"),
        (["VV", "VH"], 0, "calibrate(sar_nodata=0)"),
    ],
)
def test_an_undeclared_fill_is_refused_whatever_the_chunks(
    scene, hidden, bands, value, call, chunks
):
    """03: a few pixels are enough, and the call of the error fixes it."""
    ds = filled(scene, bands, value, (west(scene, 3)) & (scene.time == scene.time[1]))
    wanted = filled(scene, bands, np.nan, (west(scene, 3)) & (scene.time == scene.time[1]))
    broken = ds if chunks is None else ds.chunk(y=chunks, x=chunks)
    with pytest.raises(UnitsError, match=re.escape(call)):
        broken.cloudfree.reconstruct(model="pixel-fusion", mask=hidden).compute()
    fixed = eval(f"ds.cloudfree.{call}")
    results = [x.cloudfree.reconstruct(model="pixel-fusion", mask=hidden) for x in (fixed, wanted)]
    same(*(r[["provenance"]] for r in results))
    known = results[1].provenance == 2
    np.testing.assert_array_equal(results[0].B04.where(known), results[1].B04.where(known))


@pytest.mark.parametrize("key", ["nodata", "_FillValue", "missing_value", "nodatavals"])
@pytest.mark.parametrize("place", ["attrs", "encoding"])
def test_a_declared_fill_is_no_data(scene, hidden, key, place):
    """03: by whatever attribute."""
    where = west(scene) & (scene.time == scene.time[1])
    ds = filled(scene, BANDS, -9999, where)
    for band in BANDS:
        getattr(ds[band], place)[key] = (-9999.0,) if key == "nodatavals" else -9999.0
    out = ds.cloudfree.reconstruct(model="median", mask=hidden)
    assert ((out.provenance == 0) == where).all()
    assert out.B04.where(out.provenance == 2).min() > 0


@pytest.mark.parametrize("declared", [{}, {"nodata": 0}, {"nodata": 65535}])
def test_0_and_65535_are_no_data_of_integers(scene, hidden, declared):
    """05: rioxarray fills with 65535, Sentinel-2 with 0, and a scene may hold both."""
    ds = counts(scene).where(~west(scene), 0).astype("uint16")
    ds = ds.where(ds.x < ds.x[-5], 65535).astype("uint16")
    ds["B11"].attrs["_FillValue"] = 65535  # as where only the 20 m bands were brought to 10 m
    ds = ds.cloudfree.calibrate(scale=1e-4, offset=0, level="BOA", **declared)
    out = ds.cloudfree.reconstruct(model="median", mask=hidden, shadow=False)
    empty = (ds.B04 == 0) | (ds.B04 == 65535)
    assert ((out.provenance == 0) == empty).all()
    assert out.B04.where(out.provenance == 2).max() < 20000


CRS = {
    "coordinate spatial_ref": lambda ds, ref: ds.assign_coords(spatial_ref=ref),
    "variable spatial_ref": lambda ds, ref: ds.assign(spatial_ref=ref),
    "variable that is named": lambda ds, ref: ds.assign(
        {v: ds[v].assign_attrs(grid_mapping="projection") for v in ds}).assign(projection=ref),
    "variable crs": lambda ds, ref: ds.assign(crs=ref),
    "attribute of the Dataset": lambda ds, ref: ds.assign_attrs(crs="EPSG:32633"),
    "coordinate epsg": lambda ds, ref: ds.assign_coords(epsg=32633),
    "coordinate proj:epsg by date": lambda ds, ref: ds.assign_coords(
        {"proj:epsg": ("time", [32633] * ds.sizes["time"])}),
    "coordinate proj:code": lambda ds, ref: ds.assign_coords({"proj:code": "EPSG:32633"}),
    "attribute proj:epsg": lambda ds, ref: ds.assign(
        {v: ds[v].assign_attrs({"proj:epsg": 32633}) for v in ds}),
}  # fmt: skip


@pytest.mark.parametrize("how", CRS)
def test_one_finder_of_the_coordinate_system(scene, tmp_path, how):
    """07: page, shadow and GeoTIFF find it wherever it is."""
    rasterio = pytest.importorskip("rasterio")
    bare = scene[BANDS].drop_vars("spatial_ref")
    for band in BANDS:
        bare[band].attrs.pop("grid_mapping", None)
        bare[band].encoding.pop("grid_mapping", None)
    ds = CRS[how](bare, xr.DataArray(0, attrs=scene.spatial_ref.attrs))
    assert coordinate_system(ds, ds.B04) == "EPSG:32633"
    assert "EPSG:32633" in repr(ds.cloudfree)
    (file,) = xcf.io.to_cog(ds.isel(time=[0]), tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as opened:
        assert opened.crs.to_epsg() == 32633


def test_no_zone_is_made_up(scene, tmp_path):
    bare = scene[BANDS].drop_vars("spatial_ref")
    with pytest.raises(GridError, match=r"write_crs\('EPSG:\.\.\.'\)"):
        xcf.io.to_cog(bare, tmp_path / "out.tif")
    with pytest.raises(GridError, match=r"write_crs\('EPSG:4326'\)"):
        xcf.io.to_cog(bare.rename(y="lat", x="lon"), tmp_path / "out.tif")


def test_degrees_of_single_precision_are_even(scene, tmp_path):
    """10: as xee gives them."""
    rasterio = pytest.importorskip("rasterio")
    lat, lon = 50 - 9e-5 * np.arange(24), 11 + 1.3e-4 * np.arange(24)
    ds = scene[BANDS].drop_vars("spatial_ref").rename(y="lat", x="lon")
    ds = ds.assign_coords(lat=lat.astype("float32"), lon=lon.astype("float32"))
    ds = ds.assign_attrs(crs="EPSG:4326").transpose("time", "lon", "lat")
    (file,) = xcf.io.to_cog(ds.isel(time=[2]), tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as opened:
        place = next(opened.sample([(lon[5], lat[3])]))[BANDS.index("B04")]
    assert place == ds.B04.isel(time=2, lat=3, lon=5)


@pytest.mark.parametrize("join", ["outer merge", "assignment"])
def test_sensors_that_never_meet_are_named(scene, hidden, join):
    """08: on the page and in the run, with the call that pairs them."""
    s2, s1 = scene[BANDS], scene[["VV", "VH"]]
    s1 = s1.assign_coords(time=s1.time + np.timedelta64(7, "h"))
    ds = s2.assign(VV=s1.VV, VH=s1.VH) if join == "assignment" else xr.merge([s2, s1], join="outer")
    call = 'xcf.pair(s2, s1, max_gap="6D")'
    assert call in repr(ds.cloudfree)
    mask = hidden.reindex(time=ds.time, fill_value=False)
    with pytest.warns(UserWarning, match=re.escape(call)):
        ds.cloudfree.reconstruct(model="area-regression", mask=mask)
    paired = eval(call)
    out = paired.cloudfree.reconstruct(model="area-regression", mask=hidden)
    assert not (out.provenance == 3).any()


def test_dates_without_radar_are_named_with_the_engine_that_fills_them(scene, hidden):
    """01: each method says what it leaves; of lazy data the page says that nothing was counted."""
    pytest.importorskip("torch")
    ds = scene.assign({p: scene[p].where(scene.time != scene.time[1]) for p in ("VV", "VH")})
    words = r"Sentinel-1 is missing on 1 of 4 dates.*reconstruct\(model=\"kernel-fusion\"\)"
    with pytest.warns(UserWarning, match=words):
        ds.cloudfree.reconstruct(model="area-regression", mask=hidden)
    assert "missing on 1 of 4 dates" in " ".join(repr(ds.cloudfree).split())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = ds.cloudfree.reconstruct(model="kernel-fusion", mask=hidden)
    assert ((out.provenance == 2) == hidden).all()
    lazy = " ".join(repr(ds.chunk(y=12).cloudfree).split())
    assert "not counted" in lazy
    (call,) = re.findall(r"ds\.isel\(.*?\)\.load\(\)\.cloudfree", lazy)
    page = repr(eval(call, {"ds": ds.chunk(y=12)}))
    assert "missing on 1 of 4 dates" in " ".join(page.split())


T = pd.DatetimeIndex(["2025-06-10", "2025-06-15", "2025-06-20", "2025-06-25"])
TIMES = {
    "text with Z": [f"{t:%Y-%m-%dT%H:%M:%S}Z" for t in T],
    "text": [f"{t:%Y-%m-%d}" for t in T],
    "text without dashes": [f"{t:%Y%m%d}" for t in T],
    "index with a zone": T.tz_localize("UTC"),
    "objects with a zone": np.array(list(T.tz_localize("Europe/Berlin")), object),
    "days of Python": [t.date() for t in T],
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_any_kind_are_utc(scene, hidden, kind):
    """09: the same values as with times of numpy."""
    plain, times = scene.assign_coords(time=T), TIMES[kind]
    mask = hidden.assign_coords(time=T)
    ds = scene.assign_coords(time=times if isinstance(times, pd.Index) else ("time", times))
    given = mask.assign_coords(time=ds.time)
    out = ds.cloudfree.reconstruct(model="linear-time", mask=given)
    same(out[BANDS], plain.cloudfree.reconstruct(model="linear-time", mask=mask)[BANDS])
    assert "2025-06-2" in repr(ds.cloudfree)


def test_integers_are_no_times_but_the_call_makes_them(scene, hidden):
    """09: pandas alone would take them for nanoseconds of 1970."""
    ds = scene.assign_coords(time=[int(f"{t:%Y%m%d}") for t in T])
    with pytest.raises(DataError) as error:
        ds.cloudfree.reconstruct(model="median", mask=hidden.assign_coords(time=ds.time))
    call = re.search(r"ds\.assign_coords\(.*\)", error.value.fix).group()
    assert (eval(call, {"ds": ds, "pandas": pd}).time.values == T.values).all()


@pytest.mark.parametrize(("shift", "call"), [(1e-9, "join='override'"), (5, "d.odc.reproject")])
@pytest.mark.parametrize("system", [True, False])
def test_dates_of_shifted_grids_are_refused(scene, shift, call, system):
    """11: by rounding or by half a pixel, with and without a coordinate system."""
    odc = pytest.importorskip("odc.geo.xr")
    assert odc
    ds = scene[BANDS] if system else scene[BANDS].drop_vars("spatial_ref")
    dates = [ds.isel(time=slice(0, 2)), ds.isel(time=slice(2, 4))]
    dates[1] = dates[1].assign_coords(x=dates[1].x + shift)
    joined = xr.concat(dates, "time", join="outer")
    with pytest.raises(GridError, match=re.escape(call)) as error:
        joined.cloudfree.reconstruct(model="median", mask=joined.B02 > 0.2)
    if system:
        again = re.search(r"xr\.concat\(.*?'\)", error.value.fix).group()
        again = eval(again, {"xr": xr, "dates": dates})
        out = again.cloudfree.reconstruct(model="median", mask=again.B02 > 0.2)
        assert out.sizes["x"] == 24


def test_an_offset_that_was_taken_out_twice_is_named(scene):
    """12: and the call is right."""
    twice = counts(scene).cloudfree.calibrate(scale=1e-4, offset=-0.1, level="BOA")
    with pytest.warns(UserWarning, match=r"below zero.*calibrate\(scale=0\.0001, offset=0\)"):
        twice.cloudfree.reconstruct(model="median", mask=twice.B02 > 3000)
    right = twice.cloudfree.calibrate(scale=0.0001, offset=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right.cloudfree.reconstruct(model="median", mask=right.B02 > 3000)


def test_a_stored_dataarray_is_recognised(scene, tmp_path):
    """13: a Dataset of one variable with a band dimension is that DataArray."""
    array = scene[BANDS].to_dataarray("band").rename("stackstac-5fb1")
    xcf.io.to_zarr(array, tmp_path / "a.zarr", progress=False)
    back = xcf.io.open_zarr(tmp_path / "a.zarr")
    assert "6 optical bands" in repr(back.cloudfree)


def test_a_tree_is_refused_with_the_call_that_chooses(scene):
    """14: as EOPF has them."""
    tree = xr.DataTree.from_dict({"measurements/reflectance/r10m": scene[BANDS]})
    with pytest.raises(CloudFreeError) as error:
        tree.cloudfree.mask("l2a")
    call = re.search(r"tree\[.*", error.value.fix).group()
    assert "6 optical bands" in repr(eval(call).cloudfree)


def test_cirrus_of_harmonized_data_is_no_proof_of_toa(scene):
    """14: HLS S30 has B10 beside surface reflectance; of others it is one."""
    ds = xr.Dataset({b: scene.B02.drop_attrs() for b in ("B02", "B10")})
    assert "TOA" in repr(ds.cloudfree)
    hls = ds.assign({b: ds[b].assign_attrs(_FillValue=-9999) for b in ds})
    assert "not declared" in repr(hls.cloudfree)


def test_a_band_that_is_missing_on_a_date_is_named(scene, hidden):
    """15: on the page and in the run, with calls that leave the band or the date out."""
    ds = scene.assign({b: scene[b].where(scene.time != scene.time[2]) for b in ("B11", "B12")})
    with pytest.warns(UserWarning, match=r"no data of B11, B12 on 1 date") as caught:
        ds.cloudfree.reconstruct(model="median", mask=hidden)
    first, second = re.findall(r"ds\.drop_\w+\(.*?\]\)", str(caught[0].message))
    text = " ".join(repr(ds.cloudfree).split())
    assert first in text
    assert second in text
    for call, mask in ((first, hidden), (second, hidden.drop_isel(time=[2]))):
        out = eval(call).cloudfree.reconstruct(model="median", mask=mask)
        assert not (out.provenance == 0).any()


@pytest.mark.parametrize("empty", [{"time": slice(0, 0)}, {"y": slice(0, 0)}])
@pytest.mark.parametrize("lazy", [False, True])
def test_nothing_gives_nothing_or_our_error(scene, empty, lazy):
    """An empty selection: an empty result, or an error with a call."""
    ds = scene.isel(empty)
    ds = ds.chunk() if lazy else ds
    for call in (
        lambda: ds.cloudfree.mask("scl" if "SCL" in ds else ds.B02 > 0.2),
        lambda: ds.cloudfree.mask(),
        lambda: ds.cloudfree.reconstruct(model="median").compute(),
        lambda: ds.cloudfree.calibrate(level="BOA"),
        lambda: ds.cloudfree.context(mask=ds.B02 > 0.2),
        lambda: ds.cloudfree.plot(),
        lambda: repr(ds.cloudfree),
        lambda: xcf.evaluate(ds, ds, mask=ds.B02 > 0.2),
        *(
            lambda m=model: ds.cloudfree.reconstruct(model=m, mask=ds.B02 > 0.2).compute()
            for model in xcf.methods.names()
            if model != "given"
        ),
    ):
        try:
            call()
        except CloudFreeError as error:
            assert error.fix  # noqa: PT017


@pytest.mark.parametrize("key", ["scale_factor", "add_offset", "nodata", "_FillValue"])
@pytest.mark.parametrize("value", ["none", [1, 2], {}, float("inf")])
def test_numbers_that_are_none_are_refused(scene, key, value):
    """As damaged files declare them."""
    if value == float("inf") and key in ("nodata", "_FillValue"):
        pytest.skip("infinity is no data anyway")
    for bands in (BANDS, ["VV", "VH"]):
        ds = scene.assign({b: scene[b].assign_attrs({key: value}) for b in bands})
        try:
            ds.cloudfree.reconstruct(model="pixel-fusion", mask=ds.B02 > 0.2)
        except CloudFreeError as error:
            assert error.fix  # noqa: PT017
        else:
            assert (key, value) == ("_FillValue", [1, 2])  # several are allowed there
