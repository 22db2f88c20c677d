"""WebSockets over the wire: who may open one, what passes, how it ends. W4 to W11."""

from __future__ import annotations

import asyncio
import os
import zlib
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.support import metrics
from tests.support.client import End, RawClient, ask
from tests.support.control import CONTROL_TARGET, Control, beside_control, control_request
from tests.support.figures import Report
from tests.support.gateway import (
    GatewayProcess,
    LogLine,
    StartGateway,
    StartGatewayProcess,
    simple_config,
)
from tests.support.refusal import assert_error
from tests.support.upstream import (
    ScriptedUpstream,
    UpstreamConnection,
    json_reply,
    raw_reply,
    reply,
)
from tests.support.waiting import PATIENCE_S, SLACK_S, eventually
from tests.support.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close,
    config,
    echo,
    frame,
    hear,
    join,
    opened,
    opening,
    read_frame,
    switching,
)

KIB = 1024
MIB = 1024 * KIB
_STALL_S = 0.3
"""A write that takes longer has been stopped by backpressure."""
_RSS_CAP_MIB = 48.0
_KEPT = 4
STALLED_TARGET = "/v1/stalled"
DEFLATE = ("Sec-WebSocket-Extensions: permessage-deflate",)


def _closed_by(whom: str, line: LogLine) -> bool:
    return line.get("closed_by") == whom


async def play(connection: UpstreamConnection) -> None:
    """Echo, beside control requests; or take nothing at all."""
    asked = await connection.read_request()
    while asked.target == CONTROL_TARGET:
        await connection.send(reply(b"{}"))
        asked = await connection.read_request()
    await connection.send(switching(asked))
    if asked.target == STALLED_TARGET:
        connection.pause_reading()
        await asyncio.Event().wait()
    while True:
        said = await read_frame(connection)
        await connection.send(frame(said.payload, said.opcode, fin=said.fin, mask=None))
        if said.opcode == CLOSE:
            return


async def sink(connection: UpstreamConnection) -> None:
    """Accept a handshake, and drop everything that is said."""
    await join(connection)
    while True:
        await connection.read_some()


# -- the handshake -----------------------------------------------------------------------------


async def test_the_upstream_gets_a_handshake_of_our_own_and_the_client_its_choice(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url, deflate=True))
        async with RawClient(gateway.port) as client:
            await client.send(
                opening(
                    "/v1/x?a=b",
                    "Sec-WebSocket-Protocol: one, openai-insecure-api-key.sk-secret, two",
                    "Sec-WebSocket-Extensions: permessage-deflate",
                    "Origin: http://gateway.test",
                    "X-Own: kept",
                )
            )
            connection = await upstream.accept()
            asked = await join(connection, "Sec-WebSocket-Protocol: two", "X-Session: 7")
            head = await client.read_head()
            await connection.send(close(mask=None))
            await hear(client)
    assert asked.target == "/v1/x?a=b"
    assert asked.values("connection") == [b"Upgrade"]
    assert asked.values("upgrade") == [b"websocket"]
    assert asked.values("sec-websocket-version") == [b"13"]
    assert asked.values("sec-websocket-protocol") == [b"one, two"]
    assert asked.values("sec-websocket-extensions") == asked.values("origin") == []
    assert asked.value("sec-websocket-key") != b"AQIDBAUGBwgJCgsMDQ4PEA=="
    assert asked.value("x-own") == b"kept"
    assert head.status == 101
    assert head.value("sec-websocket-protocol") == b"two"
    assert (head.value("sec-websocket-extensions") or b"").startswith(b"permessage-deflate")
    assert head.value("x-session") == b"7"
    assert head.value("x-request-id") == asked.value("x-request-id")
    assert head.values("content-type") == head.values("content-length") == []


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "403 No", "500 Fault"])
async def test_w7_an_upstream_that_refuses_is_heard_and_nothing_else_forwarded(
    start_gateway: StartGateway, report: Report, status: str
) -> None:
    async with ScriptedUpstream(raw_reply(reply(b'{"no": 1}', status=status))) as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(opening() + frame("early") + b"GET /v1/evil HTTP/1.1\r\n\r\n")
            await upstream.wait_requests(1)
            with suppress(ConnectionError):
                await client.send(b"GET /v1/evil HTTP/1.1\r\nHost: x\r\n\r\n")
            response = await client.read_response()
            assert await client.read_to_end() == b""
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    extra = sum(c.received_bytes for c in upstream.connections) - len(upstream.requests[0].raw)
    report("W7", f"extra bytes forwarded, {status}", extra)
    assert response.head.raw.split(b"\r\n")[0] == b"HTTP/1.1 " + status.encode()
    assert response.body == b'{"no": 1}'
    assert response.value("connection") == b"close"
    assert extra == 0
    assert len(upstream.requests) == 1
    assert logged["end"] == "complete"


@pytest.mark.parametrize("held_back", [b"", b"x" * 70_000], ids=["nothing", "70 kB"])
async def test_w7_no_byte_goes_up_before_the_upstream_has_switched(
    start_gateway: StartGateway, held_back: bytes
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(opening() + frame("early") + frame(held_back, BINARY))
            connection = await upstream.accept()
            asked = await connection.read_request()
            await asyncio.sleep(0.05)  # nothing happens, so there is nothing to wait for
            assert connection.received_bytes == len(asked.raw)
            await connection.send(switching(asked) + frame("hello", mask=None))
            assert (await client.read_head()).status == 101
            assert (await read_frame(client)).payload == b"hello"
            assert (await read_frame(connection)).payload == b"early"
            got = b""
            while len(got) < len(held_back):
                got += (await read_frame(connection)).payload
            assert got == held_back
            await connection.send(close(mask=None))
            await hear(client)


BAD_SWITCHES = {
    "another key": (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"),
    "no accept": (b"Sec-WebSocket-Accept", b"X-Accept"),
    "another protocol": (b"Upgrade: websocket", b"Upgrade: h2c"),
    "no upgrade": (b"Upgrade: websocket", b"X-Upgrade: websocket"),
    "no connection": (b"Connection: Upgrade", b"Connection: keep-alive"),
    "an extension": (b"Upgrade: w", b"Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: w"),
    "a subprotocol": (b"Upgrade: w", b"Sec-WebSocket-Protocol: mine\r\nUpgrade: w"),
    "a body": (b"Upgrade: w", b"Content-Length: 5\r\nUpgrade: w"),
}


@pytest.mark.parametrize("case", BAD_SWITCHES)
async def test_an_upstream_that_switches_wrongly_is_a_bad_gateway(
    start_gateway: StartGateway, case: str
) -> None:
    async def switch_wrongly(connection: UpstreamConnection) -> None:
        good = switching(await connection.read_request())
        bad = good.replace(*BAD_SWITCHES[case])
        assert bad != good
        await connection.send(bad + frame("hello", mask=None))
        await connection.wait_client_gone(5)

    async with ScriptedUpstream(switch_wrongly) as upstream:
        gateway = await start_gateway(config(upstream.url))
        response = await ask(gateway.port, opening())
    assert_error(response, 502, code="upstream_invalid_response")


BAD_OPENINGS = {
    "no key": (400, "invalid_handshake", "Sec-WebSocket-Key: AQ", "X: AQ"),
    "a short key": (400, "invalid_handshake", "Key: AQID", "Key: QID"),
    "version 8": (426, "websocket_version", "Version: 13", "Version: 8"),
    "no version": (426, "websocket_version", "Sec-WebSocket-Version", "X"),
    "h2c": (400, "upgrade_refused", "Upgrade: websocket", "Upgrade: h2c"),
}


@pytest.mark.parametrize("case", BAD_OPENINGS)
async def test_a_handshake_that_is_none_is_refused_before_anybody_is_asked(
    start_gateway: StartGateway, case: str
) -> None:
    status, code, old, new = BAD_OPENINGS[case]
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream.url))
        response = await ask(gateway.port, opening().replace(old.encode(), new.encode()))
    assert_error(response, status, code=code)
    assert response.value("sec-websocket-version") == (b"13" if status == 426 else None)
    assert upstream.requests == []


async def test_p8_an_upgrade_with_a_body_is_refused_where_websockets_are_served(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(config(upstream.url))
        evil = b"GET /v1/evil HTTP/1.1\r\nHost: x\r\n\r\n"
        response = await ask(gateway.port, opening("/v1/x", f"Content-Length: {len(evil)}") + evil)
    assert_error(response, 400, code="upgrade_refused")
    assert upstream.requests == []


async def test_plain_requests_are_served_beside_websockets(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({"plain": True})) as upstream:
        gateway = await start_gateway(config(upstream.url))
        response = await ask(gateway.port, b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert response.json() == {"plain": True}


async def test_a_route_that_serves_none_refuses_them(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port, opening())
    assert_error(response, 400, code="upgrade_refused")
    assert response.value("connection") == b"close"
    assert upstream.requests == []


@pytest.mark.parametrize(
    "options",
    [{"timeouts": {"total": "300ms"}}, {"retries": {"post": True}}, {"hedge": {"after": "10ms"}}],
    ids=lambda options: next(iter(options)),
)
async def test_what_waits_for_an_answer_does_not_wait_for_the_end_of_a_session(
    start_gateway: StartGateway, options: dict[str, Any]
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(
            {
                **config(upstream.url),
                "upstreams": {"main": {"endpoints": [{"url": upstream.url}], **options}},
            }
        )
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            assert (await client.read_head()).status == 101
            await asyncio.sleep(0.4 if "timeouts" in options else 0)
            await client.send(frame("still"))
            assert (await read_frame(connection)).payload == b"still"
            await connection.send(close(mask=None))
            assert (await hear(client)).code == 1000


async def test_an_endpoint_that_cannot_be_reached_is_passed_over(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        document = config(upstream.url)
        document["upstreams"]["main"]["endpoints"] = [
            {"url": "http://127.0.0.1:9", "priority": 0},
            {"url": upstream.url, "priority": 1},
        ]
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await opened(client)
            await client.send(frame("hi") + close())
            heard = await hear(client)
    assert heard.messages == [(TEXT, b"hi")]


# -- W9: origins -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ([], None, 101),
        ([], "https://gateway.test", 101),
        ([], "https://evil.test", 403),
        ([], "https://gateway.test.evil.test", 403),
        ([], "null", 403),
        (["https://app.test"], None, 101),
        (["https://app.test"], "https://app.test", 101),
        (["https://app.test"], "https://gateway.test", 403),
        (["https://app.test"], "http://app.test", 403),
        (["https://app.test"], "https://app.test.evil.test", 403),
        (["*"], "https://evil.test", 101),
    ],
)
async def test_w9_pages_of_other_origins_may_not_unless_they_are_listed(
    start_gateway: StartGateway,
    report: Report,
    origins: list[str],
    origin: str | None,
    status: int,
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(config(upstream.url, origins=origins))
        async with RawClient(gateway.port) as client:
            await client.send(opening("/v1/x", *([f"Origin: {origin}"] if origin else [])))
            response = await client.read_response()
    report("W9", f"{origin or 'no origin'}, {', '.join(origins) or 'same host'}", response.status)
    assert response.status == status
    if status == 403:
        assert_error(response, 403, code="origin_not_allowed")
        assert upstream.requests == []


# -- W8: ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1011, 1012, 3000, 4999, None])
async def test_w8_close_codes_are_mirrored_both_ways(
    start_gateway: StartGateway, report: Report, code: int | None
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url))
        for by_client in (True, False):
            async with RawClient(gateway.port) as client:
                await client.send(opening())
                connection = await upstream.accept()
                await join(connection)
                await client.read_head()
                reason = "" if code is None else "because"
                if by_client:
                    await client.send(close(code, reason))
                    told = await read_frame(connection)
                    await connection.send(frame("last", mask=None) + close(code, reason, mask=None))
                    heard = await hear(client)
                    assert heard.messages == [(TEXT, b"last")]
                else:
                    await connection.send(close(code, reason, mask=None))
                    heard = await hear(client)
                    told = await read_frame(connection)  # the answer
                assert (heard.code, heard.reason) == (code or 1005, reason)
                assert (told.opcode, told.code, told.payload[2:].decode()) == (
                    CLOSE,
                    code or 1005,
                    reason,
                )
                assert await client.read_to_end() == b""
            by = "client" if by_client else "upstream"
            line = await gateway.wait_for_log(partial(_closed_by, by))
            assert (line["close_code"], line["end"]) == (code or 1005, "complete")
    report("W8", f"code {code}, mirrored both ways", "yes")


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_w8_an_upstream_that_vanishes_is_a_bad_gateway(
    start_gateway: StartGateway, how: str
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            getattr(connection, how)()
            heard = await hear(client)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert heard.code == 1014
    assert (line["end"], line["error"], line["closed_by"]) == (
        "upstream_reset",
        "upstream_reset",
        "upstream",
    )


@pytest.mark.parametrize("how", ["reset", "close", "half_close"])
async def test_w8_an_upstream_is_told_that_the_client_has_vanished(
    start_gateway: StartGateway, how: str
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            getattr(client, how)()
            told = await read_frame(connection)
            await connection.wait_client_gone(5)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (told.opcode, told.code, told.masked) == (CLOSE, 1001, True)
    assert (line["end"], line["close_code"], line["closed_by"]) == ("client_abort", 1006, "client")


@pytest.mark.parametrize(
    ("said", "to_client", "to_upstream"),
    [
        (frame("x", mask=None, rsv=1), 1014, 1002),
        (frame("x"), 1014, 1002),
        (frame(b"\xff", mask=None), 1014, 1007),
        (frame(b"", BINARY, mask=None, length=2**40), 1009, 1009),
    ],
)
async def test_an_upstream_that_breaks_the_rules_is_told_and_the_client_is_not_blamed(
    start_gateway: StartGateway, said: bytes, to_client: int, to_upstream: int
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            await connection.send(said)
            heard = await hear(client)
            told = await read_frame(connection)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert heard.code == to_client
    assert told.code == to_upstream
    assert line["error"] == "upstream_invalid_response"


async def test_silence_and_a_client_that_answers_no_ping_end_it(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        silent = await start_gateway(config(upstream.url, idle="100ms"))
        pinging = await start_gateway(config(upstream.url, ping="50ms"))
        for gateway, reason in ((silent, "No message was sent"), (pinging, "No answer")):
            async with RawClient(gateway.port) as client:
                await client.send(opening())
                connection = await upstream.accept()
                await join(connection)
                await client.read_head()
                said = await read_frame(client)
                while said.opcode != CLOSE:
                    assert said.opcode == PING
                    said = await read_frame(client)
                told = await read_frame(connection)
                while told.opcode == PING:
                    await connection.send(frame(told.payload, PONG, mask=None))
                    told = await read_frame(connection)
            assert (said.code, told.code) == (1001, 1001)
            assert said.payload[2:].decode().startswith(reason)
            line = await gateway.wait_for_log(lambda line: line["event"] == "request")
            assert (line["end"], line["error"]) == ("timeout", "websocket_idle")
            reclaimed = await metrics.read(gateway)
            assert reclaimed.value("gateway_reclaimed_total", route="main", reason="idle") == 1


async def test_a_session_ends_after_its_longest_duration_though_it_is_busy(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(play) as upstream:
        gateway = await start_gateway(config(upstream.url, max_session="300ms"))
        async with RawClient(gateway.port) as client:
            await opened(client)
            said = None
            while said is None or said.opcode != CLOSE:
                with suppress(ConnectionError):
                    await client.send(frame(b"x"))
                said = await read_frame(client)
        assert said.code == 1001
        assert said.payload[2:].startswith(b"The session has reached its longest duration.")
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert (line["end"], line["error"]) == ("timeout", "session_expired")
        # The timers of uvloop count whole milliseconds.
        assert 0.299 <= line["duration_ms"] / 1000 < 0.3 + SLACK_S
        assert (await metrics.read(gateway)).value(
            "gateway_reclaimed_total", route="main", reason="max_session"
        ) == 1


async def test_a_session_ends_after_the_message_that_is_being_sent(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url, max_session="1s"))
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            await connection.send(frame(b"one, ", fin=False, mask=None))
            assert (await read_frame(client)).payload == b"one, "
            await asyncio.sleep(1.2)  # it is waited for something not to happen
            both = frame(b"two", CONTINUATION, mask=None) + frame(b"three", mask=None)
            await connection.send(both)
            assert (await read_frame(client)).payload == b"two"
            last = await read_frame(client)
            assert (last.opcode, last.code) == (CLOSE, 1001)
            told = await read_frame(connection)
            assert (told.opcode, told.code) == (CLOSE, 1001)


async def test_who_answers_pings_stays_and_an_upstream_that_does_not_goes(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url, ping="500ms"))
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            said = await read_frame(client)
            answered = 0
            while said.opcode == PING:
                await client.send(frame(said.payload, PONG))
                answered += 1
                if answered < 3:  # the upstream lives that long
                    assert (await read_frame(connection)).opcode == PING
                    await connection.send(frame(b"", PONG, mask=None))
                said = await read_frame(client)
    assert answered >= 3
    assert said.code == 1014


async def test_an_operator_and_a_drain_end_it_with_a_code(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(config(upstream.url))
        listener = gateway.server.listener
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            head = await opened(one)
            await opened(two)
            assert listener.cancel((head.value("x-request-id") or b"").decode())
            assert (await hear(one)).code == 1008
            stopping = asyncio.create_task(gateway.server.stop())
            assert (await hear(two)).code == 1012
            two.close()
            await stopping
        ends = [line["end"] for line in gateway.log.requests]
    assert ends == ["cancelled", "drain"]


async def test_more_messages_than_the_route_allows_end_it(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(config(upstream.url, messages="3/hour"))
        async with RawClient(gateway.port) as client:
            await opened(client)
            for n in range(3):
                await client.send(frame(str(n)))
                assert (await read_frame(client)).payload == str(n).encode()
            await client.send(frame("4"))
            heard = await hear(client)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (heard.code, heard.reason) == (1008, "too many messages")
    assert (line["error"], line["messages_in"], line["messages_out"]) == (
        "websocket_violation",
        3,
        3,
    )


async def test_messages_come_a_thousand_a_second_for_a_minute_unless_the_route_says_otherwise(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sink) as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await opened(client)
            await client.send(frame("") * 59_000)
            await client.send(frame("", PING))
            assert (await read_frame(client)).opcode == PONG
            await client.send(frame("") * 30_000)
            heard = await hear(client)
    assert (heard.code, heard.reason) == (1008, "too many messages")


# -- W4 to W6: floods -----------------------------------------------------------------------------


async def flood(
    gateway: GatewayProcess, head: tuple[str, ...], data: bytes, report: Report, case: str
) -> int:
    """Send all of it, unless the gateway has enough; with which code it closes."""
    before_mib, cpu_s = gateway.rss_bytes / MIB, gateway.cpu_s
    async with Control(gateway.port) as control, RawClient(gateway.port) as client:
        await opened(client, "/v1/x", *head)
        for at in range(0, len(data), 4 * KIB):
            if client.unread or client.end is not End.OPEN:
                break
            await client.send(data[at : at + 4 * KIB])
            await asyncio.sleep(0.001)
        said = await read_frame(client)
        while said.opcode != CLOSE:  # what came whole before may be echoed, compressed too
            said = await read_frame(client)
        await control.served(10)
    growth_mib = gateway.rss_bytes / MIB - before_mib
    report(case, "close code", said.code)
    report(case, "RSS Δ, MiB", growth_mib)
    report(case, "CPU s", gateway.cpu_s - cpu_s)
    control.report(report, case)
    assert growth_mib < _RSS_CAP_MIB
    return said.code


def packed(size_bytes: int) -> bytes:
    """A message of zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(size_bytes)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.own_program
async def test_w3_to_w6_floods_are_cut_and_cost_little(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    empty = frame("", fin=False) + 1_000_000 * frame("", CONTINUATION, fin=False)
    async with ScriptedUpstream(play) as upstream:
        gateway = await start_gateway_process(config(upstream.url, deflate=True))
        await control_request(gateway.port)
        fds = gateway.open_fds
        assert await flood(gateway, (), frame(b"x", length=2**62), report, "W3") == 1009
        assert await flood(gateway, (), empty, report, "W4") == 1008
        bomb = frame(packed(64 * MIB), rsv=4)
        assert await flood(gateway, DEFLATE, bomb, report, "W5") == 1009
        assert await flood(gateway, (), 200_000 * frame(b"x", PING), report, "W6") == 1008
        await small_bombs(gateway, report)
        async with asyncio.timeout(PATIENCE_S):
            # Each flood had two. Some to the upstream are kept for further control requests.
            await eventually(lambda: gateway.open_fds <= fds + _KEPT)
    report("W6", "sessions left open after all floods", 0)


async def small_bombs(gateway: GatewayProcess, report: Report) -> None:
    """Thirty messages below the cap, in 500 KiB: at once they would be 480 MiB."""
    before_mib = gateway.rss_bytes / MIB
    async with RawClient(gateway.port) as client:
        await opened(client, STALLED_TARGET, *DEFLATE)
        await client.send(30 * frame(packed(16 * MIB), BINARY, rsv=4))
        await asyncio.sleep(2 * _STALL_S)  # as long as it takes more, it grows
        growth_mib = gateway.rss_bytes / MIB - before_mib
    report("W5", "RSS Δ of 30 bombs nobody takes, MiB", growth_mib)
    assert growth_mib < _RSS_CAP_MIB


# -- W11: flow control -------------------------------------------------------------------------


async def test_a_client_that_sends_many_small_messages_keeps_nobody_waiting(
    start_gateway: StartGateway,
) -> None:
    """Others are answered before even half of the messages are read."""
    taken = 0

    async def count(connection: UpstreamConnection) -> None:
        nonlocal taken
        await connection.send(switching(connection.requests[-1]))
        while True:
            taken += len(await connection.read_some())

    async with ScriptedUpstream(beside_control(count)) as upstream:
        gateway = await start_gateway(config(upstream.url))
        await control_request(gateway.port)
        async with RawClient(gateway.port) as client:
            await opened(client)
            flood = frame("x") * 30_000
            await client.send(flood)
            for _ in range(3):
                await control_request(gateway.port)
            assert taken < len(flood) / 2
            await client.send(frame("end", PING))
            assert (await read_frame(client)).payload == b"end"


@pytest.mark.parametrize("masked", [True, False], ids=["of a client", "of an upstream"])
async def test_a_large_frame_in_small_segments_stays_in_few_fragments(
    start_gateway: StartGateway, masked: bool
) -> None:
    """Peers cap the fragments of a message: some at 4096, some lower."""
    payload = os.urandom(2 * MIB)
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            source, reader = (client, connection) if masked else (connection, client)
            wire = frame(payload, BINARY) if masked else frame(payload, BINARY, mask=None)

            async def drip() -> None:
                for at in range(0, len(wire), 1400):
                    await source.send(wire[at : at + 1400])
                    await asyncio.sleep(0)  # so that each is a read of its own

            sending = asyncio.create_task(drip())
            got, sizes, final = bytearray(), list[int](), False
            while not final:
                said = await read_frame(reader)
                got += said.payload
                sizes.append(len(said.payload))
                final = said.fin
            await sending
    assert bytes(got) == payload
    assert min(sizes[:-1]) >= 64 * KIB
    assert len(sizes) <= 33


async def test_pings_and_small_messages_pass_at_once_between_the_fragments_of_a_message(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            large = frame(100 * KIB * b"x", BINARY, fin=False)
            await client.send(large[: 90 * KIB])  # its first piece is whole, its second is not
            assert len((await read_frame(connection)).payload) == 64 * KIB
            await connection.send(frame("small", mask=None))  # the other way nothing waits
            assert (await read_frame(client)).payload == b"small"
            await client.send(large[90 * KIB :])
            assert len((await read_frame(connection)).payload) == 36 * KIB
            await client.send(frame("p", PING))
            assert (await read_frame(client)).opcode == PONG
            await client.send(frame("y", CONTINUATION, fin=False))
            assert (await read_frame(connection)).payload == b"y"
            await client.send(frame("", CONTINUATION))
            assert (await read_frame(connection)).fin


async def sent_until_stalled(peer: RawClient | UpstreamConnection, data: bytes) -> int:
    """Send until the peer takes no more; how often it did."""
    sent = 0
    with suppress(TimeoutError):
        while sent * len(data) < 64 * MIB:
            async with asyncio.timeout(_STALL_S):
                await peer.send(data)
            sent += 1
    return sent


@pytest.mark.parametrize("piece", [64 * KIB, 1 * MIB], ids=["frames of 64 KiB", "frames of 1 MiB"])
async def test_w11_who_does_not_read_stalls_the_other_and_loses_nothing(
    start_gateway: StartGateway, report: Report, piece: int
) -> None:
    payload = os.urandom(piece)
    async with ScriptedUpstream(send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(config(upstream.url, ping=None))
        async with RawClient(gateway.port, receive_buffer_bytes=64 * KIB) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()

            client.pause_reading()
            down = await sent_until_stalled(connection, frame(payload, BINARY, mask=None))
            report(
                "W11",
                f"sent to a client that reads nothing, {piece >> 10} KiB frames, KiB",
                down * piece / KIB,
            )
            assert down * piece < 32 * MIB
            client.resume_reading()
            await connection.send(frame("end", mask=None))
            got, said = bytearray(), await read_frame(client)
            while said.payload != b"end":
                got += said.payload
                said = await read_frame(client)
            assert bytes(got) == payload * (len(got) // piece)
            assert len(got) // piece - down in (0, 1)

            connection.pause_reading()
            up = await sent_until_stalled(client, frame(payload, BINARY))
            report(
                "W11",
                f"sent to an upstream that reads nothing, {piece >> 10} KiB frames, KiB",
                up * piece / KIB,
            )
            assert up * piece < 32 * MIB
            connection.resume_reading()
            sending = asyncio.create_task(client.send(frame("end")))
            got, said = bytearray(), await read_frame(connection)
            while said.payload != b"end":
                got += said.payload
                said = await read_frame(connection)
            await sending
            assert bytes(got) == payload * (len(got) // piece)
            await connection.send(close(mask=None))
            await hear(client)


async def test_a_ping_is_answered_by_the_latest_only_while_the_client_is_behind(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port, receive_buffer_bytes=16 * KIB) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            client.pause_reading()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STALL_S):
                    while True:
                        await connection.send(frame(64 * KIB * b"x", BINARY, mask=None))
            await client.send(b"".join(frame(b"%d" % n, PING) for n in range(40)) + frame("up"))
            assert (await read_frame(connection)).payload == b"up"  # so it has read the pings
            client.resume_reading()
            connection.close()
            pongs = (await hear(client)).pongs
    assert pongs[-1] == b"39"
    assert len(pongs) <= 2


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_w11_who_vanishes_while_it_is_not_read_is_missed_by_the_next_ping(
    start_gateway: StartGateway, who: str
) -> None:
    async with ScriptedUpstream(send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(config(upstream.url, ping="500ms"))
        async with RawClient(gateway.port, receive_buffer_bytes=64 * KIB) as client:
            await client.send(opening())
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            sender, reader = (client, connection) if who == "client" else (connection, client)
            payload = 256 * KIB * b"x"
            message = frame(payload, BINARY, mask=b"mask" if who == "client" else None)
            reader.pause_reading()
            with suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(_STALL_S):
                        await sender.send(message)
            sender.reset()
            line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    expected = "client_abort" if who == "client" else "upstream_reset"
    assert line["end"] == expected
