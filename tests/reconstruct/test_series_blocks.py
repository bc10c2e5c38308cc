"""Blocks of a series: one task each, which decodes what it reads itself."""

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback

import xcloudfree as xcf
from xcloudfree.core.blocks import Output, Together, map_windows
from xcloudfree.core.windows import Encoded, Halo, Mosaic

DATES, SIDE, CHUNK = 4, 240, 80


@pytest.fixture(scope="module")
def stored() -> xr.Dataset:
    """Integers with radar, one date a chunk."""
    made = xcf.datasets.simulate_scene((SIDE, SIDE), dates=DATES, seed=2, cover=0.3)
    bands = [name for name in made.data_vars if name not in ("VV", "VH")]
    packed = {name: (made[name] * 1e4).round().clip(1).astype("uint16") for name in bands}
    rule = {"scale_factor": 1e-4, "add_offset": 0.0, "processing_level": "TOA"}
    ds = made.assign({name: array.assign_attrs(rule) for name, array in packed.items()})
    return ds.chunk(time=1, y=CHUNK, x=CHUNK)  # type: ignore[no-any-return]


class Results(Callback):  # type: ignore[misc]
    """What all tasks return, by the name of their layer."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Any]] = []
        super().__init__(posttask=self._note)

    def _note(self, key: Any, result: Any, *_: Any) -> None:
        name = key if isinstance(key, str) else key[0]
        self.found.append((name, result))


@pytest.mark.parametrize("model", ["median", "area-regression"])
def test_nothing_decoded_stands_between_the_tasks_of_a_block(
    stored: xr.Dataset, model: str
) -> None:
    mask = stored.B02.compute() > 3000
    lazy = stored.cloudfree.reconstruct(model=model, mask=mask)
    names = [name for name in lazy.data_vars if name not in ("VV", "VH")]
    results = Results()
    with results, dask.config.set(scheduler="sync"):
        dask.compute(*(lazy[name].data for name in names), optimize_graph=False)
    blocks = [r for name, r in results.found if name.startswith("reconstructseries")]
    blocks = [block for block in blocks if isinstance(block, tuple)]
    assert len(blocks) == (SIDE // CHUNK) ** 2
    assert all(block[0].shape[0] == DATES for block in blocks)
    every = [a for _, r in results.found for a in (r if isinstance(r, tuple) else [r])]
    planes = [a for a in every if isinstance(a, np.ndarray) and a.ndim > 2]
    assert {a.dtype.kind for a in planes if a.ndim == 4} == {"u"}  # bands of any dates


class Around:
    """The sum of all pixels within some pixels of each."""

    joins = True

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def __dask_tokenize__(self) -> int:
        return self.reach

    def __call__(self, window: Mosaic, *, core: Any) -> tuple[np.ndarray]:
        whole = window[..., slice(None), slice(None)]
        total = np.zeros_like(whole)
        for axis, shift in ((k, s) for k in (-2, -1) for s in (-self.reach, self.reach)):
            moved = np.roll(whole, shift, axis)
            edge = [slice(None)] * whole.ndim
            edge[axis] = slice(shift, None) if shift < 0 else slice(shift)
            moved[tuple(edge)] = 0
            total += moved
        return (total[..., *core],)


@pytest.mark.parametrize(
    ("reach", "rows", "columns"),
    [(1, {9, 1, 10, 8}, {7, 1, 6}), (4, {6, 4, 5}, {8}), (6, set(), set())],
)
def test_a_chunk_waits_in_parts_that_can_be_released_alone(
    reach: int, rows: set[int], columns: set[int]
) -> None:
    values = np.random.default_rng(0).integers(0, 99, (3, 31, 24))
    lazy = da.from_array(values, chunks=(1, (10, 12, 9), 8))
    whole = Around(reach)(Mosaic([[[values]]]), core=(slice(None), slice(None)))[0]
    work: dict[str, Any] = {"lead": 1, "plan": Halo(reach), "together": Together(0, 99)}
    results = Results()
    with results, dask.config.set(scheduler="sync"):
        (found,) = map_windows(Around(reach), [[lazy]], [Output(values.dtype)], **work)
        np.testing.assert_array_equal(found.compute(optimize_graph=False), whole)
    parts = [r for name, r in results.found if name.endswith("-parts")]
    # a chunk is cut only where another block reads less than half of it
    assert {r.shape[1] for r in parts} == rows
    assert {r.shape[2] for r in parts} == columns
    assert sum(r.size for r in parts) == bool(rows) * values.size  # nothing is there twice
    assert all(r.base is None for r in parts)


@pytest.mark.parametrize(("reach", "blocks"), [(0, 25), (8, 9), (12, 4), (20, 1), (99, 1)])
def test_small_chunks_are_processed_together_up_to_what_is_read_around_them(
    chunks_together: None, reach: int, blocks: int
) -> None:
    values = np.random.default_rng(0).integers(0, 99, (2, 20, 20))
    lazy = da.from_array(values, chunks=(1, 4, 4))
    whole = Around(reach)(Mosaic([[[values]]]), core=(slice(None), slice(None)))[0]
    results = Results()
    with results, dask.config.set(scheduler="sync"):
        (found,) = map_windows(
            Around(reach), [[lazy]], [Output(values.dtype)],
            lead=1, plan=Halo(reach), together=Together(0, 99),
        )  # fmt: skip
        np.testing.assert_array_equal(found.compute(optimize_graph=False), whole)
    assert found.chunks[1:] == lazy.chunks[1:]
    done = [name for name, r in results.found if name.startswith("around") and isinstance(r, tuple)]
    assert len(done) == blocks


def test_a_mosaic_reads_like_the_array_and_decodes_part_of_it() -> None:
    values = np.random.default_rng(1).integers(0, 99, (3, 2, 20, 17))
    parts = [[values[..., :6, :9], values[..., :6, 9:]], [values[..., 6:, :9], values[..., 6:, 9:]]]
    bands = [[[part[:, k] for part in line] for line in parts] for k in range(2)]
    area = slice(2, 15), slice(5, 12)
    for mosaic in (Mosaic([parts]), Mosaic(bands)):
        assert mosaic.shape == values.shape
        np.testing.assert_array_equal(mosaic[1, ..., *area], values[1, ..., *area])
        encoded = Encoded(mosaic, lambda a: a.astype("float32") / 4, 2)
        part = encoded.cut(area).cut((slice(1, 4), slice(0, 3)))
        np.testing.assert_array_equal(part.decoded(), values[..., 3:6, 5:8] / 4)
