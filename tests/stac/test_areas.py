"""Areas in any form and projection, over zone borders and the 180th meridian, against direct warps.

The truth is what rasterio warps, in one piece, from the COGs that the local catalog serves.
"""

import json
import warnings

import affine
import geopandas
import numpy as np
import odc.geo.xr
import pyproj
import pytest
import rasterio
import rasterio.warp
import rioxarray  # noqa: F401  registers the .rio accessor
import shapely
import xarray as xr
from odc.geo import geom
from odc.geo.geobox import GeoBox
from rasterio.vrt import WarpedVRT

from tests import archive
from xcloudfree import stac
from xcloudfree.exceptions import DataError, GridError, GridWarning
from xcloudfree.stac.read.grids import area_error, declared_grid, equal_area
from xcloudfree.stac.search.area import extent_of, footprint, shape_area
from xcloudfree.stac.search.query import Query

pytestmark = pytest.mark.network
N = 160
TIME = np.datetime64("2025-06-01T10:40:31", "ns")
SLICE = np.timedelta64(12, "s")


def tile(grid, time, level=0.0, hole=None):
    """A scene with known pixels: waves of a few hundred metres, and classes."""
    x, y = (np.asarray(grid.coordinates[d].values) for d in ("x", "y"))
    waves = np.sin(x / 90)[None, :] * np.cos(y / 70)[:, None]
    bands = {"B02": 0.3 + level + 0.1 * waves, "B8A": 0.4 + level - 0.1 * waves}
    out = xr.Dataset(
        {k: (("time", "y", "x"), v[None].astype("float32")) for k, v in bands.items()},
        {"time": [time]},
    ).assign_coords(odc.geo.xr.xr_coords(grid))
    out["SCL"] = ("time", "y", "x"), (np.indices(grid.shape).sum(0) // 7 % 8 + 4)[None].astype("u1")
    if hole is not None:
        rows, columns = hole
        for name in bands:
            out[name][0, rows, columns] = np.nan
        out["SCL"][0, rows, columns] = 0
    return out


def around(crs, longitude, latitude, shift=(0, 0)):
    """Grid of a tile around a place, aligned as real ones are."""
    x, y = (float(v[0]) for v in rasterio.warp.transform("EPSG:4326", crs, [longitude], [latitude]))
    left, top = round(x, -2) - 5 * N + 10 * shift[0], round(y, -2) + 5 * N - 10 * shift[1]
    return GeoBox((N, N), affine.Affine(10, 0, left, 0, -10, top), crs)


def catalog_of(folder, *scenes, **options):
    for scene in scenes:
        stac.publish(scene, folder, level="BOA", baseline="05.11", **options)
    return folder


def warped(folder, item, key, grid, resampling):
    """One COG of the catalog, warped by rasterio in one piece; reflectance, NaN where none."""
    path = next(folder.glob(f"{item}*/{key}.tif"))
    with rasterio.open(path) as source:
        numbers, crs, transform = source.read(1).astype("float64"), source.crs, source.transform
    if key == "SCL":
        fill, values = 0, numbers
    else:
        fill, values = np.nan, np.where(numbers == 0, np.nan, (numbers - 1000) / 1e4)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float64", "nodata": fill}
    with rasterio.MemoryFile() as memory:
        size = dict(zip(("height", "width"), values.shape, strict=True))
        with memory.open(**profile, **size, crs=crs, transform=transform) as target:
            target.write(values, 1)
        size = dict(zip(("height", "width"), grid.shape, strict=True))
        options = {"crs": str(grid.crs), "transform": grid.transform, "resampling": resampling}
        exact = {"tolerance": 1e-3}  # else GDAL interpolates positions, to 0.125 px
        with memory.open() as source, WarpedVRT(source, **size, **options, **exact) as vrt:
            return vrt.read(1)


def check_mosaic(ds, folder, first, second):
    """`first` on top, `second` beside it, each as warped directly from its own file."""
    grid = ds.odc.geobox
    how = rasterio.warp.Resampling
    for name in ("B02", "B8A"):
        top, below = (warped(folder, item, name, grid, how.bilinear) for item in (first, second))
        found, truth = ds[name].values[0], np.where(np.isnan(top), below, top)
        assert np.isfinite(top).any()
        assert (np.isnan(top) & np.isfinite(below)).any()
        # at the edge of a file, rounding decides whether a pixel has a value
        assert (np.isnan(found) != np.isnan(truth)).mean() < 1e-3
        # one pixel is up to 0.011 of reflectance: positions agree to GDAL's eighth of a pixel
        np.testing.assert_allclose(found, truth, atol=1e-3)
        assert np.nanmean(np.abs(found - truth)) < 1.5e-4
    top, below = (warped(folder, item, "SCL", grid, how.nearest) for item in (first, second))
    assert (ds["SCL"].values[0] == np.where(top == 0, below, top)).mean() > 0.998


@pytest.fixture(scope="module")
def border(tmp_path_factory):
    """Two tiles of one pass on either side of the border of zones 32 and 33, overlapping."""
    place = 12.0, 48.0
    return catalog_of(
        tmp_path_factory.mktemp("border"),
        tile(around("EPSG:32632", *place), TIME),
        tile(around("EPSG:32633", *place, shift=(60, 10)), TIME + SLICE, level=0.02),
    )


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
@pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.GridWarning")
def test_tiles_of_two_zones_are_those_of_a_direct_warp(border, loader):
    with stac.serve(border) as catalog:
        ds = stac.load(catalog.url, polarisations=(), loader=loader, chunks={"x": 64, "y": 64})
        ds = ds.compute()
    assert ds.sizes["time"] == 1
    assert ds.item_id.item().count("MSIL2A") == 2
    ours, other = ("S2A_MSIL2A_20250601T104031", "S2A_MSIL2A_20250601T104043")
    if ds.odc.geobox.crs.epsg == 32633:
        ours, other = other, ours
    check_mosaic(ds, border, ours, other)


def test_a_chosen_grid_is_a_direct_warp_too(border):
    with stac.serve(border) as catalog:
        ds = stac.load(catalog.url, polarisations=(), crs="EPSG:3035", resolution=10).compute()
    assert ds.odc.geobox.crs.epsg == 3035
    check_mosaic(ds, border, "S2A_MSIL2A_20250601T104031", "S2A_MSIL2A_20250601T104043")


@pytest.fixture(scope="module")
def dateline(tmp_path_factory):
    """Two tiles of one pass in Fiji, in zones 60 and 1, overlapping at the 180th meridian."""
    return catalog_of(
        tmp_path_factory.mktemp("dateline"),
        tile(around("EPSG:32760", 180, -17, shift=(-40, 0)), TIME),
        tile(around("EPSG:32701", 180, -17, shift=(40, 5)), TIME + SLICE, level=0.02),
    )


SIDES = (179.994, -17.004, -179.994, -16.996)
AREAS = {
    "bbox": {"bbox": SIDES},
    "bbox beyond 180": {"bbox": (179.994, -17.004, 180.006, -16.996)},
    "both sides": {
        "intersects": shapely.union_all(
            [shapely.box(179.994, -17.004, 180, -16.996), shapely.box(-180, -17.004, *SIDES[2:])]
        )
    },
    "jump": {"intersects": shapely.box(-179.994, -17.004, 179.994, -16.996)},
    "zone 60": {"intersects": geopandas.GeoSeries([shapely.box(*SIDES)], crs=4326).iloc[:0]},
}
AREAS["zone 60"] = {
    "intersects": geom.box(179.994, -17.004, 180.006, -16.996, "EPSG:4326").to_crs("EPSG:32760")
}


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
@pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.GridWarning")
def test_tiles_on_both_sides_of_the_180th_meridian_are_those_of_a_direct_warp(dateline, loader):
    with stac.serve(dateline) as catalog:
        loaded = {
            name: stac.load(catalog.url, polarisations=(), loader=loader, **area)
            for name, area in AREAS.items()
        }
    with stac.serve(dateline) as catalog:
        ds = stac.load(catalog.url, polarisations=(), loader=loader, bbox=SIDES).compute()
    shapes = {name: one.odc.geobox.shape for name, one in loaded.items()}
    assert max(abs(n - 128) for n in next(iter(shapes.values()))) < 45  # 1.3 km, not the globe
    first = loaded["bbox"].odc.geobox
    for name, one in loaded.items():
        assert one.sizes["time"] == 1, name
        assert (
            np.abs(np.subtract(one.odc.geobox.extent.boundingbox, first.extent.boundingbox)).max()
            < 15
        )
    assert np.isfinite(ds["B02"]).all()
    ours, other = ("S2A_MSIL2A_20250601T104031", "S2A_MSIL2A_20250601T104043")
    if ds.odc.geobox.crs.epsg == 32701:
        ours, other = other, ours
    check_mosaic(ds, dateline, ours, other)


def test_the_search_asks_either_side_of_the_180th_meridian_on_its_own():
    asked = Query.of(SIDES, None, None).searches()
    assert [a["bbox"] for a in asked] == [
        (179.994, -17.004, 180.0, -16.996),
        (-180.0, -17.004, -179.994, -16.996),
    ]
    halves = [geom.Geometry(a["intersects"], "EPSG:4326") for a in
              Query.of(None, AREAS["jump"]["intersects"], None).searches()]  # fmt: skip
    assert [tuple(h.boundingbox) for h in halves] == [a["bbox"] for a in asked]
    assert Query.of((9, 48, 10, 49), None, None).searches() == [{"bbox": (9, 48, 10, 49)}]


@pytest.mark.parametrize("box", [(-180, -90, 180, 90), (-100, 0, 100, 10), (-100, 0, 260, 1)])
def test_a_box_wider_than_half_the_globe_is_refused(box):
    with pytest.raises(DataError, match="at most 180 wide"):
        Query.of(box, None, None)


@pytest.mark.parametrize("shape", [shapely.Point(9, 48), shapely.LineString([(9, 48), (10, 49)])])
def test_what_has_no_area_is_refused(shape):
    with pytest.raises(DataError, match="must be an area"):
        shape_area(shape)


def test_a_grid_in_degrees_ends_at_the_180th_meridian(dateline):
    with stac.serve(dateline) as catalog, pytest.raises(GridError, match=r"load\(\.\.\., crs=None"):
        stac.load(catalog.url, polarisations=(), bbox=SIDES, crs="EPSG:4326", resolution=1e-4)


def test_like_may_cross_the_180th_meridian(dateline):
    grid = around("EPSG:32760", 180, -17)
    with stac.serve(dateline) as catalog:
        ds = stac.load(catalog.url, polarisations=(), like=grid)
        assert ds.odc.geobox == grid
        assert ds.item_id.item().count("MSIL2A") == 2
    aside = around("EPSG:32760", 179.9, -17)
    assert extent_of(grid).area == pytest.approx(extent_of(aside).area, rel=1e-2)


def test_two_overlapping_tiles_of_one_pass_are_one_scene(tmp_path):
    here = around("EPSG:32632", 9, 48)
    there = around("EPSG:32632", 9, 48, shift=(100, 0))
    first = tile(here, TIME, hole=(slice(20, 60), slice(90, None)))
    second = tile(there, TIME + SLICE, level=0.02)
    catalog_of(tmp_path, first, second)
    with stac.serve(tmp_path) as catalog:
        ds = stac.load(catalog.url, polarisations=()).compute()
    assert ds.sizes == {"time": 1, "y": N, "x": N + 100}
    wide = [one.reindex(x=ds.x, y=ds.y, method="nearest", tolerance=1) for one in (first, second)]
    truth = wide[0].B02.combine_first(wide[1].assign_coords(time=wide[0].time).B02)
    np.testing.assert_allclose(ds.B02, truth.transpose("time", "y", "x"), atol=6e-5)
    assert ds.item_id.item().count("S2A_MSIL2A") == 2
    assert ds.offset.item() == -0.1


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_a_product_that_was_processed_twice_is_joined_once_with_the_later_on_top(tmp_path, alone):
    """Also where the order of other dates, of one baseline alone, would turn it round."""
    grid = around("EPSG:32632", 9, 48)
    new = tile(grid, TIME, level=0.1, hole=(slice(0, 9), slice(0, 9)))
    before = TIME - np.timedelta64(5, "D")
    for scene, baseline in ((tile(grid, TIME), "03.01"), (new, "05.00")):
        stac.publish(scene, tmp_path, level="BOA", baseline=baseline)
    if alone:
        baseline = ("03.01", "05.00")[alone - 1]
        stac.publish(tile(grid, before), tmp_path, level="BOA", baseline=baseline)
    with stac.serve(tmp_path) as catalog:
        ds = stac.load(catalog.url, polarisations=()).isel(time=-1).compute()
    assert ds.item_id.item().count("MSIL2A") == 2
    truth = np.where(np.isnan(new.B02[0]), tile(grid, TIME).B02[0], new.B02[0])
    np.testing.assert_allclose(ds.B02, truth, atol=6e-5)


def test_the_same_area_in_every_form_and_projection(border):
    west, south, east, north = box = (11.993, 47.996, 11.999, 48.001)
    outline = shapely.box(*box)
    frame = geopandas.GeoDataFrame({"name": ["district"]}, geometry=[outline], crs=4326)
    metres = frame.to_crs(32632).segmentize(5)
    old = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    halves = [shapely.box(west, south, 11.996, north), shapely.box(11.996, south, east, north)]
    forms = {
        "GeoJSON": outline.__geo_interface__,
        "text": json.dumps(outline.__geo_interface__),
        "GeoDataFrame": frame,
        "GeoSeries": frame.geometry,
        "GeoDataFrame in metres": metres,
        "two rows": geopandas.GeoSeries(halves, crs=4326).to_crs(3035).segmentize(5),
        "odc": geom.Geometry(metres.geometry[0], "EPSG:32632"),
        "shapely with SRID": shapely.set_srid(metres.geometry[0], 32632),
        "GeoJSON of 2008": {**metres.geometry[0].__geo_interface__, "crs": old},
    }
    for name, form in forms.items():
        found = shape_area(form)
        assert found.crs.epsg == 4326
        assert (found.geom ^ outline).area < 1e-4 * outline.area, name
    with stac.serve(border) as catalog:
        options = {"polarisations": (), "crs": "EPSG:32632", "bands": ["B02"]}
        grids = {
            stac.load(catalog.url, intersects=forms[name], **options).odc.geobox
            for name in ("GeoJSON", "GeoDataFrame")
        }
        assert grids == {stac.load(catalog.url, bbox=box, **options).odc.geobox}


def test_metres_without_a_projection_are_refused_with_the_call_that_declares_it():
    with pytest.raises(
        DataError, match=r"load\(\.\.\., intersects=odc\.geo\.geom\.Geometry\(shape"
    ):
        shape_area(shapely.box(5e5, 5e6, 6e5, 6e6))


@pytest.mark.parametrize("chunk", [17, 64, 1024])
def test_clipped_pixels_are_those_that_rioxarray_clips(border, chunk):
    shape = shapely.Point(11.996, 47.999).buffer(0.004, 7)
    shape = shape - shapely.Point(11.996, 47.999).buffer(0.001)
    options = {"polarisations": (), "intersects": shape, "crs": "EPSG:32632"}
    with stac.serve(border) as catalog:
        whole = stac.load(catalog.url, **options).compute()
        lazy = stac.load(catalog.url, clip=True, chunks={"x": chunk, "y": chunk}, **options)
        assert lazy.chunksizes["y"][0] == min(chunk, lazy.sizes["y"])
        ds = lazy.compute()
    outline = geom.Geometry(shape, "EPSG:4326").to_crs("EPSG:32632").geom
    for name in ("B02", "SCL"):
        fill = np.nan if name == "B02" else 0
        expected = whole[name].rio.write_nodata(fill).rio.clip([outline], drop=False)
        np.testing.assert_array_equal(ds[name], expected)
        assert ds[name].attrs == whole[name].attrs
        assert ds[name].dtype == whole[name].dtype
    assert 0.2 < float(ds.B02.isnull().mean()) < 0.8
    assert ds.rio.crs == whole.rio.crs


@pytest.mark.parametrize("metres", [0.1, 5])
def test_an_area_on_the_border_of_two_pixels_is_a_pixel(border, metres):
    """Its centre lies outside, so that nothing is left of it if it is clipped."""
    grid = around("EPSG:32632", 12, 48)
    left, top = grid.boundingbox.left + 100, grid.boundingbox.top - 100
    area = geom.box(left, top - metres / 2, left + metres, top + metres / 2, grid.crs)
    with stac.serve(border) as catalog:
        options = {"polarisations": (), "bands": ["B02"], "intersects": area}
        ds = stac.load(catalog.url, clip=True, **options)
        assert ds.sizes["x"] == 1
        assert ds.B02.isnull().all()


def test_clipping_marks_the_record_of_reading_and_needs_an_area(border):
    shape = shapely.Point(11.996, 47.999).buffer(0.003)
    with stac.serve(border) as catalog:
        options = {"polarisations": (), "crs": "EPSG:32632", "on_error": "report"}
        ds = stac.load(catalog.url, intersects=shape, clip=True, **options)
        outside = ds.read_status.sel(asset="B02") == 0
        assert ((ds.B02.isnull() == outside).all() & outside.any()).compute()
        assert len(ds.cloudfree.report()) == 0
        with pytest.raises(DataError, match="clip=True needs an area"):
            stac.load(catalog.url, clip=True, **options)


def far_items(*places):
    items = []
    for n, (crs, longitude, latitude) in enumerate(places):
        grid = around(crs, longitude, latitude)
        name = f"S2A_MSIL2A_20250601T10403{n}_N0511_R008_T{crs[-2:]}UNA"
        assets = {"B02": {"href": f"/nowhere/{n}.tif"}}
        properties = {"s2:processing_baseline": "05.11", "proj:code": crs, "proj:shape": [N, N]}
        properties |= {"proj:transform": list(grid.transform)[:6], "platform": "sentinel-2a"}
        item = archive.made_up(name, "sentinel-2-l2a", f"2025-06-01T10:40:3{n}Z", assets)
        item["properties"] |= properties
        archive.place(item, grid.transform.c, grid.transform.f, crs, 10 * N)
        items.append(item)
    return items


def test_a_country_is_loaded_on_an_equal_area_grid(tmp_path):
    items = far_items(("EPSG:32631", 3, 45), ("EPSG:32632", 9, 48), ("EPSG:32634", 21, 50))
    with pytest.warns(GridWarning, match=r"proj=laea .*wrong by up to \d+ %.*, resolution=10\)"):
        ds = stac.load(items, polarisations=())
    grid = ds.odc.geobox
    assert (grid.resolution.x, grid.resolution.y) == (10, -10)
    assert ds.sizes["time"] == 1
    geod = pyproj.Geod(ellps="WGS84")
    for x, y in ((0.02, 0.5), (0.5, 0.5), (0.98, 0.03)):  # true areas of 1 km, on the ellipsoid
        part = grid[int(y * grid.shape[0]) :, int(x * grid.shape[1]) :][:100, :100]
        ring = part.extent.segmented(50).to_crs("EPSG:4326").geom
        assert abs(geod.geometry_area_perimeter(ring)[0]) == pytest.approx(1e6, rel=1e-4)
    for item in items:
        assert (footprint(item_of(item)) & extent_of(grid)).area > 0


def item_of(item):
    import pystac

    return pystac.Item.from_dict(item)


def test_the_error_of_areas_is_that_of_the_formula():
    """Snyder 1987, eq. 8-1 and 8-4, on the sphere: k0 / sqrt(1 - (cos(lat) sin(dlon))^2)."""
    shape = geom.box(15, 0, 15.001, 0.001, "EPSG:4326")  # 6 degrees east of the central meridian
    expected = 0.9996**2 / (1 - np.sin(np.radians(6)) ** 2) - 1
    assert area_error(shape, "EPSG:32632") == pytest.approx(expected, rel=0.02)
    across = equal_area(shape_area(shapely.box(175, -20, 195, -10)))
    assert "+lon_0=-175 " in across
    assert "+lat_0=-15 " in across


def test_two_zones_keep_the_grid_of_one_of_them():
    items = far_items(("EPSG:32632", 11.9, 48), ("EPSG:32633", 12.1, 48))
    with pytest.warns(GridWarning, match=r"all are reprojected to EPSG:3263[23]\. To choose"):
        ds = stac.load(items, polarisations=())
    left, low, right, high = ds.odc.geobox.boundingbox
    for item in items:  # and without an area, no item is left out
        grid = declared_grid(item_of(item), "B02")
        x, y = zip(*grid.extent.to_crs(ds.odc.geobox.crs).exterior.coords, strict=True)
        assert left <= min(x) < max(x) <= right
        assert low <= min(y) < max(y) <= high


def test_a_series_over_four_tiles_costs_less_than_ten_tasks_a_block():
    items = []
    for n in range(4):
        for item in far_items(*[("EPSG:32632", 9 + 0.02 * k, 48) for k in range(4)]):
            day = f"2025-06-{1 + 5 * n:02d}"
            item["id"] += f"_{n}"
            item["properties"]["datetime"] = item["properties"]["datetime"].replace(
                "2025-06-01", day
            )
            items.append(item)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GridWarning)
        ds = stac.load(items, polarisations=(), chunks={"x": 32, "y": 32})
    shape = shapely.box(8.99, 47.99, 9.07, 48.01)
    clipped = stac.load(
        items, polarisations=(), chunks={"x": 32, "y": 32}, intersects=shape, clip=True
    )
    for one in (ds, clipped):
        blocks = int(np.prod(one.B02.data.numblocks))
        assert len(dict(one.__dask_graph__())) < 10 * blocks
