"""Files of the admin API: CSV and JSON lines."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.exports import as_csv, as_json_lines, download


def test_a_csv_file_has_the_columns_that_are_named_or_those_of_its_first_row() -> None:
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert as_csv(rows).splitlines() == ["a,b", "1,x", "2,y"]
    assert as_csv(iter(rows), ("b", "a")).splitlines() == ["b,a", "x,1", "y,2"]
    assert as_csv([]) == ""
    assert as_csv([], ("a",)).splitlines() == ["a"]


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_text_of_a_csv_file_is_a_formula(value: str) -> None:
    assert f"'{value}" in as_csv([{"a": value}])
    assert "'" not in as_csv([{"a": -1}])


def test_each_row_is_a_line_of_json() -> None:
    assert as_json_lines([{"a": 1}, {"a": None}]) == '{"a":1}\n{"a":null}\n'


@pytest.mark.parametrize(
    ("name", "kind"), [("x.csv", "text/csv"), ("x.jsonl", "application/jsonl")]
)
def test_a_file_has_its_name_and_type(name: str, kind: str) -> None:
    response: Any = download(name, "é")
    assert response.content_type == kind
    assert response.body == "é".encode()
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
