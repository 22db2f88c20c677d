"""Answers that cannot be passed on: none at all, or no HTTP (U2, U4, U6, U7, U10, U11).

Connecting is in `test_upstream_connect.py`, responses that break off after their head in
`test_upstream_endings.py`.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.client import Response
from tests.support.exchange import ask
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.upstream import (
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    hang,
    raw_reply,
    reply,
    reply_then_close,
    reply_then_reset,
)
from tests.support.waiting import SLACK_S

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


# -- U2: nothing came back --------------------------------------------------------------------


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty"], ids=["none", "half"])
async def test_u2_a_reset_before_the_head_is_502_after_one_attempt(
    start_gateway: StartGateway, report: Report, part: bytes
) -> None:
    async with ScriptedUpstream(reply_then_reset(part)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert_error(await ask(gateway.port), 502, code="upstream_reset")
        assert len(upstream.requests) == len(upstream.connections) == 1
        report("U2", "attempts of a POST reset before the head", len(upstream.requests))


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty"], ids=["none", "half"])
async def test_u2_a_close_before_the_head_is_502_after_one_attempt(
    start_gateway: StartGateway, part: bytes
) -> None:
    async with ScriptedUpstream(reply_then_close(part)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert_error(await ask(gateway.port), 502, code="upstream_reset")
        assert len(upstream.requests) == len(upstream.connections) == 1


# -- U4: it goes silent ------------------------------------------------------------------------


async def stuck_in_the_head(connection: UpstreamConnection) -> None:
    await connection.read_request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
    await connection.wait_client_gone()


async def busy_with_early_hints(connection: UpstreamConnection) -> None:
    await connection.read_request()
    while True:
        await connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("script", [hang, stuck_in_the_head, busy_with_early_hints])
async def test_u4_no_head_in_time_is_504(
    start_gateway: StartGateway,
    report: Report,
    script: Script,
) -> None:
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"first_byte": "500ms"}})
        )
        started = time.perf_counter()
        response = await ask(gateway.port)
        took = time.perf_counter() - started
        assert_error(response, 504, code="upstream_first_byte_timeout")
        await upstream.connections[0].wait_client_gone()
        assert len(upstream.requests) == 1
    report("U4", f"{script.__name__}: 504 off its 500 ms by, ms", abs(took - 0.5) * 1e3)
    assert 0.49 <= took < 0.5 + SLACK_S


# -- U6, U7, U10: what comes back is not HTTP, or breaks its rules ----------------------------

GARBAGE = {
    "noise": b"\x00\xff\xfe\x80 not http at all\r\n\r\n",
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "tls-hello": b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + 120 * b"\xab",
    "http2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + 18 * b"\x00",
    "redis": b"-ERR unknown command 'POST'\r\n",
    "html": b"<html><body>hello</body></html>\r\n\r\n",
    "request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "http-0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http-3": b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "icy": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no-status": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "two-digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "four-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-0": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
}
BAD_FIELDS = {
    "nul": b"X-A: a\0b",
    "bare-cr": b"X-A: a\rb",
    "bare-lf": b"X-A: a\nX-B: b",
    "cr-before-crlf": b"X-A: a\r\r",
    "control": b"X-A: a\x01b",
    "del": b"X-A: a\x7fb",
    "no-colon": b"X-A a",
    "no-name": b": a",
    "space-in-name": b"X A: a",
    "space-before-colon": b"X-A : a",
    "leading-space": b" X-A: a",
    "folded": b"X-A: a\r\n b",
    "nul-in-name": b"X\0A: a",
    "latin-1-in-name": b"X-\xe9: a",
}
BAD_FRAMING = {
    "length-and-chunked": b"Content-Length: 2\r\nTransfer-Encoding: chunked",
    "chunked-and-length": b"Transfer-Encoding: chunked\r\nContent-Length: 2",
    "two-lengths": b"Content-Length: 2\r\nContent-Length: 3",
    "same-length-twice": b"Content-Length: 2\r\nContent-Length: 2",
    "length-list": b"Content-Length: 2, 2",
    "length-plus": b"Content-Length: +2",
    "length-minus": b"Content-Length: -2",
    "length-hex": b"Content-Length: 0x2",
    "length-huge": b"Content-Length: 99999999999999999999",
    "length-inner-space": b"Content-Length: 2 2",
    "length-empty": b"Content-Length:",
    "length-underscore": b"Content-Length: 1_0",
    "chunked-twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "chunked-chunked": b"Transfer-Encoding: chunked, chunked",
    "coded": b"Transfer-Encoding: gzip, chunked",
    "unknown-coding": b"Transfer-Encoding: xchunked",
    "identity": b"Transfer-Encoding: identity",
    "quoted": b'Transfer-Encoding: "chunked"',
    "vertical-tab": b"Transfer-Encoding: \x0bchunked",
}


async def answer_to_raw(start_gateway: StartGateway, data: bytes) -> Response:
    """What a caller gets when the upstream answers with these bytes and then waits."""

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(data)
        await connection.wait_client_gone()

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"first_byte": "5s", "idle": "5s"}})
        )
        response = await ask(gateway.port)
        assert len(upstream.requests) == 1
        return response


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_u6_garbage_is_502(start_gateway: StartGateway, data: bytes) -> None:
    assert_error(await answer_to_raw(start_gateway, data), 502, code="upstream_invalid_response")


async def test_u6_a_server_that_speaks_first_is_502(
    start_gateway: StartGateway, report: Report
) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        await connection.wait_client_gone()

    tries = 50
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for _ in range(tries):
            response = await ask(gateway.port)
            # Chance decides whether the banner is seen when the connection is opened, before the
            # request goes out, or after.
            assert response.status == 502
            assert response.json()["error"]["code"] in (
                "upstream_connect_failed",
                "upstream_invalid_response",
                "upstream_reset",
            )
    report("U6", f"502 in {tries} meetings with an SSH banner", tries)


@pytest.mark.parametrize("field", BAD_FIELDS.values(), ids=BAD_FIELDS)
async def test_u6_a_malformed_header_field_is_502(
    start_gateway: StartGateway, field: bytes
) -> None:
    data = JSON_HEAD + field + b"\r\nContent-Length: 2\r\n\r\n{}"
    assert_error(await answer_to_raw(start_gateway, data), 502, code="upstream_invalid_response")


@pytest.mark.parametrize("framing", BAD_FRAMING.values(), ids=BAD_FRAMING)
async def test_u10_ambiguous_framing_is_502(start_gateway: StartGateway, framing: bytes) -> None:
    data = JSON_HEAD + framing + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert_error(await answer_to_raw(start_gateway, data), 502, code="upstream_invalid_response")


def padded_head(field_bytes: int, fields: int) -> bytes:
    """A response whose head has `fields` fields of `field_bytes` each."""
    lines = b"".join(b"X-%03d: %b\r\n" % (n, (field_bytes - 9) * b"a") for n in range(fields))
    return JSON_HEAD + lines + b"Content-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("field_bytes", "fields"), [(20_000, 1), (1_000, 34), (12_000, 3), (100, 700)]
)
@pytest.mark.parametrize("piece_bytes", [1_000_000, 4_096], ids=["at-once", "in-pieces"])
async def test_u7_a_head_over_the_caps_is_502(
    start_gateway: StartGateway, field_bytes: int, fields: int, piece_bytes: int
) -> None:
    data = padded_head(field_bytes, fields)

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        for start in range(0, len(data), piece_bytes):
            await connection.send(data[start : start + piece_bytes])
            await asyncio.sleep(0.001)
        await connection.wait_client_gone()

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert_error(await ask(gateway.port), 502, code="upstream_invalid_response")


@pytest.mark.parametrize(("field_bytes", "fields"), [(15_000, 1), (10_000, 3), (300, 100)])
async def test_u7_a_large_head_within_the_caps_passes(
    start_gateway: StartGateway, field_bytes: int, fields: int
) -> None:
    async with ScriptedUpstream(raw_reply(padded_head(field_bytes, fields))) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert (response.status, response.body) == (200, b"{}")
    assert sum(name.startswith(b"X-0") for name, _ in response.headers) == fields


async def test_u7_an_endless_head_is_cut_off(start_gateway: StartGateway, report: Report) -> None:
    sent = 0

    async def script(connection: UpstreamConnection) -> None:
        nonlocal sent
        await connection.read_request()
        await connection.send(JSON_HEAD + b"X-Endless: ")
        while True:
            await connection.send(16 * 1024 * b"a")
            sent += 16 * 1024
            await asyncio.sleep(0)

    async with ScriptedUpstream(script, send_buffer_bytes=16 * 1024) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert_error(await ask(gateway.port), 502, code="upstream_invalid_response")
        await upstream.wait_closed()
    report("U7", "sent of an endless header, KiB", sent / 1024)
    assert sent <= 4 * 1024 * 1024


# -- U11: interim responses -------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 32])
async def test_u11_interim_responses_are_swallowed(start_gateway: StartGateway, count: int) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    async with ScriptedUpstream(raw_reply(count * interim + reply(b"{}"))) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for _ in range(2):
            response = await ask(gateway.port)
            assert (response.status, response.body, response.interim) == (200, b"{}", ())
            assert response.head.reason == b"OK"
            assert response.value("link") is None
        assert len(upstream.connections) == 1


@pytest.mark.parametrize("interim", [b"100 Continue", b"103 Early Hints", b"199 Whatever"])
async def test_u11_a_thousand_interim_responses_are_502(
    start_gateway: StartGateway, report: Report, interim: bytes
) -> None:
    sent = 0

    async def script(connection: UpstreamConnection) -> None:
        nonlocal sent
        await connection.read_request()
        for _ in range(1000):
            await connection.send(b"HTTP/1.1 %b\r\n\r\n" % interim)
            sent += 1
            await asyncio.sleep(0)
        await connection.send(reply(b"{}"))
        await connection.wait_client_gone()

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
        assert_error(response, 502, code="upstream_invalid_response")
        assert response.interim == ()
        await upstream.wait_closed()
    report("U11", f"{interim[:3].decode()} sent before the connection was closed", sent)


async def test_u11_switching_protocols_unasked_is_502(start_gateway: StartGateway) -> None:
    data = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        b"\x81\x05hello"
    )
    response = await answer_to_raw(start_gateway, data)
    assert_error(response, 502, code="upstream_invalid_response")
    assert b"hello" not in response.body


async def test_u11_an_offer_to_upgrade_on_a_final_response_is_only_dropped(
    start_gateway: StartGateway,
) -> None:
    # Apache httpd offers h2c so.
    data = reply(b"{}", headers=["Connection: Upgrade", "Upgrade: h2c"])
    async with ScriptedUpstream(raw_reply(data)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert (response.status, response.body) == (200, b"{}")
    assert response.values("upgrade") == response.values("connection") == []
