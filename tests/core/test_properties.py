"""Scenes as users have them, by chance: what holds for all of them."""

import importlib.util
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import xcloudfree as xcf
from xcloudfree.core.windows import merged
from xcloudfree.exceptions import CloudFreeError

BANDS = ("B02", "B03", "B04", "B08")
TORCH = importlib.util.find_spec("torch") is not None
METHODS = tuple(n for n in xcf.methods.names() if n != "given" and (TORCH or n != "kernel-fusion"))
DIMS = (("time", "y", "x"), ("time", "x", "y"), ("y", "x", "time"))
FORMS = ("bands", "stacked", "array")


@st.composite
def scenes(draw):
    """Numbers of a scene with NaN for no data, how it is written, and how it is chunked."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dates, rows, columns = draw(
        st.tuples(st.integers(2, 5), st.integers(6, 11), st.integers(6, 11))
    )
    shape = (dates, rows, columns)
    ground = rng.uniform(0.02, 0.4, (len(BANDS), 1, rows, columns))
    optical = ground + rng.normal(0, 0.01, (len(BANDS), *shape))
    hidden = rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.6]))
    optical[:, hidden] += 0.4
    optical = np.round(np.clip(optical, 0.001, 1.5), 4)
    radar = rng.normal(-12, 2, (2, *shape))
    gap = draw(st.sampled_from(["none", "swath", "date", "scattered", "band"]))
    empty = np.zeros(shape, bool)
    if gap == "swath":
        empty[..., : columns // 3] = True
    elif gap == "date":
        empty[draw(st.integers(0, dates - 1))] = True
    elif gap == "scattered":
        empty = rng.random(shape) < 0.1
    elif gap == "band":
        optical[0, rng.random(shape) < 0.1] = np.nan
    optical[:, empty] = np.nan
    radar_gap = draw(st.sampled_from(["none", "swath", "date", "one polarisation"]))
    if radar_gap == "swath":
        radar[..., columns // 2 :] = np.nan
    elif radar_gap == "date":
        radar[:, 0] = np.nan
    elif radar_gap == "one polarisation":
        radar[1, rng.random(shape) < 0.2] = np.nan
    return {
        "optical": optical,
        "radar": radar,
        "hidden": hidden,
        "type": draw(st.sampled_from(["float32", "float64", "uint16", "int16"])),
        "fill": draw(st.sampled_from([-9999.0, 0.0, 65535.0])),
        "key": draw(st.sampled_from(["nodata", "_FillValue", "missing_value"])),
        "declared": draw(st.sampled_from([True, True, True, False])),
        "sar_fill": draw(st.sampled_from([np.nan, -np.inf, -9999.0, -32768.0])),
        "dims": draw(st.sampled_from(DIMS)),
        "flip": draw(st.booleans()),
        "named": draw(st.booleans()),
        "form": draw(st.sampled_from(FORMS)),
        "chunks": draw(st.tuples(*(st.integers(3, 14) for _ in range(2)))),
        "blend": draw(st.sampled_from(["feather", None])),
        "together": draw(st.booleans()),
        "times": draw(st.sampled_from(["dates", "backwards", "text"])),
    }  # fmt: skip


def build(case, fill):
    """The Dataset and mask of a case; no data as NaN or, with `fill`, as it declares it."""
    times = np.datetime64("2025-06-01", "ns") + np.arange(
        case["optical"].shape[1]
    ) * np.timedelta64(5, "D")
    if case["times"] == "backwards":
        times = times[::-1]
    elif case["times"] == "text":
        times = np.array([f"{time}Z" for time in times.astype("M8[s]")])
    rows, columns = case["optical"].shape[-2:]
    y = 10.0 * np.arange(rows) if case["flip"] else 5e6 - 10.0 * np.arange(rows)
    coords = {"time": times, "y": y, "x": 5e5 + 10.0 * np.arange(columns)}
    kind, empty = case["type"], np.isnan(case["optical"])
    attrs = {"units": "1", "processing_level": "BOA"}
    if kind in ("float32", "float64"):
        number = -9999.0 if case["fill"] == 0 else case["fill"]
        optical = np.where(empty, number if fill else np.nan, case["optical"]).astype(kind)
        attrs |= {case["key"]: number} if fill and case["declared"] else {}
    else:
        number = case["fill"] if kind == "uint16" and case["fill"] >= 0 else 0.0
        number = -9999.0 if kind == "int16" else number
        optical = np.where(empty, number, np.rint(case["optical"] * 1e4)).astype(kind)
        attrs |= {"scale_factor": 1e-4, "add_offset": 0.0, case["key"]: number}
    sar_attrs, radar = {"units": "dB"}, case["radar"]
    if fill:
        radar = np.where(np.isnan(radar), case["sar_fill"], radar)
        if np.isfinite(case["sar_fill"]) and case["declared"]:
            sar_attrs["nodata"] = case["sar_fill"]
    tyx = ("time", "y", "x")
    names = {b: b.lower() if case["named"] else b for b in BANDS}
    ds = xr.Dataset(
        {names[b]: (tyx, v, dict(attrs)) for b, v in zip(BANDS, optical, strict=True)}
        | {
            p: (tyx, v.astype("float32"), dict(sar_attrs))
            for p, v in zip(("VV", "VH"), radar, strict=True)
        },
        coords,
    )
    mask = xr.DataArray(case["hidden"], coords, tyx)
    if case["form"] != "bands":
        s2 = xr.concat([ds[n] for n in names.values()], "band", coords="minimal", compat="override")
        s2 = s2.assign_coords(band=list(names.values())).transpose("time", "band", "y", "x")
        s1 = xr.concat(
            [ds[p] for p in ("VV", "VH")], "polarisation", coords="minimal", compat="override"
        )
        s1 = s1.assign_coords(polarisation=["VV", "VH"]).transpose("time", "polarisation", "y", "x")
        return xr.Dataset({"s2": s2.assign_attrs(attrs), "s1": s1.assign_attrs(sar_attrs)}), mask
    return ds.transpose(*case["dims"]), mask


def optical_of(ds):
    """Optical values as they are stored, (time, band, y, x)."""
    if "s2" in ds:
        return ds.s2.transpose("time", "band", "y", "x").values
    names = [n for n in ds.data_vars if str(n).upper() in BANDS]
    return np.stack([ds[n].transpose("time", "y", "x").values for n in names], 1)


def holds(case, method):
    """Assert what must hold whatever the scene; only errors of ours count as an answer."""
    ds, mask = build(case, fill=True)
    options = {"model": method, "mask": mask, "shadow": False, "blend": case["blend"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        y, x = case["chunks"]
        try:
            out = ds.cloudfree.reconstruct(**options)
        except CloudFreeError as error:
            # a fill that is not declared is refused, however the scene is cut
            assert error.fix  # noqa: PT017
            assert not case["declared"]
            with pytest.raises(type(error)):
                ds.chunk(y=y, x=x).cloudfree.reconstruct(**options).compute(scheduler="sync")
            return
        with pytest.MonkeyPatch.context() as patch:
            if case["together"]:
                patch.setattr("xcloudfree.core.blocks.merged", merged)
            lazy = ds.chunk(y=y, x=x).cloudfree.reconstruct(**options)
        lazy = lazy.compute(scheduler="sync")
        as_nan, _ = build(case, fill=False)
        plain = as_nan.cloudfree.reconstruct(**options)
    stored, was = optical_of(out), optical_of(ds)
    flags = out.provenance.transpose("time", "y", "x").values

    # the same over chunks
    np.testing.assert_array_equal(optical_of(lazy), stored)
    np.testing.assert_array_equal(lazy.provenance.transpose("time", "y", "x").values, flags)
    # NaN equals declared no data
    np.testing.assert_array_equal(plain.provenance.transpose("time", "y", "x").values, flags)
    filled = np.broadcast_to((flags == 2)[:, None], stored.shape)
    np.testing.assert_array_equal(optical_of(plain)[filled], stored[filled])
    # provenance agrees with values, and clear pixels are untouched
    empty = np.isnan(case["optical"]).any(0)
    assert ((flags == 0) == empty).all()
    if case["blend"]:
        untouched = ~case["hidden"] | empty
        assert set(np.unique(flags[untouched & ~empty])) <= {1}
        kept = np.broadcast_to(untouched[:, None], stored.shape)
        np.testing.assert_array_equal(stored[kept], was[kept])
        assert (flags[case["hidden"] & ~empty] >= 2).all()
    if stored.dtype.kind == "f":
        assert np.isfinite(stored[filled]).all()


CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.differing_executors]
QUICK = ("median", "linear-time", "pixel-fusion", "area-regression", "idw")
QUICK += ("kernel-fusion",) * TORCH


@seed(18)
@settings(max_examples=200, deadline=None, suppress_health_check=CHECKS, database=None)
@given(scenes(), st.sampled_from(QUICK))
def test_200_scenes(case, method):
    holds(case, method)


@pytest.mark.slow
@seed(1918)
@settings(max_examples=3000, deadline=None, suppress_health_check=CHECKS, database=None)
@given(scenes(), st.sampled_from(METHODS))
def test_3000_scenes(case, method):
    holds(case, method)
