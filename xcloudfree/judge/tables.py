"""Tables of a benchmark in Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xcloudfree.judge.result import check_names
from xcloudfree.judge.summary import DIGITS, NAMES, summary, winners


@dataclass(frozen=True)
class _Table:
    """Cells as text, which of them are best, and remarks."""

    head: list[str]
    rows: list[tuple[str, list[str]]]
    best: list[list[bool]]
    notes: list[str]


def to_markdown(
    result: xr.Dataset,
    *,
    by: Sequence[str] = ("region",),
    metrics: Sequence[str] = ("psnr",),
    pixels: Sequence[str] = ("cloudy",),
    cost: bool = False,
    mean: bool = False,
    notes: bool = True,
) -> str:
    """Markdown table: a row a method, a column a group, metric and selection of pixels.

    The best of each column is bold. Only methods that reconstructed at least 99 % of a group's
    pixels compete there; of others the share stands behind the value.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`.
    by : sequence of str
        See :func:`xcloudfree.judge.summary`.
    metrics, pixels : sequence of str
        What to show.
    cost : bool
        Columns of CPU-seconds and peak memory, medians over all cases.
    mean : bool
        A last block of columns over all cases.
    notes : bool
        Lines under the table that tell what failed and why.

    Returns
    -------
    str

    Raises
    ------
    DataError
        If the result has no such metric or selection of pixels.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudfree.judge import Case, benchmark
    >>> truth = xr.Dataset({"B02": (("y", "x"), np.full((4, 4), 0.1))})
    >>> hidden = xr.DataArray(np.eye(4, dtype=bool), dims=("y", "x"))
    >>> case = Case("eye", truth.where(~hidden, 0.6), hidden, truth, region="A")
    >>> print(to_markdown(benchmark([case], ["do nothing"]), metrics=["psnr", "mae"]))
    | method | A: PSNR dB | A: MAE |
    |---|---|---|
    | do nothing | **6.02** | **0.5000** |
    """
    table = _table(result, by, metrics, pixels, cost, mean)
    lines = ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
    for (name, cells), best in zip(table.rows, table.best, strict=True):
        shown = [f"**{c}**" if b else c for c, b in zip(cells, best, strict=True)]
        lines.append("| " + " | ".join([name.replace("|", "\\|"), *shown]) + " |")
    if notes and table.notes:
        lines += ["", *(f"* {note}" for note in table.notes)]
    return "\n".join(lines)


def to_latex(
    result: xr.Dataset,
    *,
    by: Sequence[str] = ("region",),
    metrics: Sequence[str] = ("psnr",),
    pixels: Sequence[str] = ("cloudy",),
    cost: bool = False,
    mean: bool = False,
    notes: bool = True,
) -> str:
    r"""The table of :func:`to_markdown` as LaTeX (a ``tabular`` with the rules of booktabs).

    Parameters
    ----------
    result, by, metrics, pixels, cost, mean, notes
        As for :func:`to_markdown`; remarks become comments.

    Returns
    -------
    str

    Raises
    ------
    DataError
        If the result has no such metric or selection of pixels.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> options = {"clear": "score", "gaps": [0], "kinds": ["full"], "count": 1}
    >>> cases = xcf.benchmarking.hidden_dates(series, **options)
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> print(to_latex(result).splitlines()[0])
    \begin{tabular}{lr}
    """
    table = _table(result, by, metrics, pixels, cost, mean)
    columns = "l" + "r" * (len(table.head) - 1)
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
    lines += [" & ".join(map(_escaped, table.head)) + r" \\", "\\midrule"]
    for (name, cells), best in zip(table.rows, table.best, strict=True):
        shown = [
            f"\\textbf{{{_escaped(c)}}}" if b else _escaped(c)
            for c, b in zip(cells, best, strict=True)
        ]
        lines.append(" & ".join([_escaped(name), *shown]) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    if notes:
        lines += [f"% {note}" for note in table.notes]
    return "\n".join(lines)


def _table(
    result: xr.Dataset,
    by: Sequence[str],
    metrics: Sequence[str],
    pixels: Sequence[str],
    cost: bool,
    mean: bool,
) -> _Table:
    check_names(result, "to_markdown()", {"metric": metrics, "pixels": pixels})
    blocks = [summary(result, by)] if by or not mean else []
    if mean:
        blocks.append(summary(result, ()).assign_coords(group=["mean"]))
    head: list[str] = []
    columns: list[list[str]] = []
    best: list[list[bool]] = []
    for means in blocks:
        won = winners(means)
        for group in means.group.values:
            for metric in metrics:
                for kind in pixels:
                    at = {"group": group, "metric": metric, "pixels": kind}
                    head.append(_head(str(group), metric, kind, metrics, pixels))
                    columns.append(_column(means.sel(at), DIGITS[metric]))
                    best.append(won.sel(at).values.tolist())
    if cost:
        whole = summary(result, ())
        for name, title, digits in (("cpu_seconds", "CPU s", 2), ("peak_memory", "peak MB", 0)):
            head.append(title)
            columns.append([_number(v, digits) for v in whole[name].isel(group=0).values])
            best.append([False] * result.sizes["method"])
    methods = [str(m) for m in result.method.values]
    rows = [(m, [c[i] for c in columns]) for i, m in enumerate(methods)]
    flags = [[bool(c[i]) for c in best] for i in range(len(methods))]
    return _Table(["method", *head], rows, flags, failures(result))


def failures(result: xr.Dataset) -> list[str]:
    """What failed and why, a line for each method and message.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> options = {"clear": "score", "gaps": [0], "kinds": ["full"], "count": 1}
    >>> cases = xcf.benchmarking.hidden_dates(series, **options)
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> failures(result)
    []
    """
    lines = []
    for method in result.method.values:
        messages = result.failure.sel({"method": method}).values.tolist()
        counts = {m: messages.count(m) for m in dict.fromkeys(messages) if m}
        for message, count in counts.items():
            lines.append(f"{method} failed on {count} of {len(messages)} cases: {message}")
    return lines


def _head(group: str, metric: str, kind: str, metrics: Sequence[str], pixels: Sequence[str]) -> str:
    what = [NAMES[metric]] if len(metrics) > 1 or not group else []
    what += [kind] if len(pixels) > 1 else []
    return ": ".join(part for part in (group, ", ".join(what)) if part)


def _column(means: xr.Dataset, digits: int) -> list[str]:
    cells = []
    for method in means.method.values:
        one = means.sel({"method": method})
        cell, share = _number(float(one.value), digits), float(one.reconstructed)
        if cell != "–" and not bool(one.ranked):
            cell += f" ({100 * share:.0f} %)"
        cells.append(cell)
    return cells


def _number(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: f"\\{c}" for c in "&%$#_{}"} | {"–": "--"}
    return "".join(special.get(c, c) for c in text)
