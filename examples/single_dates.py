"""Single images under real clouds: PSNR of what is hidden, against a clear image of other days.

    python examples/single_dates.py TRIPLETS --methods kernel-fusion pixel-fusion --margins 0 4

TRIPLETS holds a folder for each patch with s1.tif (VV VH in dB), s2_cloudy.tif, s2_cloudfree.tif
(13 bands, reflectance x 10000) and cloud_mask_s2cloudless.tif. Patches between 5 and 97 % cloudy
count; the mask is mask("score", haze=0.15) grown by the margin, and pixels of s2cloudless's mask
are judged. A method without a value for a patch leaves it out of every mean. With --clear, the
clear image itself is hidden under s2cloudless's mask: the mask is perfect, and no day differs.
"""

import argparse
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr

import xcloudfree as xcf


def image(path):
    """A file as (band, y, x)."""
    with rasterio.open(path) as file:
        return file.read()


def scene_of(folder):
    """The cloudy image with its radar, the clear one, and the cloud mask."""
    optical, radar = image(folder / "s2_cloudy.tif"), image(folder / "s1.tif")
    data = {
        band: (("y", "x"), plane.astype("float32") * 1e-4, {"units": "1", "level": "TOA"})
        for band, plane in zip(xcf.bands.S2_BANDS, optical, strict=True)
    }
    for name, plane in zip(("VV", "VH"), radar, strict=True):
        data[name] = (("y", "x"), plane.astype("float32"), {"units": "dB", "quantity": "sigma0"})
    truth = image(folder / "s2_cloudfree.tif") * 1e-4
    return xr.Dataset(data), truth, image(folder / "cloud_mask_s2cloudless.tif")[0] > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("triplets", type=Path)
    parser.add_argument("--methods", nargs="+", default=["kernel-fusion", "pixel-fusion", "idw"])
    parser.add_argument("--margins", nargs="+", type=int, default=[0, 4])
    parser.add_argument("--clear", action="store_true", help="hide the clear image instead")
    options = parser.parse_args()
    margins = [0] if options.clear else options.margins
    columns = [(m, margin) for m in options.methods for margin in margins]
    rows = []
    for folder in sorted(p for p in options.triplets.iterdir() if p.is_dir()):
        ds, truth, cloud = scene_of(folder)
        if not 0.05 < cloud.mean() < 0.97:
            continue
        if options.clear:
            for band, plane in zip(xcf.bands.S2_BANDS, truth, strict=True):
                ds[band].values[:] = plane
        row = []
        for method, margin in columns:
            mask = xr.DataArray(cloud, dims=("y", "x"))
            if not options.clear:
                mask = ds.cloudfree.mask("score", haze=0.15, dilate=margin)
            try:
                out = ds.cloudfree.reconstruct(method, mask=mask)
            except xcf.exceptions.CloudFreeError:  # radar of another kind
                row.append(np.nan)
                continue
            found = np.stack([out[band].values for band in xcf.bands.S2_BANDS])
            row.append(-10 * np.log10(np.nanmean((found - truth)[:, cloud] ** 2)))
        rows.append(row)
    kept = np.array(rows)[np.isfinite(rows).all(1)]
    print(
        f"mean PSNR in dB of {len(kept)} patches\n\n| method | margin, px | PSNR |\n|---|---|---|"
    )
    for (method, margin), psnr in zip(columns, kept.mean(0), strict=True):
        print(f"| {method} | {margin} | {psnr:.2f} |")


if __name__ == "__main__":
    main()
