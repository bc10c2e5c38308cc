"""Scenes as they come: dates, bands, units, no data, grids."""

SETUP = """
def clouds(ds): return ds["B03"] > ds["B03"].median()
def fill(ds, model="median"):
    return ds.cloudfree.reconstruct(model=model, mask=clouds(ds), shadow=False).compute()
def fuse(ds): return fill(ds, "pixel-fusion")
def optical(ds): return [b for b in ds if b[0] == "B"]
def numbers(ds):
    return ds.assign({b: (ds[b] * 1e4).clip(1).astype("uint16").drop_attrs() for b in optical(ds)})
def put(ds, bands, value):
    west = ds.x < ds.x[3]
    new = {b: ds[b].where(~west, value).astype("float32") for b in bands}
    return ds.assign({b: v.assign_attrs(ds[b].attrs) for b, v in new.items()})
def declare(ds, bands, **attrs): return ds.assign({b: ds[b].assign_attrs(attrs) for b in bands})
def bare(ds, bands): return ds.assign({b: ds[b].drop_attrs() for b in bands})
B, R = ["B02", "B03", "B04"], ["VV", "VH"]
"""

ROWS = [
    "array = ds[B].to_dataarray('band').assign_coords(band=['B02', 'B03', 'blue'])\n"
    "array.cloudfree.mask('l2a')",
    "ds = numbers(ds); fill(ds)",
    "n = numbers(ds); ds = ds.assign({b: n[b].astype('float32') for b in optical(ds)}); fill(ds)",
    "ds = declare(ds, optical(ds), scale_factor=1e-4); fill(ds, 'idw')",
    "ds = put(ds, B, -9999); fill(ds)",
    "ds = put(ds, B, 1e20); fill(ds)",
    "ds = ds.assign(B04=ds.B04.where(ds.x > ds.x[1], -3000 * ds.B04)); fill(ds)",
    "ds = put(ds, R, -9999); fuse(ds)",
    "ds = put(ds, R, 0); fuse(ds)",
    "ds = bare(ds, R); fuse(ds)",
    "ds = ds.assign({p: (10 ** (ds[p] / 10)).assign_attrs(units='dB') for p in R}); fuse(ds)",
    "ds = ds.assign({p: ds[p].assign_attrs(units='1') for p in R}); fuse(ds)",
    "ds = ds.assign({p: (ds[p] * 100 + 9e3).assign_attrs(units='dB') for p in R}); fuse(ds)",
    "ds = bare(ds.assign({p: (ds[p] * 100).astype('int16') for p in R}), R); fuse(ds)",
    "ds = ds.assign(B02=ds.B02.astype('float64')); fill(ds)",
    "ds = declare(ds, optical(ds), nodata='none'); fill(ds)",
    "ds = declare(ds, R, nodata='none'); fuse(ds)",
    "ds = declare(numbers(ds), optical(ds), scale_factor='none'); fill(ds)",
    "ds = declare(ds, R, scale_factor='none'); fuse(ds)",
    "ds = ds.assign(SCL=xr.full_like(ds.B02, 4, 'uint8').assign_attrs(nodata='none'))\n"
    "ds.cloudfree.mask('scl')",
    "n = numbers(ds); ds = n.assign({b: n[b].astype('int16') for b in optical(n)})\n"
    "ds = declare(declare(ds, optical(ds), scale_factor=1e-4, nodata=-9999), B, nodata=-1)\n"
    "fill(ds)",
    "ds = declare(ds, R, units='1'); ds = declare(ds, ['VV'], units='dB'); fuse(ds)",
    "ds = ds.assign(B02=ds.B02.astype(str)); fill(ds)",
    "ds = ds.assign(blue=ds.B02); fill(ds)",
    "ds = ds.rename(time='t'); fill(ds)",
    "ds = ds.assign_coords(time=[20250610, 20250615, 20250620, 20250625]); fill(ds)",
    "ds = ds.assign_coords(time=np.array([20250610.0, 20250615, 20250620, 20250625])); fill(ds)",
    "ds = ds.assign_coords(time=[0, 1, 2, 3]); fill(ds)",
    "ds = ds.assign_coords(time=[161, 166, 171, 176]); fill(ds)",
    "ds = ds.assign_coords(time=ds.time.astype('M8[s]').astype(int)); fill(ds)",
    "ds = ds.assign_coords(time=[0, 5, 10, 15]); fill(ds)",
    "ds = ds.assign_coords(time=ds.time - ds.time[0]); fill(ds)",
    "ds = ds.assign_coords(time=('time', [0, 5, 10, 15], {'units': 'days since 2025-06-10'}))\n"
    "fill(ds)",
    "ds = ds.assign_coords(time=['a', 'b', 'c', 'd']); fill(ds)",
    "ds = ds.assign_coords(time=['June', 'July', 'May', 'March']); fill(ds)",
    "ds = ds.isel(time=[0, 1]).assign_coords(time=['10 June 2025', '15 June 2025']); fill(ds)",
    "ds = ds.assign_coords(time=ds.time.where(ds.time != ds.time[1])); fill(ds)",
    "ds = ds.assign(VV=ds.VV.expand_dims(orbit=[1, 2]), VH=ds.VH); fuse(ds)",
    "ds = ds[['B02']].isel(time=0, x=0); ds.cloudfree.plot()",
    "array = ds[B].to_dataarray('band').assign_coords(band=[1, 2, 3]).assign_attrs(long_name=B)\n"
    "array.cloudfree.plot()",
    "ds = xr.Dataset({'s1': ds[R].to_dataarray('pol').drop_vars('pol')})\n"
    "array = ds.s1; ds = ds; array.cloudfree.plot()",
    "tree = xr.DataTree.from_dict({'a/r10m': ds[B]}); tree.cloudfree.mask('l2a')",
    "ds.cloudfree.calibrate(scale=1e-4, offset=float('nan'))",
    "ds.cloudfree.calibrate(nodata='none')",
    "ds.cloudfree.calibrate(sar_nodata='none')",
    "ds.cloudfree.calibrate(level='L2A')",
    "ds.cloudfree.calibrate(sar='decibel')",
    "ds.cloudfree.calibrate(quantity='sigma')",
    "numbers(ds).isel(time=0, drop=True).cloudfree.calibrate(scale=1e-4, offset=[-0.1, 0])",
    "ds = ds[optical(ds)]; ds.cloudfree.mask('score')",
    "ds = ds[optical(ds)]; ds.cloudfree.reconstruct(model='pixel-fusion', mask=clouds(ds))",
    "import odc.geo.xr; s2, s1 = ds[B], ds[R].isel(x=slice(0, 8)).odc.reproject('EPSG:4326')\n"
    "fuse(s2.assign(s1.drop_vars('spatial_ref')))",
    "import odc.geo.xr, rioxarray; s2, s1 = ds[B], ds[R].drop_vars('spatial_ref')\n"
    "s1 = s1.rio.write_crs(32632, grid_mapping_name='other'); fuse(s2.assign(s1))",
    "ds = bare(ds, ds).drop_vars('spatial_ref'); ds.cloudfree.mask('l2a', shadow=True)",
    "ds = bare(ds, ds).drop_vars('spatial_ref')\n"
    'ds = ds.assign_attrs(crs=\'LOCAL_CS["a",UNIT["metre",1]]\')\n'
    "ds.cloudfree.mask('l2a', shadow=True)",
    "ds = ds.assign({p: (ds[p] * 100).astype('int16').assign_attrs(units='dB') for p in R})\n"
    "fuse(ds)",
    "ds = ds.drop_vars(['x', 'y']); ds.cloudfree.mask('l2a', shadow=True)",
    "ds = ds.assign_coords(x=ds.x + 9e8); ds.cloudfree.mask('l2a', shadow=True)",
    "d = ds; s = d.isel(time=slice(2, 4)); dates = [d.isel(time=slice(0, 2)), s.assign_coords("
    "x=s.x + 1e-9)]; fill(xr.concat(dates, 'time', join='outer'))",
    "import odc.geo.xr; d = ds; s = d.isel(time=slice(2, 4)); dates = [d.isel(time=slice(0, 2)),"
    " s.assign_coords(x=s.x + 5)]; fill(xr.concat(dates, 'time', join='outer'))",
    "import odc.geo.xr; d = ds[B].drop_vars('spatial_ref'); s = d.isel(time=slice(2, 4))\n"
    "dates = [d.isel(time=slice(0, 2)), s.assign_coords(x=s.x + 5)]\n"
    "fill(xr.concat(dates, 'time', join='outer'))",
]
