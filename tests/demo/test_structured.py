"""Values made up for a JSON schema are valid against it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from gateway.demo.generation import DemoError
from gateway.demo.structured import example, structured


class Step(BaseModel):
    """One step of several."""

    explanation: str
    output: float | None


class Tree(BaseModel):
    """Recursive, in two ways."""

    name: str = Field(min_length=200, max_length=220)
    parent: Tree | None
    children: list[Tree]


class Everything(BaseModel):
    """What SDKs make schemas of."""

    steps: list[Step]
    kind: Literal["a", "b"]
    either: Step | Tree
    count: Annotated[int, Field(ge=3, lt=5)]
    share: Annotated[float, Field(gt=0, lt=1)]
    pair: tuple[int, str]
    words: dict[str, int]
    code: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


SCHEMAS: dict[str, dict[str, Any]] = {
    "pydantic": Everything.model_json_schema(),
    "recursive": Tree.model_json_schema(),
    "nothing": {},
    "no-type": {"properties": {"a": {"items": {"type": "integer"}}}},
    "types": {"type": ["null", "integer"]},
    "const": {"const": {"a": 1}},
    "all-of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
        ]
    },
    "one-of": {"oneOf": [{"type": "integer", "minimum": 7}, {"type": "string"}]},
    "required-and-unknown": {"type": "object", "required": ["x"]},
    "min-properties": {"type": "object", "minProperties": 3},
    "unique": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
    "unique-texts": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 3,
        "uniqueItems": True,
    },
    "multiple": {"type": "integer", "minimum": 10, "multipleOf": 7},
    "negative": {"type": "number", "maximum": -2.5},
    "no-items": {"type": "array", "maxItems": 0},
    "formats": {
        "type": "object",
        "properties": {
            name: {"type": "string", "format": name}
            for name in ("date", "date-time", "email", "uuid", "ipv4", "uri")
        },
        "required": ["date", "date-time", "email", "uuid", "ipv4", "uri"],
    },
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("prompt", ["", "Why is the sky blue?"])
def test_a_value_is_valid_against_its_schema(schema: dict[str, Any], prompt: str) -> None:
    value = example(schema, prompt)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)
    assert json.loads("".join(structured(schema, prompt))) == value
    assert example(schema, prompt) == value


def test_a_class_of_pydantics_reads_what_its_schema_made() -> None:
    assert Everything.model_validate(example(SCHEMAS["pydantic"], "x")).kind == "a"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#"},
        {"type": "string", "pattern": "^x{77}$"},
        {"type": "string", "pattern": "("},
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        False,
    ],
)
def test_a_schema_that_cannot_be_met_is_refused(schema: Any) -> None:
    with pytest.raises(DemoError):
        example(schema, "")


leaves = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 4},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["x", 1, None]},
    ]
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": [*fields],
                "additionalProperties": False,
            }
        ),
        st.tuples(inner, st.integers(0, 3)).map(
            lambda of: {"type": "array", "items": of[0], "minItems": of[1]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    ),
    max_leaves=8,
)


@given(schemas, st.text(max_size=10))
def test_any_schema_of_usual_parts_is_met(schema: dict[str, Any], prompt: str) -> None:
    jsonschema.validate(example(schema, prompt), schema)
