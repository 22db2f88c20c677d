"""The command line: what it prints, where, and with which exit code.

Commands run in this process, except where the process itself matters.
The rules of configurations are in `tests/config`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import gateway
from tests.support.commands import Said, call, environment


def test_help_names_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "--help")
    assert said.code == 0
    for word in ("serve", "check", "schema", "routes", "token", "keys", "demo", "exit codes"):
        assert word in said.out
    for code in ("0  done", "1  ", "2  ", "3  ", "4  "):
        assert code in said.out


@pytest.mark.parametrize("command", ["serve", "check", "schema", "routes", "token", "keys", "demo"])
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    said = call(capsys, command, "--help")
    assert said.code == 0
    assert said.out.startswith(f"usage: gateway {command}")


def test_help_takes_the_name_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "help", "check") == call(capsys, "check", "--help")
    assert call(capsys, "help") == call(capsys, "--help")
    assert call(capsys, "help", "keys", "create") == call(capsys, "keys", "create", "--help")
    said = call(capsys, "help", "keys", "creat")
    assert (said.code, said.out) == (2, "")
    assert said.err == "gateway: there is no command 'keys creat'; did you mean 'create'?\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_learns_the_commands(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    said = call(capsys, "completion", shell)
    assert said.code == 0
    for command in ("serve", "doctor", "keys"):
        assert command in said.out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "surf")
    assert (said.code, said.out) == (2, "")
    assert "invalid choice: 'surf'" in said.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "arguments are required: COMMAND"),
        (["serve", "a.yaml", "--config", "b.yaml"], "not allowed with argument FILE"),
        (["serve", "--config"], "expected one argument"),
        (["check", "a.yaml", "b.yaml"], "unrecognized arguments: b.yaml"),
        (["routes", "--yaml"], "unrecognized arguments: --yaml"),
        (["demo", "--pace", "fast"], "not a duration"),
        (["demo", "--pace", "20"], "not a duration"),
        (["demo", "--listen", "127.0.0.1"], "gateway: "),
        (["demo", "--listen", "127.0.0.1:http"], "gateway: "),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    said = call(capsys, *arguments)
    assert (said.code, said.out) == (2, "")
    assert reason in said.err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version") == Said(0, f"gateway {gateway.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (["--help"], ["gateway.config", "aiohttp", "pydantic"]),
        (["errors"], ["gateway.config", "aiohttp", "pydantic"]),
        (
            ["keys", "--help"],
            ["aiohttp", "structlog", "limits", "cryptography", "gateway.exchange"],
        ),
        (["reload", "--help"], ["structlog", "gateway.app", "gateway.exchange"]),
        (["help", "keys"], ["gateway.app", "gateway.processes"]),
    ],
    ids=lambda words: words[0],
)
def test_a_command_line_imports_what_it_uses_only(words: list[str], unused: list[str]) -> None:
    program = (
        "import sys\nfrom gateway.cli import main\n"
        f"try: main({words})\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    assert done.stdout
    assert set(unused).isdisjoint(done.stderr.split())


async def test_output_that_nobody_reads_to_its_end_is_no_error() -> None:
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m gateway schema | head -1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    out, errors = await process.communicate()
    assert (out, errors) == (b"{\n", b"")
