"""The documentation: its examples run, it builds without a warning, and every link within it leads somewhere."""

import doctest
import importlib
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="a source distribution has no docs/")

GENERATED = {"generated", "_build"}
PAGES = sorted(page for page in DOCS.rglob("*.md") if GENERATED.isdisjoint(page.relative_to(DOCS).parts))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [code for name, code in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "pycon")], ids=lambda page: str(page.relative_to(DOCS))
)
def test_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    code = "\n".join(blocks(page, "pycon"))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(code, {"__name__": "__main__"}, page.name, str(page), 0)
    assert test.examples
    assert doctest.DocTestRunner(optionflags=flags).run(test).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_python_is_written_as_examples_that_run(page):
    assert not blocks(page, "python")
    assert not blocks(page, "py")


def test_tables_of_methods_are_those_of_the_catalogue(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    outdated = [page for page, _ in importlib.import_module("method_tables").outdated()]
    monkeypatch.delitem(sys.modules, "method_tables")
    assert not outdated, "run: make tables"


class Links(HTMLParser):
    """Anchors of a page, what it links to, and what a browser loads with it."""

    def __init__(self, page):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), set(), set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag == "a" and attrs.get("href"):
            self.links.add(attrs["href"])
        elif tag in {"script", "img", "iframe", "source"} and attrs.get("src"):
            self.loaded.add(attrs["src"])
        elif tag == "link" and attrs.get("href") and attrs.get("rel") != "canonical":
            self.loaded.add(attrs["href"])


@pytest.mark.slow
def test_site_builds_without_warnings_has_no_dead_link_and_loads_nothing_from_elsewhere(tmp_path):
    copy, site = tmp_path / "copy", tmp_path / "site"  # a build writes generated pages beside the others
    for folder in ("docs", "kernels", "notebooks", "shallowda"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", *GENERATED))
    for name in ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", site]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr

    templates = site / "_static"  # the theme leaves one there
    pages = {page: Links(page) for page in site.rglob("*.html") if templates not in page.parents}
    broken, foreign = set(), set()
    for page, found in pages.items():
        foreign |= {f"{page.name}: {link}" for link in found.loaded if urlsplit(link).netloc}
        for link in found.links | found.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            # viewcode's way back from a source page names objects by the package that exports them: the page is right
            anchor = "" if "_modules" in page.parts else unquote(parts.fragment)
            known = target in pages and anchor in pages[target].anchors if anchor else target.exists()
            if not known:
                broken.add(f"{page.relative_to(site)}: {link}")
    assert not broken
    assert not foreign
