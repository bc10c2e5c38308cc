"""Megapixels a second of the default mask, with numba and without; run with ``make bench``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import dask
import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf  # noqa: F401  registers ds.cloudfree
from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.timing import QUICK
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.radiometry import Calibration
from xcloudfree.masks import scores as module
from xcloudfree.masks.scores import METHODS, paper_mask, score

pytestmark = pytest.mark.slow

SIZE, CHUNK, ROUNDS, CORES = 2048 if QUICK else 4096, 1024, 3 if QUICK else 7, 2
NAMES = METHODS["score"].bands
RULES = {"uint16": Calibration(1e-4, -0.1, 0), "float32": Calibration()}
COMPILED = module.compiled


def numpy_alone(loop: Callable[..., None]) -> None:
    """Stands in for the compiler where numba is not installed."""


WAYS = {"numba": COMPILED, "numpy": numpy_alone}


def planes(dtype: str, size: int, names: tuple[str, ...] = NAMES) -> dict[str, np.ndarray]:
    """Bright and dark pixels as the type stores them."""
    rng = np.random.default_rng(0)
    reflectance = (rng.random((size, size), "float32") * 0.6 for _ in names)
    if dtype == "uint16":
        return {n: ((r + 0.1) * 1e4).astype(dtype) for n, r in zip(names, reflectance, strict=True)}
    return dict(zip(names, reflectance, strict=True))


def scene(dtype: str) -> xr.Dataset:
    rule = RULES[dtype]
    attrs = {"units": "1", "processing_level": "TOA"}
    if dtype == "uint16":
        attrs |= {"scale_factor": rule.scale, "add_offset": rule.offset, "nodata": rule.nodata}
    bands = planes(dtype, SIZE)
    return xr.Dataset({n: (("y", "x"), v, attrs) for n, v in bands.items()})


def speeds(
    work: Callable[[], np.ndarray], pixels: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[float]]:
    """Mpx/s of each way by the clock, and as the CPU seconds would give if no one else ran.

    In rounds, so that a busy moment meets all of them.
    """
    found: dict[str, list[float]] = {f"{w}{c}": [] for w in WAYS for c in ("", " by CPU")}
    results = {}
    for number in range(ROUNDS + 1):
        for way, compiler in WAYS.items():
            monkeypatch.setattr(module, "compiled", compiler)
            start, used = time.perf_counter(), time.process_time()
            results[way] = work()
            clock, used = time.perf_counter() - start, time.process_time() - used
            if number:  # the first round compiles
                found[way].append(pixels / clock / 1e6)
                found[f"{way} by CPU"].append(pixels * cores / used / 1e6)
    assert results["numba"].tobytes() == results["numpy"].tobytes()
    return found


def told(found: dict[str, list[float]]) -> str:
    """Medians and spread of all ways."""
    by_clock = f"numba {spread(found['numba'], 0)}, numpy {spread(found['numpy'], 0)}"
    by_cpu = " and ".join(f"{statistics.median(found[f'{w} by CPU']):.0f}" for w in WAYS)
    return f"{by_clock}; cores x pixels / CPU-seconds {by_cpu}"


@pytest.fixture(autouse=True)
def _numba() -> Iterator[None]:
    numba = pytest.importorskip("numba")
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("dtype", RULES)
@pytest.mark.parametrize("kernel", ["mask", "score"])
def test_kernel_on_one_core(
    kernel: str, dtype: str, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    bands, rule = planes(dtype, CHUNK), RULES[dtype]
    work = {
        "mask": lambda: paper_mask(bands, rule),
        "score": lambda: score(bands, calibration=rule),
    }[kernel]
    found = speeds(work, CHUNK**2, 1, monkeypatch)
    record("masks", f"{kernel} kernel, {dtype}, 1 core, Mpx/s", told(found))


@pytest.mark.parametrize("dtype", RULES)
@pytest.mark.parametrize("call", ["mask", "score", "weights"])
def test_labelled_over_chunks(
    call: str, dtype: str, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    ds = scene(dtype).chunk(y=CHUNK, x=CHUNK)

    def work() -> np.ndarray:
        with dask.config.set(scheduler="threads", num_workers=CORES):
            return np.asarray(getattr(ds.cloudfree, call)().values)

    found = speeds(work, SIZE**2, CORES, monkeypatch)
    limit = {}
    if call == "mask":
        enough = statistics.median(found["numba"]) >= 100
        limit = {"limit": "at least 100 with numba", "holds": enough}
    what = f"`ds.cloudfree.{call}()`, {dtype}, {CORES} threads, the same bits, Mpx/s"
    record("masks", what, told(found), **limit)


def test_s2cloudless_beside_it(record: Record) -> None:
    """A gradient-boosted detector on the same pixels, for scale; with all its threads."""
    try:
        from s2cloudless import S2PixelCloudDetector
    except ImportError:
        record("masks", "s2cloudless on the same pixels, Mpx/s", "not measured: not installed")
        pytest.skip("needs s2cloudless")
    detector = S2PixelCloudDetector(all_bands=True)
    side = 128 if QUICK else 256
    bands = planes("float32", side, S2_BANDS)
    image = np.stack(list(bands.values()), axis=-1)[None]
    rates: dict[str, list[float]] = {"s2cloudless": [], "mask": []}
    for number in range(6):
        start = time.perf_counter()
        detector.get_cloud_masks(image)
        middle = time.perf_counter()
        paper_mask(bands, Calibration())
        end = time.perf_counter()
        if number:
            rates["mask"].append(side**2 / (end - middle) / 1e6)
            rates["s2cloudless"].append(side**2 / (middle - start) / 1e6)
    figure = f"{spread(rates['s2cloudless'], 3)}, the mask kernel {spread(rates['mask'], 0)}"
    what = f"s2cloudless on {side} x {side} px at 10 m, beside the mask on the same, Mpx/s"
    record("masks", what, figure)
