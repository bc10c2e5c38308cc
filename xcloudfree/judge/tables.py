"""Tables of a benchmark in Markdown and LaTeX, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from xcloudfree.judge.evaluation import markdown, number
from xcloudfree.judge.metrics import DIGITS, NAMES
from xcloudfree.judge.result import check_names
from xcloudfree.judge.scene_table import as_result
from xcloudfree.judge.summary import summary, winners

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _Column(NamedTuple):
    """A column of a table, with a cell for each method."""

    head: str
    cells: list[tuple[str, bool]]  # and whether it is the best


def to_markdown(
    result: xr.Dataset,
    *,
    by: Sequence[str] | None = None,
    metrics: Sequence[str] = ("psnr",),
    pixels: Sequence[str] = ("cloudy",),
    cost: bool = False,
    mean: bool = False,
    notes: bool = True,
) -> str:
    """Make a Markdown table: one row per method, one column per group, metric and pixels.

    The best value of each column is bold. Only methods that reconstructed at least 99 % of a
    group's pixels compete; for others the percentage follows the value.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`, or from ``ds.cloudfree.judge()``.
    by : sequence of str, optional
        See :func:`xcloudfree.judge.summary`; by default ``region``, and of a table of ``judge()``
        ``gap``.
    metrics, pixels : sequence of str
        Metrics and pixels to show.
    cost : bool
        Add columns of CPU-seconds and peak memory, medians over all cases.
    mean : bool
        Add a last block of columns over all cases.
    notes : bool
        Add lines under the table that list failures and their reasons.

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
    columns = _columns(result, by, metrics, pixels, cost, mean)
    shown = [
        [f"**{cell}**" if best else cell.replace("|", "\\|") for cell, best in column.cells]
        for column in columns
    ]
    text = markdown([column.head for column in columns], zip(*shown, strict=True))
    remarks = failures(result) if notes else []
    return "\n".join([text, *([""] if remarks else []), *(f"* {note}" for note in remarks)])


def to_latex(
    result: xr.Dataset,
    *,
    by: Sequence[str] | None = None,
    metrics: Sequence[str] = ("psnr",),
    pixels: Sequence[str] = ("cloudy",),
    cost: bool = False,
    mean: bool = False,
    notes: bool = True,
) -> str:
    r"""Make the table of :func:`to_markdown` in LaTeX (a ``tabular`` with booktabs rules).

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
    >>> cases = xcf.benchmarking.hidden_dates(series, clear="score", gaps=[0], kinds=["full"])
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> print(to_latex(result).splitlines()[0])
    \begin{tabular}{lr}
    """
    # pandas' to_latex would need jinja2 for these few lines
    columns = _columns(result, by, metrics, pixels, cost, mean)
    shown = [
        [f"\\textbf{{{_escaped(c)}}}" if best else _escaped(c) for c, best in column.cells]
        for column in columns
    ]
    rows = [[_escaped(column.head) for column in columns], *zip(*shown, strict=True)]
    head, *body = (" & ".join(row) + r" \\" for row in rows)
    begin = f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}"
    remarks = failures(result) if notes else []
    lines = [begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {note}" for note in remarks)])


def _usual(result: xr.Dataset, of_scene: str) -> tuple[str, ...]:
    """Default grouping of a result: regions, or the dimensions in the table of a scene."""
    return ("region",) if "case" in result.dims else tuple(of_scene.split())


def _columns(
    result: xr.Dataset,
    by: Sequence[str] | None,
    metrics: Sequence[str],
    pixels: Sequence[str],
    cost: bool,
    mean: bool,
) -> list[_Column]:
    """The columns of a table, the names of the methods first."""
    by = _usual(result, "gap") if by is None else by
    result = as_result(result, by)
    check_names(result, "to_markdown()", {"metric": metrics, "pixels": pixels})
    blocks = [summary(result, by)] if by or not mean else []
    if mean:
        blocks.append(summary(result, ()).assign_coords(group=["mean"]))
    columns = [_Column("method", [(str(m), False) for m in result.method.values])]
    for means in blocks:
        won = winners(means)
        for group, metric, kind in product(means.group.values, metrics, pixels):
            at = {"group": group, "metric": metric, "pixels": kind}
            head = _head(str(group), metric, kind, metrics, pixels)
            best = won.sel(at).values.tolist()
            cells = zip(_cells(means.sel(at), DIGITS[metric]), best, strict=True)
            columns.append(_Column(head, list(cells)))
    if cost:
        whole = summary(result, ())
        for name, title, digits in (("cpu_seconds", "CPU s", 2), ("peak_memory", "peak MB", 0)):
            values = whole[name].isel(group=0).values
            columns.append(_Column(title, [(number(v, digits), False) for v in values]))
    return columns


def failures(result: xr.Dataset) -> list[str]:
    """List failures with their reasons, one line per method and message.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`, or from ``ds.cloudfree.judge()``.

    Returns
    -------
    list of str

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> cases = xcf.benchmarking.hidden_dates(series, clear="score", gaps=[0], kinds=["full"])
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> failures(result)
    []
    """
    lines = []
    if "case" not in result.dims:
        told = zip(result.model.values, result.failure.values, strict=True)
        return [f"{model} failed {failure}" for model, failure in told if failure]
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


def _cells(means: xr.Dataset, digits: int) -> list[str]:
    """A cell for each method, followed by its reconstructed percentage if that is less."""
    cells = []
    for method in means.method.values:
        one = means.sel({"method": method})
        cell, share = number(float(one.value), digits), float(one.reconstructed)
        if cell != "–" and not bool(one.ranked):
            cell += f" ({100 * share:.0f} %)"
        cells.append(cell)
    return cells


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: f"\\{c}" for c in "&%$#_{}"} | {"–": "--"}
    return "".join(special.get(c, c) for c in text)


def plot(
    result: xr.Dataset,
    *,
    metric: str = "psnr",
    pixels: str = "cloudy",
    by: Sequence[str] | None = None,
) -> Figure:
    """Draw a panel for each region: lines over several gaps, else one point per group.

    Parameters
    ----------
    result : Dataset
        From :func:`xcloudfree.judge.benchmark`, or from ``ds.cloudfree.judge()``.
    metric, pixels : str
        Metric and pixels to draw.
    by : sequence of str, optional
        One panel per group, see :func:`xcloudfree.judge.summary`; not ``gap``. By default one panel
        per region, or a single one for a table of ``judge()``.

    Returns
    -------
    matplotlib.figure.Figure
        Hollow points are means of methods that did not reconstruct everything.

    Raises
    ------
    DataError
        If the result has no such metric or selection of pixels.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> series = xcf.datasets.simulate_scene((32, 32), dates=3, cover=[0, 0.6, 0])
    >>> cases = xcf.benchmarking.hidden_dates(series, clear="score", gaps=[0], kinds=["full"])
    >>> result = xcf.benchmark(cases, ["do nothing", "linear-time"])
    >>> len(plot(result).axes)
    1
    """
    from matplotlib.figure import Figure

    by = _usual(result, "") if by is None else by
    result = as_result(result, by)
    check_names(result, "plot()", {"metric": [metric], "pixels": [pixels]})
    gaps = np.unique(result.gap.values[~np.isnan(result.gap.values)])
    lines = len(gaps) > 1
    means = summary(result, [*by, "gap"] if lines else list(by))
    panels = summary(result, list(by)) if lines else summary(result, ())
    count = panels.sizes["group"]
    # xarray's facets draw through pyplot, which keeps every figure that it made
    figure = Figure(figsize=(1.5 + 3.2 * count, 1.2 + 0.24 * result.sizes["method"]))
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for place, axis in enumerate(axes):
        part = means
        for key in by if lines else ():
            part = part.isel(group=part[key].values == panels[key].values[place])
        for row, method in enumerate(means.method.values):
            at = part.sel({"method": method, "pixels": pixels})
            values, whole = at.value.sel(metric=metric).values, at.ranked.values
            x, y = (at.gap.values, values) if lines else (values, np.full(len(values), -row))
            colour = f"C{row % 10}" if lines else "C0"
            if lines:
                axis.plot(x, y, lw=1, color=colour, label=str(method))
            axis.plot(x[whole], y[whole], "o", ms=4, color=colour)
            axis.plot(x[~whole], y[~whole], "o", ms=4, color=colour, mfc="white")
        axis.set_title(str(panels.group.values[place]), fontsize=9)
        axis.grid(alpha=0.3)
    what = f"{NAMES[metric]}, {pixels} pixels"
    if lines:
        axes[0].set_ylabel(what)
        axes[0].set_xlabel("gap, days")
        axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    else:
        axes[0].set_yticks(range(0, -result.sizes["method"], -1), result.method.values.tolist())
        axes[0].set_xlabel(what)
    figure.set_layout_engine("constrained")
    return figure
