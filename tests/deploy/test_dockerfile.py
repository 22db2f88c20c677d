"""Dockerfile: linted by hadolint, and it copies only what the build context has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).with_name("hadolint")


def test_hadolint_finds_nothing() -> None:
    found = subprocess.run([HADOLINT, ROOT / "deploy/Dockerfile"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_build_context_has_what_the_image_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE
    )
    names = {name for line in copied for name in line.split()}
    assert names == allowed
    assert all((ROOT / name).exists() for name in names)


def test_the_image_runs_as_a_user_without_privileges() -> None:
    stages = (ROOT / "deploy/Dockerfile").read_text().split("\nFROM ")
    assert re.search(r"^USER 65532:65532$", stages[-1], re.MULTILINE)
