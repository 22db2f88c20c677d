"""Generate values that are valid against a JSON schema, for structured answers and tool arguments.

Supports what SDKs generate from a class in JSON Schema (2020-12): types, properties, items, enums,
references, combinations, bounds and formats. Values depend only on the schema and the prompt.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.demo.generation import DemoError
from gateway.demo.text import tokens_of

ANY_OBJECT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
"""Schema for requests that ask for JSON without a schema."""
_SHALLOW = 4
"""Depth from which only required values are generated, so that recursive schemas end."""
_DEEPEST = 32
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "byte": "ZGVtbw==",
    "decimal": "1.5",
}
_FOR_PATTERNS = (
    *("demo", "Demo", "DEMO", "a", "A", "ab", "AB", "abc", "ABC", "a-b", "a_b", "AB-123", "A1"),
    *("0", "1", "12", "123", "1234", "12345", "123456", "12345678", "1.5", "1.0.0", "v1.0.0"),
    *("#a1b2c3", "+15555550100", "555-555-0100", "12:00", "01/01/2026", "2026-01", "demo.txt"),
    *_FORMATS.values(),
)


def pieces(text: str) -> list[str]:
    """Split a text into tokens, each with the space before it."""
    return re.findall(r"\s*\S+", text)


def structured(schema: Mapping[str, Any], prompt: str) -> list[str]:
    """Return the tokens of JSON text valid against a schema. Raise Refusal if none is found."""
    return pieces(json.dumps(example(schema, prompt), ensure_ascii=False))


def example(schema: Mapping[str, Any], prompt: str) -> Any:
    """Return a value valid against a schema. Raise Refusal if none is found."""
    return _Maker(schema, prompt).value(schema, 0, 0)


class _Maker:
    def __init__(self, root: Mapping[str, Any], prompt: str) -> None:
        self._root = root
        self._text = "".join(tokens_of(prompt))

    def value(self, schema: object, depth: int, index: int) -> Any:
        """Return a value. `index` is its position in a list, so that items differ."""
        if depth > _DEEPEST:
            raise DemoError(400, "The schema is nested too deeply for the demo backend.")
        if schema is False:
            raise DemoError(400, "The schema allows no value.")
        if not isinstance(schema, dict):
            return self._text
        schema = self._flat(schema, depth)
        if "const" in schema:
            return schema["const"]
        enum = schema.get("enum")
        if isinstance(enum, list) and enum:
            return enum[index % len(enum)]
        match _type_of(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return math.ceil(_number(schema, whole=True)) + index * _step(schema)
            case "number":
                return _number(schema, whole=False) + index * _step(schema)
            case "boolean":
                return index % 2 == 0
            case "null":
                return None
        return self._string(schema, index)

    def _flat(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Return the schema with references resolved and one of its alternatives chosen."""
        flat = dict(schema)
        for _ in range(_DEEPEST):
            if (reference := flat.pop("$ref", None)) is not None:
                flat = _merged(self._found(reference), flat)
            elif isinstance(parts := flat.pop("allOf", None), list):
                for part in parts:
                    flat = _merged(flat, part)
            elif options := flat.pop("anyOf", None) or flat.pop("oneOf", None):
                flat = _merged(flat, self._option(options, depth))
            else:
                return flat
        raise DemoError(400, "The schema's references lead nowhere.")

    def _option(self, options: object, depth: int) -> object:
        if not isinstance(options, list) or not options:
            raise DemoError(400, "'anyOf' has to be a list of schemas.")
        if depth < _SHALLOW:
            return options[0]
        return min(options, key=_weight)

    def _found(self, reference: object) -> Mapping[str, Any]:
        place: Any = self._root
        for name in str(reference).removeprefix("#").strip("/").split("/"):
            if name:
                name = name.replace("~1", "/").replace("~0", "~")
                place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise DemoError(400, f"The schema refers to what is not in it: {reference}")
        return place

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        wanted = [*properties] if depth < _SHALLOW else [n for n in properties if n in required]
        wanted += [name for name in required if name not in wanted]
        more = schema.get("additionalProperties", True)
        made = {
            name: self.value(properties.get(name, more), depth + 1, 0)
            for name in wanted
            if name in required or properties[name] is not False
        }
        for number in range(len(made), int(schema.get("minProperties", 0))):
            made[f"key{number}"] = self.value(more, depth + 1, number)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        count = max(least, 1) if depth < _SHALLOW else least
        count = min(count, int(schema.get("maxItems", count)))
        first = schema.get("prefixItems") or []
        count = max(count, len(first))
        rest = schema.get("items", True)
        return [
            self.value(first[i] if i < len(first) else rest, depth + 1, i) for i in range(count)
        ]

    def _string(self, schema: Mapping[str, Any], index: int) -> str:
        pattern, known = schema.get("pattern"), _FORMATS.get(str(schema.get("format")))
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        if isinstance(pattern, str):
            return _matching(pattern, least, most)
        if known is not None:
            return known
        text = self._text if not index else f"{index} {self._text}"
        text = (text * (least // len(text) + 1)) if len(text) < least else text
        return text if most is None else text[: int(most)]


def _matching(pattern: str, least: int, most: int | None) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error:
        raise DemoError(400, f"The schema's pattern is none: {pattern}") from None
    for text in _FOR_PATTERNS:
        if compiled.search(text) and least <= len(text) <= (most or len(text)):
            return text
    raise DemoError(400, f"The demo backend knows no text for the pattern {pattern}")


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((str(each) for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind
    if schema.keys() & {"properties", "required", "additionalProperties"}:
        return "object"
    if schema.keys() & {"items", "prefixItems"}:
        return "array"
    return "number" if schema.keys() & {"minimum", "maximum", "multipleOf"} else "string"


def _number(schema: Mapping[str, Any], *, whole: bool) -> Any:
    low: Any = schema.get("minimum")
    high: Any = schema.get("maximum")
    above: Any = schema.get("exclusiveMinimum")
    below: Any = schema.get("exclusiveMaximum")
    if whole:
        low = math.floor(above) + 1 if above is not None else low
        high = math.ceil(below) - 1 if below is not None else high
    elif above is not None or below is not None:
        if above is None:
            above = below - 2 if low is None else low
        if below is None:
            below = above + 2 if high is None else high
        low = high = (above + below) / 2
    number = low if low is not None else 1 if high is None else min(1, high)
    step = schema.get("multipleOf")
    return number if step is None else math.ceil(number / step) * step


def _step(schema: Mapping[str, Any]) -> Any:
    return schema.get("multipleOf", 1)


def _merged(one: Mapping[str, Any], other: object) -> dict[str, Any]:
    """Combine two schemas into one that requires what both require."""
    if not isinstance(other, dict):
        return dict(one)
    merged = {**one, **other}
    for key in ("properties", "$defs"):
        if key in one and key in other:
            merged[key] = {**one[key], **other[key]}
    if "required" in one and "required" in other:
        merged["required"] = [*dict.fromkeys([*one["required"], *other["required"]])]
    return merged


def _weight(option: object) -> int:
    """Rank an alternative: those with less nesting have a lower weight."""
    if not isinstance(option, dict):
        return 0
    if option.get("type") == "null":
        return 0
    nested: Sequence[str] = ("$ref", "properties", "items", "anyOf", "oneOf", "allOf")
    return 1 + sum(key in option for key in nested)
