"""Freeze the behaviour of the library: record it with one code, compare with another's.

    python tests/freeze.py record FILE.json [--quick | --only PATTERN]
    python tests/freeze.py compare OLD.json NEW.json [--ignore PATTERN ...]

Only public names are used, so that the same script runs on code whose modules are other ones:
``PYTHONPATH=TREE python tests/freeze.py record FILE.json``. Results, names, signatures and types of
errors are compared exactly; the wording of errors is not, and costs may be so much larger (LIMITS).
With the variable ``XCLOUDFREE_DATA`` real patches are among the cases; set it for both or neither.
``--quick`` records a part of the cases (and no storage), ``--only "^method median"`` those of such
names alone; compared with a record of another kind, only the cases that both hold count. Record
both on one machine in one environment: other processors and versions of torch give other bits.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

LIMITS = {
    "tasks": 1.0,
    "layers": 1.0,
    "tasks_per_block": 1.0,
    "tasks_optimised": 1.0,
    "pickled_bytes": 1.1,
    "build_ratio": 1.3,
    "cpu_ratio": 1.5,
    "stored_mb": 1.25,
    "computed_mb": 1.25,
}
"""How much larger a cost may be than the old one; other costs are told and not judged."""


def record(path: Path, quick: bool, only: str) -> None:
    """Run the cases and write what they give."""
    import dask

    import xcloudfree as xcf

    sys.path.insert(0, str(Path(__file__).parent))
    import freeze_cases
    import freeze_surface

    print(f"xcloudfree of {Path(xcf.__file__).parent}", file=sys.stderr)
    kind = f"only {only}" if only else "quick" if quick else "full"
    out: dict[str, Any] = {"kind": kind, "surface": freeze_surface.surface(), "cases": {}}
    slow: dict[str, float] = {}
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="synchronous"):
        for number, (name, call) in enumerate(freeze_cases.cases(quick)):
            if not re.search(only, name):
                continue
            start, place = time.process_time(), Path(folder) / str(number)
            place.mkdir()
            out["cases"][name] = one(call, place, freeze_cases.digest)
            if number % 100 == 99:
                print(f"{number + 1} cases", file=sys.stderr, flush=True)
            slow[name] = round(time.process_time() - start, 2)
    if not only:
        out["graphs"] = freeze_surface.graphs()
    if kind == "full":
        out["storage"] = storage()
    out["cpu_seconds"] = round(time.process_time() - begin, 1)
    out["seconds"] = slow
    path.write_text(json.dumps(out, indent=1, sort_keys=True, default=str) + "\n")
    failed = sum("error" in case for case in out["cases"].values())
    print(f"{len(out['cases'])} cases, {failed} of them refused, {out['cpu_seconds']} CPU-seconds")


def one(call: Any, place: Path, digest: Any) -> dict[str, Any]:
    """What a case gives, or its error; and the library's own kinds of warnings."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found: dict[str, Any] = {"result": digest(call(place))}
        except Exception as error:
            found = {"error": type(error).__name__, "message": str(error)[:80]}
    kinds = {w.category for w in heard if w.category.__module__.startswith("xcloudfree")}
    if kinds:
        found["warnings"] = sorted(kind.__name__ for kind in kinds)
    return found


def storage() -> dict[str, Any]:
    """The storage case, in a process of its own for its memory."""
    done = subprocess.run(
        [sys.executable, __file__, "storage"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:80]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(old: Path, new: Path, ignore: list[str]) -> int:
    """Print every difference; how many there are."""
    one, other = (json.loads(path.read_text()) for path in (old, new))
    partly = one["kind"] != other["kind"]
    found: list[str] = []
    for part in ("surface", "cases"):
        differences(one[part], other[part], part, found, partly and part == "cases")
    for part in ("graphs", "storage"):
        if part in one and part in other:
            dearer(one[part], other[part], part, found)
    found = [line for line in found if not any(re.search(p, line) for p in ignore)]
    for line in found:
        print(line)
    print(f"{len(found)} differences; CPU-seconds {one['cpu_seconds']}, {other['cpu_seconds']}")
    return len(found)


def differences(old: Any, new: Any, where: str, found: list[str], partly: bool = False) -> None:
    """Collect where two records differ; the wording of errors may."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if key == "message":
                continue
            if key in old and key in new:
                differences(old[key], new[key], f"{where} > {key}", found)
            elif not partly:
                told = old.get(key, new.get(key))
                word = "is gone" if key in old else "is new"
                found.append(f"{where} > {key}: {word} ({json.dumps(told)[:160]})")
    elif old != new:
        one, other = json.dumps(old), json.dumps(new)
        same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        start = max(0, same - 60) if same > 120 else 0
        found.append(f"{where}:\n    old {one[start:][:400]}\n    new {other[start:][:400]}")


def dearer(old: Any, new: Any, where: str, found: list[str]) -> None:
    """Collect what costs more than it may; tell the rest."""
    for key in sorted({*old, *new}):
        a, b, place = old.get(key), new.get(key), f"{where} > {key}"
        if isinstance(a, dict) and isinstance(b, dict):
            dearer(a, b, place, found)
        elif isinstance(a, bool) or not (isinstance(a, int | float) and isinstance(b, int | float)):
            if a != b and key != "message":
                found.append(f"{place}: old {a}, new {b}")
        elif key in LIMITS and b > a * LIMITS[key] + 1e-9:
            found.append(f"{place}: old {a}, new {b}, above {LIMITS[key]:g} times the old")
        elif a != b:
            print(f"(no difference) {place}: old {a}, new {b}")


def main() -> int:
    """Read the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    word = commands.add_parser("record", help="run all cases and write what they give")
    word.add_argument("file", type=Path)
    word.add_argument("--quick", action="store_true", help="a part of the cases")
    word.add_argument("--only", default="", help="regular expression of names of cases")
    word = commands.add_parser("compare", help="print every difference, exit code 1 if any")
    word.add_argument("old", type=Path)
    word.add_argument("new", type=Path)
    word.add_argument("--ignore", action="append", default=[], help="regular expression of lines")
    commands.add_parser("storage", help="the storage case alone")
    words = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy is imported
    os.environ["MPLBACKEND"] = "agg"
    if words.command == "record":
        record(words.file, words.quick, words.only)
    elif words.command == "compare":
        return int(compare(words.old, words.new, words.ignore) > 0)
    else:
        sys.path.insert(0, str(Path(__file__).parent))
        import freeze_surface

        print(json.dumps(freeze_surface.storage()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
