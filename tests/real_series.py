"""Series of real Sentinel data, as the examples read them."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest

SITES = (
    "worldcereal_00002806639B424A",
    "worldcereal_000028085BF08E7E",
    "worldcereal_2021_TZA_COPERNI",
)
EXAMPLE = Path(__file__).parent.parent / "examples" / "series_data.py"


@cache
def reader():
    """The example that reads the data."""
    spec = importlib.util.spec_from_file_location("series_data", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def load(root, site):
    pytest.importorskip("h5netcdf")
    folder = root / "series" / site
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    return reader().load(folder)
