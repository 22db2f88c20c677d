"""Names in the source: a class name occurs once, so that a search for it finds one class."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]

SHARED: dict[str, str] = {}
"""Class names that may occur more than once, and the reason of each."""


def classes() -> dict[str, list[str]]:
    """Return the files of each class name, nested classes included."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def test_a_class_name_occurs_once() -> None:
    repeated = {name: places for name, places in classes().items() if len(places) > 1}
    assert {name: at for name, at in repeated.items() if name not in SHARED} == {}
    assert [name for name in SHARED if name not in repeated] == [], "these occur once by now"
