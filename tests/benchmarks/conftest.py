"""Rows of a run, shown as they come and written into docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.report import Row
from tests.benchmarks.timing import QUICK

Record = Callable[..., None]

ROWS: dict[str, list[Row]] = {}

ORDER = ("throughput", "graph", "memory", "clouds", "mask", "reference", "gpu", "tile")
"""Parts of file names, in the order of running; others come after these."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the limits are about first."""
    places = [n for n, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ordered = sorted((items[n] for n in places), key=_turn)
    for n, item in zip(places, ordered, strict=True):
        items[n] = item


def _turn(item: pytest.Item) -> int:
    return next((n for n, part in enumerate(ORDER) if part in item.path.name), len(ORDER))


@pytest.fixture
def record(capsys: pytest.CaptureFixture[str]) -> Iterator[Record]:
    """``record(subject, what, figure, limit="", holds=None)``; fails the test if it is False."""

    failed: list[str] = []

    def add(
        subject: str, what: str, figure: str, limit: str = "", holds: bool | None = None
    ) -> None:
        row = Row(what, figure, limit, None if holds is None else bool(holds))
        ROWS.setdefault(subject, []).append(row)
        with capsys.disabled():
            print(f"\n{subject}: {what}: {figure} {limit}", end=" ")
        if row.holds is False and not QUICK:  # what is small is all overhead
            failed.append(f"{what}: {figure}, limit {limit}")

    yield add
    for subject, rows in ROWS.items():  # now, in case that the run is cut off
        if not QUICK:
            report.write(subject, rows)
    assert not failed, "; ".join(failed)
