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
NEEDS = {
    "stac": "pystac",
    "models": "torch",
    "train": "lightning",
    "plot": "matplotlib",
    "reconstruct": "torch",
}
ROWS = [
    (room, row) for room in ROOMS for row in importlib.import_module(f"tests.pasted.{room}").ROWS
]


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


NOT_PASTED = {
    "only the user knows what stands in the place of the names": (
        "core/passes.py: the data has no dates",
        "core/recognise.py: {} has dimensions {} and other bands",
        "datasets/sen12mscr.py: no SEN12MS-CR file under",
        "judge/estimators.py: the state of method",
        "models/weights_file.py: {} is a pickle",
        "models/published/conversion.py: {} files were given",
        "stac/read/signing.py: sign= (or a password",
    ),
    "is made by the accessor, whose method has the name of the function that refuses": (
        "reconstruct/pipeline.py: model \"judged\" is chosen",
    ),
    "stands on the command line, which shows options": (
        "cli/",
    ),
    "stands on the help page, or in a table, and is not raised": (
        "plot/help/suitability.py: reads several dates",
        "judge/baselines.py: there are no cases",
        "judge/baselines.py: the data has {}, on which",
        "judge/estimators.py: a method that must be fitted",
        "judge/run.py: the method must be fitted",
    ),
    "cannot happen any more, or only behind a check that comes first": (
        "plot/overview.py: there is nothing to show",
        "models/shipped.py: {} is no readable weights file",
        "models/weights_file.py: {} names {} but has",
        "train/series_places.py: the level of the series",
    ),
    "needs another process, a full disk, or the memory of an accelerator": (
        "core/devices.py: {} do not fit",
        "io/layout.py: ",
        "io/lifecycle.py: Another process",
    ),
    "needs a package that is not installed with the tests": (
        "core/times.py: ",
        "masks/adapters.py: ",
        "masks/omnicloudmask.py: ",
        "stac/read/stackstac_reader.py: ",
    ),
    "needs a network service": (
        "reconstruct/remake.py: ",
        "models/hub.py: ",
        "stac/load.py: collections={}",
        "stac/search/choice.py: ",
        "stac/search/catalog.py: The assets of item",
        "stac/search/catalog.py: Asset {} of item",
    ),
    "needs the item or the file of a provider that is in that state": (
        "stac/read/access.py: ",
        "stac/read/grd.py: ",
        "stac/rules/harmonise.py: Item {} of collection",
        "stac/rules/harmonise.py: Item {} declares no",
        "stac/series/backscatter.py: Sentinel-1 items of different",
        "stac/series/optical.py: The Sentinel-2 items have no band",
        "stac/series/optical.py: Not every item has",
        "stac/series/status.py: This Dataset carries",
    ),
    "writes a store beside the one that it must not replace": (
        "io/append.py: {} has no dates",
        "io/append.py: {} is {} of {}, and in",
        "io/append.py: The coordinate",
        "io/append.py: {} has another coordinate",
        "io/append.py: {} was made in another way",
    ),
    "is for the authors of the weights": (
        "models/published/",
    ),
    "needs a fit of many steps or several devices": (
        "train/tasks.py: adversarial fitting",
        "train/series_fitting.py: {} of the held-out dates",
        "train/loop.py: the loss is",
        "train/samples.py: of dataset {}",
        "train/series_places.py: {} is made for",
    ),
}  # fmt: skip
"""Why the call of an error cannot be pasted: files and the beginnings of their problems."""


def named() -> list[tuple[str, str, range]]:
    """Key, file and lines of the errors that name a call which leaves nothing to the user."""
    found = []
    for place, problem, fix in raised():
        file, line = place.split(":")
        if fix is None:
            continue
        text = text_of(fix)
        if text == "{}" or any(not open_values(c) for c in calls(text.replace("{}", "_"))):
            words = text_of(ast.parse(problem, mode="eval").body) if problem else ""
            found.append((f"{file}: {words}", file, range(int(line), fix.end_lineno + 1)))
    return found


def test_every_error_that_names_a_call_is_pasted(folder):
    for room in ROOMS:
        pytest.importorskip(NEEDS.get(room, "numpy"))
    made = {
        (Path(file).relative_to(PACKAGE).as_posix(), line)
        for file, line in (outcome(room, row, folder) for room, row in ROWS)
    }
    reasons = [start for starts in NOT_PASTED.values() for start in starts]
    missing = [
        key
        for key, file, lines in named()
        if not any((file, line) in made for line in lines) and not key.startswith(tuple(reasons))
    ]
    assert not missing, "\n".join(missing)


def test_no_reason_is_left_of_an_error_that_is_gone():
    keys = [key for key, *_ in named()]
    for starts in NOT_PASTED.values():
        for start in starts:
            assert any(key.startswith(start) for key in keys), start
