"""`gateway operators token`: a token, and a configuration that knows its digest only."""

from __future__ import annotations

import hashlib

import pytest
import yaml

from tests.support.commands import call


def test_the_printed_lines_accept_the_printed_token(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "operators", "token", "prometheus", "--role", "viewer")
    assert said.code == 0
    token, _, lines = said.out.partition("\n")
    assert len(token) > 40
    assert token not in lines
    found = yaml.safe_load(lines)["admin"]["tokens"]
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert found == {"prometheus": {"sha256": digest, "role": "viewer"}}


def test_a_name_that_the_configuration_refuses_is_refused_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = call(capsys, "operators", "token", "a b")
    assert said.code == 2
    assert "name: use letters" in said.err
