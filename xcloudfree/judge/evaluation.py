"""Compare a reconstruction with a clear image: PSNR, SSIM, MAE, RMSE and SAM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xcloudfree.core.bands import optical_band
from xcloudfree.core.recognise import SPATIAL, read
from xcloudfree.core.restore import provenance_of
from xcloudfree.exceptions import DataError, GridError, MissingBandError
from xcloudfree.judge.intervals import bound, interval_metrics, nominal_level
from xcloudfree.judge.metrics import DEFINITIONS, DIGITS, METRICS, NAMES, UNITS, image_metrics

PIXELS: Final = ("all", "cloudy", "clear")
NOTHING: Final = "do nothing"
PREDICTION: Final = "prediction"

_IMAGE: Final = ("band", "y", "x")
COLUMNS: Final = (*METRICS, "count", "left_out")

_COUNTS: Final = {
    "count": "pixels compared",
    "left_out": "selected pixels left out: no data in some band of either image",
}

Spatial = xr.Dataset | xr.DataArray


def evaluate(
    prediction: Spatial,
    truth: Spatial,
    *,
    mask: xr.DataArray | ArrayLike | None = None,
    observed: Spatial | None = None,
    others: Mapping[str, Spatial] | None = None,
    bands: Sequence[str] | None = None,
    interval: bool | float | None = None,
) -> xr.Dataset:
    """Evaluate a reconstruction per image, over all, cloudy and clear pixels.

    The metrics use reflectance, clipped to [0, 1], and all bands jointly. There is one value per
    image (date or patch); the value of a data set is the mean over its images. The attributes
    contain the exact definitions. The row "do nothing" compares the cloudy input with the truth; a
    method that does not beat it is harmful. Lazy input gives a lazy result, one task per image.

    Parameters
    ----------
    prediction : xarray.Dataset or xarray.DataArray
        The reconstruction, in any accepted form.
    truth : xarray.Dataset or xarray.DataArray
        The clear image on the same grid. If it lacks the prediction's time or patch dimension, it
        is used for every image.
    mask : xarray.DataArray or array, optional
        Boolean, True = occluded in the input. By default the prediction's `provenance` marks
        these pixels; without either, "cloudy" and "clear" are NaN.
    observed : xarray.Dataset or xarray.DataArray, optional
        The cloudy input, for the row "do nothing", which is NaN without it.
    others : mapping of str to Dataset or DataArray, optional
        Further reconstructions by name, one row each.
    bands : sequence of str, optional
        Bands to compare; by default the bands of prediction and truth, which must be the same.
    interval : bool or float, optional
        Judge the bounds of ``reconstruct(interval=0.9)`` too: True, or their level if they lost it.

    Returns
    -------
    xarray.Dataset
        `psnr` (dB), `ssim`, `mae`, `rmse`, `sam` (degree), `count` and `left_out` (pixels) over
        estimate, pixels ("all", "cloudy", "clear") and the dimensions of the images. With
        `interval`: `coverage`, `width`, `interval_score` and `calibration_error` of the cloudy
        pixels over these dimensions and the bands.

    Raises
    ------
    MissingBandError
        If the bands differ, or one of `bands` is missing.
    GridError
        If the images or the mask do not share one grid or the same dates.
    DataError
        If the mask is not boolean, or there are no bounds of the level.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> truth = xr.DataArray(np.full((2, 4, 4), 0.5), dims=("band", "y", "x"),
    ...                      coords={"band": ["B02", "B03"]}, attrs={"units": "1"})
    >>> result = evaluate(truth + 0.1, truth, mask=np.eye(4, dtype=bool), observed=truth + 0.4)
    >>> result.mae.sel(pixels="cloudy").round(3).values.tolist()
    [0.4, 0.1]
    >>> result["count"].sel(estimate="prediction").values.tolist()
    [16, 4, 12]
    """
    if others is not None and not isinstance(others, Mapping):
        raise DataError(
            f"others is a {type(others).__name__}",
            fix="call evaluate(..., others={'its name': image})",
        )
    names = [NOTHING, *(others or {}), PREDICTION]
    if len(set(names)) < len(names):
        raise DataError(
            f"the names {NOTHING!r} and {PREDICTION!r} are taken",
            fix="call evaluate(..., others={'another name': image})",
        )
    images = {PREDICTION: reflectance(prediction)}
    images |= {name: reflectance(image) for name, image in (others or {}).items()}
    if observed is not None:
        images[NOTHING] = reflectance(observed)
    reference = reflectance(truth)

    chosen = _common_bands(images[PREDICTION], reference, bands)
    reference = _select(reference, chosen, "truth")
    if not reference.size:
        raise DataError(
            f"there is nothing to compare among {dict(reference.sizes)}",
            fix="select dates and pixels that there are, for example with truth.isel(time=...)",
            option="choose images with dates and pixels",
        )
    rows = {}
    cloudy = _cloudy(mask, prediction, images[PREDICTION])
    for name, image in images.items():
        image = _on_grid(_select(image, chosen, name), reference, name)
        rows[name] = _row(image, reference, cloudy)
    if observed is None:
        rows[NOTHING] = xr.full_like(rows[PREDICTION], np.nan)
    stacked = xr.concat([rows[name] for name in names], xr.Variable("estimate", names))
    stacked = stacked.transpose("metric", "estimate", "pixels", ...)

    out = xr.Dataset({c: stacked.isel(metric=i) for i, c in enumerate(COLUMNS)})
    for name, (words, definition) in DEFINITIONS.items():
        out[name].attrs = {"long_name": words, "units": UNITS[name], "definition": definition}
    if interval not in (None, False):
        level = nominal_level(prediction, interval)
        ends = [_select(bound(prediction, e), chosen, e) for e in ("lower", "upper")]
        lower, upper = (_on_grid(image, reference, "the bound") for image in ends)
        out = out.merge(interval_metrics(reference, lower, upper, cloudy, level))
    for name, words in _COUNTS.items():
        out[name] = out[name].fillna(0).astype(np.int64)
        out[name].attrs = {"long_name": words, "units": "1"}
    out.attrs = {
        "title": "Quality of reconstructed reflectance per image",
        "bands": list(chosen),
        "definition": "all bands jointly, values clipped to [0, 1]; the value of a data set is the "
        "mean over images of the value per image",
    }
    if observed is None:
        out.attrs["do_nothing"] = "unknown: pass observed=ds, the cloudy input"
    if cloudy is None:
        out.attrs["cloudy_and_clear"] = "unknown: pass mask=ds.cloudfree.mask()"
    return out


def reflectance(obj: Spatial) -> xr.DataArray:
    """Reflectance (..., band, y, x) of any accepted input, with canonical band names."""
    scene = read(obj)
    array = scene.reflectance().rename(dict(zip(scene.spatial, ("y", "x"), strict=True)))
    return array.transpose(..., *_IMAGE)


def on_yx(mask: xr.DataArray) -> xr.DataArray:
    """A mask with the names of its spatial dimensions that :func:`reflectance` gives."""
    for pair in SPATIAL[1:]:
        if set(pair) <= set(mask.dims):
            mask = mask.rename(dict(zip(pair, ("y", "x"), strict=True)))
    return mask


def _common_bands(
    prediction: xr.DataArray, truth: xr.DataArray, bands: Sequence[str] | None
) -> list[str]:
    """Bands to compare."""
    if bands is not None:
        bands = [bands] if isinstance(bands, str) else bands
        return [optical_band(b) or b for b in bands]
    one, other = ([str(b) for b in a.band.values] for a in (prediction, truth))
    if set(one) != set(other):
        shared = [b for b in one if b in other]
        raise MissingBandError(
            f"prediction and truth differ in {sorted(set(one) ^ set(other))}",
            fix=f"call evaluate(prediction, truth, bands={shared})"
            if shared
            else "call evaluate() with images of the same bands",
            option="give both the same bands",
        )
    return one


def _select(array: xr.DataArray, bands: Sequence[str], what: str) -> xr.DataArray:
    present = [str(b) for b in array.band.values]
    if missing := [b for b in bands if b not in present]:
        shared = [b for b in bands if b in present]
        raise MissingBandError(
            f"{what} lacks {missing}",
            fix=f"call evaluate(prediction, truth, bands={shared or present})",
            option="give all inputs the same bands",
        )
    return array.sel(band=list(bands))


def _on_grid(image: xr.DataArray, reference: xr.DataArray, what: str) -> xr.DataArray:
    """The image with the reference's coordinates, if both are on the same grid."""
    for dim in image.dims:
        if dim not in reference.dims:
            continue
        if image.sizes[dim] != reference.sizes[dim]:
            taken = f".sel({dim}=truth.{dim})"
            arguments = f"..., mask=mask{taken}" if what == "mask" else f"prediction{taken}, truth"
            raise GridError(
                f"{what} has {image.sizes[dim]} along {dim}, the truth {reference.sizes[dim]}",
                fix=f"call evaluate({arguments})",
                option="give all inputs the same size",
            )
        if dim not in image.coords or dim not in reference.coords:
            continue
        mine, theirs = image[dim].values, reference[dim].values
        if np.array_equal(mine, theirs):
            continue
        if dim in ("y", "x") and mine.size > 1:
            if np.allclose(mine, theirs, rtol=0, atol=1e-3 * abs(float(theirs[1] - theirs[0]))):
                continue
            raise GridError(
                f"{what} and truth differ along {dim}",
                fix="call evaluate(prediction, truth.rio.reproject_match(prediction))",
                option="warp one to the grid of the other first, for example with gdalwarp",
            )
        raise GridError(
            f"{what} and truth differ along {dim}",
            fix=f"call evaluate(prediction, truth.assign_coords({dim}=prediction.{dim})) if they "
            "belong together nonetheless",
            option=f"give all inputs the same {dim}",
        )
    shared = {d: reference[d] for d in image.dims if d in reference.coords}
    return image.assign_coords(shared)


def _cloudy(
    mask: xr.DataArray | ArrayLike | None, prediction: Spatial, image: xr.DataArray
) -> xr.DataArray | None:
    """The occlusion mask as a DataArray over a tail of the image's dimensions."""
    if mask is None:
        provenance = provenance_of(prediction)
        if provenance is None:
            return None
        mask = provenance >= 2
    if isinstance(mask, str) or callable(mask):
        call = f"{mask!r}" if isinstance(mask, str) else "function"
        raise DataError(
            f"the mask is a {type(mask).__name__}, which does not say which image to make it from",
            fix=f"call evaluate(..., mask=observed.cloudfree.mask({call}))",
        )
    if not isinstance(mask, xr.DataArray):
        values = mask if hasattr(mask, "dask") else np.asarray(mask)
        dims = [d for d in image.dims if d != "band"]
        if not 2 <= values.ndim <= len(dims):  # type: ignore[union-attr]
            raise GridError(
                f"the mask has {values.ndim} dimensions and an image has {dims}",  # type: ignore[union-attr]
                fix="call evaluate(..., mask=ds.cloudfree.mask())",
            )
        mask = xr.DataArray(values, dims=dims[-values.ndim :])  # type: ignore[union-attr]
    mask = on_yx(mask)
    if mask.dtype != np.bool_:
        raise DataError(
            f"the mask is {mask.dtype}, not boolean",
            fix="call evaluate(..., mask=mask.astype(bool))",
        )
    return _on_grid(mask, image, "mask")


def _row(image: xr.DataArray, truth: xr.DataArray, cloudy: xr.DataArray | None) -> xr.DataArray:
    """Metrics of every image of one method: (..., pixels, metric)."""
    arrays = [image, truth] if cloudy is None else [image, truth, cloudy]
    if any(a.chunks is not None for a in arrays):
        arrays = [a.chunk({d: -1 if d in _IMAGE else 1 for d in a.dims}) for a in arrays]
    core = [list(_IMAGE), list(_IMAGE), ["y", "x"]][: len(arrays)]

    def kernel(p: Any, t: Any, m: Any = None) -> NDArray[np.float64]:
        if m is None:
            rows = np.full((len(PIXELS), len(COLUMNS)), np.nan)
            rows[:1] = image_metrics(p, t)
            return rows
        return image_metrics(p, t, [None, m, ~m])

    row: xr.DataArray = xr.apply_ufunc(
        kernel,
        *(a.reset_coords(drop=True) for a in arrays),
        input_core_dims=core,
        output_core_dims=[["pixels", "metric"]],
        vectorize=True,
        join="override",
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"pixels": len(PIXELS), "metric": len(COLUMNS)}},
    )
    return row.assign_coords(pixels=list(PIXELS))


def mean(result: xr.Dataset) -> xr.Dataset:
    """Average over images; images without pixels in a selection are ignored there.

    Parameters
    ----------
    result : xarray.Dataset
        From :func:`xcloudfree.evaluate`.

    Returns
    -------
    xarray.Dataset
        Over estimate and pixels; `count` and `left_out` are sums, `images` the number of images.
    """
    lead = _image_dims(result)
    out = result[list(METRICS)].mean(lead, skipna=True, keep_attrs=True)
    out["images"] = result.mae.notnull().sum(lead)
    for name in ("count", "left_out"):
        out[name] = result[name].sum(lead, keep_attrs=True)
    out.attrs = dict(result.attrs)
    return out


def table(result: xr.Dataset, *, per_image: bool = False) -> str:
    r"""Markdown table of a result of :func:`xcloudfree.evaluate`.

    Parameters
    ----------
    result : xarray.Dataset
        From :func:`xcloudfree.evaluate`.
    per_image : bool
        Show a block of rows for every image before the mean.

    Returns
    -------
    str
        The table, with a line about unknown rows.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> truth = xr.DataArray(np.full((1, 4, 4), 0.5), dims=("band", "y", "x"),
    ...                      coords={"band": ["B02"]}, attrs={"units": "1"})
    >>> text = table(evaluate(truth + 0.1, truth, mask=np.eye(4, dtype=bool)))
    >>> print("\n".join(line[:52] for line in text.splitlines()[:5]))
    | estimate | pixels | PSNR dB | SSIM | MAE | RMSE |
    |---|---|---|---|---|---|---|---|---|
    | do nothing | all | – | – | – | – | – | 0 | 0 |
    | do nothing | cloudy | – | – | – | – | – | 0 | 0 |
    | do nothing | clear | – | – | – | – | – | 0 | 0 |
    """
    result = result.compute()
    lead = _image_dims(result)
    blocks: list[tuple[str, xr.Dataset]] = []
    if per_image and lead:
        stacked = result.stack(image=lead, create_index=False)
        for i in range(stacked.sizes["image"]):
            one = stacked.isel(image=i)
            label = ", ".join(_coordinate(one, d) if d in one.coords else f"{d} {i}" for d in lead)
            blocks.append((label, one.assign(images=one.mae.notnull().astype(int))))
    blocks.append(("mean", mean(result)))

    head = ["estimate", "pixels", *(NAMES[name] for name in METRICS), "images", "count"]
    rows = []
    for label, block in blocks:
        for method, pixels in product(block.estimate.values, block.pixels.values):
            one = block.sel(estimate=method, pixels=pixels)
            figures = [number(float(one[name]), DIGITS[name]) for name in METRICS]
            counts = [str(int(one[name])) for name in ("images", "count")]
            rows.append([label, str(method), str(pixels), *figures, *counts])
    if len(blocks) == 1:
        text = markdown(head, [row[1:] for row in rows])
    else:
        text = markdown(["image", *head], rows)
    for key, what in (("do_nothing", "do nothing"), ("cloudy_and_clear", "cloudy and clear")):
        if key in result.attrs:
            text += f"\n\n{what}: {result.attrs[key]}"
    return text


def _image_dims(result: xr.Dataset) -> list[str]:
    return [str(d) for d in result.mae.dims if d not in ("estimate", "pixels")]


def _coordinate(image: xr.Dataset, dim: str) -> str:
    value = image[dim].values
    return str(value.astype("datetime64[s]")) if value.dtype.kind == "M" else str(value)


def number(value: float, digits: int) -> str:
    """A figure for a table."""
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines)
