"""A dialect is described in one place: its package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("openai", "anthropic", "ollama")
MAY_NAME = {
    # The default, where nothing says what callers or an upstream speak.
    "openai": {
        "app.py",
        "server/refusals.py",
        "wiring/route_dialect.py",
        "wiring/routes.py",
        "config/models/upstreams.py",
        # The page speaks it.
        "config/check_playground.py",
        # The form of a moderation service's answer has the same name.
        "config/models/hooks.py",
        "config/check_hooks.py",
        "hooks/webhook.py",
    },
    "anthropic": set[str](),
    "ollama": set[str](),
}
"""Source files that may name a dialect, besides its package."""
TOOLS = ("cli/", "demo/", "admin/static/", "telemetry/semconv.py")
"""Tools that know products, and names that a standard gives to providers."""


def test_a_new_dialect_is_registered_by_one_line() -> None:
    """In a process of its own: tables of all dialects are made when their modules are imported."""
    command = [sys.executable, "-m", "tests.dialects.made_up"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_no_other_code_asks_for_a_dialect_by_name(name: str) -> None:
    source = ROOT / "gateway"
    naming = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if path.parent != source / "dialects" / name and _names(path.read_text(), name)
    }
    assert {one for one in naming if not one.startswith(TOOLS)} <= MAY_NAME[name]


def _names(text: str, name: str) -> bool:
    """Whether a source has a string that is the name."""
    return f'"{name}"' in text and any(
        isinstance(node, ast.Constant) and node.value == name for node in ast.walk(ast.parse(text))
    )
