"""evaluate(): forms, rows, selections, laziness and refusals."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

from xcloudfree.exceptions import DataError, GridError, MissingBandError
from xcloudfree.judge.evaluation import evaluate, mean, table
from xcloudfree.judge.metrics import METRICS, image_metrics

BANDS = ["B02", "B03", "B04"]
COLUMNS = [*METRICS, "count", "left_out"]


def image(seed: int, times: int = 2, shape: tuple[int, int] = (20, 24)) -> xr.DataArray:
    values = np.random.default_rng(seed).uniform(0, 1, (times, 3, *shape)).astype(np.float32)
    return xr.DataArray(
        values,
        dims=("time", "band", "y", "x"),
        coords={
            "time": np.datetime64("2025-06-01", "ns") + 5 * np.arange(times).astype("m8[D]"),
            "band": BANDS,
            "y": 100.0 - 10 * np.arange(shape[0]),
            "x": 5.0 + 10 * np.arange(shape[1]),
        },
        attrs={"units": "1"},
    )


def occlusion(like: xr.DataArray, seed: int = 9) -> xr.DataArray:
    dice = np.random.default_rng(seed).random(like.isel(band=0).shape)
    plane = like.isel(band=0, drop=True)
    return xr.DataArray(dice < 0.3, dims=plane.dims, coords=plane.coords)


def values(result: xr.Dataset, **where: object) -> list[float]:
    one = result.sel(where)
    return [float(one[name]) for name in COLUMNS]


def test_every_row_is_the_kernel_on_that_image() -> None:
    prediction, truth, observed = image(0), image(1), image(2)
    mask = occlusion(truth)
    result = evaluate(prediction, truth, mask=mask, observed=observed)
    assert result.mae.dims == ("estimate", "pixels", "time")
    assert result.estimate.values.tolist() == ["do nothing", "prediction"]
    assert result.pixels.values.tolist() == ["all", "cloudy", "clear"]
    for i, time in enumerate(truth.time.values):
        m = mask.values[i]
        for name, array in (("prediction", prediction), ("do nothing", observed)):
            expected = image_metrics(array.values[i], truth.values[i], [None, m, ~m])
            for row, pixels in zip(expected, ("all", "cloudy", "clear"), strict=True):
                got = values(result, estimate=name, pixels=pixels, time=time)
                np.testing.assert_allclose(got, row)
    units = {name: result[name].attrs["units"] for name in METRICS}
    assert units == {"psnr": "dB", "ssim": "1", "mae": "1", "rmse": "1", "sam": "degree"}


def as_bands(array: xr.DataArray) -> xr.Dataset:
    ds = array.to_dataset("band")
    return ds.assign({n: ds[n].assign_attrs(units="1") for n in ds.data_vars})


def test_forms_and_band_order_and_integers_do_not_matter() -> None:
    prediction, truth = image(0), image(1)
    expected = evaluate(prediction, truth)
    digital = (prediction * 10_000).round().clip(1).astype(np.uint16)
    digital.attrs = {"scale_factor": 1e-4, "add_offset": 0.0, "nodata": 0}
    forms: dict[str, xr.Dataset | xr.DataArray] = {
        "bands": as_bands(prediction),
        "aliases": as_bands(prediction).rename(B02="blue", B03="green", B04="red"),
        "stacked": xr.Dataset({"s2": prediction}),
        "another order": prediction.isel(band=[2, 0, 1]).transpose("y", "band", "x", "time"),
        "degrees": prediction.drop_vars(["y", "x"]).rename(y="latitude", x="longitude"),
    }
    for form in forms.values():
        xr.testing.assert_allclose(evaluate(form, truth), expected)
    np.testing.assert_allclose(evaluate(digital, truth).mae, expected.mae, atol=2e-5)


def test_without_observed_the_row_is_nan_and_says_why() -> None:
    result = evaluate(image(0), image(1), mask=occlusion(image(1)))
    nothing = result.sel(estimate="do nothing")
    assert all(np.isnan(nothing[name]).all() for name in METRICS)
    assert (nothing["count"] == 0).all()
    assert "observed=ds" in result.attrs["do_nothing"]
    assert "observed=ds" in table(result)
    assert not np.isnan(result.sel(estimate="prediction").mae).any()


def test_provenance_serves_as_the_mask() -> None:
    prediction, truth = image(0), image(1)
    mask = occlusion(truth)
    flags = (mask + 1).astype(np.uint8)
    flags[0, 0, 0] = 3
    expected = evaluate(prediction, truth, mask=flags >= 2)
    carried = as_bands(prediction).assign(provenance=flags)
    xr.testing.assert_allclose(evaluate(carried, truth), expected)
    xr.testing.assert_allclose(
        evaluate(prediction.assign_coords(provenance=flags), truth), expected
    )
    without = evaluate(prediction, truth)
    assert np.isnan(without.mae.sel(pixels=["cloudy", "clear"])).all()
    assert "mask=" in without.attrs["cloudy_and_clear"]


def test_one_truth_and_one_mask_serve_every_date() -> None:
    prediction, truth = image(0), image(1)
    single = truth.isel(time=0, drop=True)
    mask = occlusion(truth).isel(time=0)
    result = evaluate(prediction, single, mask=mask.values)
    for i, time in enumerate(prediction.time.values):
        expected = image_metrics(prediction.values[i], single.values, [mask.values])
        got = values(result, estimate="prediction", pixels="cloudy", time=time)
        np.testing.assert_allclose(got, expected[0])


def test_other_estimates_get_a_row_each() -> None:
    prediction, truth = image(0), image(1)
    constant = xr.full_like(truth, 0.5)
    result = evaluate(prediction, truth, others={"constant": constant})
    assert result.estimate.values.tolist() == ["do nothing", "constant", "prediction"]
    np.testing.assert_allclose(
        result.mae.sel(estimate="constant", pixels="all"),
        abs(truth - 0.5).mean(["band", "y", "x"]),
        rtol=1e-6,
    )
    with pytest.raises(DataError, match="others="):
        evaluate(prediction, truth, others={"prediction": constant})


def test_pixels_without_data_are_counted_and_left_out() -> None:
    prediction, truth = image(0), image(1)
    prediction[0, 1, :5, :6] = np.nan
    truth[0, 2, 0, 0] = np.nan  # one of the same pixels
    result = evaluate(prediction, truth).sel(estimate="prediction", pixels="all")
    assert result["count"].values.tolist() == [20 * 24 - 30, 20 * 24]
    assert result.left_out.values.tolist() == [30, 0]
    expected = abs(prediction - truth).where(prediction.notnull().all("band"))
    np.testing.assert_allclose(result.mae, expected.mean(["band", "y", "x"]), rtol=1e-6)


def test_lazy_in_lazy_out_one_image_at_a_time() -> None:
    prediction, truth = image(0, times=3), image(1, times=3)
    mask = occlusion(truth)
    expected = evaluate(prediction, truth, mask=mask, observed=prediction * 0)
    seen = []

    def scheduler(*args: object, **kwargs: object) -> object:
        seen.append(1)
        return dask.get(*args, **kwargs)

    with dask.config.set(scheduler=scheduler):
        result = evaluate(
            prediction.chunk(x=7, time=2),
            truth.chunk(y=9),
            mask=mask,
            observed=(prediction * 0).chunk(),
        )
        assert not seen
        assert all(result[name].chunks is not None for name in COLUMNS)
        assert result.mae.chunksizes["time"] == (1, 1, 1)
        loaded = result.compute()
        assert seen
    xr.testing.assert_allclose(loaded, expected)


def test_mean_is_over_the_images_that_have_such_pixels() -> None:
    prediction, truth = image(0), image(1)
    mask = occlusion(truth)
    mask[1] = False  # the second date has no cloud
    result = evaluate(prediction, truth, mask=mask)
    row = mean(result).sel(estimate="prediction")
    first = result.isel(time=0).sel(estimate="prediction")
    assert float(row.mae.sel(pixels="cloudy")) == float(first.mae.sel(pixels="cloudy"))
    assert row.images.sel(pixels=["all", "cloudy"]).values.tolist() == [2, 1]
    whole = result.psnr.sel(estimate="prediction", pixels="all")
    assert float(row.psnr.sel(pixels="all")) == pytest.approx(float(whole.mean()))


def test_table_shows_every_image_and_the_mean() -> None:
    prediction, truth = image(0), image(1)
    result = evaluate(prediction, truth, mask=occlusion(truth), observed=truth)
    lines = table(result, per_image=True).splitlines()
    assert len(lines) == 2 + 3 * 2 * 3
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| 2025-06-01T00:00:00 | do nothing | all | inf | 1.000 | 0.0000")
    psnr = float(mean(result).psnr.sel(estimate="prediction", pixels="clear"))
    assert lines[-1].startswith(f"| mean | prediction | clear | {psnr:.2f} |")


def test_refusals_end_with_the_call_that_mends_them() -> None:
    prediction, truth = image(0), image(1)
    with pytest.raises(MissingBandError, match=r"bands=\['B02', 'B03'\]\)$"):
        evaluate(prediction.isel(band=[0, 1]), truth)
    subset = evaluate(prediction.isel(band=[0, 1]), truth, bands=["blue", "B03"])
    assert subset.attrs["bands"] == ["B02", "B03"]
    with pytest.raises(MissingBandError, match="truth lacks"):
        evaluate(prediction, truth.isel(band=[0, 1]), bands=BANDS)
    with pytest.raises(GridError, match=r"sel\(x=truth\.x\), truth\)$"):
        evaluate(prediction, truth.isel(x=slice(3, None)))
    with pytest.raises(GridError, match=r"reproject_match\(prediction\)\)$"):
        evaluate(prediction, truth.assign_coords(x=truth.x + 5))
    moved = truth.assign_coords(time=truth.time + np.timedelta64(1, "D"))
    with pytest.raises(GridError, match=r"assign_coords\(time=prediction\.time\)\) if"):
        evaluate(prediction, moved)
    with pytest.raises(DataError, match=r"astype\(bool\)\)$"):
        evaluate(prediction, truth, mask=occlusion(truth).astype(int))
    for mask in (True, np.ones((1, 1, *occlusion(truth).shape), bool)):
        with pytest.raises(GridError, match=r"dimensions .*ds\.cloudfree\.mask\(\)\)$"):
            evaluate(prediction, truth, mask=mask)


def test_equals_the_golden_do_nothing_row_of_a_real_patch(goldens_root: Path) -> None:
    arrays = np.load(goldens_root / "metrics/arrays.npz")
    from xcloudfree.core.bands import S2_BANDS

    coords = {"band": list(S2_BANDS)}
    cloudy, truth = (
        xr.DataArray(arrays[f"{n}_real_do_nothing"], dims=("band", "y", "x"), coords=coords)
        for n in ("pred", "target")
    )
    result = evaluate(cloudy, truth, observed=cloudy)
    row = result.sel(estimate="do nothing", pixels="all")
    assert float(row.psnr) == pytest.approx(27.155357142667178, abs=1e-9)
    assert float(row.sam) == pytest.approx(8.041485843040764, abs=1e-9)
