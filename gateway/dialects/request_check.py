"""Check of request bodies against the JSON Schemas of a dialect.

The schemas are compiled by jsonschema-rs: see `docs/decisions/0014-schemas-by-jsonschema-rs.md`. It
takes 9 MB of memory, so only code that has to check something imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import jsonschema_rs

from gateway.dialects import DIALECTS
from gateway.dialects.json_schema import Schema
from gateway.errors import InvalidField, InvalidType, MissingField, RequestError
from gateway.json_body import read, refuse_repeated

_TYPES = {
    "string": "a string",
    "array": "an array",
    "object": "an object",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


class RequestCheck:
    """Check of the bodies of one endpoint."""

    __slots__ = ("_known", "_validate")

    def __init__(self, schema: Schema) -> None:
        self._validate = jsonschema_rs.Draft202012Validator(dict(schema)).validate
        self._known = frozenset(_fields(schema))

    def violation(self, document: dict[str, Any]) -> InvalidField | None:
        """Return an error that names the first wrong field of a body; None if the body is valid.
        Of a field that is given more than once, the last is checked: see `refuse_repeated`.

        Raise RequestError for one that is nested too deeply.

        The error repeats nothing of the body: neither a value, nor a name that the schema does not
        have.
        """
        try:
            self._validate(document)
        except jsonschema_rs.ValidationError as exc:
            return self._error(exc)
        except ValueError as exc:  # its limit on depth is below that of the parser
            raise RequestError(
                "The request body is nested too deeply.", code="invalid_json"
            ) from exc
        return None

    def _error(self, exc: jsonschema_rs.ValidationError) -> InvalidField:
        path, details = exc.instance_path, exc.kind.as_dict()
        match exc.kind.name:
            case "required":
                return MissingField(self._name([*path, details["property"]]))
            case "type":
                return InvalidType(self._name(path), f"must be {_listed(details['types'])}")
            case "enum":
                must = f"must be one of: {', '.join(details['options'])}"
            case "minimum":
                must = f"must be at least {details['limit']}"
            case "maximum":
                must = f"must be at most {details['limit']}"
            case "minItems" | "minLength":
                must = "must not be empty"
            case _:
                must = "is not valid"
        return InvalidField(self._name(path), must)

    def _name(self, path: Sequence[str | int]) -> str:
        """Return a field's name, such as `messages[0].role`, up to the last part that the schema
        knows.
        """
        name = ""
        for part in path:
            if isinstance(part, int):
                name += f"[{part}]"
            elif part in self._known:
                name += f".{part}" if name else part
            else:
                break
        return name


@cache
def checks_of(dialect: str) -> Sequence[tuple[str, RequestCheck]]:
    """Return the checks of a dialect, each with the end of its path."""
    schemas = DIALECTS[dialect].request_schemas
    return tuple((end, RequestCheck(schema)) for end, schema in schemas.items())


def check_at(dialect: str, path: str) -> RequestCheck | None:
    """Return the check of the endpoint at a path; None if there is no schema for it."""
    path = path.rstrip("/")
    for end, check in checks_of(dialect):
        if path.endswith(end):
            return check
    return None


def checked_elsewhere(dialect: str, path: str, body: bytes) -> None:
    """Check a body in a helper process. Raise RequestError."""
    check = check_at(dialect, path)
    assert check is not None  # the caller has found it, too
    refuse_repeated(body)
    violation: RequestError | None = check.violation(read(body).document)
    if violation is not None:
        raise violation


def _listed(types: Sequence[str]) -> str:
    """Return types in words. That an optional field may be null helps nobody."""
    words = [_TYPES[one] for one in types if one != "null"] or [_TYPES["null"]]
    return " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}"


def _fields(schema: Any) -> Iterator[str]:
    """Yield the names of all fields in a schema."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("properties", "required"):
                yield from value
            yield from _fields(list(value.values()) if key == "properties" else value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _fields(value)
