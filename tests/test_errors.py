"""The error tree and its documentation."""

from __future__ import annotations

import re
from pathlib import Path

from gateway import errors

ROOT = Path(__file__).parents[1]


def codes() -> set[str]:
    """Every code in the source: those of classes, and those given where an error is raised."""
    found = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.GatewayError)
    }
    for file in (ROOT / "gateway").rglob("*.py"):
        if "demo" not in file.parts:
            found |= set(re.findall(r'\bcode="(\w+)"', file.read_text()))
    return found - {"upstream_error"}  # only its kinds are raised


def test_every_code_is_documented_and_no_other() -> None:
    page = (ROOT / "docs/errors.md").read_text() + (ROOT / "docs/nginx.md").read_text()
    documented = set(re.findall(r"^\| \d{3} \| `(\w+)` \|", page, re.MULTILINE))
    assert documented == codes()


def test_every_class_has_a_status_a_code_and_a_sentence() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.GatewayError):
            assert 400 <= kind.status <= 599
            assert re.fullmatch(r"[a-z_]+", kind.code)
            assert kind.default_message.endswith(".")
