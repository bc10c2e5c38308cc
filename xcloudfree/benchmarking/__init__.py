"""Honest comparison: any methods over any cases, what costs nothing first.

:func:`benchmark` judges, :mod:`~xcloudfree.benchmarking.protocols` (of a series) and
:mod:`~xcloudfree.benchmarking.patches` make cases, and plain functions turn its Dataset into means,
tables, pictures and paired comparisons.
"""

from __future__ import annotations

from xcloudfree.benchmarking.case import Case, Fold, leave_one_region_out
from xcloudfree.benchmarking.estimators import Alone, Fit, Reconstruct
from xcloudfree.benchmarking.figure import plot
from xcloudfree.benchmarking.patches import patch_case, sen12mscr
from xcloudfree.benchmarking.protocols import hidden_dates
from xcloudfree.benchmarking.run import benchmark, judge
from xcloudfree.benchmarking.significance import compare, statement
from xcloudfree.benchmarking.splits import sen12mscr_split
from xcloudfree.benchmarking.summary import NAMES, summary, upsets, winners
from xcloudfree.benchmarking.tables import failures, to_latex, to_markdown
from xcloudfree.benchmarking.trivial import TRIVIAL

__all__ = [
    "NAMES",
    "TRIVIAL",
    "Alone",
    "Case",
    "Fit",
    "Fold",
    "Reconstruct",
    "benchmark",
    "compare",
    "failures",
    "hidden_dates",
    "judge",
    "leave_one_region_out",
    "patch_case",
    "plot",
    "sen12mscr",
    "sen12mscr_split",
    "statement",
    "summary",
    "to_latex",
    "to_markdown",
    "upsets",
    "winners",
]
