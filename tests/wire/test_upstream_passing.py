"""What passes as it came, and the little that does not (U12, U13, U14)."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace

import pytest

from tests.support.client import Framing, Head, RawClient, Response, request
from tests.support.exchange import EVENTS, ask
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    reply,
)

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


# -- U12: trailers ----------------------------------------------------------------------------


def with_trailers(trailers: bytes) -> bytes:
    """A chunked response that ends in these trailer fields."""
    head = JSON_HEAD + b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunk(b"{}") + b"0\r\n" + trailers + b"\r\n\r\n"


async def test_u12_trailers_are_dropped_and_the_connection_is_kept(
    start_gateway: StartGateway, report: Report
) -> None:
    data = with_trailers(b"X-Sum: abc\r\nSet-Cookie: a=b\r\nETag: c\r\nContent-Type: text/html")
    passed = 0
    async with ScriptedUpstream(raw_reply(data)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for _ in range(3):
            response = await ask(gateway.port)  # which would call a trailer malformed
            assert (response.status, response.body, response.clean_end) == (200, b"{}", True)
            assert response.framing is Framing.CHUNKED
            assert response.value("content-type") == b"application/json"
            passed += sum(
                len(response.values(name)) for name in ("trailer", "x-sum", "set-cookie", "etag")
            )
        assert len(upstream.connections) == 1
    report("U12", "trailers passed on", passed)
    assert passed == 0


@pytest.mark.parametrize(
    "trailer",
    [b"Content-Length: 7", b"Transfer-Encoding: chunked", b"Connection: close", b"Host: evil"],
)
async def test_u12_a_trailer_that_would_change_the_framing_changes_nothing(
    start_gateway: StartGateway, trailer: bytes
) -> None:
    """RFC 9110 section 6.5.1 forbids these; they may be ignored, or end the response visibly."""
    script = raw_reply(
        lambda seen: (
            with_trailers(trailer) if seen.target.endswith("odd") else reply(b"as it should be")
        )
    )
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for _ in range(3):
            odd = await ask(gateway.port, request(target="/v1/odd"), "GET")
            assert odd.body == b"{}"
            assert odd.framing is Framing.CHUNKED
            after = await ask(gateway.port, request(), "GET")
            assert (after.status, after.body) == (200, b"as it should be")


async def test_u12_an_endless_trailer_is_cut_off(
    start_gateway: StartGateway, report: Report
) -> None:
    sent = 0

    async def script(connection: UpstreamConnection) -> None:
        nonlocal sent
        await connection.read_request()
        await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + b"0\r\nX-Endless: ")
        while sent < 16 * 1024 * 1024:
            await connection.send(16 * 1024 * b"a")
            sent += 16 * 1024
            await asyncio.sleep(0)
        await connection.send(b"\r\n\r\n")

    async with ScriptedUpstream(script, send_buffer_bytes=16 * 1024) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
        await upstream.wait_closed()
    report("U12", "sent of an endless trailer, KiB", sent / 1024)
    assert response.body.startswith(EVENTS[0])
    assert not response.clean_end
    assert sent <= 4 * 1024 * 1024


# -- U13, U14: passed on as it is -------------------------------------------------------------


async def test_u13_a_gzip_body_passes_byte_for_byte(
    start_gateway: StartGateway, report: Report
) -> None:
    body = gzip.compress(json.dumps({"text": 1000 * "hello "}).encode())
    data = reply(body, headers=["Content-Encoding: gzip", "Vary: Accept-Encoding"])
    async with ScriptedUpstream(raw_reply(data)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        asked = request(headers=["Accept-Encoding: gzip;q=0.8, br"])
        response = await ask(gateway.port, asked, "GET")
        assert upstream.requests[0].value("accept-encoding") == b"gzip;q=0.8, br"
    assert response.body == body
    assert response.value("content-encoding") == b"gzip"
    assert response.value("content-length") == str(len(body)).encode()
    report("U13", "gzip bytes passed unchanged", len(body))


async def test_u13_a_chunked_gzip_stream_passes_byte_for_byte(
    start_gateway: StartGateway,
) -> None:
    body = gzip.compress(b"".join(EVENTS))
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    async with ScriptedUpstream(raw_reply(head + chunk(body) + LAST_CHUNK)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert (response.body, response.clean_end) == (body, True)
    assert response.value("content-encoding") == b"gzip"


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
async def test_u14_a_redirect_is_passed_on_and_not_followed(
    start_gateway: StartGateway, report: Report, status: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as elsewhere, ScriptedUpstream() as upstream:
        location = f"{elsewhere.url}/latest/meta-data/"
        upstream.script = json_reply({}, status=status, headers=[f"Location: {location}"])
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
        assert response.head.reason.decode() == status[4:]
        assert response.status == int(status[:3])
        assert response.value("location") == location.encode()
        assert len(upstream.requests) == 1
        assert elsewhere.connections == []
        report("U14", f"connections to where a {status[:3]} pointed", len(elsewhere.connections))


async def test_u14_a_redirect_to_the_metadata_address_is_passed_on(
    start_gateway: StartGateway,
) -> None:
    location = "http://169.254.169.254/latest/meta-data/"
    script = json_reply({}, status="302 Found", headers=[f"Location: {location}"])
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert (response.status, response.value("location")) == (302, location.encode())


@pytest.mark.parametrize(
    ("method", "head", "status", "connections"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, 3),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, 3),
        ("HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", 404, 3),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, 1),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204, 1),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n', 304, 3),
    ],
)
async def test_a_response_without_a_body_passes_and_keeps_the_clients_connection(
    start_gateway: StartGateway, method: str, head: bytes, status: int, connections: int
) -> None:
    # One upstream connection, too, unless a body was announced: it might come all the same.
    async with ScriptedUpstream(raw_reply(head)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            for _ in range(3):
                await client.send(request(method))
                response = await client.read_response(method)
                assert (response.status, response.body) == (status, b"")
                length = b"Content-Length: " + (response.value("content-length") or b"")
                assert length in head or response.value("content-length") is None
                if method == "HEAD" and b"Content-Length" in head:
                    assert response.value("content-length") is not None
        assert len(upstream.connections) == connections


WHOLE: dict[str, tuple[bytes, bytes]] = {
    # What the upstream sends, and the body of it.
    "length": (reply(b'{"a": 1}', headers=["X-A: b"]), b'{"a": 1}'),
    "chunked": (STREAM_HEAD + chunk(EVENTS[0]) + chunk(EVENTS[1]) + LAST_CHUNK, b"".join(EVENTS)),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + reply(b"{}"), b"{}"),
    "trailers": (with_trailers(b"X-Sum: abc"), b"{}"),
    "no content": (b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", b""),
}


@pytest.mark.parametrize("data_and_body", WHOLE.values(), ids=WHOLE)
async def test_it_does_not_matter_where_packets_begin(
    start_gateway: StartGateway, data_and_body: tuple[bytes, bytes]
) -> None:
    """A response in two packets, divided before each of its bytes in turn."""
    data, body = data_and_body

    async def script(connection: UpstreamConnection) -> None:
        while True:
            position = int((await connection.read_request()).target.rpartition("/")[2])
            await connection.send(data[:position])
            await asyncio.sleep(0.001)
            await connection.send(data[position:])

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            heads: set[Head] = set()
            for position in range(1, len(data)):
                await client.send(request(target=f"/v1/{position}"))
                response = await client.read_response()
                assert (response.body, response.clean_end) == (body, True), position
                heads.add(replace(response.head, raw=b"", headers=without_id(response)))
                assert len(heads) == 1, position
        assert len(upstream.connections) == 1


def without_id(response: Response) -> tuple[tuple[bytes, bytes], ...]:
    """The header fields that do not differ from request to request."""
    return tuple(field for field in response.headers if field[0].lower() != b"x-request-id")
