"""A bridge's sockets: slow ones, idle ones, and what becomes of them when the gateway stops."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest

from gateway.config import load_text
from tests.support.bridge import (
    FLOOD,
    BridgeClient,
    bridge_client,
    bridged,
    carried,
    endless,
    flood,
    of_socket,
    texts,
    under_way,
)
from tests.support.client import RawClient
from tests.support.exchange import EVENTS
from tests.support.figures import Report
from tests.support.gateway import StartGateway, StartGatewayProcess, config_text
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    stepped_stream,
)
from tests.support.waiting import eventually, settled
from tests.support.websocket import close, frame, opened, read_frame

KIB = 1024


# -- many requests ---------------------------------------------------------------------------------


async def test_generations_wait_for_their_turns_and_leave_none_behind(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(bridged(upstream.url, bridge={"generations": 4}))
    turns = gateway.server.listener.turns
    creates = b"".join(
        frame(f'{{"op":"create","id":{number},"path":"/none","body":{{}}}}')
        for number in range(200)
    )
    longest = 0
    async with (
        RawClient(gateway.port) as one,
        RawClient(gateway.port) as two,
        RawClient(gateway.port) as three,
    ):
        for client in (one, two, three):
            await opened(client, "/v1/stream")
        for client in (one, two, three):
            await client.send(creates)
        for client in (one, two, three):
            for _ in range(200):
                await read_frame(client)
                longest = max(longest, turns.waiting)
    assert longest <= 3 * 4, "no more than there are generations at once"


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
            await eventually(lambda: all(sent))
            assert await settled(lambda: sum(sent), quiet_s=0.2) < 4 * 2048
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


async def test_a_client_that_says_much_keeps_no_other_waiting(start_gateway: StartGateway) -> None:
    """Another is answered before even half of the messages are."""
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with RawClient(gateway.port) as much, RawClient(gateway.port) as little:
            await opened(much, "/v1/stream")
            await opened(little, "/v1/stream")
            await much.send(frame("") * 3000)
            await little.send(frame('{"op":"ping"}'))
            assert (await read_frame(little)).payload == b'{"type":"pong"}'
            answered = [
                exchange.session.tally.messages_out
                for exchange in gateway.server.listener.exchanges
                if exchange.session is not None and exchange.session.tally is not None
            ]
            assert max(answered) < 1500
            for _ in range(3000):
                assert b"invalid_json" in (await read_frame(much)).payload


async def test_a_message_that_takes_long_to_read_is_read_off_the_loop(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        offload = gateway.server.state.offload
        async with bridge_client(gateway.port) as client:
            await client.create("light", body={"model": "m", "messages": ["x" * 100_000]})
            await client.hear_until("created")
            assert offload.runs == 0
            nested: list[list[int]] = [[] for _ in range(200_000)]
            await client.create("heavy", body={"model": "m", "messages": nested})
            await client.hear_until("created", tag="heavy")
            assert offload.runs == 2  # the message, and the body that the route reads
            await client.say("cancel", id="heavy")
            await client.hear_until("cancelled", tag="heavy")
            await client.say("create", id="bad", body={"x": nested}, headers={"Host": "a"})
            (refused,) = await client.hear_until("error", tag="bad")
            assert refused["error"]["param"] == "headers"
            assert offload.runs == 3
        heavy = json.loads(upstream.requests[1].body)
    assert heavy == {"model": "m", "messages": nested, "stream": True}


async def test_a_slow_client_may_cancel_what_it_does_not_read(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(flood, send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with RawClient(gateway.port, receive_buffer_bytes=64 * KIB) as client:
            await opened(client, "/v1/stream")
            client.pause_reading()
            await client.send(frame('{"op":"create","id":"a","body":{}}'))
            await upstream.wait_requests(1)
            exchange = next(gateway.server.listener.exchanges)
            await settled(lambda: exchange.bytes_out, quiet_s=0.2)
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


async def test_a_socket_announces_the_end_of_its_lifetime_and_its_generations_are_told(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, websocket={"max_session": "2s"}))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            said = await client.hear()
            assert said["type"] == "expiring"
            assert 0 < said["seconds"] <= 0.4
            assert (await client.end_of("a"))[-1]["error"]["code"] == "session_expired"
            assert (await client.closed())[0] == 1001
        assert (await gateway.wait_for_log(of_socket))["error"] == "session_expired"


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
        changed = load_text(config_text(bridged("http://127.0.0.1:9"), {}))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await gateway.server.prepare(changed)
            gateway.server.commit()
            await client.create("b")
            assert (await client.end_of("b"))[-1]["error"]["code"] == "upstream_connect_failed"
            await upstream.finish()
            assert (await client.end_of("a"))[-1]["type"] == "done"


@pytest.mark.own_program
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
