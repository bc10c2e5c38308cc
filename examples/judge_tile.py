"""What judging a lazy Sentinel-2 tile takes: 10980 x 10980 px, 24 dates, 13 bands and VV VH.

    python examples/judge_tile.py

The tile repeats a simulated scene of 549 x 549 px; each chunk is made when it is read.
"""

import resource
import time

import dask.array as da
import numpy as np

import xcloudfree as xcf

SIDE, CHUNK, DATES = 10980, 1098, 24
COVER = [0, 0.5, 0.9, 0, 0.3, 0.7] * 4


def tile():
    """A lazy series in chunks of all dates."""
    small = xcf.datasets.simulate_scene(
        (CHUNK // 2, CHUNK // 2), dates=DATES, cover=COVER, level="BOA", seed=1
    )
    sizes = (DATES,), *((CHUNK,) * (SIDE // CHUNK),) * 2
    variables = {}
    for name, array in small.data_vars.items():
        repeated = da.map_blocks(
            lambda values=array.values: np.tile(values, (1, 2, 2)),
            chunks=sizes, dtype=array.dtype, meta=np.empty((0, 0, 0), array.dtype),
        )  # fmt: skip
        variables[name] = (array.dims, repeated, array.attrs)
    coords = {d: small[d].values[0] + 10.0 * np.arange(SIDE) for d in ("y", "x")}
    flat = small.isel(y=0, x=0).drop_vars(["y", "x"])
    return flat.drop_vars(list(flat.data_vars)).assign_coords(coords).assign(variables)


def main():
    ds = tile()
    clock, cpu = time.perf_counter(), time.process_time()
    table = ds.cloudfree.judge()
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{clock:.0f} s, {cpu:.0f} s of CPU, {peak:.1f} GiB at most\n")
    print(xcf.benchmarking.to_markdown(table, cost=True))


if __name__ == "__main__":
    main()
