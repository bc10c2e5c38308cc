"""The blocks of Python in the documentation, and what they need to run anywhere."""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<words>\{code-cell\}[^\n]*|python)\n"
    r"(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block of Python on a page."""

    page: str
    line: int
    code: str
    kind: str  # "run", "doctest", "cell" (executed by the site's build) or "not run"

    @property
    def source(self):
        """The code without prompts, answers and magics."""
        if self.kind != "doctest":
            return re.sub(r"(?m)^[%!].*$", "pass", self.code)
        lines = [x[4:] for x in self.code.splitlines() if x.startswith((">>> ", "... "))]
        return "\n".join(lines)

    @property
    def calls(self):
        """Every call in it."""
        return [n for n in ast.walk(ast.parse(self.source)) if isinstance(n, ast.Call)]


def pages():
    """Every page, by its path in the repository."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/guides/*.md")]
    found += ROOT.glob("xcloudfree/models/weights/*.md")
    return {str(p.relative_to(ROOT)): p for p in sorted([*found, *ROOT.glob("examples/*.ipynb")])}


def blocks(page):
    """Blocks of one page, in order."""
    text = pages()[page].read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        return [Block(page, i, "".join(c["source"]), "cell") for i, c in enumerate(cells, 1)]
    found = []
    for match in FENCE.finditer(text):
        code = match["code"]
        kind = "doctest" if code.lstrip().startswith(">>>") else "run"
        kind = "cell" if match["words"] != "python" else kind
        kind = "not run" if match["reason"] else kind
        found.append(Block(page, text[: match.start("code")].count("\n") + 1, code, kind))
    return found
