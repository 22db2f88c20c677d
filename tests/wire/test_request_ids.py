"""X10: whose request id is used, and where it is told."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient, ask, request
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream

TRUSTED = {"trusted_proxies": ["127.0.0.1/32"]}


INSANE_IDS = {
    "10 KB": b"a" * 10_240,
    "129 characters": b"a" * 129,
    "empty": b"",
    "space": b"a b",
    "quote": b'a"b',
    "brace": b"a{b}",
    "percent": b"%0d%0aX: y",
    "U+2028": "a\u2028b".encode(),
    "emoji": "\U0001f600".encode(),
    "Latin-1": b"\xe9",
    "tab": b"a\tb",
    "markup": b"<script>",
}


@pytest.mark.parametrize("theirs", INSANE_IDS.values(), ids=INSANE_IDS)
async def test_x10_an_insane_request_id_is_replaced_even_from_a_trusted_peer(
    upstream: ScriptedUpstream, start_gateway: StartGateway, theirs: bytes
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    response = await ask(gateway.port, request(headers=[b"X-Request-ID: " + theirs]))
    ours = response.value("x-request-id")
    assert ours
    assert ours != theirs
    assert len(ours) <= 128
    assert upstream.requests[-1].value("x-request-id") == ours
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["request_id"] == ours.decode()


async def test_x10_of_two_request_ids_one_is_used_everywhere(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    response = await ask(
        gateway.port, request(headers=["X-Request-ID: first", "X-Request-ID: second"])
    )
    ours = response.value("x-request-id")
    assert upstream.requests[-1].value("x-request-id") == ours
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert ours == line["request_id"].encode()


async def test_x10_a_sane_request_id_of_a_trusted_peer_is_kept(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    response = await ask(gateway.port, request(headers=["X-Request-ID: req_01-AZ.az:9"]))
    assert response.value("x-request-id") == b"req_01-AZ.az:9"
    assert upstream.requests[-1].value("x-request-id") == b"req_01-AZ.az:9"


async def test_x10_the_request_id_of_an_untrusted_peer_is_replaced(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    response = await ask(gateway.port, request(headers=["X-Request-ID: theirs"]))
    assert response.value("x-request-id") not in (None, b"theirs")
    assert upstream.requests[-1].value("x-request-id") == response.value("x-request-id")


async def test_x10_request_ids_are_not_repeated(gateway: RunningGateway, report: Report) -> None:
    async with RawClient(gateway.port) as client:
        ids = set()
        for _ in range(100):
            await client.send(request())
            ids.add((await client.read_response()).value("x-request-id"))
    report("X10", "different ids of 100 requests", len(ids))
    assert len(ids) == 100
