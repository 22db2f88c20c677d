"""What is stored of a request, so that another process can continue its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.auth.principal import Principal
from gateway.client_connection import SessionRequest
from gateway.limiting.decision import Taken
from gateway.limiting.demand import Demand, Kind, Level
from gateway.model_names import allowed_models
from gateway.resume.policy import HEADER, OnDisconnect, Policy
from gateway.resume.saved_request import (
    SavedRequest,
    is_complete,
    parse_saved_request,
    saved_request,
)
from gateway.routing.target import Target
from tests.support.client import RawClient
from tests.support.gateway import StartGateway, simple_config
from tests.support.noting_plugin import NOTED
from tests.support.upstream import ScriptedUpstream

PRINCIPAL = Principal(
    "ann",
    "corp",
    tenant="acme",
    groups=("a", "b"),
    scopes=frozenset({"chat"}),
    models=frozenset({"m"}),
    limits=("own",),
    expires_at=1.5,
    claims={"nested": {"x": [1]}},
    headers=b"X-Gateway-Subject: ann\r\n",
)
TAKEN = Taken("t", "tokens", Demand(Kind.TAKE, "t:tokens:ann", 600.0, 1000.0, 0.5), Level(7, 2.5))


def saved(**changed: Any) -> SavedRequest:
    fields: dict[str, Any] = {
        "route": "main",
        "request_id": "r1",
        "client_ip": "192.0.2.1",
        "secure": True,
        "principal": PRINCIPAL,
        "taken": [TAKEN],
        "request": SessionRequest("POST", "/v1/x?a=1", ((b"X-Name", b"\xe4"),), b"{}"),
    }
    return SavedRequest(**{**fields, **changed})


WITH_PATTERNS = replace(PRINCIPAL, models=allowed_models([["llama-*"], ["*-3", "x"]]))


@pytest.mark.parametrize("principal", [PRINCIPAL, WITH_PATTERNS, None])
def test_a_request_is_read_back_as_it_was_stored(principal: Principal | None) -> None:
    one = saved(principal=principal)
    again = parse_saved_request(one.description(), one.request.body)
    assert again == one
    if principal is not None:
        assert again.principal is not None
        assert again.principal.claims == principal.claims
        assert again.principal.headers == principal.headers


def test_what_another_version_has_stored_is_refused() -> None:
    for description in (b"", b"{}", b"[]", b"null"):
        with pytest.raises((ValueError, KeyError, TypeError)):
            parse_saved_request(description, b"")


@pytest.mark.parametrize(
    ("events", "complete"),
    [
        (b"", False),
        (b'id: s.1\ndata: {"a":"data: [DONE]"}\n\n', False),
        (b"id: s.1\ndata: {}\n\nid: s.2\ndata: [DONE]\n\n", True),
        (b"id: s.2\ndata: [DONE]\n\n", True),
        (b"id: s.1\nevent: message_stop\ndata: {}\n\n", True),
        (b"id: s.1\nevent: message_delta\ndata: {}\n\n", False),
    ],
)
def test_the_last_event_of_an_answer_is_known(events: bytes, complete: bool) -> None:
    assert is_complete(events) is complete


def test_half_a_character_of_a_claim_is_read_back_as_it_was_stored() -> None:
    one = saved(principal=replace(PRINCIPAL, subject="\ud83d", claims={"big": 1 << 70}))
    again = parse_saved_request(one.description(), one.request.body)
    assert again.principal is not None
    assert again.principal.subject == "\ud83d"
    assert again.principal.claims == {"big": 1 << 70}


@pytest.mark.parametrize(
    ("headers", "stored", "query"),
    [
        (["OpenAI-Beta: x", "X-Custom: 1"], True, "a=1"),
        ([], False, "a=1&key=secret-1"),
        ([], False, "Api%2DK%65y=secret-1"),
        (["Authorization: Bearer secret-1"], False, "a=1"),
        (["X-Goog-Api-Key: secret-1"], False, "a=1"),
        (["X-Session-Token: secret-1"], False, "a=1"),
        (["Idempotency-Key: k1", "Last-Event-ID;"], True, "a=1"),
    ],
)
async def test_a_credential_for_the_upstream_is_never_stored(
    start_gateway: StartGateway, headers: list[str], stored: bool, query: str
) -> None:
    async with ScriptedUpstream() as upstream:
        document = simple_config(upstream.url, models=["m"])
        document["models"] = {"m": {"upstream": "main"}}
        document["routes"][0]["middleware"] = [{"use": "tests.support.noting_plugin.note"}]
        gateway = await start_gateway(document)
        body = b'{"model": "m", "stream": true, "messages": []}'
        lines = "".join(f"{line}\r\n" for line in headers if ":" in line)
        head = f"POST /v1/chat/completions?{query} HTTP/1.1\r\nHost: h\r\n{lines}"
        async with RawClient(gateway.port) as client:
            await client.send(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            connection = await upstream.accept()
            await connection.read_request()
            request = NOTED.pop()
            assert isinstance(request.exchange.target, Target)
            one = saved_request(request, Policy(OnDisconnect.CANCEL))
            connection.close()
            await client.read_response("POST")
    assert (one is not None) is stored
    if one is not None:
        again, description = one.request, one.description()
        assert (again.method, again.target) == ("POST", "/v1/chat/completions?a=1")
        assert again.body == body
        assert again.fields[0] == (b"Host", b"h")
        assert (HEADER.encode(), b"grace=10s") in again.fields
        assert (b"Content-Length", b"%d" % len(body)) in again.fields
        assert b"secret" not in description
        assert b"Idempotency" not in description
        for line in headers:
            if line.startswith(("OpenAI", "X-Custom")):
                name, _, value = line.encode().partition(b": ")
                assert (name, value) in again.fields
