"""Meaning of every error code, and what to do: for the reference and `gateway errors`.

`error_meanings.md` is the page of the reference. Its table is also what a terminal shows.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PAGE = Path(__file__).with_suffix(".md")
_ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \| (.+) \| (.+) \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of one error code. The texts are Markdown, with links as in `docs/`."""

    status: int
    code: str
    when: str
    """When the gateway reports it."""
    remedy: str
    """What to do."""


@cache
def meanings() -> tuple[Meaning, ...]:
    """Return the meanings of all codes, by status."""
    rows = _ROW.findall(reference())
    return tuple(Meaning(int(status), code, when, remedy) for status, code, when, remedy in rows)


def plain(text: str) -> str:
    """Return a text without the links and marks of Markdown."""
    return _LINK.sub(r"\1", text).replace("`", "").replace("**", "")


def reference() -> str:
    """Return the page with all codes."""
    return _PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write(reference())
