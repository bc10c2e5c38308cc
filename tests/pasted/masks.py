"""Masks: their options, bands, levels, and arrays that are no mask."""

SETUP = """
B = ["B02", "B03", "B04"]
mask = ds["B03"] > 0.2
scl = ds.assign(SCL=xr.full_like(ds.B02, 4, "uint8").drop_attrs())
azimuth, elevation = 150.0, 50.0
def fill(ds, mask): return ds.cloudfree.reconstruct(model="median", mask=mask, shadow=False)
"""

ROWS = [
    "ds.cloudfree.mask('l2a', dilate=-1)",
    "ds.cloudfree.mask('l2a', threshold='high')",
    "ds = scl; ds.cloudfree.mask(method='scl', shadow=True)",
    "ds = scl; ds.cloudfree.mask(method='scl', haze=0.1)",
    "ds.cloudfree.mask(method='scl')",
    "ds.cloudfree.reconstruct(model='median', mask=None)",
    "mask = mask.isel(x=slice(0, 8)); fill(ds, mask)",
    "ds = scl; ds = ds.assign(SCL=ds.SCL * 20); ds.cloudfree.mask('scl')",
    "ds.cloudfree.mask('l2a', shadow='yes')",
    "ds = ds.assign_coords(sun_azimuth=150 + 0 * ds.x * ds.y, sun_elevation=50.)\n"
    "ds.cloudfree.mask('l2a', shadow=True)",
    "ds.cloudfree.mask('l2a', shadow=(150., 120.))",
    "sun_azimuth = (ds.time.dt.day * 0 + 150.).rename('sun_azimuth'); ds = ds.isel(time=[1, 2])\n"
    "ds.cloudfree.mask('l2a', shadow=(sun_azimuth, elevation))",
    "bare = ds.drop_vars(['sun_azimuth', 'sun_elevation'], errors='ignore')\n"
    "bare.attrs = {}; bare.cloudfree.mask('l2a', shadow=True)",
    "ds.cloudfree.weights(alpha=2)",
    "ds = ds.map(lambda b: b.drop_attrs().assign_attrs(units='1'), keep_attrs=False)\n"
    "ds.attrs = {}; ds.cloudfree.mask('haze')",
    "ds = scl; ds.cloudfree.mask('scl', classes=[12])",
    "clearness = ds.cloudfree.clearness; clearness('l2a', sample=0)",
    "ds = ds.assign(QA60=xr.full_like(ds.B02, 0, 'uint16')); ds.cloudfree.mask('fmask')",
    "ds = ds.assign(QA60=ds.B02 > 1); ds.cloudfree.mask('qa60')",
    "ds = ds.assign(CLP=xr.full_like(ds.B02, 5, 'uint8').drop_attrs()); ds.cloudfree.mask('clp')",
    "ds = ds.assign(QA60=xr.full_like(ds.B02, 0, 'uint16'))\n"
    "ds = ds.assign_coords(time=ds.time - ds.time[0] + np.datetime64('2023-01-01'))\n"
    "ds.cloudfree.mask('qa60')",
    "ds = ds.assign(fmask=xr.full_like(ds.B02, 9, 'uint8').drop_attrs())\n"
    "ds.cloudfree.mask('fmask')",
]
