"""Stores and GeoTIFFs: names, modes, what is in the way, what was interrupted."""

SETUP = """
import json, os, pathlib, shutil, warnings
B, R = ["B02", "B03", "B04"], ["VV", "VH"]
obj = ds[B].isel(time=[0]).chunk(y=8)
path = "out.zarr"
def write(obj=obj, path=path, **options):
    shutil.rmtree(path, ignore_errors=True); shutil.rmtree(path + ".partial", ignore_errors=True)
    xcf.io.to_zarr(obj, path, progress=False, **options)
def stop(obj=obj, path=path):
    "A write that ended after its first part."
    import dask
    from xcloudfree.io.ledger import Ledger
    add = Ledger.add
    def die(self, key):
        add(self, key)
        raise KeyboardInterrupt
    shutil.rmtree(path, ignore_errors=True); shutil.rmtree(path + ".partial", ignore_errors=True)
    Ledger.add = die
    try: xcf.io.to_zarr(obj, path, progress=False)
    except KeyboardInterrupt: pass
    finally: Ledger.add = add
"""

ROWS = [
    "xcf.io.to_cog(obj, 'out.png')",
    "xcf.io.to_cog(obj, 'out.tif', per='files')",
    "xcf.io.to_cog(ds[B], 'out.tif', per='files')",
    "obj = ds[B].expand_dims(area=2); xcf.io.to_cog(obj.isel(time=[0]), 'out.tif')",
    "import rioxarray; ds = obj.drop_vars('spatial_ref').map(lambda v: v.drop_attrs())\n"
    "ds = ds.rename(y='lat', x='lon'); xcf.io.to_cog(ds, 'out.tif')",
    "ds = obj.assign_coords(x=np.arange(16.) ** 2); xcf.io.to_cog(ds, 'out.tif')",
    "xcf.io.to_zarr(obj, path, encoding='uint8')",
    "path = 'out.tif'; xcf.io.to_cog(obj, path, encoding='uint8')",
    "path = 'out.tif'; obj = obj.isel(time=[0]); xcf.io.to_cog(obj * 9, path, encoding='int16')",
    "xcf.io.to_zarr(obj.astype('int16'), path, encoding='int16')",
    "xcf.io.to_zarr(obj * 9, path, encoding='int16', mode='overwrite')",
    "xcf.io.to_zarr(obj, 's3://bucket/out.zarr')",
    "xcf.io.to_zarr(obj, {})",
    "pathlib.Path('a.zarr').mkdir(exist_ok=True); pathlib.Path('a.zarr/b').touch()\n"
    "xcf.io.to_zarr(obj, 'a.zarr')",
    "write(); xcf.io.to_zarr(obj, path, mode='w-')",
    "pathlib.Path('c.zarr.partial').mkdir(exist_ok=True)\n"
    "pathlib.Path('c.zarr.partial/b').touch(); xcf.io.to_zarr(obj, 'c.zarr')",
    "stop(); xcf.io.to_zarr(obj + 0.01, path)",
    "stop(); xcf.io.open_zarr(path)",
    "stop(); xcf.io.open_zarr(path + '.partial')",
    "write(); next(f for f in pathlib.Path(path).glob('B02/c/**/*') if f.is_file()).unlink()\n"
    "xcf.io.open_zarr(path)",
    "write(); pathlib.Path(path, 'zarr.json').write_text('{'); xcf.io.open_zarr(path)",
    "xcf.io.open_zarr('nowhere.zarr')",
    "xcf.io.to_zarr(obj, path, mode='a')",
    "xcf.io.to_zarr(obj, path, chunks=0)",
    "ds = ds.cloudfree.calibrate(level='TOA'); xcf.io.to_zarr(None, path)",
    "xcf.io.to_zarr(obj, path, memory='much')",
    "xcf.io.to_zarr(xr.Dataset({'a': ('time', [1, 2])}), path, multiscales=True)",
    "odd = obj.assign_coords(x=np.arange(16.) ** 2)\n"
    "xcf.io.to_zarr(odd, 'odd.zarr', multiscales=True)",
    "write(ds[B].isel(time=[0, 2]).chunk(y=8)); obj = ds[B].chunk(y=8); xcf.io.append(obj, path)",
    "write(); obj = ds[B].isel(time=[1, 0]).chunk(y=8); xcf.io.append(obj, path)",
    "write(obj.assign_coords(item_id=('time', ['a'])))\n"
    "obj = ds[B].isel(time=[0, 1]).chunk(y=8).assign_coords(item_id=('time', ['b', 'c']))\n"
    "xcf.io.append(obj, path)",
    "made = ds.cloudfree.reconstruct('idw', mask='l2a').chunk(y=8); write(made.isel(time=[0]))\n"
    "obj = made.assign(B02=made.B02 + np.float32(0.01)); xcf.io.append(obj, path)",
    "made = ds.cloudfree.reconstruct('idw', mask='l2a'); write(made.isel(time=[0, 1]))\n"
    "obj = made.isel(time=[1, 2]); xcf.io.append(obj, path)",
]
