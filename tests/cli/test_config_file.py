"""The file that commands read: how it is given, and what is said of one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Said, call


@pytest.mark.parametrize("words", [["check"], ["check", "-c"], ["routes"], ["routes", "--config"]])
def test_a_file_is_an_argument_or_an_option(
    capsys: pytest.CaptureFixture[str], file: Path, words: list[str]
) -> None:
    assert call(capsys, *words, str(file)).code == 0


@pytest.mark.parametrize("command", ["check", "serve --config", "routes --config", "token -c"])
def test_a_file_that_is_not_there_is_said_by_every_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    missing = str(tmp_path / "none.yaml")
    said = call(capsys, *command.split(), missing)
    hint = "`gateway init` writes one; --config names another"
    reason = f"{missing}:1:1: cannot be read: No such file or directory; {hint}\n"
    assert said == Said(1, "", reason)
