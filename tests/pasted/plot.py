"""Pictures."""

SETUP = """
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
plot = xcf.plot
toa = xcf.datasets.simulate_scene((16, 16), dates=4, cover=0.4, seed=1)
mask = ds.B03 > 0.2
out = ds.cloudfree.reconstruct(model="linear-time", mask=mask)
truth, your_array = ds, mask
"""

ROWS = [
    "out.cloudfree.plot(bands=('B02', 'B03'))",
    "out.cloudfree.plot(vmin=(0, 0))",
    "ds = toa; ds.cloudfree.plot.provenance()",
    "ds = toa; ds.cloudfree.plot.uncertainty()",
    "ds = toa; ds.cloudfree.plot.reliability(toa)",
    "ds.cloudfree.plot.rgb(col='patch')",
    "ds.cloudfree.plot.rgb(col='time', ax=plt.figure().gca())",
    "ds = ds[['B02', 'B03', 'B04']]; ds.cloudfree.plot.mask()",
    "import odc.geo.xr; truth = truth.isel(x=slice(0, 8)); out.cloudfree.plot(truth=truth)",
    "out.cloudfree.plot(index=9)",
    "out.cloudfree.plot(time='soon')",
    "ds.cloudfree.plot.series(at=(0, 0), mask=mask)",
    "ds.cloudfree.plot.movie('film.avi', mask=mask)",
    "plt.rcParams['animation.ffmpeg_path'] = 'no'; ds.cloudfree.plot.movie('a.mp4', mask=mask)",
    "ds = toa.expand_dims(member=2); ds.cloudfree.plot.movie('film.gif', mask=None)",
    "ds.cloudfree.plot.swipe('page.html')",
]
