"""The text of docs/results.md and of the README, from what results.py found."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from xcloudfree import judge as bench
from xcloudfree.judge.metrics import BETTER, DIGITS

METRICS = ("psnr", "ssim", "mae", "rmse", "sam")

KINDS = {
    "partial": "Hidden under clouds of other dates (20 to 90 % of the image)",
    "full": "Hidden wholly",
}

LEADER = "kernel-fusion"
"""The method beside which others are put."""

SINGLE = (
    "do nothing",
    "pixel-fusion",
    "kernel-fusion",
    "clear mean",
    "ridge on SAR",
    "constant of training regions",
    "carf-small-demo",
)
"""Of the methods for single images, those in the README; one of each kind."""

TOLD = (
    "do nothing",
    "clear mean",
    "nearest-date",
    "geomedian+offset",
    "starfm",
    "area-regression",
    "area-regression+nearby",
    "kernel-fusion",
)
"""Of the methods for series, those in the README; one of each kind."""


def patches(result, network, networks):
    """What stands in the README, and what on the page."""
    cloudy = {"metrics": ["psnr"], "by": ["case"], "mean": True}
    share = result["count"].sel(pixels="cloudy").max("method") / result["count"].sel(
        pixels="all"
    ).max("method")
    named = [
        f"{c} ({100 * float(s):.0f} % cloud)"
        for c, s in zip(result.case.values, share, strict=True)
    ]
    shown = result.assign_coords(case=named)
    head = "PSNR in dB of the cloudy pixels (mask of eq. 13-16); the best of each column is bold:"
    page = [
        head,
        bench.to_markdown(shown, **cloudy, notes=False),
        "Mean over the patches, cloudy pixels:",
        bench.to_markdown(result, by=[], metrics=METRICS, cost=True, notes=False),
        "PSNR in dB of whole images, clear pixels as observed (not on the date of the truth):",
        bench.to_markdown(shown, **cloudy, pixels=["all"]),
        _compared(result, network),
        _upsets(shown, network, ["case"], networks),
    ]
    return single(result), "\n\n".join(page)


def single(result):
    """One date in the README: the mean over the patches, in a sentence."""
    means = bench.summary(result, by=[]).value.sel(metric="psnr", pixels="cloudy").squeeze()
    told = [f"{name} {float(means.sel({'method': name})):.2f}" for name in SINGLE]
    return (
        f"From one date alone, PSNR in dB of the cloudy pixels on {result.sizes['case']} "
        f"SEN12MS-CR patches:\n{', '.join(told[:4])},\n{', '.join(told[4:])}."
    )


def regions(result):
    """Each region left out."""
    return "\n\n".join(
        [
            "Mean over the patches, cloudy pixels:",
            bench.to_markdown(result, by=[], metrics=METRICS, cost=True),
            "PSNR in dB of the cloudy pixels by region:",
            bench.to_markdown(result, by=["region"], notes=False),
            _compared(result, "constant of training regions"),
        ]
    )


def series(result):
    """Hidden dates: a table a site, then the means and who beats the regression, by kind."""
    place = np.lexsort((result.gap.values, result.kind.values == "full", result.region.values))
    result = result.isel(case=place)
    shown, _ = _told(result)
    parts = []
    for site in dict.fromkeys(result.region.values.tolist()):
        chosen = shown.isel(case=shown.region.values == site)
        parts += [
            f"### {site}",
            "PSNR in dB of the hidden pixels, under clouds of other dates (partial) or with the "
            "whole image hidden (full), by days of gap.",
            bench.to_markdown(chosen, by=["kind", "gap"], notes=False),
        ]
    for kind, text in KINDS.items():
        chosen, without = _told(result.isel(case=result.kind.values == kind))
        chosen, doubled = _different(chosen)
        parts += [f"### {text}: mean over the sites", *_left_out(without, doubled)]
        for metrics, cost in ((["psnr", "mae"], True), (["ssim", "sam"], False)):
            options = {"by": ["gap"], "metrics": metrics, "notes": False, "cost": cost}
            parts.append(bench.to_markdown(chosen, **options))
        parts.append(_upsets(chosen, LEADER, ["region", "gap"]))
        if kind == "partial":
            parts.append("All gaps together. " + _compared(chosen, LEADER))
    parts.append("\n".join(f"* {note}" for note in bench.failures(result)))
    return "\n\n".join(part for part in parts if part)


def hidden(result, dates):
    """Hidden dates in the README: the mean over the sites, partly hidden."""
    chosen = result.isel(case=result.kind.values == "partial").sel({"method": list(TOLD)})
    head = (
        "PSNR in dB of the hidden pixels, mean over three real Level-2A series with Sentinel-1.\n"
        f"We hid {dates} clear dates of each series under cloud masks from other dates; the\n"
        "columns give the number of days withheld before and after the hidden date:"
    )
    body = bench.to_markdown(chosen, by=["gap"], notes=False)
    return f"{head}\n\n" + re.sub(r"gap (\d+)[^|]*", r"\1 days ", body)


def put(page: Path, mark: str, text: str) -> None:
    """Replace what stands between the markers of a page."""
    old = page.read_text()
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    new, count = marked.subn(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", old)
    if count != 1:
        raise SystemExit(f"{page} has no markers <!-- {mark} --> ... <!-- /{mark} -->")
    page.write_text(new)


def _told(result):
    """The methods that have any value, and the names of the others."""
    has = result.value.sel(metric="mae", pixels="cloudy").notnull().any("case").values
    return result.isel(method=has), result.method.values[~has].tolist()


def _different(result):
    """Without methods with an offset that equal those without; and their names."""
    values = result.value
    names = result.method.values.tolist()
    doubled = [
        n
        for n in names
        if (plain := n.partition("+")[0]) != n
        and np.allclose(
            values.sel({"method": n}), values.sel({"method": plain}), rtol=1e-5, equal_nan=True
        )
    ]
    return result.isel(method=[n not in doubled for n in names]), doubled


def _left_out(silent, doubled):
    if doubled:
        yield f"The same as without what follows the plus, and not shown: {', '.join(doubled)}."
    if silent:
        yield f"Without a value for any hidden pixel, and not shown: {', '.join(silent)}."


def _upsets(result, method, by, others=()):
    """A row a place, a column a metric: who is ahead of the method there."""
    means = bench.summary(result, by).sel(pixels="cloudy")
    rivals = [m for m in means.method.values.tolist() if m != method and m not in others]
    rows, count = [], 0
    for group in means.group.values:
        cells = [_ahead(means.sel(group=group, metric=m), method, rivals, m) for m in METRICS]
        count += sum(bool(cell) for cell in cells)
        if any(cells):
            rows.append(f"| {group} | " + " | ".join(cells) + " |")
    total = len(METRICS) * means.sizes["group"]
    head = (
        f"Every place where something simpler or classical beats {method} ({count} of {total}): "
        "the best of it, behind the value of "
        f"{method}, and how many more are ahead."
    )
    if not rows:
        return head.split(":")[0] + "."
    title = "| | " + " | ".join(bench.NAMES[m] for m in METRICS) + " |"
    return "\n".join([head, "", title, "|" + "---|" * (1 + len(METRICS)), *rows])


def _ahead(at, method, rivals, metric):
    sign, digits = BETTER[metric], DIGITS[metric]
    ranked = {str(m): bool(r) for m, r in zip(at.method.values, at.ranked.values, strict=True)}
    values = {str(m): float(v) for m, v in zip(at.method.values, at.value.values, strict=True)}
    ahead = [r for r in rivals if ranked[r] and sign * values[r] > sign * values[method]]
    if not ranked[method] or not ahead:
        return ""
    best = max(ahead, key=lambda r: sign * values[r])
    more = f", {len(ahead) - 1} more" if len(ahead) > 1 else ""
    return f"{values[method]:.{digits}f}: {best} **{values[best]:.{digits}f}**{more}"


def _compared(result, reference):
    found = bench.compare(result, reference)
    lines = [
        f"Difference in PSNR of the hidden pixels to {reference}, mean over regions, with the 95 % "
        f"interval of a bootstrap over regions. {found.attrs['statement']}",
        "",
        "| method | difference, dB | interval | ahead in |",
        "|---|---|---|---|",
    ]
    for name in found.method.values:
        one = found.sel({"method": name})
        if name == reference or not int(one.regions):
            continue
        interval = f"{float(one.low):+.2f} to {float(one.high):+.2f}"
        ahead = f"{int(one.regions_ahead)} of {int(one.regions)} regions"
        lines.append(f"| {name} | {float(one.difference):+.2f} | {interval} | {ahead} |")
    return "\n".join(lines)
