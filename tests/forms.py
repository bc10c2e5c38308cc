"""Small series as other tools and archives write them, each after that tool's own documentation."""

from functools import cache

import numpy as np
import pandas as pd
import pystac
import rasterio
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr

import xcloudfree as xcf

SIZE, DATES, EMPTY = 24, 5, 3  # pixels and dates; rows without data
TREES = 2  # dates of EOPF, whose trees of groups take long to write
NAMES = ("B02", "B03", "B04", "B08")
COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12")


@cache
def truth(level="BOA"):
    """The series that all forms show: reflectance that is constant in blocks of 60 m."""
    ds = xcf.datasets.simulate_scene((SIZE, SIZE), dates=DATES, cover=0.4, seed=3, level=level)
    ds = ds.drop_vars([v for v in ds.coords if v not in ("time", "y", "x", "spatial_ref")])
    blocks = ds.coarsen(y=6, x=6).mean().reindex_like(ds, "nearest")
    blocks = blocks.assign(
        {b: (blocks[b].clip(1e-3) * 1e4).round() / 1e4 for b in blocks if "B" in b}
    )
    blocks["SCL"] = xr.where(blocks.B02 > 0.2, 9, 4).astype("uint8")
    kept = blocks.where(np.arange(SIZE)[:, None] >= EMPTY * 2)
    kept["SCL"] = kept.SCL.fillna(0).astype("uint8")
    return kept


def counts(array, offset=0, fill=0, dtype="uint16"):
    return np.where(np.isnan(array), fill, np.round(array * 1e4) + offset).astype(dtype)


def eopf(folder, level):
    """EOPF Sample Service: groups for each resolution, uint16 with scale and offset, proj:epsg."""
    ds, product = truth(level), "MSIL2A" if level == "BOA" else "MSIL1C"
    groups = {"r10m": NAMES, "r20m": COARSE, "r60m": ("B01", "B09", "B10")}
    if level == "BOA":
        groups["r20m"] = ("B01", "B02", "B03", "B04", *COARSE)
        groups["r60m"] = ("B01", "B02", "B03", "B04", *COARSE, "B09")
    for time in ds.time.values[:TREES]:
        one, nodes = ds.sel(time=time, drop=True), {}
        epsg = one.rio.crs.to_epsg()
        for group, bands in groups.items():
            step = int(group[1:3]) // 10
            part = one.coarsen(y=step, x=step).mean()
            own = {"fill_value": 0, "add_offset": -0.1, "coordinates": ["x", "y"], "dtype": "<u2"}
            attrs = {"_eopf_attrs": own, "proj:epsg": epsg, "units": "digital_counts"}
            attrs |= {"valid_min": 1, "valid_max": 65535, "dtype": "<u2", "fill_value": 0}
            nodes[f"measurements/reflectance/{group}"] = xr.Dataset(
                {b.lower(): (("y", "x"), part[b].values, attrs) for b in bands},
                {"y": part.y.values.astype("int64"), "x": part.x.values.astype("int64")},
            )
        if level == "BOA":
            part = one.SCL.isel(y=slice(1, None, 2), x=slice(1, None, 2))
            where = nodes["measurements/reflectance/r20m"]
            nodes["conditions/mask/l2a_classification/r20m"] = xr.Dataset(
                {"scl": (("y", "x"), part.values, {"proj:epsg": epsg})}, where.coords
            )
        stamp = str(time)[:19].replace("-", "").replace(":", "")
        tree = xr.DataTree.from_dict({"/": xr.Dataset(), **nodes})
        tree.attrs = {
            "stac_discovery": {"properties": {"datetime": f"{time}Z"[:23] + "Z"}},
            "other_metadata": {"horizontal_CRS_code": f"EPSG:{epsg}"},
        }
        stored = {"dtype": "uint16", "scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0}
        tree.to_zarr(
            folder / "eopf" / f"S2B_{product}_{stamp}_N0511_R022_T33UWP.zarr",
            encoding={
                f"/{path}": {v: stored for v in node if v != "scl"} for path, node in nodes.items()
            },
            zarr_format=2,
        )


def openeo(folder):
    """openEO: a variable per band along t, int16, CRS in a variable that grid_mapping names."""
    ds, mapping = truth(), {"grid_mapping": "crs"}
    out = xr.Dataset(
        {b: (("t", "y", "x"), counts(ds[b], 0, -32768, "int16"), mapping) for b in NAMES},
        {"t": ds.time.values, "y": ds.y.values, "x": ds.x.values},
    )
    out["SCL"] = ("t", "y", "x"), ds.SCL.values, mapping
    wkt = ds.rio.crs.to_wkt()
    out["crs"] = ((), b"", {"crs_wkt": wkt, "spatial_ref": wkt})
    stored = {b: {"_FillValue": -32768} for b in NAMES}
    out.to_netcdf(folder / "openEO.nc", engine="h5netcdf", encoding=stored)
    out["crs"] = ((), 0, out.crs.attrs)
    out.to_zarr(folder / "openEO.zarr", encoding=stored, zarr_format=2)


def xee(order=("time", "lon", "lat")):
    """xee: Earth Engine's names, float32 with NaN, crs in the attributes of every variable."""
    ds = truth()
    attrs = {"crs": "EPSG:4326", "crs_transform": [1e-4, 0, 15, 0, -1e-4, 48]}
    bands = {f"B{int(b[1:])}": ds[b] * 1e4 for b in NAMES} | {"SCL": ds.SCL.where(ds.SCL > 0)}
    out = xr.Dataset(
        {
            name: (("time", "lat", "lon"), band.values.astype("float32"), {"id": name, **attrs})
            for name, band in bands.items()
        },
        {
            "time": ds.time.values,
            "lat": 48 - 1e-4 * (np.arange(SIZE) + 0.5),
            "lon": 15 + 1e-4 * (np.arange(SIZE) + 0.5),
        },
    ).transpose(*order)
    out["QA60"] = out.B2 * 0
    return out


def cubo():
    """cubo: a DataArray of stackstac with its own attributes and coordinates of items."""
    ds = truth()
    bands = [*NAMES, "SCL"]
    numbers = [ds[b].values * 1e4 + 1000 for b in NAMES] + [ds.SCL.where(ds.SCL > 0).values]
    return xr.DataArray(
        np.stack(numbers, 1),
        dims=("time", "band", "y", "x"),
        coords={
            "time": ds.time.values, "band": bands, "y": ds.y.values, "x": ds.x.values,
            "id": ("time", [f"S2B_{n}" for n in range(DATES)]),
            "platform": "Sentinel-2B", "epsg": 32633,
            "common_name": ("band", ["blue", "green", "red", "nir", None]),
            "proj:bbox": np.array({1.0, 2.0}, dtype=object),
        },
        name="sentinel-2-l2a",
        attrs={
            "collection": "sentinel-2-l2a", "epsg": 32633, "resolution": 10, "edge_size": SIZE,
            "stac": "https://planetarycomputer.microsoft.com/api/stac/v1", "units": "px",
            "central_lat": 48.7, "central_lon": 15.0, "time_coverage_start": "2025-06-01",
        },
    )  # fmt: skip


def stackstac():
    """stackstac: float64 with NaN, chunks of one band, the grid in attributes."""
    out = cubo().rename("stackstac-5fb1c8").chunk(time=1, band=1)
    out.attrs = {
        "spec": "RasterSpec(epsg=32633, ...)", "crs": "epsg:32633", "resolution": 10,
        "transform": tuple(truth().rio.transform())[:6],
    }  # fmt: skip
    return out


def items(folder):
    """Items of COGs, for odc-stac itself."""
    ds = truth()[[*NAMES, "SCL"]]
    made = xcf.stac.publish(ds, folder / "cogs", base_url=str(folder / "cogs"), level="BOA")[1]
    for item in made:
        pystac.Item.from_dict(item)  # valid
    return made


def sentle(folder):
    """sentle: one variable (time, band, y, x), offset removed, linear power, spatial_ref."""
    ds = truth()
    power = {
        f"{p.lower()}_{way}": 10 ** (ds[p] / 10) for way in ("asc", "desc") for p in ("VV", "VH")
    }
    bands = {b: ds[b] * 1e4 for b in NAMES} | power
    out = xr.DataArray(
        np.stack([b.values for b in bands.values()], 1).astype("float32"),
        dims=("time", "band", "y", "x"),
        coords={"time": ds.time, "band": list(bands), "y": ds.y.values, "x": ds.x.values},
        name="sentle",
    ).to_dataset()
    out = out.rio.write_crs(ds.rio.crs).assign_attrs(crs_wkt=ds.rio.crs.to_wkt())
    out.to_zarr(folder / "sentle.zarr", zarr_format=2, consolidated=True)


def write(path, bands, ds, step=1, driver="GTiff", dtype="uint16", nodata=None, **tags):
    """A raster of one or several bands on the grid of a series."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = ds.rio.transform() * rasterio.Affine.scale(step)
    options = {}
    if driver == "JP2OpenJPEG":
        options = {"quality": 100, "reversible": "YES", "ycbcr420": "NO"}
    with rasterio.open(
        path, "w", driver=driver, height=SIZE // step, width=SIZE // step, count=len(bands),
        dtype=dtype, crs=ds.rio.crs, transform=transform, nodata=nodata, **options,
    ) as target:  # fmt: skip
        target.write(np.stack(list(bands.values())).astype(dtype))
        if driver != "JP2OpenJPEG":
            target.descriptions = tuple(bands)
            target.update_tags(**{k: v for k, v in tags.items() if k != "scale"})
            if "scale" in tags:
                target.scales = (tags["scale"],) * len(bands)


def hls(folder):
    """HLS S30 v2.0: a file per band in a folder per granule, int16, -9999, scale, Fmask."""
    ds = truth("TOA")
    for time in ds.time.values:
        one = ds.sel(time=time)
        day = pd.Timestamp(time).strftime("%Y%jT%H%M%S")
        granule = f"HLS.S30.T33UWP.{day}.v2.0"
        for band in (*NAMES, *COARSE, "B01", "B09", "B10"):
            pixels = {band: counts(one[band], 0, -9999, "int16")}
            path = folder / "hls" / granule / f"{granule}.{band}.tif"
            write(path, pixels, ds, dtype="int16", nodata=-9999, scale=1e-4)
        fmask = np.where(one.SCL == 0, 255, np.where(one.SCL == 9, 0b10, 0))
        path = folder / "hls" / granule / f"{granule}.Fmask.tif"
        write(path, {"Fmask": fmask}, ds, dtype="uint8", nodata=255)


def stacks(folder):
    """GeoTIFFs of all bands whose descriptions name them."""
    ds = truth()
    for n, time in enumerate(ds.time.values):
        one = ds.sel(time=time)
        bands = {b: counts(one[b], 1000) for b in NAMES} | {"SCL": one.SCL.values}
        write(folder / "stacks" / f"{n}.tif", bands, ds, ACQUIRED=str(time)[:19])


def safe(folder):
    """SAFE of Level-2A: GRANULE/<tile>/IMG_DATA/R20m/<tile>_<time>_<band>_20m.jp2."""
    ds = truth()
    for time in ds.time.values:
        one = ds.sel(time=time).isel(y=slice(1, None, 2), x=slice(1, None, 2))
        stamp = str(time)[:19].replace("-", "").replace(":", "")
        root = folder / "safe" / f"S2B_MSIL2A_{stamp}_N0511_R022_T33UWP_{stamp}.SAFE"
        images = root / "GRANULE" / f"L2A_T33UWP_A043210_{stamp}" / "IMG_DATA" / "R20m"
        for band in ("B02", "B03", "B04", *COARSE):
            path = images / f"T33UWP_{stamp}_{band}_20m.jp2"
            write(path, {band: counts(one[band], 1000)}, ds, 2, "JP2OpenJPEG")
        classes = images / f"T33UWP_{stamp}_SCL_20m.jp2"
        write(classes, {"SCL": one.SCL.values}, ds, 2, "JP2OpenJPEG", dtype="uint8")


def everything(folder):
    """All files of the page, and the objects that need an account or the network."""
    for level in ("BOA", "TOA"):
        eopf(folder, level)
    for make in (openeo, sentle, hls, stacks, safe):
        make(folder)
    return {"items": items(folder), "earth": xee(), "cube": cubo(), "stack": stackstac()}
