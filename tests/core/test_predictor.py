"""What the pipeline promises a predictor: statistics, places on the scene, samples, flags."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import xarray as xr

from xcloudfree.core.predictor import Prediction, added, gathered
from xcloudfree.core.windows import Halo, Tiles
from xcloudfree.methods import Method
from xcloudfree.reconstruct import reconstruct

THREE = Halo(3)
CHUNKS = [{"y": 7, "x": 11}, {"time": 1, "y": 24}, {"x": 5}]


class Sample(NamedTuple):
    """Clear pixels by their place on the scene."""

    place: np.ndarray
    value: np.ndarray  # (pixel, time, band)


class Sums(NamedTuple):
    total: np.ndarray
    parts: tuple  # named tuples may hold others


class Count(NamedTuple):
    clear: np.ndarray


@dataclass(frozen=True)
class Sampler(Method):
    """The mean of a sample that a hash of the place draws, and where each pixel lies."""

    passes: ClassVar[int] = 1
    flags: ClassVar[tuple[str, ...]] = ("even_row", "answered")

    name: str = "sampler"
    temporal: bool = True
    deviation: bool = True
    around: Any = THREE

    @property
    def plan(self):
        return self.around

    def measure(self, series, statistics):
        rows, columns = np.indices(series.hidden.shape[1:])
        place = (rows + series.origin[0]) * 1000 + columns + series.origin[1]
        core = np.zeros(place.shape, bool)
        core[series.core] = True
        chosen = core & series.clear.all(0) & (place * 7919 % 5 == 0)
        return Sample(place[chosen], np.moveaxis(series.reflectance[..., chosen], -1, 0))

    def combine(self, parts):
        return gathered(parts, most=40)

    def predict(self, series, statistics):
        sample = statistics[0]
        assert list(sample.place) == sorted(sample.place)
        mean = np.empty(series.reflectance.shape, np.float32)
        mean[:] = sample.value.mean(0)[..., None, None]
        rows = np.arange(mean.shape[-2]) + series.origin[0]
        columns = np.arange(mean.shape[-1]) + series.origin[1]
        deviation = np.broadcast_to(rows[:, None] * 100.0 + columns, mean.shape)
        flags = np.broadcast_to(2 + (rows[:, None] % 2 == 0), series.hidden.shape)
        return Prediction(mean, deviation.astype(np.float32), flags.astype(np.uint8))


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 0.4, (3, 24, 20)).astype("float32")
    days = np.array(["2025-06-11", "2025-06-01", "2025-06-06"], "datetime64[ns]")
    dims, units = ("time", "y", "x"), {"units": "1"}
    ds = xr.Dataset({"B02": (dims, values, units), "B03": (dims, values + 0.1, units)})
    ds = ds.assign_coords(time=days)
    return ds, xr.DataArray(rng.random((3, 24, 20)) < 0.3, dims=("time", "y", "x"))


@pytest.mark.parametrize("plan", [THREE, Halo(0), Tiles(8, 2)])
@pytest.mark.parametrize("chunks", CHUNKS)
def test_samples_places_and_flags_are_the_same_over_all_chunks(series, chunks, plan):
    ds, hidden = series
    method = Sampler(around=plan)
    whole = reconstruct(ds, model=method, mask=hidden, uncertainty=True)
    lazy = reconstruct(ds.chunk(chunks), model=method, mask=hidden, uncertainty=True)
    xr.testing.assert_identical(lazy.compute(), whole)
    filled = hidden.values
    rows, columns = np.indices((24, 20))
    place = np.broadcast_to(rows * 100 + columns, filled.shape)
    np.testing.assert_array_equal(whole.B02_std.values[filled], place[filled])
    expected = np.broadcast_to(2 + (rows % 2 == 0), filled.shape)
    np.testing.assert_array_equal(whole.quality.values[filled], expected[filled])
    assert whole.quality.attrs["flag_meanings"] == "even_row answered"
    assert list(whole.quality.attrs["flag_masks"]) == [1, 2]


def test_statistics_are_one_value_beside_the_windows(series):
    ds, hidden = series
    lazy = reconstruct(ds.chunk(y=8, x=10, time=1), model=Sampler(), mask=hidden)
    layers = {
        name: layer.annotations or {} for name, layer in lazy.B02.__dask_graph__().layers.items()
    }
    sums = [n for n, a in layers.items() if "xcloudfree_scene_sum" in a]
    dates = [n for n, a in layers.items() if "xcloudfree_all_dates" in a]
    assert {n.split("-")[0] for n in sums} == {"measure", "conclude"}
    assert {n.split("-")[0] for n in dates} == {"reconstructseries"}
    concluded = next(n for n in sums if n.startswith("conclude"))
    (key,) = lazy.B02.__dask_graph__().layers[concluded].get_output_keys()
    predicted = lazy.B02.__dask_graph__().layers[dates[0]]
    assert all(key in node.dependencies for node in predicted.mapping.values())


def test_sums_of_named_tuples_add_up_at_every_level():
    one = Sums(np.array([1.0, 2.0]), (Count(np.array(3)),))
    total = added([one, one, one])
    assert isinstance(total.parts[0], Count)
    assert total.total.tolist() == [3, 6]
    assert total.parts[0].clear == 9


def test_samples_are_in_the_order_of_their_places_whatever_the_blocks():
    first, second = (
        Sample(np.array([5, 1]), np.array([50, 10])),
        Sample(np.array([3]), np.array([30])),
    )
    for parts in ([first, second], [second, first], [gathered([first]), second]):
        assert gathered(parts).value.tolist() == [10, 30, 50]
    assert gathered([first, second], most=1).place.tolist() == [1]
