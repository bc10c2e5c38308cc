"""The help page behind ``ds.cloudfree``: what was recognised, what is missing, what to call."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from xcloudfree.plot.help.findings import missing
from xcloudfree.plot.help.page import WELL_KNOWN, Page, page
from xcloudfree.plot.help.suitability import Verdict

__all__ = ["html", "page", "text"]

WIDTH = 100


def text(obj: Any) -> str:
    """Description in plain text.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> print(text(xr.Dataset({"SCL": (("y", "x"), np.zeros((4, 4), "uint8")),
    ...     "B02": (("y", "x"), np.zeros((4, 4), "float32"), {"processing_level": "BOA"})})))
    <xcloudfree scene: 1 optical band, 4 x 4 px>
      optical       B02
      level         BOA (Level-2A)
      reflectance   float32, taken as reflectance
      backscatter   none
      grid          4 x 4 px, no coordinate system
      dates         1 image without a time
      clouds        0% of the pixels by mask 'scl' (sampled)
      chunks        in memory
      masks         scl; not score, reference-code: needs ...
      models        none; not carf-series-l2a-demo, carf-small-l2a-10-demo: needs ...
      methods       kriging, idw: xcf.methods.names()
    Missing, and the call that mends it
      backscatter   add VV and VH on this grid: ds.assign(VV=..., VH=...)
      grid          ds.rio.write_crs("EPSG:...")
    What to call
      ds.cloudfree.mask('scl')                                 occluded
      ds.cloudfree.reconstruct(model='kriging', mask='scl')    without weights
      ds.cloudfree.plot()                                      a picture
    """
    return _written(page(obj))


def _written(told: Page) -> str:
    lines = [f"<xcloudfree scene: {told.title}>"]
    for row in told.rows:
        lines += _line(row.label, row.value)
    if told.masks:
        lines += _line("masks", _ready(told.masks))
    if told.models:
        lines += _line("models", _ready(told.models))
    if told.methods:
        lines += _line("methods", _counted(told.methods))
    mend = list(missing(told.rows))
    if mend:
        lines.append("Missing, and the call that mends it")
        for row in mend:
            lines += _line(row.label, row.call)
    if told.calls:
        lines.append("What to call")
        wide = max(len(call) for call, _ in told.calls)
        lines += [f"  {call:<{wide}}    {what}" for call, what in told.calls]
    return "\n".join(lines)


def html(obj: Any) -> str:
    """Description in HTML, with what is long folded away.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene.

    Returns
    -------
    str
        An element that needs nothing from outside, in the colours of what is around it.
    """
    from xcloudfree.plot.help.page_html import render

    told = page(obj)
    return render(told, _written(told))


def _line(label: str, value: str) -> list[str]:
    parts = wrap(value, WIDTH - 16, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"  {label if n == 0 else '':<14}{part}" for n, part in enumerate(parts)]


def _ready(verdicts: list[Verdict]) -> str:
    good = ", ".join(v.name for v in verdicts if v.fits) or "none"
    bad: dict[str, list[str]] = {}
    for verdict in verdicts:
        if not verdict.fits:
            bad.setdefault(verdict.reason.partition("; ")[0], []).append(verdict.name)
    return "; ".join([good, *(f"not {', '.join(names)}: {why}" for why, names in bad.items())])


def _counted(verdicts: list[Verdict]) -> str:
    good = [v.name for v in verdicts if v.fits]
    shown = [name for name in WELL_KNOWN if name in good]
    rest = len(good) - len(shown)
    told = ", ".join(shown) or "none"
    return f"{told}{f' and {rest} more' if rest else ''}: xcf.methods.names()"
