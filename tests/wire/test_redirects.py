"""Redirects of a backend lead its clients back to the gateway."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from gateway.upstream.head import ResponseHead
from tests.support.client import Response, request
from tests.support.event_source import STREAM, EventSourceServer
from tests.support.exchange import ask
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import ranked
from tests.support.upstream import ScriptedUpstream, raw_reply, reply

FORMS = ["absolute", "other-scheme", "no-scheme", "own-address", "host-relative", "path-relative"]


def config(server: EventSourceServer, base: str = "", **upstream: Any) -> dict[str, Any]:
    """The server behind a route whose path it does not know."""
    document = simple_config(server.url + base, upstream=upstream)
    document["routes"][0] |= {"path": "/team/", "strip": True}
    return document


async def redirect(
    gateway: RunningGateway, form: str, *headers: str, status: int = 307
) -> Response:
    return await ask(
        gateway.port, request("GET", f"/team/redirect/{status}/{form}", headers=headers), "GET"
    )


@pytest.mark.parametrize("base", ["", "/base"])
@pytest.mark.parametrize("host", ["upstream", "preserve", "models.example"])
async def test_an_event_source_follows_redirects_through_the_gateway(
    start_gateway: StartGateway, host: str, base: str
) -> None:
    async with EventSourceServer() as server, aiohttp.ClientSession() as client:
        gateway = await start_gateway(config(server, base, host=host))
        own = f"http://127.0.0.1:{gateway.port}"
        for status in (301, 302, 303, 307, 308):
            for form in FORMS:
                hosts = len(server.hosts)
                async with client.get(f"{own}/team/redirect/{status}/{form}") as response:
                    assert (response.status, await response.read()) == (200, STREAM)
                    assert str(response.url) == f"{own}/team/stream?n=1"
                assert len(server.hosts) == hosts + 2
        assert len(gateway.log.requests) == 5 * len(FORMS) * 2
        expected = {
            "upstream": server.url.removeprefix("http://"),
            "preserve": own.removeprefix("http://"),
        }
        assert set(server.hosts) == {expected.get(host, host)}


async def test_redirects_to_elsewhere_and_relative_ones_stay_as_they_are(
    start_gateway: StartGateway,
) -> None:
    async with EventSourceServer() as server:
        gateway = await start_gateway(config(server))
        elsewhere = await redirect(gateway, "elsewhere")
        relative = await redirect(gateway, "path-relative")
    assert elsewhere.value("Location") == b"https://elsewhere.example/stream"
    assert relative.value("Location") == b"../../stream?n=1"


async def test_the_public_address_is_what_a_trusted_proxy_says(start_gateway: StartGateway) -> None:
    headers = ["X-Forwarded-Proto: https", "X-Forwarded-Host: gw.example.com:8443"]
    async with EventSourceServer() as server:
        document = config(server)
        trusting = await start_gateway(document, server={"trusted_proxies": ["127.0.0.1/32"]})
        told = await redirect(trusting, "absolute", *headers)
        other = await start_gateway(document)
        not_believed = await redirect(other, "absolute", *headers)
    assert told.value("Location") == b"https://gw.example.com:8443/team/stream?n=1"
    assert told.value("Content-Location") == told.value("Location")
    assert not_believed.value("Location") == b"http://gateway.test/team/stream?n=1"


async def test_a_redirect_to_a_sibling_does_not_show_its_address(
    start_gateway: StartGateway,
) -> None:
    sibling = "http://sibling.example:8000"
    there = reply(status="307 Temporary Redirect", headers=[f"Location: {sibling}/x"])
    async with ScriptedUpstream(raw_reply(there)) as upstream:
        gateway = await start_gateway(ranked(upstream.url, sibling))
        response = await ask(gateway.port, request("GET"), "GET")
    assert response.value("Location") == b"http://gateway.test/x"


async def test_a_stripped_route_asks_for_the_root_where_nothing_is_left(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    document = simple_config(upstream.url)
    document["routes"][0] |= {"path": "/team", "strip": True}
    gateway = await start_gateway(document)
    assert (await ask(gateway.port, request("GET", "/team"), "GET")).status == 200
    assert upstream.requests[0].target == "/"


def test_a_head_without_a_reference_is_left_alone() -> None:
    plain = ResponseHead(200, b"OK", [(b"Content-Type", b"text/plain")], "1.1")
    located = ResponseHead(201, b"Created", [(b"LOCATION", b"/x")], "1.1")
    assert (plain.located, located.located) == (False, True)
