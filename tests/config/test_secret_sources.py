"""Commands and plug-ins that give secrets, and what goes wrong with them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from gateway.config.secret_sources import (
    SecretSources,
    file_version,
    load_provider,
    run_command,
)

ME = "tests.config.test_secret_sources"


class Counting:
    """Provider that counts its calls."""

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        prefix: str

    def __init__(self, options: Options) -> None:
        self._prefix = options.prefix
        self._calls = 0

    def read(self, name: str) -> str:
        self._calls += 1
        if name == "none":
            raise LookupError("no such secret, token=hvs-secret")
        return f"{self._prefix}-{name}-{self._calls}"


PROVIDERS = {"vault": {"use": f"{ME}.Counting", "options": {"prefix": "p"}}}


def test_a_command_gives_what_it_prints_without_the_last_line_break(tmp_path: Path) -> None:
    program = (sys.executable, "-c", "print('value')")
    assert run_command(program, 10, tmp_path) == b"value"


def test_a_command_runs_in_the_folder_of_the_configuration(tmp_path: Path) -> None:
    assert run_command(("pwd", "-P"), 10, tmp_path).decode() == str(tmp_path.resolve())


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (("nowhere-at-all",), "cannot run nowhere-at-all: No such file"),
        (("true",), "true printed nothing"),
        (("false",), "false ended with status 1"),
        (("sh", "-c", "echo no token=abcdef >&2; exit 3"), r"sh ended with status 3: no token=\*"),
        (("sh", "-c", "head -c 70000 /dev/zero"), "longer than 65536 bytes"),
    ],
)
def test_a_command_that_fails_says_why_without_secrets(
    tmp_path: Path, program: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        run_command(program, 10, tmp_path)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"sh did not end within 0\.1 s"):
        run_command(("sh", "-c", "sleep 60 & wait"), 0.1, tmp_path)
    assert time.monotonic() - started < 30, "its children sleep for 60 s"


def test_the_same_secret_is_read_once_in_a_load(tmp_path: Path) -> None:
    sources = SecretSources(tmp_path, PROVIDERS)
    assert sources.from_provider("vault", "a", 60.0) == b"p-a-1"
    assert sources.from_provider("vault", "a", None) == b"p-a-1"
    assert sources.from_provider("vault", "b", None) == b"p-b-2"
    assert [one.every_s for one in sources.fetched.values()] == [60.0, None]


def test_another_load_uses_the_values_and_the_session_of_the_first(tmp_path: Path) -> None:
    first = SecretSources(tmp_path, PROVIDERS)
    first.from_provider("vault", "a", 60.0)
    again = SecretSources(tmp_path, PROVIDERS, first.known())
    assert again.from_provider("vault", "a", 60.0) == b"p-a-1"
    (fetched,) = again.fetched.values()
    assert fetched.fetch() == b"p-a-2"


def test_a_process_that_starts_later_reads_again_and_else_has_the_old_value(
    tmp_path: Path,
) -> None:
    sources = SecretSources(tmp_path, PROVIDERS)
    sources.from_provider("vault", "a", 60.0)
    later = SecretSources(tmp_path, PROVIDERS, sources.as_fallback())
    later.from_provider("vault", "b", None)
    assert later.from_provider("vault", "a", 60.0) == b"p-a-2"  # its own second call
    broken = {"vault": {"use": "nowhere.At", "options": {}}}
    without = SecretSources(tmp_path, broken, sources.as_fallback())
    assert without.from_provider("vault", "a", 60.0) == b"p-a-1"


def test_a_provider_that_fails_says_why_without_secrets(tmp_path: Path) -> None:
    sources = SecretSources(tmp_path, PROVIDERS)
    with pytest.raises(ValueError, match=r"vault cannot read none: LookupError: no such.*\*\*\*"):
        sources.from_provider("vault", "none", None)
    with pytest.raises(ValueError, match="there is no secret provider 'kms'"):
        sources.from_provider("kms", "a", None)


@pytest.mark.parametrize(
    ("use", "options", "reason"),
    [
        ("nowhere.At", {}, "cannot import nowhere: ModuleNotFoundError"),
        (f"{ME}.Missing", {}, "is not a class with an Options model and a method read"),
        ("pathlib.Path", {}, "is not a class with an Options model and a method read"),
        (f"{ME}.Counting", {}, r"options\.prefix: is missing"),
        (f"{ME}.Counting", {"prefix": "p", "x": 1}, r"options\.x: unknown key"),
    ],
)
def test_a_plugin_that_cannot_be_used_says_why(
    use: str, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        load_provider(use, options)


def test_the_version_of_a_file_changes_with_the_target_of_its_link(tmp_path: Path) -> None:
    """Kubernetes replaces a mounted secret by changing a link."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    assert file_version(link) is None
    link.symlink_to("one")
    before = file_version(link)
    link.unlink()
    link.symlink_to("two")
    assert before != file_version(link)
