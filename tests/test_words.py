"""Pages, docstrings, messages and comments keep to the words that CONTRIBUTING.md recommends."""

import ast
import io
import json
import re
import tokenize

import pytest

from tests.fences import FENCE, ROOT, pages

UNIT = "block|chunk|band|date|month|pixel|site|place|region|call|patch|image|scene|row|method"
INSTEAD = {
    r"\bas (it|they) came\b|\bthat came in\b": "unchanged; in the form of the input",
    r"\bleaves? as\b": "is returned",
    r"\bwhat (is|was|are|were) \w+( \w+)?,? (is|are|was|were|stays?|leaves?|becomes?)\b":
        "name the subject: ambiguous input raises an error",
    r"\bcosts? nothing,? first\b": "start with the free baselines",
    r"\bmends?\b": "fixes",
    r"\btells\b|\b(is|are) told\b": "shows, records, says",
    r"\b(is|are|was|were|if|unless) asked( for)?\b": "requested",
    r"^Refuses? ": "Raise an error for ...",
    r"\bby heart\b": "memorises",
    r"\bat hand\b": "leave it out, or: available",
    r"\bworth (what|something)\b|\bwhat (it|they|(each|a) \w+) (is|are) worth\b": "how good it is",
    r"\bstands? (in|on|at|beside|behind|where|once)\b": "is in",
    r"\bgoes? before\b": "takes precedence over",
    r"\bwithout a word\b": "silently",
    r"\bbetrays?\b": "shows",
    r"\banew\b": "again",
    r"\bthat (is|was|are|were) given\b": "from the user; passed",
    rf"\b(a|one|each|two|three) [a-z]+ a ({UNIT})\b": "per",
}  # fmt: skip
"""Phrases that this project used too often, and what to write instead."""


def faults(text):
    """Phrases of a text, each with what to write instead."""
    flat = re.sub(r"\s+", " ", text)
    return [f"{m[0]!r}: {INSTEAD[p]}" for p in INSTEAD for m in re.finditer(p, flat, re.IGNORECASE)]


def prose(page):
    """The text of a page without its code; CONTRIBUTING.md quotes the phrases in one section."""
    text = pages()[page].read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = json.loads(text)["cells"]
        return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    if page == "CONTRIBUTING.md":
        text = re.sub(r"(?ms)^## Words$.*?(?=^## )", "", text)
    return re.sub(r"`[^`\n]*`", "`code`", FENCE.sub("", text))


def said(source):
    """Docstrings, messages and comments of a module, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value.strip()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("page", [*pages(), "docs/api.rst"])
def test_pages_are_plain_english(page):
    text = prose(page) if page in pages() else (ROOT / page).read_text(encoding="utf-8")
    assert not faults(text)


@pytest.mark.parametrize("room", sorted(p.name for p in (ROOT / "xcloudfree").iterdir()))
def test_docstrings_messages_and_comments_are_plain_english(room):
    found = []
    for path in sorted([*(ROOT / "xcloudfree" / room).rglob("*.py"), ROOT / "xcloudfree" / room]):
        if path.suffix == ".py":
            name = path.relative_to(ROOT).as_posix()
            for line, text in said(path.read_text(encoding="utf-8")):
                found += [f"{name}:{line}: {fault}" for fault in faults(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "Pixels that are not occluded leave as they\ncame in.",
        "What is ambiguous is refused.",
        "The report tells what was observed.",
        "One task a block.",
        "Missing, and the call that mends it",
        "Refuse other grids.",
        "Nobody is told.",
    ],
)
def test_a_private_phrase_is_found(text):
    assert faults(text)
