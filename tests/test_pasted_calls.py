"""The call that an error names is pasted, runs, and the problem is gone: of every error.

Rows of each room are in tests/pasted; an error without a row, or without a reason here why its call
cannot be pasted, fails the last test.
"""

import ast
import functools
import importlib
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.core.test_errors import raised, text_of
from tests.pasted.paste import calls, open_values, paste
from xcloudfree.exceptions import CloudFreeError

PACKAGE = Path(xcf.__file__).parent
ROOMS = ("core", "stac", "masks", "io", "methods", "models", "reconstruct", "datasets", "plot",
         "train", "judge")  # fmt: skip
NEEDS = {"stac": "pystac", "models": "torch", "train": "lightning", "plot": "matplotlib"}
ROWS = [(room, row) for room in ROOMS for row in importlib.import_module(f"tests.pasted.{room}").ROWS]


@functools.cache
def names_of(room: str, folder: Path):
    """What the rows of a room start from."""
    ds = xcf.datasets.simulate_scene((16, 16), dates=4, cover=0.4, seed=1, level="BOA")
    names = {"ds": ds, "xcf": xcf, "xcloudfree": xcf, "xr": xr, "np": np, "numpy": np}
    names["pandas"] = pd
    exec(importlib.import_module(f"tests.pasted.{room}").SETUP, names)
    return names


@functools.cache
def outcome(room: str, row: str, folder: Path) -> tuple[str, int]:
    """File and line of the error of a row, after its call was pasted."""
    init, here = CloudFreeError.__init__, os.getcwd()

    def noting(self, *args, **fields):
        frame = sys._getframe(1)
        while frame.f_code.co_filename.endswith("exceptions.py"):
            frame = frame.f_back
        self.made = frame.f_code.co_filename, frame.f_lineno
        init(self, *args, **fields)

    os.chdir(folder)
    try:
        CloudFreeError.__init__ = noting
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = paste(row, names_of(room, folder))
    finally:
        CloudFreeError.__init__ = init
        os.chdir(here)
    return error.made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pasted")


@pytest.mark.parametrize(("room", "row"), ROWS)
def test_the_call_of_an_error_fixes_it(room, row, folder):
    pytest.importorskip(NEEDS.get(room, "numpy"))
    outcome(room, row, folder)


USER = "what stands in the place of the name is known to the user alone"
REMOTE = "needs a catalog, a file or a server that is in that state"
AUTHORS = "is for the authors of the file"
UNTOLD = {}
"""File and beginning of the problem or the fix of an error: why its call cannot be pasted."""


def sites():
    """Place, key and lines of the errors that name a call which leaves nothing to the user."""
    for place, problem, fix in raised():
        ...


def test_every_call_of_an_error_is_pasted(folder):
    for room in ROOMS:
        pytest.importorskip(NEEDS.get(room, "numpy"))
