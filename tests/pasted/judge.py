"""Judging: images to compare, cases, methods."""

SETUP = """
import pathlib
from tests.builders import write_patch
from xcloudfree import judge as benchmarking
from xcloudfree.judge import *
from xcloudfree.judge import Case, Fold, Fit, overcast, patch_case, sen12mscr, hidden_dates
evaluate, benchmark = xcf.evaluate, xcf.benchmark
B = ["B02", "B03", "B04", "B11"]
series = xcf.datasets.simulate_scene((24, 24), dates=6, cover=[0, .5, 0, .5, 0, .6], level="BOA")
small = series[["B01", *B, "VV", "VH"]]
truth, prediction = ds[B], ds[B] + 0.01
image, observed, mask = prediction, ds, (ds.B03 > 0.2)
cases = list(hidden_dates(series, clear="l2a", gaps=[0], count=1, clouds=1))
methods, method = ["do nothing", "idw"], "idw"
train = test = cases
out = series.cloudfree.reconstruct(model="linear-time", mask="l2a")
bounded = series.cloudfree.reconstruct(model="linear-time", mask="l2a", interval=0.9)
patch, clear, root = ds.isel(time=0), ds[B].isel(time=0).to_dataarray("band"), pathlib.Path("area")
if not root.exists():
    for kind in ("s1", "s2", "s2_cloudy"):
        write_patch(root, kind, "spring", 1, 30, 5)
name, data, hidden = "a", cases[0].data, cases[0].hidden
def function(cases): return lambda data, hidden: data
truth_of_case = cases[0].truth
"""

ROWS = [
    "evaluate(prediction, truth, others=[image])",
    "evaluate(prediction, truth, others={'observed': image, 'prediction': image})",
    "evaluate(prediction[['B02', 'B03']], truth)",
    "evaluate(prediction, truth, bands=['B99'])",
    "evaluate(prediction.isel(x=slice(0, 8)), truth)",
    "truth = truth.assign_coords(time=truth.time + 1); evaluate(prediction, truth)",
    "import rioxarray; prediction = prediction.isel(time=0); truth = truth.isel(time=0)\n"
    "truth = truth.assign_coords(x=truth.x + 5); evaluate(prediction, truth)",
    "evaluate(prediction, truth, mask='l2a')",
    "mask = mask.astype(int); evaluate(prediction, truth, mask=mask)",
    "evaluate(prediction, truth, mask=mask.values[0, 0])",
    "evaluate(prediction, truth, mask=mask.values[:, :3])",
    "evaluate(prediction, truth, interval=0.9)",
    "prediction = bounded; truth = series; evaluate(prediction, truth, interval=0.5)",
    "prediction = bounded.drop_attrs().cloudfree.calibrate(level='BOA', sar='dB'); truth = series\n"
    "evaluate(prediction, truth, interval=True)",
    "list(hidden_dates(series, clear='l2a', kinds=['parital']))",
    "list(hidden_dates(series, clear='l2a', visible='all'))",
    "list(hidden_dates(series.isel(time=[0, 1]), clear='l2a'))",
    "list(hidden_dates(series.isel(time=[0, 1, 3]), clear='l2a', clouds=2))",
    "list(hidden_dates(series.drop_vars('SCL', errors='ignore')))",
    "list(hidden_dates(series, clear='l2a', clouds=1, kinds=['full'], visible='realistic'))",
    "ds = series.expand_dims(patch=2); list(hidden_dates(ds, clear='l2a'))",
    "benchmark([], methods)",
    "benchmark(cases, [])",
    "benchmark(cases, ['idw', 'idw'])",
    "truth = truth_of_case; benchmark([series], methods)",
    "list(sen12mscr(root, part='validation'))",
    "list(sen12mscr(root, split='mine'))",
    "benchmark(cases, [3])",
    "patch_case('a', ds.isel(time=0))",
    "ds = series.assign_coords(time=series.time + np.timedelta64(12, 's'))\n"
    "ds = xr.concat([series, ds], 'time').sortby('time')\n"
    "make = lambda ds: Case('a', ds, (ds.B02 > 0) & (ds.time == ds.time[0]), series.isel(time=[0]),"
    " date=ds.time.values[0])\n"
    "benchmark([make(ds)], ['median'])",
    "ds = small.isel(time=[1, 2]); ds.cloudfree.judge(['idw'], gaps=[0], cases=1)",
    "ds = small.expand_dims(patch=2); ds.cloudfree.judge(['median'], gaps=[0], cases=1)",
    "ds = small; ds.cloudfree.judge(['median'], gaps=[-5], cases=1)",
    "ds = small; ds.cloudfree.judge(['median'], gaps=[0], cases=0)",
    "another = model = 'idw'; ds = small.isel(time=slice(4))\nds.cloudfree.judge(['idw', 'idw'])",
]
