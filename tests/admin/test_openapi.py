"""The description of the admin API covers every route, and is what a running gateway answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.admin import reference
from gateway.admin.openapi import description
from gateway.admin.views import VIEWS
from tests.support.admin import admin, told, until
from tests.support.admin_application import application
from tests.support.client import ask, request
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.traces import chat, listed, model_config, telemetry
from tests.support.upstream import ScriptedUpstream, hang, json_reply

DOCS = Path(__file__).parents[2] / "docs"


def test_the_description_is_valid_openapi() -> None:
    assert description()["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(description()).validate()


def test_the_reference_is_what_the_description_says() -> None:
    assert (DOCS / "admin-api.md").read_text() == reference.document(), "run `make docs`"


def test_operations_have_names_of_their_own() -> None:
    names = [
        one["operationId"] for path in description()["paths"].values() for one in path.values()
    ]
    assert len(names) == len(set(names)) > 20


def test_path_parameters_are_described() -> None:
    for path, methods in description()["paths"].items():
        for one in methods.values():
            described = {each["name"] for each in one["parameters"] if each["in"] == "path"}
            assert described == {part[1:-1] for part in path.split("/") if part.startswith("{")}


async def test_every_route_of_the_admin_process_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = [
        (route.method.lower(), route.resource.canonical)
        for route in (await application(tmp_path, monkeypatch)).router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]
    api = {one for one in served if not is_page(one[1])}
    paths = description()["paths"]
    assert api == {(method, path) for path, methods in paths.items() for method in methods}


def is_page(path: str) -> bool:
    """Tell whether a path belongs to the dashboard itself."""
    return path in (*VIEWS, "/favicon.ico") or path.startswith(("/static/", "/play/", "/sign-in"))


async def test_every_answer_of_a_running_gateway_fits_its_schema(
    start_gateway_process: StartGatewayProcess, auth: Auth, tmp_path: Path
) -> None:
    used = {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    async with ScriptedUpstream(json_reply(used)) as upstream, ScriptedUpstream(hang) as silent:
        config = model_config(upstream, auth=list(auth), limits=["once"])
        config["limits"] = {"once": {"key": "subject", "requests": "1/day"}}
        config["upstreams"]["silent"] = {"endpoints": [{"url": silent.url}]}
        slow = {"name": "silent", "path": "/slow/", "auth": "anonymous", "upstream": "silent"}
        config["routes"].append(slow)
        config["store"] = {"url": f"sqlite://{tmp_path / 'store.db'}"}
        gateway = await start_gateway_process({**config, "auth": auth}, telemetry=telemetry())
        for _ in range(2):
            await ask(gateway.port, chat(bearer(sub="ann")))
        waiting = asyncio.create_task(ask(gateway.port, request(target="/slow/x")))
        await silent.wait_requests(1)
        [kept, _] = await listed(gateway, 2)
        await until(gateway, "/api/usage", lambda found: bool(found.get("usage")))
        await admin(gateway, "POST", "/api/reload")  # so that there is a last one
        trace, query = kept["request_id"], {"/api/logs": f"?id={kept['request_id']}"}
        api = await told(gateway, "/api/openapi.json")
        assert api == json.loads(json.dumps(description()))
        for place in ("/api/teams/a", "/api/users/ann"):
            assert (await admin(gateway, "PUT", place, {})).status == 200
        for path, operation in gets(api):
            if path == "/api/events":  # never ends; its documents are those of the other paths
                continue
            address = path.replace("{id}", trace).replace("{name}", "a") + query.get(path, "")
            answer = await admin(gateway, "GET", address)
            assert answer.status == 200, address
            check(api, operation["responses"]["200"], answer.body, answer.value("content-type"))
        for method, path, body, status in (
            ("GET", "/api/logs", None, 400),
            ("GET", "/api/traces/unknown", None, 404),
            ("POST", "/api/reload", None, 200),
            ("PUT", "/api/log", {"level": "info"}, 200),
            ("DELETE", "/api/requests/unknown", None, 404),
            ("POST", "/api/upstreams/main/drain", {"endpoint": upstream.url}, 200),
        ):
            answer = await admin(gateway, method, path, body)
            assert answer.status == status, path
            operation = operation_at(api, method, path)
            check(api, operation["responses"][str(status)], answer.body, b"application/json")
        for row in (await told(gateway, "/api/requests"))["requests"]:
            await admin(gateway, "DELETE", f"/api/requests/{row['request_id']}")
        await waiting


def gets(api: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each path that can be read, with its operation."""
    for path, methods in api["paths"].items():
        if "get" in methods:
            yield path, methods["get"]


def operation_at(api: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """Return the operation that describes a path without parameters in braces."""
    found: dict[str, Any] = next(
        methods[method.lower()]
        for template, methods in api["paths"].items()
        if method.lower() in methods and matches(template, path)
    )
    return found


def matches(template: str, path: str) -> bool:
    """Tell whether a path is one of a template."""
    pairs = list(zip(template.split("/"), path.split("/"), strict=False))
    same_length = template.count("/") == path.count("/")
    return same_length and all(one == other or one.startswith("{") for one, other in pairs)


def check(api: dict[str, Any], response: dict[str, Any], body: bytes, media: bytes | None) -> None:
    """Validate a body. Fields that are not described fail, too."""
    [(described, content)] = response["content"].items()
    assert media is not None
    assert media.decode().partition(";")[0] == described
    if described != "application/json":
        return
    schemas = {
        name: {"additionalProperties": False, **schema} if "properties" in schema else schema
        for name, schema in api["components"]["schemas"].items()
    }
    schema = {**content["schema"], "components": {"schemas": schemas}}
    Draft202012Validator(schema).validate(json.loads(body))


async def test_the_requests_that_a_route_checks_are_described_too(
    start_gateway_process: StartGatewayProcess,
) -> None:
    document = simple_config("http://127.0.0.1:9")
    document["routes"][0] |= {"name": "chat", "path": "/v1/", "check_requests": True}
    gateway = await start_gateway_process(document, admin={"listen": "127.0.0.1:0"})
    found = await told(gateway, "/api/openapi.json?route=chat")
    OpenAPIV31SpecValidator(found).validate()
    assert "/chat/completions" in found["paths"]
    assert found["servers"] == [{"url": "/v1"}]
    response = await admin(gateway, "GET", "/api/openapi.json?route=nothing")
    assert response.status == 404
