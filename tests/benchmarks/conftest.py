"""Rows of a run, shown as they come and written into docs/benchmarks.md at its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.benchmarks import report
from tests.benchmarks.report import Row
from tests.benchmarks.timing import QUICK

Record = Callable[..., None]

ROWS: dict[str, list[Row]] = {}


@pytest.fixture
def record(capsys: pytest.CaptureFixture[str]) -> Record:
    """``record(subject, what, figure, limit="", holds=None)``; fails the test if it is False."""

    def add(
        subject: str, what: str, figure: str, limit: str = "", holds: bool | None = None
    ) -> None:
        row = Row(what, figure, limit, None if holds is None else bool(holds))
        ROWS.setdefault(subject, []).append(row)
        with capsys.disabled():
            print(f"\n{subject}: {what}: {figure} {limit}", end=" ")
        if not QUICK:  # what is small is all overhead
            assert row.holds is not False, f"{what}: {figure}, limit {limit}"

    return add


def pytest_sessionfinish() -> None:
    """Write the subjects that were measured; the others keep their tables."""
    for subject, rows in ROWS.items():
        if not QUICK:
            report.write(subject, rows)
