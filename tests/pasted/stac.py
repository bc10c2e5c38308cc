"""Catalogs: what is asked for, what items say, pairs of passes."""

SETUP = """
import datetime, pathlib, pystac, shapely, warnings
import odc.geo.xr, rioxarray
from xcloudfree.stac import publish, check_offset, load, register
from xcloudfree.stac import orbit_offsets, remove_orbit_offsets
pair = xcf.pair
warnings.simplefilter("ignore")
folder = pathlib.Path("catalog").absolute()
if not folder.exists():
    publish(ds.isel(time=[0, 1]), folder, base_url=str(folder))
items = [pystac.Item.from_file(p) for p in sorted((folder / "items").glob("*.json"))]
box = items[0].bbox
class planetary_computer:
    sign = staticmethod(lambda address: address)
def published(name, ds, **options):
    there = pathlib.Path(name).absolute()
    publish(ds, there, base_url=str(there), **options)
    return [pystac.Item.from_file(p) for p in sorted((there / "items").glob("*.json"))]
toa = xcf.datasets.simulate_scene((16, 16), dates=2, cover=0.4, seed=1)
higher = published("toa", toa)
plain = [i.clone() for i in items]
for i in plain:
    for d in (i.properties, *(a.extra_fields for a in i.assets.values())):
        for k in [k for k in d if k.startswith("proj:")]: del d[k]
far = ds.isel(time=[0]).assign_coords(x=ds.x - ds.x[0] + 819600, y=ds.y - ds.y[0] + 8118400)
far = published("far", far.drop_vars("spatial_ref").rio.write_crs(32760))
from xcloudfree.stac import CollectionRule
path = next((folder / "items").glob("*.json"))
shape = shapely.Point(box[0], box[1])
frame = shapely.box(4e5, 4e6, 6e5, 6e6)
B, R = ["B02", "B03", "B04"], ["VV", "VH"]
s2, s1 = ds[B], ds[R]
def tracks(ds): return ds.assign_coords(relative_orbit=("time", [88, 161] * 2))
late = s1.assign_coords(time=s1.time + np.timedelta64(90, "D"))
integers = xr.Dataset({b: (ds[b] * 1e4).astype("uint16").drop_attrs() for b in B})
def only(kind, items=items): return [i for i in items if i.collection_id.startswith(kind)]
"""

ROWS = [
    "ds = tracks(ds); orbit_offsets(ds[B])",
    "ds = tracks(ds).expand_dims(patch=[0, 1]); orbit_offsets(ds)",
    "ds = tracks(ds).assign({p: (ds[p] * 100).astype('int16').assign_attrs(\n"
    "    units='dB', scale_factor=0.01) for p in R}); remove_orbit_offsets(ds)",
    "load(items, chunks=512)",
    "load(items, loader='rasterio')",
    "load(items, on_gap='fill')",
    "load(items, on_error='ignore')",
    "load(items, groupby='week')",
    "load(items, bands=['B99'])",
    "load(items, polarisations=('VX',))",
    "load(items, polarisations=('HH', 'HV'))",
    "load(only('sentinel-2'))",
    "load(items, max_gap='soon')",
    "load(items, bbox=(0, 0))",
    "load(items, bbox=(1e6, 2e6, 3e6, 4e6))",
    "load(items, bbox=box, intersects=shape)",
    "load(items, intersects=shape)",
    "load(items, intersects='here')",
    "shape = frame; load(items, intersects=shape)",
    "load(items, datetime='soon')",
    "load(items, datetime='2025-07/2025-05')",
    "load(items, crs='EPSG:nowhere')",
    "load(items, resolution='ten')",
    "load(items, sign=3)",
    "load(items, sign=lambda address: 3).compute()",
    "load(items, bbox=(179, 0, -190, 1))",
    "load(items, clip=True)",
    "load(far, bbox=(179.9, -17.1, -179.9, -16.9), crs='EPSG:4326', resolution=1e-4)",
    "load([*items, *higher])",
    "load(plain, crs='EPSG:32633', resolution=10)",
    "register(CollectionRule('mine', offset='guess'))",
    "check_offset(ds[['B09']])",
    "less, names = [i.clone() for i in only('sentinel-2')], list(only('sentinel-2')[0].assets)\n"
    "for name in names[:3]: del less[0].assets[name]\n"
    "load([*less, *only('sentinel-1')], bands=names[:5])",
    "s1 = s1.drop_vars('spatial_ref').rio.write_crs(32632); pair(s2, s1)",
    "load(items, offsets={only('sentinel-2')[0].id: -1000})",
    "load(3)",
    "ds = ds.assign({b: ds[b].drop_attrs() for b in B}); publish(ds, folder, level='L2A')",
    "ds = integers; check_offset(ds)",
    "check_offset(ds, on_error='ignore')",
    "pair(s1, s1)",
    "pair(s2, s2)",
    "pair(s2, late)",
    "pair(s2, s1, max_gap='soon')",
    "s1 = s1.isel(x=slice(0, 8)); pair(s2, s1)",
    "s1 = s1.assign_coords(x=s1.x + 5); pair(s2, s1)",
    "s2 = s2.assign_coords(time=['June', 'July', 'May', 'March']); pair(s2, s1)",
]
