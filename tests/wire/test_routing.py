"""Which requests go where: by method, path and host. By model: `test_model_routing.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.client import request
from tests.support.exchange import ask
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.refusal import assert_error
from tests.support.upstream import Request, ScriptedUpstream, raw_reply, reply

ROUTES: tuple[dict[str, Any], ...] = (
    {"name": "all", "path": "/v1/", "upstream": "all"},
    {"name": "chat", "path": "/v1/chat/", "upstream": "chat"},
    {"name": "exact", "path": "/v1/chat/exact", "upstream": "exact"},
    {"name": "read", "path": "/files/", "methods": ["GET", "HEAD"], "upstream": "read"},
    {"name": "write", "path": "/files/", "methods": ["POST"], "upstream": "write"},
    {"name": "upload", "path": "/upload", "methods": ["PUT"], "upstream": "write"},
    {"name": "labs", "path": "/v1/", "hosts": ["labs.test"], "upstream": "labs"},
    {"name": "inner", "path": "/inner/", "hosts": ["inner.test", "[::1]"], "upstream": "inner"},
    {"name": "stripped", "path": "/audio/", "upstream": "audio", "strip": True},
    {"name": "based", "path": "/based/", "upstream": "based"},
)


def name_of(seen: Request) -> bytes:
    """What each upstream answers: its own name, from the header its configuration sets."""
    return reply((seen.value("x-upstream") or b"?") + b" " + seen.target.encode())


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(raw_reply(name_of)) as upstream:
        yield upstream


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, start_gateway: StartGateway) -> RunningGateway:
    names = {str(route["upstream"]) for route in ROUTES}
    upstreams: dict[str, Any] = {
        name: {"endpoints": [{"url": upstream.url}], "headers": {"X-Upstream": name}}
        for name in names
    }
    upstreams["based"]["endpoints"] = [{"url": f"{upstream.url}/some/base/"}]
    routes = [{**route, "auth": "anonymous"} for route in ROUTES]
    return await start_gateway({"upstreams": upstreams, "routes": routes})


async def served(gateway: RunningGateway, raw: bytes, method: str = "GET") -> str:
    """Which upstream served a request, and the target it saw."""
    response = await ask(gateway.port, raw, method)
    assert response.status == 200, response.body
    return response.body.decode()


@pytest.mark.parametrize(
    ("target", "upstream_name"),
    [
        ("/v1/", "all"),
        ("/v1/models", "all"),
        ("/v1/chat", "all"),
        ("/v1/chatter/x", "all"),
        ("/v1/chat/", "chat"),
        ("/v1/chat/completions", "chat"),
        ("/v1/chat/exact", "exact"),
        ("/v1/chat/exact?a=b", "exact"),
        ("/v1/chat/exact/", "chat"),
        ("/v1/chat/exactly", "chat"),
        ("/v1/chat/completions?path=/v1/chat/exact", "chat"),
        ("/v1/Chat/completions", "all"),
    ],
)
async def test_the_most_specific_path_wins_and_is_forwarded_as_it_came(
    gateway: RunningGateway, target: str, upstream_name: str
) -> None:
    assert await served(gateway, request(target=target)) == f"{upstream_name} {target}"


@pytest.mark.parametrize("target", ["/", "/v1", "/v2/x", "/V1/x", "/upload/x", "/xv1/x", "/file"])
async def test_what_no_route_serves_is_404(
    gateway: RunningGateway, upstream: ScriptedUpstream, target: str
) -> None:
    assert_error(await ask(gateway.port, request(target=target), "GET"), 404, code="not_found")
    assert upstream.connections == []


@pytest.mark.parametrize(
    ("method", "upstream_name"), [("GET", "read"), ("HEAD", "read"), ("POST", "write")]
)
async def test_routes_of_one_path_are_told_apart_by_method(
    gateway: RunningGateway, upstream: ScriptedUpstream, method: str, upstream_name: str
) -> None:
    raw = request(method, "/files/1", body=b"x" if method == "POST" else None)
    assert (await ask(gateway.port, raw, method)).status == 200
    (seen,) = upstream.requests
    assert (seen.method, seen.value("x-upstream")) == (method, upstream_name.encode())


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("DELETE", "/files/1", "GET HEAD POST"),
        ("PUT", "/files/1", "GET HEAD POST"),
        ("GET", "/upload", "PUT"),
        ("POST", "/upload", "PUT"),
        ("PROPFIND", "/files/1", "GET HEAD POST"),
        ("PROPFIND", "/v1/x", "DELETE GET HEAD OPTIONS PATCH POST PUT"),
    ],
)
async def test_a_method_not_served_is_405_and_allow_names_those_that_are(
    gateway: RunningGateway, upstream: ScriptedUpstream, method: str, target: str, allowed: str
) -> None:
    response = await ask(gateway.port, request(method, target), method)
    assert_error(response, 405, code="method_not_allowed")
    named = response.value("allow")
    assert named is not None
    assert sorted(named.decode().split(", ")) == allowed.split()
    assert upstream.connections == []


@pytest.mark.parametrize("host", ["labs.test", "LABS.test", "labs.test:8080", "labs.test."])
async def test_a_route_of_one_host_goes_before_a_route_of_all(
    gateway: RunningGateway, host: str
) -> None:
    assert await served(gateway, request(target="/v1/x", host=host)) == "labs /v1/x"


@pytest.mark.parametrize("host", ["inner.test", "[::1]", "[::1]:8080"])
async def test_a_route_of_two_hosts_serves_both(gateway: RunningGateway, host: str) -> None:
    assert await served(gateway, request(target="/inner/x", host=host)) == "inner /inner/x"


@pytest.mark.parametrize(
    "host", ["gateway.test", "inner.test.evil", "evil-inner.test", "xinner.test", "127.0.0.1"]
)
async def test_a_route_of_certain_hosts_is_404_under_another(
    gateway: RunningGateway, upstream: ScriptedUpstream, host: str
) -> None:
    raw = request(target="/inner/x", host=host, headers=["X-Forwarded-Host: inner.test"])
    assert_error(await ask(gateway.port, raw, "GET"), 404, code="not_found")
    assert upstream.connections == []


async def test_an_absolute_target_of_the_same_host_is_routed_by_its_path(
    gateway: RunningGateway,
) -> None:
    raw = request(target="http://labs.test/v1/x?y", host="labs.test")
    assert await served(gateway, raw) == "labs /v1/x?y"


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        ("/audio/", "/"),
        ("/audio/v1/speech?a=%2F", "/v1/speech?a=%2F"),
        ("/audio/audio/", "/audio/"),
    ],
)
async def test_a_stripped_route_forwards_what_is_below_it(
    gateway: RunningGateway, target: str, forwarded: str
) -> None:
    assert await served(gateway, request(target=target)) == f"audio {forwarded}"


async def test_the_base_path_of_an_endpoint_is_put_before_the_path(gateway: RunningGateway) -> None:
    assert await served(gateway, request(target="/based/x?q")) == "based /some/base/based/x?q"


@pytest.mark.parametrize("query", ["", "?", "?a", "?a=b&a=c", "?x=%2e%2e%2F&y=../..", "?q=a?b"])
async def test_the_query_is_forwarded_as_it_came(gateway: RunningGateway, query: str) -> None:
    seen = await served(gateway, request(target=f"/v1/x{query}"))
    assert seen.removesuffix("?") == f"all /v1/x{query}".removesuffix("?")
