"""The pipeline: models, dates, options."""

SETUP = """
mask = ds.B03 > 0.2
def fill(ds, model="median", **options):
    hidden = ds.B03 > 0.2
    return ds.cloudfree.reconstruct(model=model, mask=hidden, shadow=False, **options).compute()
bare = ds.assign({b: ds[b].drop_attrs() for b in ds if b[0] == 'B'}).drop_attrs(deep=False)
toa = xcf.datasets.simulate_scene((16, 16), dates=4, cover=0.4, seed=1)
coarse = ds[[b for b in ds if b[0] == "B"]]
clouded = xcf.datasets.simulate_scene((16, 16), dates=5, cover=[0, 0.5, 0, 0.5, 0], level="BOA")
clouded = clouded[["B01", "B02", "B03", "B04", "B11"]]
whole = ds.assign({n: (100 * ds[n]).round().astype("int16").assign_attrs(
    ds[n].attrs, scale_factor=0.01) for n in ("VV", "VH")})
few = xcf.models.create("carf-tiny", level="BOA", optical_bands=("B02", "B03", "B04"))
def starfm(ds, coarse): return fill(ds, xcf.methods.get("starfm", coarse=coarse))
"""

ROWS = [
    "ds = xr.concat([ds, ds], 'time').sortby('time')\n"
    "ds.cloudfree.reconstruct(model='linear-time', mask=ds.B03 > 0.2, times='10D')",
    "ds.cloudfree.reconstruct(model='linear-time', mask=mask, times='soon')",
    "times = [20250615, 20250618]\n"
    "ds.cloudfree.reconstruct(model='linear-time', mask=mask, times=times)",
    "ds.cloudfree.reconstruct(model='medain', mask=mask)",
    "ds = bare; fill(ds, few)",
    "ds.cloudfree.reconstruct(model='median', mask=mask, blend='soft')",
    "ds.cloudfree.reconstruct(model='median', mask=mask, precision='float16')",
    "ds.cloudfree.reconstruct(model='median', mask=mask, halo=4)",
    "ds.cloudfree.reconstruct(model='median', mask=mask, interval=90)",
    "mask = mask | True; ds.cloudfree.reconstruct(model='idw', mask=mask, interval=0.9).compute()",
    "ds.cloudfree.reconstruct(model=few, mask=mask, halo=-1)",
    "ds.cloudfree.reconstruct(model=few, mask=mask, device='cuda:99')",
    "ds.cloudfree.reconstruct(model=few, mask=mask, device='gpu')",
    "ds = ds.isel(time=[0]); ds.cloudfree.reconstruct(model='median', mask=mask.isel(time=[0]))",
    "ds = ds.isel(time=0, drop=True)\n"
    "ds.cloudfree.reconstruct(model='median', mask=mask.isel(time=0, drop=True))",
    "coarse = coarse.assign_coords(time=coarse.time + np.timedelta64(1, 'h')); starfm(ds, coarse)",
    "coarse = coarse[['B02', 'B03']]; starfm(ds, coarse)",
    "import odc.geo.xr; coarse = coarse.isel(x=slice(0, 8)); starfm(ds, coarse)",
    "ds.cloudfree.context(mask=mask, least=-1)",
    "ds.cloudfree.composite('MS', method='medain', mask=mask)",
    "ds.cloudfree.composite('often', mask=mask)",
    "ds.cloudfree.composite([('2019', '2020')], mask=mask)",
    "ds.cloudfree.indices(['NDVII'])",
    "ds = fill(ds); ds.cloudfree.composite('MS', mask=mask)",
    "ds = fill(ds); ds.cloudfree.composite('MS', method='mean', fill=True)",
    "ds.cloudfree.shift(mask=mask, block=10)",
    "ds.cloudfree.remove_speckle(method='lee')",
    "ds.cloudfree.remove_speckle(looks=0)",
    "s1 = ds[['VV', 'VH']]; ds = coarse; ds.cloudfree.remove_speckle()",
    "ds.isel(time=0).cloudfree.remove_speckle(method='quegan')",
    "ds = ds.assign({p: ds[p].astype('int16') for p in ['VV', 'VH']})\n"
    "ds.cloudfree.remove_speckle()",
    "ds.cloudfree.shift(mask=mask, by='orbit')",
    "ds.cloudfree.reconstruct(model='median', mask=mask, align='auto')",
    "ds = whole; ds.cloudfree.reconstruct(model='median', mask=mask, align='correct')",
    "toa.cloudfree.reconstruct(model=xcf.models.create('uncrtaints'), mask=toa.B03 > 0.2,"
    " halo=10 ** 6)",
    "network = xcf.models.create('glfcr', level='BOA')\n"
    "ds.cloudfree.reconstruct(model=network, mask=mask, halo=10 ** 6)",
    "table = ds; ds = clouded; ds.cloudfree.reconstruct(model=table)",
]
