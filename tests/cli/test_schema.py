"""The JSON Schema that `gateway schema` prints. What is in it is tested in `tests/config`."""

from __future__ import annotations

import json

import pytest

from tests.support.commands import call


def test_schema_is_a_json_schema_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "schema")
    schema = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"server", "upstreams", "routes"} <= set(schema["properties"])
