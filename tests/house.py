"""Count what the house is made of: rooms, lines, files, arrows, and the way of one reconstruction.

    python tests/house.py [--files]

For a network and a method it counts the files of the package that ``reconstruct`` passes, and how
often one call of the package is in another file than the call before it.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import xarray as xr

import xcloudfree as xcf

PACKAGE = Path(xcf.__file__).parent
LONG, SHORT = 400, 30
"""Lines that a file should have at most, and at least."""


def rooms() -> dict[str, int]:
    """Lines of each room; files of the package's own folder are one room."""
    lines: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        lines[parts[0] if len(parts) > 1 else "(top)"] += len(path.read_text().splitlines())
    return dict(sorted(lines.items()))


def arrows() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module == "xcloudfree":
                names = [f"xcloudfree.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                inside = parts[0] == "xcloudfree" and len(parts) > 1 and len(here) > 1
                if inside and (PACKAGE / parts[1]).is_dir():
                    found.add((here[0], parts[1]))
    return {(one, other) for one, other in found if one != other}


def way(call: Any) -> list[str]:
    """The file of each call inside the package, in order."""
    files: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            files.append(str(Path(frame.f_code.co_filename).relative_to(PACKAGE)))

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return files


def scene(dates: int, bands: tuple[str, ...]) -> xr.Dataset:
    """A scene of 48 x 48 px of random numbers."""
    rng, dims = np.random.default_rng(0), ("time", "y", "x")
    ds = xr.Dataset()
    for name in (*bands, "VV", "VH"):
        values = rng.random((dates, 48, 48), np.float32) / 2 - 15 * (name[0] == "V")
        units = {"units": "dB" if name[0] == "V" else "1"}
        ds[name] = xr.DataArray(values, dims=dims, attrs=units)
    days = np.arange(dates) * np.timedelta64(5, "D")
    return ds.assign_coords(time=np.datetime64("2025-06-01", "ns") + days)


def main() -> None:
    """Print all counts."""
    counts = rooms()
    paths = {p: len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    print(f"{len(counts) - 1} rooms, {len(paths)} files, {sum(counts.values())} lines")
    print(", ".join(f"{name} {lines}" for name, lines in counts.items()))
    for what, chosen in (
        (f"over {LONG} lines", {p: n for p, n in paths.items() if n > LONG}),
        (f"under {SHORT}", {p: n for p, n in paths.items() if n < SHORT and p.stem[0] != "_"}),
    ):
        listed = ", ".join(f"{p.relative_to(PACKAGE)} {n}" for p, n in sorted(chosen.items()))
        print(f"{len(chosen)} files {what}: {listed}")
    print(f"{len(arrows())} arrows between rooms")
    warnings.simplefilter("ignore")
    ways = {"carf-tiny": scene(1, xcf.bands.S2_BANDS).isel(time=0)}
    ways["area-regression"] = scene(6, xcf.bands.S2_BANDS)
    for name, ds in ways.items():

        def call(ds: Any = ds, name: str = name) -> None:
            ds.cloudfree.reconstruct(model=name)

        call()  # what is imported or cached once does not count
        files = way(call)
        switches = sum(a != b for a, b in pairwise(files))
        print(f"{name}: {len(set(files))} files, {switches} switches, {len(files)} calls")
        if "--files" in sys.argv:
            for file, count in Counter(files).most_common():
                print(f"    {file} {count}")


if __name__ == "__main__":
    main()
