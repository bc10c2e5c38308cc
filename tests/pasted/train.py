"""Fitting: recipes, numbers, samples, splits."""

SETUP = """
import warnings; warnings.simplefilter("ignore")
from xcloudfree.train import *
from xcloudfree.train import Recipe, split, split_series
fit = xcf.fit
toa = xcf.datasets.simulate_scene((24, 24), dates=3, cover=0.4, seed=1)
truth = xcf.datasets.simulate_scene((24, 24), dates=3, cover=0.0, seed=1)
o = dict(steps=1, crop=16, batch=1, device="cpu", progress=False)
few = dict(device="cpu", progress=False)
patches = toa.rename(time="patch").drop_vars("patch").assign_coords(
    region=("patch", ["a", "b", "c"]))
series = xcf.datasets.simulate_scene((24, 24), dates=10, cover=0.4, seed=1, level="BOA")
two = series[["B02", "B03", "B04", "B08"]]
B = [b for b in toa if b[0] == "B"]
"""

ROWS = [
    "fit(toa, 'carf-tiny', target=truth, recipe={'average': 0.9}, **o)",
    "fit(toa, 'carf-tiny', target=truth, learning_rate=-1, **o)",
    "fit(toa, 'carf-tiny', target=truth, simulated=2, **o)",
    "fit(toa, 'carf-tiny', target=truth, patience=2, **o)",
    "fit(toa, 'carf-tiny', target=truth, steps=0, crop=16, batch=1, **few)",
    "fit(toa, 'carf-tiny', target=truth, batch=10**6, steps=1, crop=24, **few)",
    "fit(toa, 'carf-tiny', target=truth, crop=999, batch=1, steps=1, **few)",
    "fit(toa, 'carf-tiny', target=truth, validation=3, **o)",
    "fit(toa, 'carf-tiny', target=truth, validation=0.01, **o)",
    "fit(toa, 'carf-tiny', target=truth, loss='l7', **o)",
    "fit(toa, 'carf-tiny', target=truth, mask='skl', **o)",
    "ds = toa.assign({b: toa[b].drop_attrs() for b in B}).drop_attrs(deep=False).drop_vars('B10')\n"
    "fit(ds, 'carf-tiny', target=truth, **o)",
    "ds = toa.isel(time=[0]); fit(ds, 'carf-tiny', **o)",
    "ds = toa; truth = truth.isel(time=[0, 1]); fit(ds, 'carf-tiny', target=truth, **o)",
    "ds = toa; truth = truth.assign_coords(x=truth.x + 5)\nfit(ds, 'carf-tiny', target=truth, **o)",
    "fit(toa, 'carf-tiny', target=truth, mask='simulated', **o)",
    "fit(toa, model='uncrtaints-t3', target=truth, **o)",
    "fit(toa, 'sar-opt-cgan', target=truth, crop=16, batch=1, steps=1, **few)",
    "fit(series, 'carf-tiny-regression', crop=999, batch=1, steps=1, **few)",
    "fit(two, 'carf-series', crop=16, steps=1, batch=1, mask='series', **few)",
    "fit(two, 'carf-series', validation=0.99, steps=1, batch=1, mask='series', **few)",
    "ds = series.assign({b: series[b].drop_attrs() for b in series if b[0] == 'B'})\n"
    "ds = ds.drop_attrs(deep=False)\n"
    "fit(ds, xcf.models.create('carf-tiny-regression', level='BOA'), **o)",
    "split(patches, by='regoin')",
    "split(patches, shares=(2, 3))",
    "split(patches.isel(patch=[0]))",
    "split(patches, by='date')",
    "ds = patches; check_apart(*((ds, ds) if ds is patches else (ds.train, ds.test)))",
    "fit(toa, 'carf-tiny', target=truth, mask=3, **o)",
    "fit(toa, 'carf-tiny', target=truth, mask=toa.B03 > 9, **o)",
    "ds = series; split_series(ds)",
    "ds = series; split_series(ds, before='1999-01-01')",
    "ds = series; split_series(ds, before='soon')",
]
