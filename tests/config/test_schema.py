"""The JSON Schema that editors get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.config.schema import json_schema

SHIPPED = Path(__file__).parents[2] / "config.yaml"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_it_accepts_the_configuration_that_ships(
    validator: jsonschema.Draft202012Validator,
) -> None:
    assert list(validator.iter_errors(yaml.safe_load(SHIPPED.read_text()))) == []


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("server", {"listn": "127.0.0.1:1"}),
        ("server", {"drain": "30"}),
        ("server", {"header_bytes": "32"}),
        ("limits", {"a": {"key": "ip", "requests": "sixty"}}),
        ("telemetry", {"log": {"level": "loud"}}),
        ("routes", []),
        ("surprise", 1),
    ],
)
def test_it_finds_what_the_gateway_would_refuse(
    validator: jsonschema.Draft202012Validator, section: str, value: Any
) -> None:
    document = {**yaml.safe_load(SHIPPED.read_text()), section: value}
    assert list(validator.iter_errors(document))


def test_a_variable_may_stand_for_any_scalar(validator: jsonschema.Draft202012Validator) -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    document["server"] = {"drain": "${DRAIN:-30s}", "max_connections": "${MOST}"}
    assert list(validator.iter_errors(document)) == []


def test_every_key_is_described() -> None:
    for name, definition in json_schema()["$defs"].items():
        for key, field in definition.get("properties", {}).items():
            assert field.get("description") or "$ref" in field or key == "type", (name, key)
