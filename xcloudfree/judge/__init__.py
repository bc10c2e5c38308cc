"""Honest comparison: any methods over any cases, what costs nothing first.

:func:`benchmark` judges, :mod:`~xcloudfree.judge.protocols` (of a series) and
:mod:`~xcloudfree.judge.patches` make cases, and plain functions turn its Dataset into means,
tables, pictures and paired comparisons.
"""

from __future__ import annotations

from xcloudfree.judge.case import Case, Fold, leave_one_region_out
from xcloudfree.judge.estimators import Alone, Fit, Reconstruct
from xcloudfree.judge.figure import plot
from xcloudfree.judge.patches import patch_case, sen12mscr
from xcloudfree.judge.protocols import hidden_dates
from xcloudfree.judge.run import benchmark, judge
from xcloudfree.judge.significance import compare, statement
from xcloudfree.judge.splits import sen12mscr_split
from xcloudfree.judge.summary import NAMES, summary, upsets, winners
from xcloudfree.judge.tables import failures, to_latex, to_markdown
from xcloudfree.judge.trivial import TRIVIAL

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
