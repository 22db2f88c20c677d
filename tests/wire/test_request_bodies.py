"""B1 to B4: bodies too large, bodies announced, bodies that would explode if anybody unpacked them.

A route with models reads a JSON body whole before it decides; one without streams it up.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.support.client import RawClient, request
from tests.support.control import Control, control_request
from tests.support.figures import Report
from tests.support.gateway import StartGateway, StartGatewayProcess, simple_config
from tests.support.refusal import assert_error, assert_nothing_forwarded
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    PeerGone,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    reply,
)

KIB = 1024
MIB = 1024 * KIB
CAP = 64 * KIB
CHUNKED = "Transfer-Encoding: chunked"


def config(upstream_url: str, *, models: bool, **route: Any) -> dict[str, Any]:
    """A route with a cap of 64 KiB; `models` says whether it has to read bodies."""
    document = simple_config(upstream_url, body="64KiB", **route)
    if models:
        document["models"] = {"llama": {"upstream": "main"}}
        document["routes"][0]["models"] = ["llama"]
    return document


@pytest.fixture(params=[False, True], ids=["streamed", "buffered"])
def models(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# -- B1: too large, and says so --------------------------------------------------------------


@pytest.mark.parametrize("length", [CAP + 1, 10**12])
async def test_b1_a_content_length_over_the_cap_is_413_before_the_body_is_read(
    upstream: ScriptedUpstream,
    start_gateway: StartGateway,
    models: bool,
    length: int,
    report: Report,
) -> None:
    gateway = await start_gateway(config(upstream.url, models=models))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=[f"Content-Length: {length}"]))
        response = await client.read_response()  # though no byte of the body was sent
        await client.read_to_end()
    assert_error(response, 413, code="request_too_large")
    assert response.value("connection") == b"close"
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    kind = "buffered" if models else "streamed"
    report("B1", f"body bytes read of {length}, {kind}", line["bytes_in"])
    assert line["bytes_in"] == 0
    await assert_nothing_forwarded(gateway.port, upstream)


async def test_b1_a_client_that_sends_its_body_all_the_same_can_read_the_413(
    upstream: ScriptedUpstream, start_gateway: StartGateway, models: bool
) -> None:
    # SDKs write the whole request before they read: a reset must not overtake the answer.
    gateway = await start_gateway(config(upstream.url, models=models))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", body=b"x" * (512 * KIB)))
        response = await client.read_response()
    assert_error(response, 413)
    await assert_nothing_forwarded(gateway.port, upstream)


async def test_b1_a_body_of_exactly_the_cap_is_served(
    upstream: ScriptedUpstream, start_gateway: StartGateway, models: bool
) -> None:
    gateway = await start_gateway(config(upstream.url, models=models))
    bare = json.dumps({"model": "llama", "text": ""})
    body = json.dumps({"model": "llama", "text": "x" * (CAP - len(bare))}).encode()
    assert len(body) == CAP
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=["Content-Type: application/json"], body=body))
        assert (await client.read_response()).status == 200
    assert upstream.requests[-1].body == body


# -- B2: too large, and does not say ---------------------------------------------------------


async def test_b2_a_chunked_body_over_the_cap_is_413_and_no_whole_request_is_forwarded(
    start_gateway: StartGateway, models: bool, report: Report
) -> None:
    taken = bytearray()

    async def take(connection: UpstreamConnection) -> None:
        try:
            await connection.read_head()
            while True:
                taken.extend(await connection.read_some())
        except PeerGone:
            pass

    async with ScriptedUpstream(take) as upstream:
        gateway = await start_gateway(config(upstream.url, models=models))
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", headers=[CHUNKED]))
            sent = await client.send_until_answered([chunk(b"x" * 4 * KIB)] * 256)
            response = await client.read_response()
            await client.read_to_end()
        await upstream.wait_closed()
        assert_error(response, 413, code="request_too_large")
        assert response.value("connection") == b"close"
        kind = "buffered" if models else "streamed"
        report("B2", f"body bytes forwarded of {CAP} allowed, {kind}", taken.count(b"x"))
        assert sent < 256 * 4 * KIB
        assert taken.count(b"x") <= (0 if models else CAP)
        # What was forwarded does not look complete.
        assert not taken.endswith(LAST_CHUNK)
        upstream.script = json_reply({})
        await control_request(gateway.port)


async def test_b2_a_chunked_body_of_exactly_the_cap_is_served(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(config(upstream.url, models=False))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=[CHUNKED]))
        for _ in range(16):
            await client.send(chunk(b"x" * 4 * KIB))
        await client.send(LAST_CHUNK)
        assert (await client.read_response()).status == 200
    assert upstream.requests[-1].body == b"x" * CAP


# -- B3: Expect: 100-continue ----------------------------------------------------------------

EXPECT = "Expect: 100-continue"


async def test_b3_an_unauthorised_expectation_is_401_without_100(
    upstream: ScriptedUpstream,
    start_gateway: StartGateway,
    auth: Auth,
    models: bool,
    report: Report,
) -> None:
    gateway = await start_gateway(config(upstream.url, models=models, auth=["corp"]), auth=auth)
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=[EXPECT, "Content-Length: 2"]))
        response = await client.read_response()
    kind = "buffered" if models else "streamed"
    report("B3", f"interim responses before 401, {kind}", len(response.interim))
    assert response.interim == ()
    assert_error(response, 401)
    assert response.value("www-authenticate") is not None
    assert upstream.connections == []


async def test_b3_an_expectation_over_the_cap_is_413_without_100(
    upstream: ScriptedUpstream, start_gateway: StartGateway, models: bool
) -> None:
    gateway = await start_gateway(config(upstream.url, models=models))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=[EXPECT, f"Content-Length: {CAP + 1}"]))
        response = await client.read_response()
    assert response.interim == ()
    assert_error(response, 413)
    assert upstream.connections == []


async def test_b3_an_authorised_expectation_is_told_to_continue_and_served(
    upstream: ScriptedUpstream, start_gateway: StartGateway, auth: Auth, models: bool
) -> None:
    gateway = await start_gateway(config(upstream.url, models=models, auth=["corp"]), auth=auth)
    body = b'{"model":"llama"}'
    length = f"Content-Length: {len(body)}"
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=[EXPECT, length, bearer()]))
        interim = await client.read_head()
        assert interim.status == 100
        await client.send(body)
        response = await client.read_response()
    assert (response.status, response.interim) == (200, ())
    assert upstream.requests[-1].body == body
    assert upstream.requests[-1].value("expect") is None


async def test_b3_a_client_that_does_not_wait_to_be_told_is_served(
    upstream: ScriptedUpstream, start_gateway: StartGateway, models: bool
) -> None:
    gateway = await start_gateway(config(upstream.url, models=models))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=[EXPECT], body=b'{"model":"llama"}'))
        assert (await client.read_response()).status == 200
        # And the connection is in step for the next request.
        await client.send(request(target="/v1/next"))
        assert (await client.read_response()).status == 200
    assert [r.target for r in upstream.requests] == ["/v1/x", "/v1/next"]


async def test_b3_another_expectation_is_417(
    upstream: ScriptedUpstream, start_gateway: StartGateway, models: bool
) -> None:
    gateway = await start_gateway(config(upstream.url, models=models))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=["Expect: a-miracle"], body=b'{"model":"llama"}'))
        assert_error(await client.read_response(), 417)
    assert upstream.connections == []


# -- B4: a gzip bomb -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """256 MiB of zeros in 255 KiB."""
    return gzip.compress(bytes(256 * MIB), compresslevel=9)


@pytest.mark.own_program
async def test_b4_a_gzip_bomb_passes_opaque_where_bodies_are_streamed(
    start_gateway_process: StartGatewayProcess, bomb: bytes, report: Report
) -> None:
    async def answer(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            await connection.send(reply(b"{}"))

    async with ScriptedUpstream(answer) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await control_request(gateway.port)
        before = gateway.rss_bytes
        async with RawClient(gateway.port) as client, Control(gateway.port) as control:
            await client.send(request("POST", headers=["Content-Encoding: gzip"], body=bomb))
            response = await client.read_response()
        grown = gateway.rss_bytes - before
        report("B4", "RSS Δ, passed on, KiB", grown // KIB)
        control.report(report, "B4")
        assert response.status == 200
        (got,) = [r for r in upstream.requests if r.method == "POST"]
        assert got.body == bomb
        assert got.value("content-encoding") == b"gzip"
        assert grown < 8 * MIB


@pytest.mark.own_program
async def test_b4_a_gzip_bomb_is_unpacked_up_to_the_cap_only(
    start_gateway_process: StartGatewayProcess, bomb: bytes, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = simple_config(upstream.url, models=["llama"])
        document["models"] = {"llama": {"upstream": "main"}}
        gateway = await start_gateway_process(document)
        await control_request(gateway.port)
        before = gateway.rss_bytes
        headers = ["Content-Encoding: gzip", "Content-Type: application/json"]
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", headers=headers, body=bomb))
            response = await client.read_response()
        grown = gateway.rss_bytes - before
        report("B4", "RSS Δ, refused, KiB", grown // KIB)
        assert_error(response, 413, code="request_too_large")
        assert grown < 16 * MIB  # the cap is 10 MiB
        assert all(r.method != "POST" for r in upstream.requests)
