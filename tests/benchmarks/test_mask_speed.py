"""Megapixels a second of the default mask, with numba and without; run with ``make bench``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import dask
import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf  # noqa: F401  registers ds.cloudfree
from xcloudfree.bands import S2_BANDS
from xcloudfree.kernels import mask as module
from xcloudfree.kernels.mask import METHODS, paper_mask, score
from xcloudfree.kernels.radiometry import Calibration

pytestmark = pytest.mark.slow

SIZE, CHUNK, ROUNDS, CORES = 4096, 1024, 7, 2
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


def report(name: str, found: dict[str, list[float]]) -> float:
    """Print medians and spread; return the median with numba by CPU seconds."""
    parts = (
        f"{way} {statistics.median(v):.0f} ({min(v):.0f} to {max(v):.0f})"
        for way, v in found.items()
    )
    print(f"\n{name}, Mpx/s: {', '.join(parts)}", end="")
    return statistics.median(found["numba by CPU"])


@pytest.fixture(autouse=True)
def _numba() -> None:
    pytest.importorskip("numba")


@pytest.mark.parametrize("dtype", RULES)
@pytest.mark.parametrize("kernel", ["mask", "score"])
def test_kernel_on_one_core(
    kernel: str, dtype: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bands, rule = planes(dtype, CHUNK), RULES[dtype]
    work = {
        "mask": lambda: paper_mask(bands, rule),
        "score": lambda: score(bands, calibration=rule),
    }[kernel]
    found = speeds(work, CHUNK**2, 1, monkeypatch)
    with capsys.disabled():
        assert report(f"{kernel} kernel, {dtype}, 1 core", found) >= 100


@pytest.mark.parametrize("dtype", RULES)
@pytest.mark.parametrize("call", ["mask", "score", "weights"])
def test_labelled_over_chunks(
    call: str, dtype: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ds = scene(dtype).chunk(y=CHUNK, x=CHUNK)

    def work() -> np.ndarray:
        with dask.config.set(scheduler="threads", num_workers=CORES):
            return np.asarray(getattr(ds.cloudfree, call)().values)

    found = speeds(work, SIZE**2, CORES, monkeypatch)
    with capsys.disabled():
        median = report(f"ds.cloudfree.{call}(), {dtype}, {CORES} threads", found)
    assert call != "mask" or median >= 100


def test_s2cloudless_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A gradient-boosted detector on the same kind of pixels, for scale; with all its threads."""
    detectors = pytest.importorskip("s2cloudless")
    detector = detectors.S2PixelCloudDetector(all_bands=True)
    bands = planes("float32", 128, S2_BANDS)
    image = np.stack(list(bands.values()), axis=-1)[None]
    seconds: dict[str, list[float]] = {"s2cloudless": [], "mask": []}
    for _ in range(5):
        start = time.perf_counter()
        detector.get_cloud_masks(image)
        middle = time.perf_counter()
        paper_mask(bands, Calibration())
        seconds["mask"].append(time.perf_counter() - middle)
        seconds["s2cloudless"].append(middle - start)
    rates = {name: 128**2 / statistics.median(s) / 1e6 for name, s in seconds.items()}
    with capsys.disabled():
        print(f"\ns2cloudless {rates['s2cloudless']:.3f} Mpx/s, mask by numpy {rates['mask']:.0f}")
    assert rates["mask"] > 100 * rates["s2cloudless"]
