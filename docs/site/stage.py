"""Hooks of the site: they show the pages of the repository to MkDocs in their own places.

MkDocs takes the pages of one folder, and refuses links that leave it. The pages here are in several
folders, and link to files such as `deploy/systemd/llm-gateway.service`. So the pages and the files
that they link to are copied into a temporary folder first.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parents[2]
_PAGES = ("*.md", "docs/*.md", "docs/decisions/*.md", "[a-z]*/README.md")
_LINK = re.compile(r"\]\(([^)#]+)")


def on_config(config: MkDocsConfig) -> None:
    """Copy the pages and what they link to, and let MkDocs read the copies."""
    staged = Path(tempfile.mkdtemp(prefix="llm-gateway-site-"))
    pages = {page for pattern in _PAGES for page in ROOT.glob(pattern)}
    for file in pages | {file for page in pages for file in _linked(page)}:
        copy = staged / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    config.docs_dir = str(staged)


def on_post_build(config: MkDocsConfig) -> None:
    """Remove the copies."""
    shutil.rmtree(config.docs_dir)


def _linked(page: Path) -> set[Path]:
    targets = (target for target in _LINK.findall(page.read_text()) if ":" not in target)
    files = {(page.parent / target).resolve() for target in targets}
    return {file for file in files if file.is_file() and file.is_relative_to(ROOT)}
