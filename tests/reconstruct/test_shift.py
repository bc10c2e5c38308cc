"""The shift between the sensors: put in and measured again, on drawn and on real ground."""

import numpy as np
import pytest
import rasterio
import scipy
import xarray as xr

from tests.builders import DIMS
from xcloudfree.methods import misalignment
from xcloudfree.reconstruct.align import LAYOVER, estimate

pytest.importorskip("skimage")

SHIFTS = [(3.0, -2.0), (-6.0, 6.0), (0.5, 0.0), (2.4, -3.7), (0.3, -0.6)]
CLEAR = {"mask": lambda ds: xr.zeros_like(ds.B04, bool)}
BANDS = ["B02", "B03", "B04", "B08", "B8A", "B11", "B12"]


def fields(size=160, seed=0, dates=1):
    """Fields with a reflectance and, whatever that is, a backscatter of their own; speckle."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, size, (60, 2))
    place = np.stack(np.indices((size, size)), -1).reshape(-1, 2)
    field = scipy.spatial.cKDTree(seeds).query(place)[1].reshape(size, size)
    ground, echo = rng.uniform(0.05, 0.4, 60)[field], rng.uniform(-20, -8, 60)[field]
    noise = rng.normal(size=(2, dates, size, size))
    return ground + 0.01 * noise[0], echo + 1.5 * noise[1]


def scene(optical, radar):
    """Both as a Dataset of one band and one polarisation (time, y, x)."""
    days = np.datetime64("2025-06-01", "ns") + np.arange(len(optical)) * np.timedelta64(5, "D")
    return xr.Dataset(
        {
            "B04": (DIMS, optical.astype("float32"), {"units": "1", "processing_level": "BOA"}),
            "VV": (DIMS, radar.astype("float32"), {"units": "dB"}),
        },
        {
            "time": days,
            "y": -10.0 * np.arange(optical.shape[1]),
            "x": 10.0 * np.arange(optical.shape[2]),
        },
    )


def moved(bands, shift):
    return np.stack([scipy.ndimage.shift(b, shift, order=3, mode="nearest") for b in bands])


def inner(bands, border=8):
    return np.asarray(bands)[..., border:-border, border:-border]


@pytest.mark.parametrize("shift", [*SHIFTS, (0.0, 0.0)])
def test_a_shift_of_drawn_fields_is_found_to_a_third_of_a_pixel(shift):
    optical, radar = fields()
    ds = scene(inner(optical), inner(moved(radar, shift)))
    found = ds.cloudfree.shift(mask=CLEAR["mask"])
    error = np.hypot(found.dy - shift[0], found.dx - shift[1])
    assert int(error.count()) >= 3  # of four blocks
    assert float(error.median()) < 0.35
    assert float(error.max()) < 0.7
    known = found.dy.notnull()
    assert float(found.confidence.where(known).min()) > misalignment.CONFIDENT


def test_what_has_no_edges_is_unknown():
    rng = np.random.default_rng(1)
    ds = scene(rng.normal(0.02, 0.001, (3, 256, 256)), rng.normal(-22, 2, (3, 256, 256)))
    for by in ("scene", "date"):
        found = ds.cloudfree.shift(by=by, mask=CLEAR["mask"])
        assert np.isnan(found.dy).all()
        assert np.isnan(found.dx).all()
    flat = scene(np.full((1, 128, 128), 0.02), np.full((1, 128, 128), -22.0))
    assert np.isnan(flat.cloudfree.shift(mask=CLEAR["mask"]).dy).all()


def test_clouds_that_are_masked_do_not_count():
    optical, radar = fields(dates=3)
    cloud = np.zeros(optical.shape, bool)
    cloud[0, 20:70, 30:90], cloud[1, 80:150, 10:60] = True, True
    ds = scene(np.where(cloud, 0.9, optical), moved(radar, (2, -3)))
    found = ds.cloudfree.shift(mask=xr.DataArray(cloud, dims=DIMS))
    assert abs(float(found.dy.median()) - 2) < 0.35
    assert abs(float(found.dx.median()) + 3) < 0.35


def test_chunks_and_forms_change_nothing():
    optical, radar = fields(dates=3)
    ds = scene(optical, moved(radar, (1.5, 2.5)))
    ds["B08"], ds["VH"] = ds.B04 + 0.1, ds.VV - 6
    mask = ds.B04 > 0.39
    whole = ds.cloudfree.shift(by="date", mask=mask, block=80)
    assert dict(whole.sizes) == {"time": 3, "y": 2, "x": 2}
    out = ds.cloudfree.reconstruct(model="median", mask=mask, align="correct")
    for chunks in ({"time": 1, "y": 40, "x": 160}, {"time": 3, "y": 100, "x": 33}):
        chunked = ds.chunk(chunks)
        lazy = chunked.cloudfree.shift(by="date", mask=mask, block=80)
        assert lazy.dy.chunks is not None
        xr.testing.assert_identical(lazy.compute(), whole)
        again = chunked.cloudfree.reconstruct(model="median", mask=mask, align="correct")
        assert again.VV.chunks == chunked.VV.chunks
        np.testing.assert_array_equal(again.VV, out.VV)
    names = {"B04": "B04", "B08": "B08"}
    s2 = ds[list(names)].to_dataarray("band").transpose("time", "band", "y", "x")
    s1 = ds[["VV", "VH"]].to_dataarray("band").transpose("time", "band", "y", "x")
    form = xr.Dataset({
        "s2": s2.assign_attrs(units="1", processing_level="BOA"),
        "s1": s1.rename(band="polarisation").assign_attrs(units="dB"),
    })  # fmt: skip
    made = form.cloudfree.reconstruct(model="median", mask=mask, align="correct")
    np.testing.assert_array_equal(made.s1.sel(polarisation="VV"), out.VV)
    array = xr.concat([s1.sel(band=["VH", "VV"]), s2], "band").transpose("time", "band", "y", "x")
    array = array.assign_attrs(units="1", processing_level="BOA", sar_units="dB")
    made = array.cloudfree.reconstruct(model="median", mask=mask, align="correct")
    np.testing.assert_array_equal(made.sel(band="VV"), out.VV)
    np.testing.assert_array_equal(made.sel(band="VH"), out.VH)


def test_a_check_warns_above_a_pixel_and_a_correction_brings_radar_back():
    optical, radar = fields(size=200)
    ds, mask = scene(inner(optical), inner(moved(radar, (0, 4)))), CLEAR["mask"]
    with pytest.warns(UserWarning, match=r"px right of Sentinel-2; call reconstruct\(align"):
        out = ds.cloudfree.reconstruct(model="idw", mask=mask, align="check")
    np.testing.assert_array_equal(out.VV, ds.VV)
    out = ds.cloudfree.reconstruct(model="idw", mask=mask, align="correct")
    assert out.provenance.attrs["radar_shift"].endswith("resampled")
    rest = out.cloudfree.shift(mask=mask)
    assert float(np.hypot(rest.dy, rest.dx).median()) < 0.35
    straight = scene(inner(optical), inner(radar))
    assert (
        "px"
        in straight.cloudfree.reconstruct(model="idw", mask=mask, align="check").provenance.attrs[
            "radar_shift"
        ]
    )


def test_one_radar_image_for_all_dates_is_corrected_too():
    optical, radar = fields(dates=3, size=200)
    ds = scene(inner(optical), np.repeat(inner(moved(radar, (0, 4)))[:1], 3, 0))
    once = ds.assign(VV=ds.VV.isel(time=0, drop=True))
    out, again = (
        d.cloudfree.reconstruct(model="idw", mask=CLEAR["mask"], align="correct")
        for d in (ds, once)
    )
    assert out.provenance.attrs["radar_shift"].endswith("resampled")
    np.testing.assert_array_equal(again.VV, out.VV)


def test_a_shift_that_nothing_tells_is_said_and_corrects_nothing():
    rng = np.random.default_rng(1)
    ds = scene(rng.normal(0.02, 0.001, (1, 128, 128)), rng.normal(-22, 2, (1, 128, 128)))
    with pytest.warns(UserWarning, match="unknown"):
        out = ds.cloudfree.reconstruct(model="idw", mask=CLEAR["mask"], align="correct")
    np.testing.assert_array_equal(out.VV, ds.VV)
    assert "unknown" in out.provenance.attrs["radar_shift"]


def test_resampling_is_bilinear_and_leaves_no_value_made_up():
    values = np.arange(20, dtype="float32").reshape(4, 5)
    np.testing.assert_array_equal(misalignment.resampled(values, 1, -2)[:3, 2:], values[1:, :3])
    half = misalignment.resampled(values, 0.5, 0.25)
    np.testing.assert_allclose(half[:3, :4], (values + 2.5 + 0.25)[:3, :4])
    assert np.isnan(half[3]).all()
    assert np.isnan(half[:, 4]).all()
    values[1, 1] = np.nan
    assert np.isnan(misalignment.resampled(values, 0.5, 0.0)[:2, 1]).all()


def read(path):
    with rasterio.open(path) as file:
        return file.read().astype("float32")


def real(optical, radar):
    """A pair of one date, seven bands."""
    ds = scene(inner(optical[:1]) * 1e-4, inner(radar[:1]))
    for name, band in zip(BANDS, optical, strict=True):
        ds[name] = ds.B04.copy(data=inner(band[None]) * np.float32(1e-4))
    return ds.assign(VH=ds.VV.copy(data=inner(radar[1:2])))


@pytest.mark.parametrize("pair", ["terramind_433D_629L_3_1", "terramind_609U_541L_3_0"])
def test_shifts_put_into_real_radar_are_found_within_half_a_pixel(data_root, pair):
    """The pair's own shift, which nobody knows, is measured before; these two chose no setting."""
    folder = data_root / "pairs_l1c" / pair
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    optical = read(folder / "s2.tif")[[1, 2, 3, 7, 8, 11, 12]]
    radar = read(folder / "s1_rtc.tif")
    own = real(optical, radar).cloudfree.shift(mask=CLEAR["mask"])
    errors = []
    for dy, dx in SHIFTS:
        found = real(optical, moved(radar, (dy, dx))).cloudfree.shift(mask=CLEAR["mask"])
        errors.append(np.hypot(found.dy - own.dy - dy, found.dx - own.dx - dx).values.ravel())
    errors = np.concatenate(errors)
    assert np.isfinite(errors).mean() > 0.5
    assert np.nanmedian(errors) < 0.5


def test_real_open_water_is_unknown(data_root):
    folder = data_root / "triplets" / "1302"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    water = (slice(None), slice(0, 256), slice(0, 128))
    optical = read(folder / "s2_cloudfree.tif")[[1, 2, 3, 7, 8, 11, 12]][water]
    found = real(optical, read(folder / "s1.tif")[water]).cloudfree.shift(mask=CLEAR["mask"])
    assert np.isnan(found.dy).all()


def test_opposite_orbits_over_forest_edges_are_told_apart_from_a_shift(data_root):
    """BioMassters, Finland: edges lean left seen from one side, and right from the other."""
    path = data_root / "series" / "biomassters_finland" / "000aa810.nc"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    ds = xr.open_dataset(path)
    parts, orbits = [], []
    for month in (7, 8, 10):  # nearly without cloud
        optical = ds.s2.sel(month_s2=month, band_s2=BANDS).values.astype("float32")
        for orbit in ("asc", "desc"):
            names = [f"VV_{orbit}", f"VH_{orbit}"]
            radar = ds.s1.sel(month_s1=month, band_s1=names).values
            if (radar > -9000).all():
                parts.append(real(optical, np.where((radar == 0).all(0), np.nan, radar)))
                orbits.append(f"{orbit}ending")
    assert len(set(orbits)) == 2
    times = np.datetime64("2020-10-01", "ns") + np.arange(len(parts)) * np.timedelta64(30, "D")
    series = xr.concat(
        [p.assign_coords(time=[t]) for p, t in zip(parts, times, strict=True)], "time"
    )
    series = series.assign_coords(orbit_state=("time", orbits))
    found = series.cloudfree.shift(by="orbit_state", mask=CLEAR["mask"])
    left, right = (found.dx.sel(orbit_state=o).median() for o in ("ascending", "descending"))
    assert left < -LAYOVER
    assert right > LAYOVER
    from xcloudfree.core.recognise import read as recognise

    told = estimate(recognise(series), series, CLEAR["mask"])
    assert "layover" in told.text
    assert abs(told.shifts[0][1]) < 0.5  # what is common to both, and only that, is a shift
