"""Results of an evaluation as means and as Markdown."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xcloudfree.judge.metrics import METRICS


def mean(result: xr.Dataset) -> xr.Dataset:
    """Mean over images; an image without pixels in a selection does not count there.

    Parameters
    ----------
    result : xarray.Dataset
        From :func:`xcloudfree.evaluate.evaluate`.

    Returns
    -------
    xarray.Dataset
        Over estimate and pixels; `count` and `left_out` are sums, `images` the number of images.
    """
    lead = [str(d) for d in result.mae.dims if d not in ("estimate", "pixels")]
    out = result[list(METRICS)].mean(lead, skipna=True, keep_attrs=True)
    out["images"] = result.mae.notnull().sum(lead)
    for name in ("count", "left_out"):
        out[name] = result[name].sum(lead, keep_attrs=True)
    out.attrs = dict(result.attrs)
    return out


def table(result: xr.Dataset, *, per_image: bool = False) -> str:
    r"""Markdown table of a result of :func:`xcloudfree.evaluate.evaluate`.

    Parameters
    ----------
    result : xarray.Dataset
        From :func:`xcloudfree.evaluate.evaluate`.
    per_image : bool
        A block of rows for every image before the mean.

    Returns
    -------
    str
        The table, with a line for what is unknown.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudfree.judge.evaluation import evaluate
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
    lead = [str(d) for d in result.mae.dims if d not in ("estimate", "pixels")]
    blocks: list[tuple[str, xr.Dataset]] = []
    if per_image and lead:
        stacked = result.stack(image=lead, create_index=False)
        for i in range(stacked.sizes["image"]):
            one = stacked.isel(image=i)
            label = ", ".join(_name(one, d) if d in one.coords else f"{d} {i}" for d in lead)
            blocks.append((label, one.assign(images=one.mae.notnull().astype(int))))
    blocks.append(("mean", mean(result)))

    head = ["estimate", "pixels", "PSNR dB", "SSIM", "MAE", "RMSE", "SAM deg", "images", "count"]
    if len(blocks) > 1:
        head.insert(0, "image")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    digits = {"psnr": 2, "ssim": 3, "mae": 4, "rmse": 4, "sam": 2}
    for label, block in blocks:
        for method in block.estimate.values:
            for pixels in block.pixels.values:
                row = block.sel(estimate=method, pixels=pixels)
                cells = [label] if len(blocks) > 1 else []
                cells += [str(method), str(pixels)]
                for name, places in digits.items():
                    value = float(row[name])
                    cells.append("–" if np.isnan(value) else f"{value:.{places}f}")
                cells += [str(int(row["images"])), str(int(row["count"]))]
                lines.append("| " + " | ".join(cells) + " |")
    for key, what in (("do_nothing", "do nothing"), ("cloudy_and_clear", "cloudy and clear")):
        if key in result.attrs:
            lines += ["", f"{what}: {result.attrs[key]}"]
    return "\n".join(lines)


def _name(image: xr.Dataset, dim: str) -> str:
    value = image[dim].values
    return str(value.astype("datetime64[s]")) if value.dtype.kind == "M" else str(value)
