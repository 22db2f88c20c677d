"""The documentation as a site: every page is built, in the menu, and found by the search."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the group `docs` is not installed")

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "docs/site/mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does: a link or an anchor that leads nowhere fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(SETTINGS)]
    done = subprocess.run(
        [*command, "-d", str(folder)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "TMPDIR": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.parent.glob("llm-gateway-site-*")), "the copies are still there"
    return folder


def test_every_page_is_in_the_menu() -> None:
    listed = set(re.findall(r": (\S+\.md)$", SETTINGS.read_text(), re.MULTILINE))
    pages = {*ROOT.glob("docs/*.md"), *ROOT.glob("*.md"), *ROOT.glob("[a-z]*/README.md")}
    assert listed == {str(page.relative_to(ROOT)) for page in pages} | {"docs/decisions/README.md"}


def test_the_search_finds_the_pages(site: Path) -> None:
    found = json.loads((site / "search/search_index.json").read_text())["docs"]
    titles = {entry["title"] for entry in found}
    assert {"Migrating from LiteLLM", "Byte for byte", "Security model"} <= titles


def test_a_page_links_to_the_files_of_the_repository(site: Path) -> None:
    page = (site / "docs/deploying/index.html").read_text()
    (target,) = set(re.findall(r'href="([^"]+/llm-gateway\.service)"', page))
    assert (site / "docs/deploying" / target).resolve().is_file()


def test_no_page_asks_another_host(site: Path) -> None:
    loads = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"')
    for page in site.rglob("*.html"):
        assert loads.findall(page.read_text()) == [], page
