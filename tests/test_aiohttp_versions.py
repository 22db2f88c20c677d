"""The supported versions of aiohttp: from the oldest that the adaptor is tested with to the newest.

`make test` installs the oldest one beside the locked one, and `make test-oldest` runs more with it.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from subprocess import run

import pytest

ROOT = Path(__file__).parents[1]
OLDEST = Path(sys.prefix) / "oldest"

Version = tuple[int, ...]


def supported() -> tuple[Version, Version]:
    """The lower bound, included, and the upper bound, excluded."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [requirement] = [one for one in project["dependencies"] if one.startswith("aiohttp>")]
    bounds = re.fullmatch(r"aiohttp>=([0-9.]+),<([0-9.]+)", requirement)
    assert bounds is not None, requirement
    return _version(bounds[1]), _version(bounds[2])


def locked(name: str) -> Version:
    """The version of aiohttp in a lock file."""
    found = re.search(r"^aiohttp==([0-9.]+) ", (ROOT / name).read_text(), re.MULTILINE)
    assert found is not None
    return _version(found[1])


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_minor_version_after_the_locked_one_is_not_supported(lock: str) -> None:
    oldest, beyond = supported()
    newest = locked(lock)
    assert oldest <= newest
    assert beyond == (newest[0], newest[1] + 1)


def test_the_oldest_supported_version_is_the_one_that_is_tested() -> None:
    assert locked("tests/oldest.lock") == supported()[0]


def test_the_adaptor_passes_its_tests_with_the_oldest_version() -> None:
    if not OLDEST.exists():
        pytest.skip("`make test` installs the oldest supported aiohttp")
    version = ".".join(str(part) for part in supported()[0])
    code = (
        "import aiohttp, pytest, sys\n"
        f"assert aiohttp.__version__ == {version!r}, aiohttp.__version__\n"
        "sys.exit(pytest.main(sys.argv[1:]))\n"
    )
    tests = ["tests/test_aiohttp_adaptor.py", "tests/wire/test_parsing.py"]
    done = run(
        [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(OLDEST)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
