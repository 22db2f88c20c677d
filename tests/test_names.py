"""Names: a class name occurs once, so that a search for it finds one class; and tests know a
module by its public names, so that its inside may change.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
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


PRIVATE: dict[str, str] = {
    "os._exit": "public, in spite of its name",
    "providers._get_local_constants": "hypothesis has no setting for it",
}
"""Private names that tests may use, and the reason of each."""


_MAY_USE = re.compile(
    r"(?<!self)(?<!cls)\._[A-Za-z]|import .*\b_\w|^\s+_\w+,$|setattr\(.*\"_", re.MULTILINE
)
"""Quick look at a file, since parsing all of them takes seconds."""


def private_names() -> Iterator[tuple[str, str]]:
    """Return the private names of others that tests use, with their places."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if _MAY_USE.search(text) else ():
            at = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute) and _is_private(node.attr):
                owner = ast.unparse(node.value)
                if owner not in ("self", "cls"):
                    yield f"{owner}.{node.attr}", at
            elif isinstance(node, ast.ImportFrom):
                yield from ((a.name, at) for a in node.names if _is_private(a.name))
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
                names = (each.value for each in node.args if isinstance(each, ast.Constant))
                yield from ((n, at) for n in names if isinstance(n, str) and _is_private(n))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_tests_use_no_private_name_of_others() -> None:
    used = dict(private_names())
    assert {name: at for name, at in used.items() if name not in PRIVATE} == {}
    assert [name for name in PRIVATE if name not in used] == [], "no test uses these any more"


def test_a_class_name_occurs_once() -> None:
    repeated = {name: places for name, places in classes().items() if len(places) > 1}
    assert {name: at for name, at in repeated.items() if name not in SHARED} == {}
    assert [name for name in SHARED if name not in repeated] == [], "these occur once by now"
