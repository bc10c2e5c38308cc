"""The table of docs/benchmarks.md: rows are collected by subject, each subject has its markers."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PACKAGES = ("torch", "dask", "numba", "zarr", "numpy")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    what, figure : str
        What was measured, and the result with its unit and spread.
    limit : str
        What it has to hold; empty where nothing is asked.
    holds : bool or None
        Whether it does.
    """

    what: str
    figure: str
    limit: str = ""
    holds: bool | None = None

    def line(self) -> str:
        """The row in Markdown."""
        said = {None: "", True: "holds", False: "**does not hold**"}[self.holds]
        return f"| {self.what} | {self.figure} | {self.limit} | {said} |"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with smallest and largest value.

    Examples
    --------
    >>> spread([1.0, 3.0, 2.0])
    '2.00 (1.00 to 3.00)'
    """
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown."""
    return "\n".join(
        ["| what | figure | limit | |", "|---|---|---|---|", *(r.line() for r in rows)]
    )


def replaced(page: str, subject: str, text: str) -> str:
    """The page with other text between the markers of a subject.

    Examples
    --------
    >>> replaced("a\\n<!-- bench:tile -->\\nold\\n<!-- /bench:tile -->\\nz", "tile", "new")
    'a\\n<!-- bench:tile -->\\nnew\\n<!-- /bench:tile -->\\nz'
    """
    first, last = f"<!-- bench:{subject} -->", f"<!-- /bench:{subject} -->"
    found = re.search(f"{re.escape(first)}.*?{re.escape(last)}", page, re.DOTALL)
    if found is None:
        raise KeyError(f"{PAGE.name} has no markers for {subject}")
    return f"{page[: found.start()]}{first}\n{text}\n{last}{page[found.end() :]}"


def write(subject: str, rows: Sequence[Row]) -> None:
    """Put the table of a subject into the page, under when and where it was measured."""
    text = f"{origin()}\n\n{table(rows)}"
    PAGE.write_text(replaced(PAGE.read_text("utf-8"), subject, text), "utf-8")


def origin() -> str:
    """Date, commit, machine and versions in a line."""
    day = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{day}, commit {commit()}; {machine()}; {versions()}."


def commit() -> str:
    """Short name of the commit, with what the working tree adds to it."""
    words = ["git", "-C", str(ROOT)]
    name = subprocess.run(
        [*words, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    if name.returncode:
        return "unknown"
    changed = subprocess.run(
        [*words, "status", "--porcelain", "--untracked-files=no", "--", "xcloudfree"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return name.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def machine() -> str:
    """Cores, processor, memory and how busy others keep them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").is_file():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        name = found[1] if found else name
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {size / 2**30:.0f} GiB"
    load = f", load average of the minutes before {LOAD:.1f}" if LOAD is not None else ""
    return f"{cores} cores of {name}{memory}{load}"


def versions() -> str:
    """Versions of what does the work."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


LOAD = os.getloadavg()[1] if hasattr(os, "getloadavg") else None
"""Before anything is measured: what is measured is a load itself."""
