"""Routes with `check_requests` refuse bodies that are wrong by the schema of their endpoint."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from gateway.dialects import DIALECTS
from tests.support.client import RawClient, Response, ask, request
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.loop_hold import LoopHold
from tests.support.refusal import assert_error, assert_nothing_forwarded
from tests.support.upstream import ScriptedUpstream

MIB = 1024**2
CHAT = "/v1/chat/completions"
WRONG = {"model": "llama", "messages": [{"role": "user", "content": 5}]}
RIGHT = {"model": "llama", "messages": [{"role": "user", "content": "Hello"}]}
ROUTES = pytest.mark.parametrize("models", [False, True], ids=["upstream", "models"])


async def start(
    start_gateway: StartGateway, upstream: ScriptedUpstream, *, models: bool = True, **route: Any
) -> RunningGateway:
    config = simple_config(upstream.url, **{"check_requests": True, **route})
    if models:
        config["models"] = {"llama": {"upstream": "main"}}
        config["routes"][0]["models"] = ["llama"]
    return await start_gateway(config)


async def post(
    gateway: RunningGateway, document: Any, target: str = CHAT, *headers: str
) -> Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return await ask(gateway.port, request("POST", target, headers=headers, body=body), "POST")


@ROUTES
async def test_a_wrong_field_is_named_in_the_400(
    start_gateway: StartGateway, upstream: ScriptedUpstream, models: bool
) -> None:
    gateway = await start(start_gateway, upstream, models=models)
    response = await post(gateway, WRONG)
    assert_error(response, 400, code="invalid_type")
    error = response.json()["error"]
    assert error["param"] == "messages[0].content"
    assert error["type"] == "invalid_request_error"
    assert error["message"] == "'messages[0].content' must be a string or an array."
    await assert_nothing_forwarded(gateway.port, upstream)


@ROUTES
async def test_a_wrong_field_cannot_hide_behind_a_right_one_of_its_name(
    start_gateway: StartGateway, upstream: ScriptedUpstream, models: bool
) -> None:
    gateway = await start(start_gateway, upstream, models=models)
    wrong, right = (json.dumps(one["messages"]) for one in (WRONG, RIGHT))
    raw = f'{{"model":"llama","messages":{wrong},"messages":{right}}}'.encode()
    assert_error(await post(gateway, raw), 400, code="invalid_request")
    await assert_nothing_forwarded(gateway.port, upstream)


@ROUTES
async def test_a_right_body_passes_byte_for_byte(
    start_gateway: StartGateway, upstream: ScriptedUpstream, models: bool
) -> None:
    gateway = await start(start_gateway, upstream, models=models)
    body = b'{ "model":"llama","unknown" : 1.0, "messages":[{"role":"user","content":"a"}] }'
    assert (await post(gateway, body)).status == 200
    assert upstream.requests[0].body == body


async def test_bodies_are_not_checked_by_default(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream, check_requests=False)
    assert (await post(gateway, WRONG)).status == 200


@pytest.mark.parametrize(
    ("dialect", "target", "document", "named"),
    [
        ("anthropic", "/v1/messages", RIGHT, "'max_tokens' is required."),
        ("ollama", "/v1/chat", {"messages": [{}]}, "'messages[0].role' is required."),
    ],
)
async def test_the_error_has_the_shape_of_the_dialect(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    dialect: str,
    target: str,
    document: dict[str, Any],
    named: str,
) -> None:
    gateway = await start(start_gateway, upstream, models=False, dialect=dialect)
    response = await post(gateway, document, target)
    assert response.status == 400
    error = response.json()["error"]
    assert named == (error["message"] if dialect == "anthropic" else error)


async def test_other_paths_and_methods_pass_unchecked(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream, models=False)
    assert (await post(gateway, b"\0\1", "/v1/files")).status == 200
    assert (await ask(gateway.port, request("GET", CHAT))).status == 200


async def test_what_is_no_json_is_refused_where_json_is_due(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream, models=False)
    assert_error(await post(gateway, b"prompt=Hello"), 400, code="invalid_json")


async def test_a_compressed_body_is_checked_and_sent_on(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream, models=False)
    header = "Content-Encoding: gzip"
    assert_error(await post(gateway, gzip.compress(json.dumps(WRONG).encode()), CHAT, header), 400)
    response = await post(gateway, gzip.compress(json.dumps(RIGHT).encode()), CHAT, header)
    assert response.status == 200
    assert json.loads(upstream.requests[0].body) == RIGHT


@ROUTES
async def test_a_costly_body_is_checked_without_holding_up_the_event_loop(
    start_gateway: StartGateway, upstream: ScriptedUpstream, models: bool
) -> None:
    gateway = await start(start_gateway, upstream, models=models, body="2MiB")
    parts = [{"type": "text", "text": "a"}] * (MIB // 28)
    document = {"model": "llama", "messages": [{"role": "user", "content": parts}]}
    async with RawClient(gateway.port) as client:
        body = json.dumps(document).encode()
        wrong = json.dumps(document | {"n": "2"}).encode()
        del document, parts
        for sent, status in ((body, 200), (wrong, 400)):
            head = request("POST", CHAT, headers=[f"Content-Length: {len(sent)}"])
            await client.send(head + sent)
            async with LoopHold() as hold:
                response = await client.read_response("POST")
            assert response.status == status
            # The check alone takes longer without the helper, as parsing does.
            assert hold.longest_s < 0.25
    assert response.json()["error"]["param"] == "n"


async def test_a_caller_can_read_the_schemas(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    response = await ask(gateway.port, request("GET", "/v1/openapi.json"))
    document = response.json()
    validate(document)
    assert document["servers"] == [{"url": "/v1"}]
    assert set(document["paths"]) == set(DIALECTS["openai"].request_schemas)
    chat = document["components"]["schemas"]["chatCompletions"]
    assert chat["required"] == ["messages"]
    await assert_nothing_forwarded(gateway.port, upstream)


async def test_without_checks_the_path_of_the_schemas_is_the_backend_s(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream, models=False, check_requests=False)
    await ask(gateway.port, request("GET", "/v1/openapi.json"))
    assert upstream.requests[0].target == "/v1/openapi.json"


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
async def test_the_description_of_every_dialect_is_valid(
    start_gateway: StartGateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    gateway = await start(start_gateway, upstream, models=False, dialect=dialect)
    validate((await ask(gateway.port, request("GET", "/v1/openapi.json"))).json())


async def test_a_refused_request_gives_back_its_tokens(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    config = simple_config(upstream.url, check_requests=True, limits=["tokens"])
    config["limits"] = {"tokens": {"key": "ip", "tokens": "1000/day"}}
    gateway = await start_gateway(config)
    for _ in range(5):
        assert_error(await post(gateway, WRONG | {"max_tokens": 900}), 400, code="invalid_type")
    assert (await post(gateway, RIGHT | {"max_tokens": 900})).status == 200


@pytest.mark.parametrize("size", [0, 200_000], ids=["here", "in the helper"])
async def test_a_body_that_is_nested_too_deeply_is_400(
    start_gateway: StartGateway, upstream: ScriptedUpstream, size: int
) -> None:
    gateway = await start(start_gateway, upstream)
    deep = b'{"model":"llama","messages":%b%b,"x":[%b1]}'
    body = deep % (b"[" * 1000, b"]" * 1000, b"{}," * size)
    assert_error(await post(gateway, body), 400, code="invalid_json")
    await assert_nothing_forwarded(gateway.port, upstream)
