"""OpenAPI 3.1 description of the requests that a route of a dialect checks."""

from __future__ import annotations

from typing import Any

import orjson

from gateway import __version__
from gateway.dialects.dialect import Dialect

_DESCRIPTION = (
    "Requests that the gateway checks before it sends them to a model. Fields that are not "
    "described here are allowed. Answers are described by the API that the model's backend has."
)


def description(dialect: Dialect, base: str) -> bytes:
    """Return the document, as JSON. `base` is the path that the endpoints are below, which ends in
    a slash.
    """
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": f"Requests in the dialect {dialect.name}",
                "version": __version__,
                "description": _DESCRIPTION,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": base.removesuffix("/") or "/"}],
            "paths": {end: {"post": _operation(end)} for end in sorted(dialect.request_schemas)},
            "components": {
                "schemas": {
                    _identifier(end): schema for end, schema in dialect.request_schemas.items()
                }
            },
        }
    )


def _operation(end: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{_identifier(end)}"}
    return {
        "operationId": _identifier(end),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": reference}},
        },
        "responses": {
            "200": {"description": "The answer, or a stream of it."},
            "400": {"description": "The request is not valid. The error names the field."},
        },
    }


def _identifier(end: str) -> str:
    """Return a name in camel case, such as `chatCompletions`."""
    first, *others = end.strip("/").replace("_", "/").split("/")
    return first + "".join(word.capitalize() for word in others)
