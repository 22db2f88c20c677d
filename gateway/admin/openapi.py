"""OpenAPI 3.1 description of the admin API, from the operations that its handlers declare."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pydantic
from aiohttp import web
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from gateway import __version__
from gateway.admin.answer import answer
from gateway.admin.api import AdminApi
from gateway.admin.audit_api import AuditApi
from gateway.admin.cache_api import CacheApi
from gateway.admin.documents import AdminError
from gateway.admin.history import HistoryApi
from gateway.admin.holders_api import HoldersApi
from gateway.admin.keys_api import KeysApi
from gateway.admin.log_settings import LogSettings
from gateway.admin.members_api import MembersApi
from gateway.admin.operation import Operation, Parameter, operations
from gateway.admin.roles import LEAST
from gateway.admin.session_api import SessionApi
from gateway.admin.traces_api import TracesApi
from gateway.config import Config
from gateway.dialects import DIALECTS, request_description
from gateway.wiring.route_dialect import route_dialect

_REFERENCE = "#/components/schemas/{model}"
_SHARED = {
    401: "The token is missing or wrong.",
    403: "The role is too low; or a page of another origin asked, or one of another host while "
    "nothing is asked for.",
}
"""Errors of every operation that needs authentication."""
_DESCRIPTION = (
    "State and actions for operators. It is on `admin.listen`, never on the public listener. "
    "Without `admin.token`, `admin.tokens` and `admin.sign_in`, it answers only requests to "
    "localhost. `x-role` is the least role for an operation."
)


class _Schemas(GenerateJsonSchema):
    """Schemas without the titles that pydantic makes from names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class OpenApi:
    """Handler that serves the description, and those of the requests that routes check."""

    def __init__(self, config: Callable[[], Config]) -> None:
        """`config` returns the configuration that is served."""
        self._config = config

    @Operation(
        "GET",
        "/api/openapi.json",
        "This description, as OpenAPI 3.1; or that of the requests which a route checks.",
        returns=dict[str, Any],
        parameters=(Parameter("route", "Name of a route with `check_requests`."),),
        errors={404: "No such route checks requests."},
    )
    async def _openapi(self, request: web.Request) -> web.Response:
        name = request.query.get("route")
        if name is None:
            return answer(description())
        config = self._config()
        for route in config.routes:
            if route.name == name and route.check_requests:
                dialect = DIALECTS[route_dialect(config, route)]
                body = request_description.description(dialect, route.path)
                return web.Response(body=body, content_type="application/json")
        return answer({"error": "no such route checks requests; see /api/routes"}, 404)


@functools.cache
def description() -> dict[str, Any]:
    """Return the OpenAPI document of all operations."""
    declared = [
        one
        for kind in (
            SessionApi,
            AdminApi,
            HistoryApi,
            TracesApi,
            KeysApi,
            HoldersApi,
            MembersApi,
            CacheApi,
            LogSettings,
            AuditApi,
            OpenApi,
        )
        for _, one in operations(kind)
    ]
    schemas, components = _schemas(declared)
    paths: dict[str, Any] = {}
    for one in declared:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Admin API of the gateway",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The value of `admin.token`, or one of `admin.tokens`.",
                }
            },
        },
    }


def _schemas(declared: Iterable[Operation]) -> tuple[Mapping[object, Any], dict[str, Any]]:
    """Return the schema of each type of the operations, and the schemas that they refer to."""
    types = {
        kind: ("validation" if kind is one.body else "serialization")
        for one in declared
        for kind in (AdminError, one.body, one.returns, one.refusal)
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)
    }
    found, definitions = models_json_schema(
        list(types.items()),  # type: ignore[arg-type]
        ref_template=_REFERENCE,
        schema_generator=_Schemas,
    )
    schemas: dict[object, Any] = {kind: schema for (kind, _), schema in found.items()}
    components = definitions["$defs"]
    for schema in components.values():
        schema.pop("title", None)
        for one in schema.get("properties", {}).values():
            one.pop("default", None)  # it only marks the field as one that may be missing
    # Docstrings are wrapped at the width of the source.
    return schemas, json.loads(json.dumps(components).replace("\\n", " "))


def _operation(one: Operation, schemas: Mapping[object, Any]) -> dict[str, Any]:
    errors = {**({} if one.is_open else _SHARED), **one.errors}
    document: dict[str, Any] = {
        "operationId": _identifier(one),
        "summary": one.summary,
        "parameters": [_parameter(each, one.path) for each in one.parameters],
        "responses": {"200": {"description": "Done.", "content": _content(one, schemas)}},
    }
    for status, meaning in sorted(errors.items()):
        own = one.refusal if status in one.errors else None
        document["responses"][str(status)] = {
            "description": meaning,
            "content": {"application/json": {"schema": schemas[own or AdminError]}},
        }
    if one.body is not None:
        document["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[one.body]}},
        }
    if one.is_open:
        document["security"] = []
    else:
        role = LEAST.get((one.method, one.path))
        if role is None:
            raise KeyError(f"{one.method} {one.path}: name its role in gateway/admin/roles.py")
        document["x-role"] = role.word
    return document


def _content(one: Operation, schemas: Mapping[object, Any]) -> dict[str, Any]:
    if one.media != "application/json":
        return {one.media: {"schema": {"type": "string"}}}
    return {one.media: {"schema": schemas.get(one.returns, {"type": "object"})}}


def _parameter(one: Parameter, path: str) -> dict[str, Any]:
    in_path = f"{{{one.name}}}" in path
    return {
        "name": one.name,
        "in": "path" if in_path else "query",
        "required": in_path or one.required,
        "description": one.description,
        "schema": dict(one.schema),
    }


def _identifier(one: Operation) -> str:
    words = one.path.removeprefix("/api/").replace("{", "by/").replace("}", "")
    return "_".join([one.method.lower(), *words.replace(".", "/").strip("/").split("/")])
