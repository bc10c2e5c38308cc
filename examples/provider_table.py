"""Write the table of catalogs in ``docs/catalogs.md`` from the providers that the library knows.

python examples/provider_table.py
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xcloudfree.stac.rules.providers import PROVIDERS, CollectionRule

PAGE = Path(__file__).parent.parent / "docs/catalogs.md"
BEGIN, END = "<!-- providers: begin -->", "<!-- providers: end -->"
OFFSET = {
    "flag": "applied flag",
    "declared": "declared",
    "baseline": "baseline",
    "date": "date (guess)",
    "none": "none",
}


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _assets(rule: CollectionRule) -> str:
    """Keys of some bands that show how they are named."""
    shown = [band for band in ("B02", "B05", "B8A", "B10", "VV", "VH") if band in rule.assets]
    return ", ".join(f"{band}=`{rule.assets[band][0]}`" for band in shown)


def _units(rule: CollectionRule) -> str:
    if rule.mission == "S2":
        return f"{rule.data_type}, {rule.scale:g}"
    stored = {"1": "linear power", "dB": "dB", "DN": "amplitude"}[rule.units]
    return f"{rule.data_type}, {stored}"


def _cells(provider: str, rule: CollectionRule) -> list[str]:
    if rule.refused:
        return [provider, f"`{rule.collection}`", "refused", "", "", "", "", "", ""]
    return [
        provider,
        f"`{rule.collection}`",
        rule.level or rule.quantity or "as stated",
        _assets(rule),
        _units(rule),
        f"{rule.nodata:g}",
        " > ".join(OFFSET[step] for step in rule.offset) if rule.mission == "S2" else "",
        "" if rule.classes is None else f"`{rule.classes[1][0]}`",
        {"grid": "map grid", "gcps": "control points"}[rule.geolocation],
    ]


def table() -> str:
    """The table of collections, and that of catalogs."""
    heads = [
        "provider", "collection", "level or quantity", "asset keys", "stored as", "no data",
        "offset, first that is found", "classes", "geolocation",
    ]  # fmt: skip
    lines = [_row(heads), _row("---" for _ in heads)]
    for provider in PROVIDERS:
        lines += [_row(_cells(provider.name, rule)) for rule in provider.collections]
    lines += ["", _row(["provider", "API", "property filters", "access"]), _row(["---"] * 4)]
    dialects = {"query": "`query`, undeclared", "cql2": "CQL2", "": "as declared"}
    for provider in PROVIDERS:
        filters = dialects[provider.dialect] if provider.url else "none"
        lines.append(_row([provider.name, provider.url or "none", filters, provider.access]))
    return "\n".join(lines)


def with_table(page: str) -> str:
    """A page with the current table between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), encoding="utf-8")
