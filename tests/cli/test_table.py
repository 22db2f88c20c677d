"""Table of text in columns."""

from __future__ import annotations

import pytest

from gateway.cli.table import print_table


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("ID", "OWNER"), ("a-long-id", "me"), ("b", "")])
    assert capsys.readouterr().out == "ID         OWNER\na-long-id  me\nb\n"
