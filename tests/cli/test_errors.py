"""`gateway errors`: what a code means, in a terminal."""

from __future__ import annotations

import json

import pytest

from gateway.error_meanings import meanings
from tests.support.commands import call


def test_one_code_is_explained_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "errors", "rate_limit_exceeded")
    assert said.code == 0
    assert said.out.splitlines() == [
        "rate_limit_exceeded, status 429",
        "When: A limit is reached; the message names it.",
        "What to do: Wait for the time in Retry-After.",
    ]


def test_all_codes_are_listed_with_their_status(capsys: pytest.CaptureFixture[str]) -> None:
    lines = call(capsys, "errors").out.splitlines()
    assert lines[0].split() == ["STATUS", "CODE"]
    assert len(lines) == 1 + len(meanings())
    rows = [json.loads(line) for line in call(capsys, "errors", "--json").out.splitlines()]
    assert [row["code"] for row in rows] == [one.code for one in meanings()]
    assert all(row["when"] and row["remedy"] for row in rows)


def test_an_unknown_code_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "errors", "rate_limit_exeeded")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "gateway errors: there is no code rate_limit_exeeded; did you mean rate_limit_exceeded?\n"
    )
