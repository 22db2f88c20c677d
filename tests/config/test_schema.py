"""The JSON Schema that editors get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.config.schema import json_schema

SHIPPED = Path(__file__).parents[2] / "config.yaml"
DURATIONS = ("ms", "s", "m", "h", "d")
SIZES = ("B", "kB", "KB", "KiB", "MB", "MiB", "GB", "GiB")


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
        ("upstreams", {"a": {}}),
        ("upstreams", {"a": {"discover": {}}}),
        ("upstreams", {"a": {"discover": {"dns": "http://a", "file": "a.yaml"}}}),
        ("upstreams", {"a": {"endpoints": [{"url": "http://a"}], "discover": {"file": "a"}}}),
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


@pytest.mark.parametrize("discover", [{"dns": "http://a"}, {"srv": "_http._tcp.a"}, {"file": "a"}])
def test_an_upstream_may_be_discovered(
    validator: jsonschema.Draft202012Validator, discover: dict[str, str]
) -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    document["upstreams"] = {"a": {"discover": discover}}
    assert list(validator.iter_errors(document)) == []


def test_every_key_of_every_section_is_described() -> None:
    definitions = json_schema()["$defs"]
    for name, properties in sections():
        for key, field in properties.items():
            # A key that is described in the same words as its section leaves them to that.
            section = definitions.get(field.get("$ref", "").removeprefix("#/$defs/"), {})
            description = field.get("description") or section.get("description")
            assert description or key == "type", (name, key)


def test_titles_made_from_names_are_left_out() -> None:
    assert '"title":' not in json.dumps(sections())


@pytest.mark.parametrize(
    ("section", "key", "units"),
    [
        ("ServerSettings", "drain", DURATIONS),
        ("UpstreamTimeouts", "connect", DURATIONS),
        ("Demo", "pace", DURATIONS),
        ("ServerSettings", "header_bytes", SIZES),
        ("Route", "body", SIZES),
        ("Limit", "requests", ("/second", "/minute", "/hour", "/day")),
    ],
)
def test_a_value_with_a_unit_has_a_pattern_that_names_the_units(
    section: str, key: str, units: tuple[str, ...]
) -> None:
    definition = {**dict(sections())[section][key], "$defs": json_schema()["$defs"]}
    validator = jsonschema.Draft202012Validator(definition)
    assert [unit for unit in units if not validator.is_valid(f"30{unit}")] == []
    assert [value for value in ("30", "30 s", "30x", "-1s", 30) if validator.is_valid(value)] == []


def test_no_section_takes_a_key_it_does_not_know() -> None:
    definitions = json_schema()["$defs"]
    objects = [one for one in definitions.values() if one["type"] == "object"]
    assert len(objects) > 10
    for definition in [json_schema(), *objects]:
        assert definition["additionalProperties"] is False


def test_what_has_no_default_is_required() -> None:
    schema = json_schema()
    assert set(schema["required"]) == {"upstreams", "routes"}
    assert set(schema["$defs"]["Route"]["required"]) == {"name", "path", "auth"}


def test_the_schema_in_the_repository_is_this_one() -> None:
    kept = json.loads((SHIPPED.parent / "docs/config.schema.json").read_text())
    assert kept == json_schema(), "run `make docs`"


def sections() -> list[tuple[str, dict[str, Any]]]:
    """The keys of every section by the name of its model; the whole file has none."""
    schema = json_schema()
    found = [
        ("", schema["properties"]),
        *(
            (name, one["properties"])
            for name, one in schema["$defs"].items()
            if "properties" in one
        ),
    ]
    assert len(found) > 10
    return found
