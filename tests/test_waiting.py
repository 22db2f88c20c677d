"""Tests wait for events, or ask for what sends none by `tests/support/waiting.py`: a loop of their
own has a patience of its own, and fails on a busy machine.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

POLLING = {
    "tests/support/waiting.py": "the one place",
    "tests/support/control.py": "asks all the time, and measures the answers",
    "tests/support/redis.py": "a slow link to Redis",
    "tests/chaos/test_chaos.py": "breaks something now and then",
    "tests/support/chaos.py": "asks all the time, and pauses in between",
    "tests/pages/test_dashboard.py": "asks all the time, so that a page shows something",
    "tests/stores/redis/test_limits.py": "measures each decision until the store answers again",
    "tests/support/loop_hold.py": "measures how long the loop is held",
}
"""Files with loops that sleep, and what they do."""
SENDS = {"read_request", "say", "send", "sock_recv"}
"""Calls of a peer that sends or reads at a pace: it does not wait for anything."""
MOST_SLEEPS = 100
"""Number of sleeps for a time, in all tests: the pace of a backend, or the time in which nothing is
to happen. Write an event where there is one; lower this number with each that goes.
"""


def sleeps(node: ast.AST) -> Iterator[ast.Call]:
    """Return the calls below a node that sleep for longer than a turn of the event loop."""
    for each in ast.walk(node):
        if (
            isinstance(each, ast.Call)
            and isinstance(each.func, ast.Attribute)
            and each.func.attr == "sleep"
            and not (isinstance(each.args[0], ast.Constant) and each.args[0].value == 0)
        ):
            yield each


def trees() -> Iterator[tuple[str, ast.AST]]:
    """Return the syntax trees of the tests that sleep, by their files."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text()
        if "sleep(" in text:
            yield str(path.relative_to(ROOT)), ast.parse(text)


def polls(tree: ast.AST) -> Iterator[int]:
    """Return the lines of loops that sleep, and neither send nor read."""
    for loop in ast.walk(tree):
        if isinstance(loop, ast.While) and any(sleeps(loop)):
            called = {
                getattr(n.func, "attr", "") for n in ast.walk(loop) if isinstance(n, ast.Call)
            }
            if not called & SENDS:
                yield loop.lineno


def test_what_sends_no_event_is_waited_for_in_one_place() -> None:
    found = {file: lines for file, tree in trees() if (lines := list(polls(tree)))}
    assert {file: lines for file, lines in found.items() if file not in POLLING} == {}
    assert [file for file in POLLING if file not in found] == [], "these poll no more"


def test_sleeps_grow_no_more_numerous() -> None:
    assert sum(len(list(sleeps(tree))) for _, tree in trees()) <= MOST_SLEEPS
