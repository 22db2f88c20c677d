"""A bridge's sockets: who may open one, who is stopped when, what a slow or a rude one can do."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest

from gateway.auth.jwt import REVOKED
from tests.support.bridge import BridgeClient, bridge_client, bridged, texts
from tests.support.client import RawClient, ask, request
from tests.support.exchange import EVENTS
from tests.support.figures import Report, percentile
from tests.support.gateway import LogLine, RunningGateway, StartGateway, StartGatewayProcess
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    sse_reply,
    stepped_stream,
)
from tests.support.websocket import close, frame, opened, read_frame

KIB = 1024
CANCEL_S = 0.05
FLOOD = b'data: {"text": "%b"}\n\n' % (b"x" * 32 * KIB)


def carried(line: LogLine) -> bool:
    """Whether it is the access line of a generation."""
    return "bridge" in line


def of_socket(line: LogLine) -> bool:
    """Whether it is the access line of a socket."""
    return line.get("route") == "bridge"


def headers(*lines: str) -> dict[str, Any]:
    """For `bridge_client`: header lines of the handshake."""
    return {"additional_headers": [tuple(line.split(": ", 1)) for line in lines]}


async def endless(connection: UpstreamConnection) -> None:
    """An event every millisecond, until nobody reads them."""
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    while True:
        await connection.send(chunk(EVENTS[0]))
        await asyncio.sleep(0.001)


async def flood(connection: UpstreamConnection) -> None:
    """As much as is taken."""
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    while True:
        await connection.send(chunk(FLOOD))


async def under_way(client: BridgeClient, *tags: str | int) -> None:
    """Begin generations, and wait for their heads."""
    for tag in tags:
        await client.create(tag)
    begun: set[str | int] = set()
    while begun != set(tags):
        said = await client.hear()
        assert said["type"] in ("created", "event"), said
        begun.add(said["id"])


# -- cancel ----------------------------------------------------------------------------------------


async def test_cancel_stops_the_upstream_within_50_ms(
    start_gateway: StartGateway, report: Report
) -> None:
    took_s = []
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            for number in range(50):
                await under_way(client, number)
                connection = upstream.connections[-1]
                began = time.perf_counter()
                await client.say("cancel", id=number)
                await connection.wait_client_gone()
                took_s.append(time.perf_counter() - began)
                assert (await client.end_of(number))[-1] == {"id": number, "type": "cancelled"}
        line = await gateway.wait_for_log(carried)
    report("W12", "cancel said to upstream closed, p50 ms", percentile(took_s, 50) * 1e3)
    report("W12", "cancel said to upstream closed, p99 ms", percentile(took_s, 99) * 1e3)
    assert percentile(took_s, 50) < CANCEL_S
    assert line["end"] == "client_abort"


async def test_a_generation_that_waits_for_its_upstream_is_cancelled(
    start_gateway: StartGateway,
) -> None:
    async def silent(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.wait_client_gone()

    async with ScriptedUpstream(silent) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            await upstream.wait_requests(1)
            await client.say("cancel", id="a")
            assert await client.hear() == {"id": "a", "type": "cancelled"}
            await upstream.connections[0].wait_client_gone()
        line = await gateway.wait_for_log(carried)
    assert (line["end"], line["error"]) == ("client_abort", "stream_cancelled")


async def test_cancel_leaves_the_others_alone(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.create("b")
            await client.hear_until("created", tag="b")
            await client.say("cancel", id="a")
            await client.end_of("a")
            await upstream.connections[0].wait_client_gone()
            assert not upstream.connections[1]._live().is_closing()
            await client.say("cancel", id="b")
            await client.end_of("b")


async def test_an_operator_ends_one_generation(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            created = await client.hear()
            listener = gateway.server.listener
            assert listener.cancel(created["request_id"])
            heard = await client.end_of("a")
            assert (heard[-1]["type"], heard[-1]["error"]["code"]) == ("error", "request_cancelled")
            await client.say("ping")
            assert await client.hear() == {"type": "pong"}


# -- leaving, and coming back ----------------------------------------------------------------------


async def test_a_client_that_leaves_stops_all_its_generations(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await under_way(client, *range(8))
            client.connection.transport.abort()
        for connection in upstream.connections:
            await connection.wait_client_gone()
        await gateway.wait_for_log(of_socket)
        lines = [line for line in gateway.log.requests if carried(line)]
    assert {line["end"] for line in lines} == {"client_abort"}
    assert len(lines) == 8


RESUMED = {"on_disconnect": "grace", "grace": "60s"}


async def test_a_generation_is_gone_on_with_from_another_socket(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, resume=RESUMED))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            created = await client.hear()
            await upstream.release(EVENTS[0])
            first = await client.hear()
            client.connection.transport.abort()
        assert created["on_disconnect"] == "grace=60s"
        assert first["event_id"] == f"{created['stream']}.1"
        await gateway.wait_for_log(of_socket)
        await upstream.release(EVENTS[1])
        async with bridge_client(gateway.port) as client:
            await client.say("resume", id="b", after=first["event_id"])
            await client.say("resume", id="c", stream=created["stream"])
            await upstream.finish()
            ends = 0
            while ends < 2:
                ends += (await client.hear())["type"] == "done"
            heard = [[said for said in client.seen if said["id"] == tag] for tag in "bc"]
            await client.say("resume", id="d", stream=created["stream"], after=2)
            assert (await client.end_of("d"))[-1] == {"id": "d", "type": "done"}
        assert len(upstream.requests) == 1
    assert [texts(each) for each in heard] == [[{"n": 2}], [{"n": 1}, {"n": 2}]]
    assert [each[-1]["type"] for each in heard] == ["done", "done"]


async def test_who_came_back_may_cancel(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, resume=RESUMED))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            created = await client.hear()
            client.connection.transport.abort()
        async with bridge_client(gateway.port) as client:
            await client.say("resume", id="b", stream=created["stream"])
            await client.hear_until("created")
            await client.say("cancel", id="b")
            assert (await client.end_of("b"))[-1]["type"] == "cancelled"
            await upstream.connections[0].wait_client_gone()


async def test_cancel_is_no_disconnect(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, resume=RESUMED))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.say("cancel", id="a")
            await client.end_of("a")
            await upstream.connections[0].wait_client_gone()


async def test_a_stream_begun_by_http_is_read_by_a_socket_of_its_owner_only(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        config = bridged(upstream.url, auth=["corp"], resume={})
        gateway = await start_gateway({**config, "auth": auth})
        asked = request(
            "POST",
            "/v1/chat/completions",
            headers=["Content-Type: application/json", bearer()],
            body=b'{"stream": true}',
        )
        stream = ((await ask(gateway.port, asked, "POST")).value("x-stream-id") or b"").decode()
        async with bridge_client(gateway.port, **headers(bearer())) as client:
            await client.say("resume", id="a", stream=stream)
            assert texts(await client.end_of("a")) == [{"n": 1}, {"n": 2}]
        async with bridge_client(gateway.port, **headers(bearer(sub="mallory"))) as client:
            await client.say("resume", id="a", stream=stream)
            assert (await client.end_of("a"))[-1]["error"]["code"] == "stream_not_found"


# -- who, and how much -----------------------------------------------------------------------------


async def test_generations_are_of_whoever_made_the_handshake(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway({**bridged(upstream.url, auth=["corp"]), "auth": auth})
        response = await ask(
            gateway.port,
            request(
                target="/v1/stream",
                headers=[
                    "Connection: Upgrade",
                    "Upgrade: websocket",
                    "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
                ],
            ),
        )
        assert response.status == 401
        async with bridge_client(gateway.port, **headers(bearer(org="acme"))) as client:
            await client.create("a")
            assert (await client.end_of("a"))[-1]["type"] == "done"
        line = await gateway.wait_for_log(carried)
    assert (line["subject"], line["tenant"]) == ("alice", "acme")
    assert b"Bearer" not in b"".join(value for _, value in upstream.requests[0].headers)


async def test_a_browser_comes_with_a_ticket(start_gateway: StartGateway, auth: Auth) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        config = bridged(upstream.url, auth=["corp"])
        config["routes"][1]["auth"] = ["corp", "tickets"]
        tickets = {
            "name": "tickets",
            "path": "/v1/tickets",
            "methods": ["POST"],
            "auth": ["corp"],
            "issues": "tickets",
        }
        gateway = await start_gateway(
            {
                **config,
                "routes": [*config["routes"], tickets],
                "auth": {**auth, "tickets": {"type": "ticket"}},
            }
        )
        asked = request("POST", "/v1/tickets", headers=[bearer(), "Content-Length: 0"])
        ticket = (await ask(gateway.port, asked, "POST")).json()["ticket"]
        async with bridge_client(gateway.port, f"/v1/stream?ticket={ticket}") as client:
            await client.create("a")
            assert (await client.end_of("a"))[-1]["type"] == "done"
        assert (await gateway.wait_for_log(carried))["subject"] == "alice"


async def test_a_credential_that_expires_ends_the_socket_and_what_it_began(
    start_gateway: StartGateway, auth: Auth
) -> None:
    auth["corp"]["leeway"] = "0s"
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway({**bridged(upstream.url, auth=["corp"]), "auth": auth})
        expires = bearer(exp=time.time() + 1.5)
        async with bridge_client(gateway.port, **headers(expires)) as client:
            await client.create("a")
            heard = await client.end_of("a")
            assert heard[-1]["error"]["code"] == "credential_expired"
            assert (await client.closed())[0] == 3000
        await upstream.connections[0].wait_client_gone()


async def test_a_credential_that_is_revoked_begins_nothing_more(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway({**bridged(upstream.url, auth=["corp"]), "auth": auth})
        async with bridge_client(gateway.port, **headers(bearer(jti="t-1"))) as client:
            records = gateway.server.runtime.stores.records
            await records.put(REVOKED, "t-1", b"", 60.0)
            assert (await client.closed())[0] == 3000
        assert upstream.requests == []


async def test_each_generation_passes_the_limits_of_its_route(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        config = bridged(upstream.url, limits=["few"])
        config["limits"] = {"few": {"key": "ip", "requests": "2/hour", "burst": 2}}
        gateway = await start_gateway(config)
        async with bridge_client(gateway.port) as client:
            for tag in "ab":
                await client.create(tag)
                heard = await client.end_of(tag)
                assert "r=" in heard[0]["rate_limit"]
                assert heard[-1]["type"] == "done"
            await client.create("c")
            (said,) = await client.end_of("c")
    assert (said["status"], said["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 0 < said["retry_after"] <= 3600


async def test_a_generation_holds_its_slot_to_its_end(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        config = bridged(upstream.url, limits=["one"])
        config["limits"] = {"one": {"key": "ip", "concurrency": 1}}
        gateway = await start_gateway(config)
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.create("b")
            refused = (await client.end_of("b"))[-1]
            await client.say("cancel", id="a")
            await client.end_of("a")
            await under_way(client, "c")
            await client.say("cancel", id="c")
            await client.end_of("c")
    assert refused["status"] == 429


async def test_a_thousand_creates_get_as_many_as_the_socket_may_have(
    start_gateway: StartGateway,
) -> None:
    async def silent(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.wait_client_gone()

    async with ScriptedUpstream(silent) as upstream:
        gateway = await start_gateway(bridged(upstream.url, bridge={"generations": 5}))
        async with bridge_client(gateway.port) as client:
            for number in range(1000):
                await client.create(number)
            codes = [(await client.hear())["error"]["code"] for _ in range(995)]
            assert set(codes) == {"too_many_generations"}
            await upstream.wait_requests(5)
        for connection in upstream.connections:
            await connection.wait_client_gone()
    assert len(upstream.requests) == 5


async def test_messages_are_counted(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(
        bridged("http://127.0.0.1:9", websocket={"messages": "10/minute"})
    )
    async with bridge_client(gateway.port) as client:
        for _ in range(100):
            await client.say("ping")
        assert (await client.closed())[0] == 1008


async def test_a_generation_counts_as_a_connection(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url, server={"max_connections": 2}))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.create("b")
            heard = await client.end_of("b")
            assert heard[-1]["error"]["code"] == "too_many_connections"
            await client.say("cancel", id="a")
            await client.end_of("a")
            await under_way(client, "c")
        await upstream.connections[-1].wait_client_gone()


async def test_behind_a_trusted_proxy_a_generation_is_of_the_same_client(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(
            bridged(upstream.url, server={"trusted_proxies": ["127.0.0.1/32"]})
        )
        forwarded = headers("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
        async with bridge_client(gateway.port, **forwarded) as client:
            await client.create("a")
            await client.end_of("a")
        assert (await gateway.wait_for_log(carried))["client"] == "192.0.2.7"
        assert upstream.requests[0].value("x-forwarded-proto") == b"https"


# -- slow readers ----------------------------------------------------------------------------------


async def test_a_socket_that_is_not_read_stops_its_upstreams_and_then_all_have_their_turns(
    start_gateway: StartGateway,
) -> None:
    sent = [0] * 4

    async def counted(connection: UpstreamConnection) -> None:
        await connection.read_request()
        place = upstream.connections.index(connection)
        await connection.send(STREAM_HEAD)
        while sent[place] < 2048:
            await connection.send(chunk(FLOOD))
            sent[place] += 1
        await connection.send(LAST_CHUNK)

    async with ScriptedUpstream(counted, send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with RawClient(gateway.port, receive_buffer_bytes=64 * KIB) as client:
            await opened(client, "/v1/stream")
            client.pause_reading()
            for tag in range(4):
                await client.send(frame(f'{{"op":"create","id":{tag},"body":{{}}}}'))
            before = -1
            while sum(sent) != before or not all(sent):
                before = sum(sent)
                await asyncio.sleep(0.2)  # it is waited for something not to happen
            assert sum(sent) < 4 * 2048
            client.resume_reading()
            heard = [0] * 4
            longest = row = last = 0
            while min(heard) < 50:
                payload = (await read_frame(client)).payload
                tag = int(payload[6:7])
                heard[tag] += 1
                row = row + 1 if tag == last else 1
                last = tag
                longest = max(longest, row)
            client.reset()
        for connection in upstream.connections:
            await connection.wait_client_gone()
    # A turn is what waited for it: some events, and not a whole stream.
    assert max(heard) < 4 * min(heard)
    assert longest < 128


async def test_a_client_that_takes_nothing_is_cut(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(flood, send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(bridged(upstream.url, server={"send_timeout": "1s"}))
        async with RawClient(gateway.port, receive_buffer_bytes=64 * KIB) as client:
            await opened(client, "/v1/stream")
            client.pause_reading()
            await client.send(frame('{"op":"create","id":"a","body":{}}'))
            line = await gateway.wait_for_log(of_socket)
            await upstream.connections[0].wait_client_gone()
    assert line["end"] == "client_abort"


async def test_a_client_that_says_much_and_reads_nothing_is_not_listened_to(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(bridged("http://127.0.0.1:9"))
    async with RawClient(gateway.port, receive_buffer_bytes=4 * KIB) as client:
        await opened(client, "/v1/stream")
        client.pause_reading()
        said = frame('{"op":"sing","id":"' + 60 * "x" + '"}') * 1000
        sent = 0
        with suppress(TimeoutError):
            while sent < 1000:
                async with asyncio.timeout(0.5):
                    await client.send(said)
                sent += 1
        assert sent < 1000
        client.reset()
        await gateway.wait_for_log(of_socket)


async def test_a_slow_client_may_cancel_what_it_does_not_read(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(flood, send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with RawClient(gateway.port, receive_buffer_bytes=64 * KIB) as client:
            await opened(client, "/v1/stream")
            client.pause_reading()
            await client.send(frame('{"op":"create","id":"a","body":{}}'))
            await upstream.wait_requests(1)
            exchange = next(gateway.server.listener.exchanges)
            before = -1
            while before != exchange.bytes_out or not before:
                before = exchange.bytes_out
                await asyncio.sleep(0.2)  # it is waited for something not to happen
            await client.send(frame('{"op":"cancel","id":"a"}'))
            await upstream.connections[0].wait_client_gone()
            client.reset()


# -- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["ping", "sing"])
async def test_an_idle_socket_is_reclaimed_whatever_it_says(
    start_gateway: StartGateway, op: str
) -> None:
    gateway = await start_gateway(bridged("http://127.0.0.1:9", websocket={"idle": "500ms"}))
    async with bridge_client(gateway.port) as client:
        pinging = asyncio.create_task(say_on(client, op))
        code, _ = await client.closed()
        pinging.cancel()
    assert code == 1001
    assert (await gateway.wait_for_log(of_socket))["error"] == "websocket_idle"


async def say_on(client: BridgeClient, op: str) -> None:
    while True:
        await client.say(op)
        await asyncio.sleep(0.05)


async def test_a_socket_with_a_generation_is_not_idle_however_silent(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, websocket={"idle": "500ms"}))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await asyncio.sleep(1.0)  # it is waited for something not to happen
            await upstream.finish()
            assert (await client.end_of("a"))[-1]["type"] == "done"
            assert (await client.closed())[0] == 1001


async def test_pages_hear_the_pings_of_the_gateway(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(bridged("http://127.0.0.1:9", websocket={"ping": "500ms"}))
    async with bridge_client(gateway.port) as client:
        assert await client.hear() == {"type": "ping"}


# -- the gateway stops, or changes -----------------------------------------------------------------


async def test_a_drain_closes_idle_sockets_at_once_and_busy_ones_with_their_last_generation(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as idle, bridge_client(gateway.port) as busy:
            await under_way(busy, "a")
            draining = asyncio.create_task(gateway.server.stop(60.0))
            assert (await idle.closed())[0] == 1012
            await busy.create("b")
            assert (await busy.end_of("b"))[-1]["error"]["code"] == "gateway_draining"
            await upstream.release(EVENTS[0])
            await upstream.finish()
            assert texts(heard := await busy.end_of("a")) == [{"n": 1}]
            assert heard[-1]["type"] == "done"
            assert (await busy.closed())[0] == 1012
            await draining


async def test_what_is_unfinished_when_the_drain_is_over_is_told_so(
    start_gateway: StartGateway,
) -> None:
    async def silent(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.wait_client_gone()

    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            upstream.script = silent
            await client.create("b")
            await upstream.wait_requests(2)
            draining = asyncio.create_task(gateway.server.stop(0.1))
            ends: dict[str, str] = {}
            while len(ends) < 2:
                said = await client.hear()
                if said["type"] == "error":
                    ends[said["id"]] = said["error"]["code"]
            assert ends == {"a": "gateway_draining", "b": "gateway_draining"}
            assert (await client.closed())[0] == 1012
            await draining
    lines = [line for line in gateway.log.requests if carried(line)]
    assert {line["end"] for line in lines} == {"drain"}


async def test_after_a_reload_sockets_stay_and_begin_by_the_new_configuration(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        changed = RunningGateway(bridged("http://127.0.0.1:9"), {})
        for sock in changed._sockets:
            sock.close()
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await gateway.server.prepare(changed.config)
            gateway.server.commit()
            await client.create("b")
            assert (await client.end_of("b"))[-1]["error"]["code"] == "upstream_connect_failed"
            await upstream.finish()
            assert (await client.end_of("a"))[-1]["type"] == "done"


async def test_an_idle_socket_takes_little(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    gateway = await start_gateway_process(bridged("http://127.0.0.1:9"))
    clients = [RawClient(gateway.port) for _ in range(250)]
    try:
        for client in clients[:50]:
            await client.__aenter__()
            await opened(client, "/v1/stream")
        before = gateway.rss_bytes
        for client in clients[50:]:
            await client.__aenter__()
            await opened(client, "/v1/stream")
        each_kib = (gateway.rss_bytes - before) / 200 / KIB
        for client in clients:
            await client.send(close())
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)
    report("W12", "KiB of an idle socket of a bridge", each_kib)
    assert each_kib < 100
