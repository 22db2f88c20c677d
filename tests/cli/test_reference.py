"""docs/cli.md: every command with its arguments, as its help has them."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.cli.main import command_parser, commands_of
from gateway.cli.reference import reference

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    assert reference().rstrip() == (DOCS / "cli.md").read_text().rstrip()


def test_every_command_has_a_section_with_its_options() -> None:
    sections = dict(re.findall(r"^## gateway (.+)\n\n((?:.|\n)*?)(?=^## |\Z)", reference(), re.M))
    commands = commands_of(command_parser())
    names = set(commands)
    for group in ("alerts", "keys", "operators", "prompts", "teams", "users"):
        names.remove(group)
        names |= {f"{group} {name}" for name in commands_of(commands[group])}
    assert set(sections) == names
    assert "`--live`" in sections["check"]
    assert "`--owner OWNER`, required" in sections["keys create"]
    assert all(re.match(r"[A-Z].+\.", text) for text in sections.values())
