"""The checks of the site themselves, and the picture that a script draws."""

import importlib.util
import re

import numpy as np
import pytest

from tests.fences import ROOT


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    (tmp_path / "guides").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="guides/a.html#there">a</a><a href="https://x.y">'
    )
    (tmp_path / "guides/a.html").write_text('<h1 id="there">a</h1><a href="../index.html">up</a>')
    return tmp_path


def test_a_site_without_dead_links_passes(site):
    assert script("links").dead(site) == []


@pytest.mark.parametrize("link", ["b.html", "a.html#nowhere", "#nowhere", "../images/none.png"])
def test_a_dead_link_is_found(site, link):
    (site / "guides/c.html").write_text(f'<a href="{link}">c</a>')
    assert script("links").dead(site) == [f"guides/c.html: {link}"]


def test_the_picture_of_halos_shows_what_is_said_of_it(tmp_path):
    pytest.importorskip("matplotlib")
    pictures = script("pictures")
    wrong = pictures.differences()
    assert [np.any(w > 0) for w in wrong.values()] == [False, True, True]
    pictures.halo(tmp_path / "halo.png")
    assert (tmp_path / "halo.png").stat().st_size > 10_000


def test_the_gallery_shows_ten_things_with_a_small_picture_and_a_page_each():
    pytest.importorskip("matplotlib")
    page = (ROOT / "docs/gallery.md").read_text()
    found = re.findall(
        r"\* \[!\[.+\]\(images/gallery/(\w+)\.jpg\)\]\((.+)\)\n  \[.+\]\((.+)\)", page
    )
    assert [name for name, *_ in found] == list(script("thumbnails").THUMBNAILS)
    assert len(found) == 10
    for name, target, again in found:
        assert target == again
        folder = ROOT if target.startswith("examples/") else ROOT / "docs"  # as on the site
        assert (folder / target).is_file()
        assert (ROOT / f"docs/images/gallery/{name}.jpg").stat().st_size < 40_000


def rows(text):
    """Cells of the tables of a text by method, without bold and remarks."""
    found = {}
    for line in text.splitlines():
        name, *cells = (c.strip(" *") for c in line.strip("|").split("|"))
        if line.startswith("|") and not set(line) <= set("|- "):
            found.setdefault(name, []).append([c for c in cells if re.fullmatch(r"[\d.]+", c)])
    return found


def block(name):
    """What stands between the markers of the README."""
    readme = (ROOT / "README.md").read_text()
    return re.search(f"<!-- {name} -->(.*)<!-- /{name} -->", readme, re.DOTALL)[1]


def test_the_table_of_the_readme_stands_on_the_page_of_results():
    page = (ROOT / "docs/results.md").read_text()
    told = rows(page[page.index("### Hidden under clouds of other dates") :])
    shown = rows(block("hidden"))
    assert len(shown) == 9
    for method in shown.keys() - {"method"}:
        assert shown[method] == [told[method][0][:6:2]], method


def test_the_figures_of_single_dates_in_the_readme_stand_on_the_page_of_results():
    told = rows((ROOT / "docs/results.md").read_text())
    shown = re.findall(r"([a-zA-Z -]+) (\d+\.\d\d)[,.]", block("judge"))
    assert len(shown) == 7
    for method, value in shown:
        assert told[method.strip()][0][-1] == value, method


def test_the_picture_of_gaps_is_drawn_from_the_tables_of_the_page(tmp_path):
    pytest.importorskip("matplotlib")
    pictures = script("pictures")
    text = pictures.RESULTS.read_text()
    partly, wholly = (pictures.table_of_gaps(text, k) for k in ("Hidden under", "Hidden wholly"))
    assert set(pictures.DRAWN) <= set(partly)
    assert all(len(row) == len(pictures.DAYS) for row in [*partly.values(), *wholly.values()])
    row = next(x for x in text.splitlines() if x.startswith("| geomedian | 29.92 |"))
    assert wholly["geomedian"] == [float(x.strip(" *")) for x in row.split("|")[2:8:2]]
    pictures.gaps(tmp_path / "gaps.png")
    assert (tmp_path / "gaps.png").stat().st_size > 10_000
