"""Dead links inside a built site: ``python docs/links.py out/docs`` lists them and fails."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect ``href``, ``src``, ``id`` and ``name``."""
        for key, value in attrs:
            if value and key in ("href", "src"):
                self.links.add(value)
            elif value and key in ("id", "name"):
                self.places.add(value)


def dead(site: Path) -> list[str]:
    """Links of a site that lead nowhere.

    Parameters
    ----------
    site : Path
        Folder of HTML files.

    Returns
    -------
    list of str
        ``page: link``, sorted.
    """
    pages = {
        path.resolve(): Page(path)
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    out = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            there = target.exists() and (target not in pages or place in pages[target].places)
            if not there:
                out.append(f"{path.relative_to(site.resolve())}: {link}")
    return sorted(out)


if __name__ == "__main__":
    found = dead(Path(sys.argv[1]))
    print("\n".join(found) or "no dead links")
    sys.exit(bool(found))
