"""What the command line answers: every error in its own words, without calls of Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import make_bands, make_series
from tests.cli.test_cli import call
from tests.core.test_errors import ERRORS, text_of
from xcloudfree.cli import main

PYTHON = re.compile(r"[\w\]]\(|\b(ds|obj|xcf|array|xcloudfree)\.[a-z]|\w\[['\"]")
"""A call, an attribute or an index of Python."""

KEYWORD = re.compile(r"\b[a-z_]+=")
"""An argument of a call; a problem may quote one that the user gave."""

CALLS = re.compile(r"call|fix|again|anew|cure|without|ADD_TIME|TAKE_RTC|join_again|advice|_SIGN")
"""Names of values in a message that contain a call."""

PYTHON_ONLY: dict[str, list[str]] = {
    # whole files: functions without a command
    "datasets/cloud_layers.py": [""],
    "datasets/overlay.py": [""],
    "datasets/simulate.py": [""],
    "io/append.py": [""],
    "judge/baselines.py": [""],
    "judge/case.py": [""],
    "judge/cloudy_dates.py": [""],
    "judge/estimators.py": [""],
    "judge/intervals.py": [""],
    "judge/patches.py": [""],
    "judge/protocols.py": [""],
    "judge/result.py": [""],
    "judge/summary.py": [""],
    "masks/shares.py": [""],
    "masks/weights.py": [""],
    "models/hub.py": [""],
    "plot/colours.py": [""],
    "plot/quality.py": [""],
    "plot/single.py": [""],
    "reconstruct/any_time.py": [""],
    "reconstruct/context.py": [""],
    "reconstruct/shift.py": [""],
    "reconstruct/speckle.py": [""],
    "stac/local/publish.py": [""],
    "stac/local/serve.py": [""],
    "stac/read/stackstac_reader.py": [""],
    "stac/rules/providers.py": [""],
    "stac/series/offset_check.py": [""],
    "stac/series/orbits.py": [""],
    "stac/series/pairing.py": [""],
    "stac/series/status.py": [""],
    "train/recipe.py": [""],
    # arguments without an option, options that are checked before, and objects of Python
    "core/calibrate.py": [
        "there are {} dates and the offsets have shap",
        "offsets by date need a scale",
        "one array contains Sentinel-1 and Sentinel-2",
    ],
    "core/passes.py": ["the data has no dates to join"],
    "core/recognise.py": [
        "a DataTree contains several grids but a scen",
        "expected an xarray Dataset or DataArray, not",
    ],
    "datasets/sen12mscr.py": [
        "incomplete={} is neither 'skip' nor 'nodata'",
        "no patch under {} has seasons={} and rois={}",
    ],
    "io/cog.py": ["{} is not a GeoTIFF name", "per is {}"],
    "io/levels.py": [
        "There are no rows and columns of which to wr",
        "The coordinate {} is not evenly spaced, so o",
    ],
    "io/zarr_store.py": [
        "Unknown mode {}",
        "chunks is {}",
        "A {} is neither a Dataset nor a DataArray",
        "memory is {}",
    ],
    "judge/evaluation.py": [
        "others is a {}",
        "the names {} and {} are taken",
        "the mask is a {}, which does not say which i",
        "the mask is {}, not boolean",
        "the mask has {} dimensions and an image has",
    ],
    "judge/run.py": [
        "case {} hides {} but shows another image of",
        "there is no method",
        "two cases are called {}",
        "the method must be fitted but the case has n",
        "a case is a {}",
    ],
    "masks/resolve.py": [
        "classes={} must be whole numbers from 0 to {",
        "a mask must be a boolean DataArray, True whe",
        "the mask has dimensions {} that the scene la",
        "haze={} must be a score below that of cloud;",
        "the mask is not on the grid of the scene ({}",
    ],
    "methods/__init__.py": ["method {} has its window in its name"],
    "methods/base.py": ["method {} has no option {}{}", "{} is {}"],
    "models/__init__.py": [
        "{} with {} does not read what normalisation=",
        "{} are fitted weights, but create() makes un",
    ],
    "plot/view.py": [
        "a mask of shape {} does not lie on {}",
    ],
    "reconstruct/align.py": ["align is {}"],
    "reconstruct/checks.py": [
        "blend is {}",
        "the scene has {} and the coarse images have",
        "the coarse images run along {} and the scene",
        "the coarse images ({}) are not on the grid o",
    ],
    "reconstruct/network.py": ["halo is {}", "model {} runs in tiles of {} pixels, which c"],
    "reconstruct/pipeline.py": [
        "halo is {} and method {} knows its own",
        'model "judged" is chosen by the accessor',
    ],
    "stac/load.py": [
        "chunks={} is no mapping",
        "clip=True needs an area",
        "{}={} is not one of {}",
    ],
    "stac/read/grids.py": [
        "like= has no georeferenced grid",
        "The area to load is unknown: the items do no",
        "crs={} is unknown ({})",
    ],
    "stac/read/signing.py": ["sign= (or a password in an address) is known"],
    "stac/rules/harmonise.py": ["offsets= gives {} for item {}, but must be i"],
    "stac/search/area.py": [
        "intersects= has no extent, but must be an ar",
        "intersects= is not in degrees, and declares",
        "intersects= is not a geometry ({})",
    ],
    "stac/search/catalog.py": ["{} is not a {}"],
    "stac/search/query.py": ["bbox= and intersects= exclude each other"],
    "stac/series/backscatter.py": ["{} is not a polarisation"],
    "stac/series/optical.py": ["groupby={} is unknown"],
    "train/fitting.py": ["recipe is a {}"],
    "train/tasks.py": [
        "adversarial fitting uses one device",
        "with validation the target is a variable of",
    ],
    "train/inputs.py": [
        "there is no data to fit on",
        "fit() takes one or more Datasets, not a {}",
        "there are {} datasets and {} targets",
        "the data has no variable {} with the cloud-f",
    ],
    "train/series_samples.py": ["gaps are {}"],
    "train/splits.py": [
        "unknown split {}{}",
        "shares are {}",
        "a series must be split in one way, but this",
        "splitting by {}={} leaves one part empty",
        "the parts to fit and to test on share images",
        "{} does not touch a border of the {} pixels",
        "there is no dimension 'time'",
        "training and held-out data share ground ({})",
        "{}={} is not a date ({})",
        "there is no coordinate {} to check whether t",
    ],
}
"""Errors that no command can raise: files, and the beginnings of their problems."""


def fields() -> Iterator[tuple[str, dict[str, str]]]:
    """Place and fields of every error, {} for each value, and call() for calls in values."""
    package = Path(xcf.__file__).parent
    names = {kind.__name__ for kind in ERRORS} | {"AssetError"}
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in names:
                continue
            found = {str(k.arg): k.value for k in node.keywords}
            found |= {"problem": node.args[0]} if node.args else {}
            words = {name: text_of(value) for name, value in found.items()}
            values = ast.walk(found.get("fix", node.func))
            if any(CALLS.search(v.id) for v in values if isinstance(v, ast.Name)):
                words["fix"] = words.get("fix", "") + " call()"
            yield f"{path.relative_to(package).as_posix()}:{node.lineno}", words


def only_in_python(place: str, problem: str) -> bool:
    starts = PYTHON_ONLY.get(place.partition(":")[0], [])
    return any(problem.startswith(start) for start in starts)


def test_every_error_that_a_command_can_raise_is_answered_without_python():
    wrong = []
    for place, words in fields():
        if only_in_python(place, words["problem"]):
            continue
        said, cure = words.get("subject", "") + words["problem"], words.get("option", words["fix"])
        if PYTHON.search(f"{said}; {cure}") or KEYWORD.search(cure):
            wrong.append(f"{place}: {said}; {cure}")
    assert not wrong, "give these an option=, in words of the command line\n" + "\n".join(wrong)


def test_the_list_of_errors_only_in_python_is_up_to_date():
    have = [(place.partition(":")[0], words["problem"]) for place, words in fields()]
    unused = [
        (file, start)
        for file, starts in PYTHON_ONLY.items()
        for start in starts
        if not any(file == place and problem.startswith(start) for place, problem in have)
    ]
    assert not unused


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_answers_name_options_that_commands_have():
    named = {
        flag
        for command in commands(main)
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    wrong = [
        f"{place}: {flag}"
        for place, words in fields()
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", words.get("option", ""))
        if flag not in named
    ]
    assert not wrong


def stored(ds: xr.Dataset, path: Path) -> Path:
    """As other programs write it: unlike ours, this writer checks nothing."""
    ds.to_zarr(path, mode="w", consolidated=True, zarr_format=2)
    return path


SERIES = {
    "numbers": lambda ds: ds.drop_attrs() * 10000,
    "text": lambda ds: ds.assign(B03=ds.B03.astype(str)),
    "no dates": lambda ds: ds.assign_coords(time=np.arange(ds.sizes["time"])),
    "missing dates": lambda ds: ds.assign_coords(
        time=ds.time.where(np.arange(ds.sizes["time"]) > 0)
    ),
    "one date": lambda ds: ds.isel(time=[0]),
    "no time": lambda ds: ds.drop_vars("time"),
    "no bands": lambda ds: ds.rename({name: f"layer{n}" for n, name in enumerate(ds.data_vars)}),
    "no rows": lambda ds: ds.isel(y=slice(0, 0)),
    "one row": lambda ds: ds.isel(y=0),
    "rows called r": lambda ds: ds.rename(y="r", x="c"),
    "uneven": lambda ds: ds.isel(x=[0, 1, 2, 4, 5, 9, 10, 11, 12, 13]),
    "two grids": lambda ds: ds.assign(VV=ds.VV.rename(x="x2", y="y2").drop_vars(["x2", "y2"])),
    "two of one band": lambda ds: ds.assign(B2=ds.B02),
    "a dimension more": lambda ds: ds.expand_dims(member=2),
    "scale in words": lambda ds: ds.assign(B02=ds.B02.assign_attrs(scale_factor="small")),
    "scale of nought": lambda ds: ds.assign(B02=ds.B02.assign_attrs(scale_factor=0.0)),
    "fill in words": lambda ds: ds.assign(B02=ds.B02.assign_attrs(nodata="none")),
    "radar without unit": lambda ds: ds.assign(VV=ds.VV.drop_attrs(), VH=ds.VH.drop_attrs()),
    "odd classes": lambda ds: ds.assign(SCL=xr.full_like(ds.B02, 4.5).drop_attrs()),
    "half of the bands": lambda ds: ds[["B02", "VV"]],
    "radar alone": lambda ds: ds[["VV", "VH"]],
    "other level": lambda ds: ds.cloudfree.calibrate(level="BOA"),
    "reconstructed": lambda ds: ds.cloudfree.reconstruct("median", mask=ds.B03 > 0.2).compute(),
}
"""What can be wrong with a store."""

COMMANDS = [
    "mask {scene} {out}.zarr",
    "mask {scene} {out}.tif --method scl",
    "mask {scene} {out}.zarr --method l2a --shadow",
    "mask {scene} {out}.zarr --method series",
    "mask {scene} {out}.zarr --method qa60 --threshold 3",
    "reconstruct {scene} {out}.zarr",
    "reconstruct {scene} {out}.tif --model whittaker --mask scl",
    "reconstruct {scene} {out}.zarr --model carf-tiny --mask score",
    "reconstruct {scene} {out}.zarr --model nonsense --interval 3",
    "composite {scene} {out}.zarr",
    "composite {scene} {out}.zarr --between 1999-01-01/1999-02-01 --mask l2a",
    "composite {scene} {out}.zarr --method weighted-mean",
    "judge {scene} --models median,median --cases 1",
    "evaluate {scene} {whole}",
    "evaluate {whole} {scene} --mask score --observed {scene}",
    "plot {scene} {out}.png --at 0,0",
    "plot {scene} {out}.png --at 500105,5399895 --of NDWX",
    "plot {scene} {out}.png --calendar",
    "plot {scene} {out}.gif --observed {whole}",
    "plot {scene} {out}.html --observed {whole} --time soon",
    "fit {scene} {out}.safetensors --model carf-tiny --steps 1 --crop 512",
    "fit {scene} {out}.safetensors --model carf-tiny --steps 0",
    "fit {scene} {out}.safetensors --model carf-tiny --steps 1 --loss nonsense --validation 7",
    "fit {scene} {out}.safetensors --model carf-tiny --steps 1 --split region",
]


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("change", SERIES)
def test_no_command_answers_bad_data_with_python(change: str, every: int, tmp_path: Path) -> None:
    whole = make_series(20, 20, dates=3)
    places = {
        "whole": stored(whole, tmp_path / "whole.zarr"),
        "scene": stored(SERIES[change](whole), tmp_path / "scene.zarr"),
    }
    errors, start = 0, list(SERIES).index(change) % every
    for number, command in enumerate(COMMANDS[start::every]):
        words = command.format(**places, out=tmp_path / f"out{number}").split()
        done = call(*words)
        lines = [s for s in done.output.splitlines() if s.startswith(("Error: ", "Warning: "))]
        for line in lines:
            said = line.replace(str(tmp_path), "")
            assert not PYTHON.search(said), (command, line)
            assert not KEYWORD.search(said.rpartition(";")[2]), (command, line)
        errors += done.exit_code == 1
    assert errors


def test_a_warning_keeps_its_problem_and_loses_its_call(tmp_path: Path) -> None:
    path = stored(make_bands(), tmp_path / "scene.zarr")
    told = call("reconstruct", path, tmp_path / "o.zarr", "--dry-run", "--model", "carf-tiny")
    (line,) = [line for line in told.output.splitlines() if line.startswith("Warning: ")]
    assert line.endswith("the result means nothing")
