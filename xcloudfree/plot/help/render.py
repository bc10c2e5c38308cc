"""The help page as plain text, and as folding HTML without scripts or external resources."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from textwrap import wrap
from typing import Any

from xcloudfree.plot.help.page import WELL_KNOWN, Page, page
from xcloudfree.plot.help.suitability import Verdict

WIDTH = 100

_STYLE = """
.xcf{display:block!important;color:inherit;font-size:13px;line-height:1.5;max-width:900px}
.xcf-text{display:none}
.xcf-head{padding:6px 0;border-bottom:1px solid rgba(127,127,127,.35);margin-bottom:4px}
.xcf-kind{opacity:.6;margin-right:8px}
.xcf summary{cursor:pointer;padding:3px 0;font-weight:500;list-style:none}
.xcf summary::-webkit-details-marker{display:none}
.xcf summary::before{content:"\\25B8";display:inline-block;width:14px;opacity:.6}
.xcf details[open]>summary::before{content:"\\25BE"}
.xcf summary span{font-weight:400;opacity:.65}
.xcf dl{display:grid;grid-template-columns:fit-content(60%) minmax(0,1fr);margin:2px 0 6px 14px;
padding:0;gap:0 16px}
.xcf dt,.xcf dd{margin:0!important;padding:2px 0;float:none!important;width:auto!important;
text-align:left;font-weight:400;overflow-wrap:anywhere;white-space:normal}
.xcf dt{opacity:.65}
.xcf code{font-size:12px;color:inherit;background:rgba(127,127,127,.14);padding:1px 5px;
border-radius:3px;white-space:pre-wrap}
.xcf-yes{color:#2a9d5c}.xcf-no{opacity:.5}.xcf-fix{color:#d08700}
.xcf dt.xcf-name{opacity:1}
""".replace("\n", "")


def text(obj: Any, *, as_options: bool = False) -> str:
    """The page of an object in plain text; for the command line with commands instead of calls.

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
      masks         auto (scl), scl; not series: needs 5 dates; ...
      models        none; not carf-series: reads several dates and the data has one; ...
      methods       kernel-fusion, kriging, idw: xcf.methods.names()
    Missing, and how to fix it
      backscatter   add VV and VH on this grid: ds.assign(VV=..., VH=...)
      grid          ds.rio.write_crs("EPSG:...")
    Next steps
      ds.cloudfree.mask()           occluded
      ds.cloudfree.reconstruct()    filled by kernel-fusion
    """
    return _plain(page(obj), as_options)


def html(obj: Any) -> str:
    """The page of an object as an HTML element in the colours of its surroundings."""
    contents = page(obj)
    sections = [
        _section("Found", "", _list(map(_row, contents.rows)), True),
        _section(
            "Missing",
            f"{len(contents.missing)}, and how to fix it; each call returns a new object",
            _list((escape(row.label), _code(row.fix)) for row in contents.missing),
            True,
        ),
        _verdicts("Masks", contents.masks),
        _verdicts("Models with shipped weights", contents.models),
        _verdicts("Classical methods", contents.methods),
        _section(
            "Next steps",
            "",
            _list(((_code(s.call), escape(s.result)) for s in contents.steps), "xcf-name"),
            True,
        ),
    ]
    return (  # readers that remove styles show the plain text
        f"<div><style>{_STYLE}</style><pre class='xcf-text'>{escape(_plain(contents, False))}</pre>"
        "<div class='xcf' style='display:none'><div class='xcf-head'>"
        f"<span class='xcf-kind'>xcloudfree scene</span>{escape(contents.title)}</div>"
        f"{''.join(sections)}</div></div>"
    )


def _plain(contents: Page, as_options: bool) -> str:
    lines = [f"<xcloudfree scene: {contents.title}>"]
    for row in contents.rows:
        lines += _line(row.label, row.value)
    if contents.masks:
        lines += _line("masks", _by_reason(contents.masks))
    if contents.models:
        lines += _line("models", _by_reason(contents.models))
    if contents.methods:
        good = [v.name for v in contents.methods if v.fits]
        shown = [name for name in WELL_KNOWN if name in good]
        more = f" and {len(good) - len(shown)} more" if len(good) > len(shown) else ""
        every = "xcloudfree methods" if as_options else "xcf.methods.names()"
        lines += _line("methods", f"{', '.join(shown) or 'none'}{more}: {every}")
    if contents.missing:
        lines.append("Missing, and how to fix it")
        for row in contents.missing:
            lines += _line(row.label, (as_options and row.option) or row.fix)
    offered = [
        (f"xcloudfree {step.command}" if as_options else step.call, step.result)
        for step in contents.steps if step.command or not as_options
    ]  # fmt: skip
    if offered:
        lines.append("Next steps")
        width = max(len(call) for call, _ in offered)
        lines += [f"  {call:<{width}}    {result}" for call, result in offered]
    return "\n".join(lines)


def _line(label: str, value: str) -> list[str]:
    parts = wrap(value, WIDTH - 16, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"  {label if n == 0 else '':<14}{part}" for n, part in enumerate(parts)]


def _by_reason(verdicts: list[Verdict]) -> str:
    """What fits, and what does not, with shared reasons named once."""
    named = (f"{v.name} ({v.chosen})" if v.chosen else v.name for v in verdicts if v.fits)
    good = ", ".join(named) or "none"
    unfit: dict[str, list[str]] = {}
    for verdict in verdicts:
        if not verdict.fits:
            unfit.setdefault(verdict.reason, []).append(verdict.name)
    return "; ".join([good, *(f"not {', '.join(names)}: {why}" for why, names in unfit.items())])


def _row(row: Any) -> tuple[str, str]:
    mark = " <span class='xcf-fix'>●</span>" if row.fix else ""
    return escape(row.label), escape(row.value) + mark


def _verdicts(title: str, verdicts: list[Verdict]) -> str:
    good = [v.name for v in verdicts if v.fits]
    note = f"{len(good)} of {len(verdicts)}" if len(verdicts) > 6 else ", ".join(good) or "none"
    entries = []
    for verdict in verdicts:
        kind, sign = ("yes", "✓") if verdict.fits else ("no", "✗")
        mark = f"<span class='xcf-{kind}'>{sign}</span>"
        why = verdict.reason or " ".join(verdict.remarks) or "ready"
        fix = f"; {_code(verdict.fix)}" if verdict.fix else ""
        entries.append((f"{mark} {escape(verdict.name)}", escape(why) + fix))
    return _section(title, note, _list(entries, "xcf-name"), False)


def _section(title: str, note: str, body: str, unfolded: bool) -> str:
    if not body:
        return ""
    return (
        f"<details{' open' if unfolded else ''}><summary>{escape(title)} "
        f"<span>{escape(note)}</span></summary>{body}</details>"
    )


def _list(entries: Iterable[tuple[str, str]], name: str = "") -> str:
    kind = f" class='{name}'" if name else ""
    items = "".join(f"<dt{kind}>{k}</dt><dd>{v}</dd>" for k, v in entries)
    return f"<dl>{items}</dl>" if items else ""


def _code(call: str) -> str:
    return f"<code>{escape(call)}</code>"
