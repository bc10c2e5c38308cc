"""Fixtures that every test file shares."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers ds.rio
import xarray as xr

from xcloudfree.core.bands import S2_BANDS

collect_ignore_glob = ["freeze*.py"]  # scripts, which the search for doctests would import

WITHOUT_TORCH = find_spec("torch") is None
"""Masks, classical methods, catalogs and storage need none; they are tested without it too."""

NEEDS_TORCH = re.compile(
    r"^(import|from) (torch|tests\.(benchmarks|goldens))"
    r"|^(import|from) xcloudfree\.(cli\.demonstration|reconstruct\.inference|models|train)"
    r"|^from xcloudfree import .*\b(models|train)\b",
    re.MULTILINE,
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the files that import torch where there is none."""
    if not WITHOUT_TORCH or collection_path.suffix != ".py":
        return None
    return bool(NEEDS_TORCH.search(collection_path.read_text())) or None


def _skipped_without_torch() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if WITHOUT_TORCH and error.name == "torch":
            pytest.skip("needs torch")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    """Skip a test whose fixture asks for torch where there is none."""
    return (yield from _skipped_without_torch())


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, Any, Any]:
    """Skip a test that asks for torch where there is none."""
    return (yield from _skipped_without_torch())


def _folder(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} does not name a folder with {what}")
    return Path(value)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with real Sentinel data."""
    return _folder("XCLOUDFREE_DATA", "real Sentinel data")


@pytest.fixture(scope="session")
def goldens_root() -> Path:
    """Folder with outputs of reference implementations."""
    return _folder("XCLOUDFREE_GOLDENS", "outputs of reference implementations")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache folder out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def bands() -> xr.Dataset:
    """Scene as variables per band: 2 dates, 45 x 38 px, bright cloud in one corner."""
    return make_bands()


def make_bands(
    dates: int = 2, height: int = 45, width: int = 38, seed: int = 0, dtype: str = "float32"
) -> xr.Dataset:
    """Random reflectance (with a cloud) and backscatter with CRS, attributes and encodings."""
    rng = np.random.default_rng(seed)
    dims = ("time", "y", "x")
    shape = (dates, height, width)
    cloud = np.zeros(shape, bool)
    cloud[:, height // 3 :, width // 2 :] = True
    cloud[:, : height // 5, : width // 4] = True
    variables: dict[str, xr.DataArray] = {}
    for name in S2_BANDS:
        ground = rng.uniform(0.02, 0.12, shape)
        sky = rng.uniform(0.45, 0.7, shape)
        values = np.where(cloud, sky, ground)
        if name in ("B10", "B11"):
            values = np.where(cloud, 0.06 if name == "B10" else 0.3, ground / 20)
        attrs: dict[str, object] = {"units": "1", "processing_level": "TOA", "source": "test"}
        if dtype == "uint16":
            values = np.rint((values + 0.1) * 1e4)
            attrs |= {"scale_factor": 1e-4, "add_offset": -0.1, "nodata": 0}
        variables[name] = xr.DataArray(values.astype(dtype), dims=dims, attrs=attrs)
    for name, mean in (("VV", -11.0), ("VH", -18.0)):
        values = rng.normal(mean, 2, shape).astype("float32")
        variables[name] = xr.DataArray(
            values, dims=dims, attrs={"units": "dB", "quantity": "sigma0"}
        )
    ds = xr.Dataset(
        variables,
        coords={
            "time": np.array(["2025-06-01", "2025-06-06", "2025-06-11"], "datetime64[ns]")[:dates],
            "y": 5000000.0 - 10 * np.arange(height) - 5,
            "x": 400000.0 + 10 * np.arange(width) + 5,
            "item_id": ("time", [f"S2_{i}" for i in range(dates)]),
        },
        attrs={"title": "a scene"},
    )
    return ds.rio.write_crs("EPSG:32633")


def stacked(ds: xr.Dataset) -> xr.Dataset:
    """The same scene as variables ``s2`` and ``s1``."""
    s2 = ds[list(S2_BANDS)].to_dataarray("band").transpose("time", "band", "y", "x")
    s1 = ds[["VV", "VH"]].to_dataarray("polarisation")
    return xr.Dataset(
        {
            "s2": s2.assign_attrs(ds.B02.attrs),
            "s1": s1.transpose("time", "polarisation", "y", "x").assign_attrs(ds.VV.attrs),
        },
        attrs=ds.attrs,
    )


def as_array(ds: xr.Dataset) -> xr.DataArray:
    """The same scene as one array with optical and radar bands."""
    names = [*S2_BANDS, "VV", "VH"]
    array = ds[names].to_dataarray("band").transpose("time", "band", "y", "x").rename("scene")
    declared = {k: v for k, v in ds.B02.attrs.items() if k != "units"}
    return array.assign_attrs(declared | {"units": "1", "sar_units": "dB", "title": "a scene"})
