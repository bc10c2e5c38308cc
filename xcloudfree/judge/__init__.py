"""Compare any methods on any cases, with trivial baselines.

:func:`benchmark` evaluates methods (:mod:`~xcloudfree.judge.run`),
:mod:`~xcloudfree.judge.protocols` (for series) and :mod:`~xcloudfree.judge.patches` make cases, and
plain functions turn its Dataset into means, tables, pictures and paired comparisons.
"""

from __future__ import annotations

from xcloudfree.judge.baselines import TRIVIAL
from xcloudfree.judge.case import Case, Fold, leave_one_region_out
from xcloudfree.judge.cloudy_dates import overcast
from xcloudfree.judge.estimators import Fit, Reconstruct, SingleDate
from xcloudfree.judge.metrics import NAMES
from xcloudfree.judge.own_scene import judge_scene
from xcloudfree.judge.patches import patch_case, sen12mscr, sen12mscr_split
from xcloudfree.judge.protocols import hidden_dates
from xcloudfree.judge.run import benchmark, judge
from xcloudfree.judge.significance import compare, statement
from xcloudfree.judge.summary import summary, upsets, winners
from xcloudfree.judge.tables import failures, plot, to_latex, to_markdown

__all__ = [
    "NAMES",
    "TRIVIAL",
    "Case",
    "Fit",
    "Fold",
    "Reconstruct",
    "SingleDate",
    "benchmark",
    "compare",
    "failures",
    "hidden_dates",
    "judge",
    "judge_scene",
    "leave_one_region_out",
    "overcast",
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
