"""The help page as HTML: sections that fold, no script, no outside resource, any colour scheme."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from xcloudfree.plot.help.suitability import Verdict

if TYPE_CHECKING:
    from xcloudfree.plot.help.page import Page

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
.xcf-yes{color:#2a9d5c}.xcf-no{opacity:.5}.xcf-mend{color:#d08700}
.xcf dt.xcf-name{opacity:1}
""".replace("\n", "")


def render(page: Page, fallback: str) -> str:
    """Write a page as HTML.

    Parameters
    ----------
    page : Page
        What to tell.
    fallback : str
        Plain text for readers that drop styles.

    Returns
    -------
    str
    """
    mend = [row for row in page.rows if row.call]
    parts = [
        _section("Found", "", _rows(page), True),
        _section(
            "Missing", f"{len(mend)}, and the calls that mend them; each returns a new object",
            _list((escape(row.label), _code(row.call)) for row in mend), True,
        ) if mend else "",
        _verdicts("Masks", page.masks),
        _verdicts("Models with shipped weights", page.models),
        _verdicts("Classical methods", page.methods),
        _section(
            "Call", "what to do next",
            _list(((_code(call), escape(what)) for call, what in page.calls), "xcf-name"), True,
        ) if page.calls else "",
    ]  # fmt: skip
    return (
        f"<div><style>{_STYLE}</style><pre class='xcf-text'>{escape(fallback)}</pre>"
        "<div class='xcf' style='display:none'><div class='xcf-head'>"
        f"<span class='xcf-kind'>xcloudfree scene</span>{escape(page.title)}</div>"
        f"{''.join(parts)}</div></div>"
    )


def _rows(page: Page) -> str:
    mark = " <span class='xcf-mend'>●</span>"
    return _list(
        (escape(row.label), escape(row.value) + (mark if row.call else "")) for row in page.rows
    )


def _verdicts(title: str, verdicts: list[Verdict]) -> str:
    if not verdicts:
        return ""
    good = [v.name for v in verdicts if v.fits]
    told = f"{len(good)} of {len(verdicts)}" if len(verdicts) > 6 else ", ".join(good) or "none"
    entries = (
        (
            f"<span class='{'xcf-yes' if v.fits else 'xcf-no'}'>{'✓' if v.fits else '✗'}</span> "
            + escape(v.name),
            escape(" ".join(v.remarks) or "ready") if v.fits else escape(v.reason),
        )
        for v in verdicts
    )
    return _section(title, told, _list(entries, "xcf-name"), False)


def _section(title: str, note: str, body: str, unfolded: bool) -> str:
    return (
        f"<details{' open' if unfolded else ''}><summary>{escape(title)} "
        f"<span>{escape(note)}</span></summary>{body}</details>"
    )


def _list(entries: Iterable[tuple[str, str]], name: str = "") -> str:
    kind = f" class='{name}'" if name else ""
    return "<dl>" + "".join(f"<dt{kind}>{k}</dt><dd>{v}</dd>" for k, v in entries) + "</dl>"


def _code(call: str) -> str:
    """The first call in a sentence, set as code: what is selected there can be pasted."""
    places = (call.find(word) for word in ("ds.", "xcf.", "array.", "s1."))
    start = min((place for place in places if place >= 0), default=-1)
    if start < 0:
        return escape(call)
    depth, end = 0, len(call)
    for place in range(start, len(call)):
        depth += {"(": 1, ")": -1}.get(call[place], 0)
        if depth == 0 and call[place] == ")" and call[place + 1 : place + 2] != ".":
            end = place + 1
            break
    return f"{escape(call[:start])}<code>{escape(call[start:end])}</code>{escape(call[end:])}"
