"""Connections kept to an upstream: nothing is sent twice, and no answer goes astray (U9, U15)."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import suppress

import pytest

from tests.support.client import RawClient, request
from tests.support.exchange import EVENTS, ask
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    PeerGone,
    Request,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    raw_reply,
    reply,
)
from tests.support.waiting import SLACK_S

POISON = reply(b"POISON")


def echo(request: Request) -> bytes:
    """A response that says which request it belongs to."""
    return reply(request.target.encode(), content_type="text/plain")


# -- reuse as it should be --------------------------------------------------------------------


async def test_a_connection_serves_request_after_request(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(raw_reply(echo)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for n in range(20):
            response = await ask(gateway.port, request(target=f"/v1/{n}"), "GET")
            assert response.body == f"/v1/{n}".encode()
        assert len(upstream.connections) == 1


@pytest.mark.parametrize(
    "data",
    [
        reply(b"{}", headers=["Connection: close"]),
        reply(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0"),
        STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n") + LAST_CHUNK,
    ],
    ids=["close", "http-1.0", "close-chunked"],
)
async def test_a_connection_the_upstream_will_close_is_not_used_again(
    start_gateway: StartGateway, data: bytes
) -> None:
    async with ScriptedUpstream(raw_reply(data)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for count in (1, 2, 3):
            assert (await ask(gateway.port)).clean_end
            assert len(upstream.connections) == count
            await upstream.connections[-1].wait_client_gone()


SPOILERS = {
    # Ways to say "close" that a parser may take to heart and a pool may not notice.
    "close-in-a-trailer": STREAM_HEAD + b"0\r\nConnection: close\r\n\r\n",
    "close-on-an-interim": b"HTTP/1.1 103 Hints\r\nConnection: close\r\n\r\n" + reply(b"{}"),
    "http-1.0-interim": b"HTTP/1.0 103 Hints\r\n\r\n" + reply(b"{}"),
    "proxy-connection": reply(b"{}", headers=["Proxy-Connection: close"]),
    "close-among-others": reply(b"{}", headers=["Connection: keep-alive, close"]),
    "upgrade": reply(b"{}", headers=["Connection: upgrade", "Upgrade: h2c"]),
    "keep-alive-0": reply(b"{}", headers=["Keep-Alive: timeout=0"]),
    "close-on-a-304": b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("spoiler", SPOILERS.values(), ids=SPOILERS)
async def test_no_response_spoils_the_one_after_it(
    start_gateway: StartGateway, spoiler: bytes
) -> None:
    script = raw_reply(lambda seen: spoiler if seen.target.endswith("odd") else echo(seen))
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for n in range(3):
            odd = await ask(gateway.port, request(target="/v1/odd"), "GET")
            assert odd.status in (200, 304, 502)  # an interim response that closes is a fault
            assert odd.clean_end
            after = await ask(gateway.port, request(target=f"/v1/{n}"), "GET")
            assert (after.status, after.body) == (200, f"/v1/{n}".encode())


async def test_an_idle_connection_is_closed_after_its_keepalive(
    start_gateway: StartGateway, report: Report
) -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream(raw_reply(echo)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, upstream={"keepalive": "300ms"}))
        asked_at = loop.time()
        await ask(gateway.port)
        idle_since = loop.time()
        gone_at = await upstream.connections[0].wait_client_gone()
    report(
        "U15", "idle connection closed off its 300 ms by, ms", abs(gone_at - idle_since - 0.3) * 1e3
    )
    assert 0.29 <= gone_at - asked_at < 0.3 + SLACK_S


async def test_an_idle_connection_the_upstream_closes_is_noticed_and_not_used(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(raw_reply(echo)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for count in range(1, 11):
            response = await ask(gateway.port, request("POST", f"/v1/{count}", body=b"x"))
            assert (response.status, response.body) == (200, f"/v1/{count}".encode())
            connection = upstream.connections[-1]
            connection.half_close()
            await connection.wait_client_gone()
            assert len(upstream.connections) == len(upstream.requests) == count


# -- U9: more than was announced --------------------------------------------------------------

_TEN = b"Content-Length: 10\r\n\r\n"
EXCESS: dict[str, tuple[str, bytes, int]] = {
    # What is asked, what answers before the poison, and the status that has to come through.
    "long-content-length": ("GET", reply(b"0123456789"), 200),
    "long-chunked": ("GET", STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK, 200),
    "zero-length": ("GET", reply(b""), 200),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "204-with-length": ("GET", b"HTTP/1.1 204 No Content\r\n" + _TEN, 204),
    "204-chunked": ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204),
    "304": ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', 304),
    "304-with-length": ("GET", b"HTTP/1.1 304 Not Modified\r\n" + _TEN, 304),
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\n" + _TEN, 200),
    "head-chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200),
    "head-without-length": ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", 200),
}
LEFTOVERS = {
    "response": POISON,
    "body": b"0123456789",
    "body-and-response": b"0123456789" + POISON,
    "chunk-and-response": b"6\r\nPOISON\r\n0\r\n\r\n" + POISON,
    "half-a-response": POISON[:20],
    "half-a-chunk": b"6\r\n",
}


@pytest.mark.parametrize("leftover_name", LEFTOVERS)
@pytest.mark.parametrize("when", ["at-once", "later"])
async def test_u9_bytes_after_a_response_never_reach_another(
    start_gateway: StartGateway, report: Report, when: str, leftover_name: str
) -> None:
    """Every kind of excess in turn, with innocent requests between, on one client connection."""
    leftover = LEFTOVERS[leftover_name]

    async def script(connection: UpstreamConnection) -> None:
        while True:
            seen = await connection.read_request()
            kind = seen.target.rpartition("/")[2]
            if kind not in EXCESS:
                await connection.send(echo(seen))
            elif when == "at-once":
                await connection.send(EXCESS[kind][1] + leftover)
            else:
                await connection.send(EXCESS[kind][1])
                await asyncio.sleep(0.002)
                await connection.send(leftover)

    poisoned = rounds = 0
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            for kind, (method, _, status) in itertools.chain.from_iterable(
                itertools.repeat(EXCESS.items(), 3)
            ):
                await client.send(request(method, f"/v1/{kind}"))
                response = await client.read_response(method)
                assert response.status == status, kind
                poisoned += b"POISON" in response.body
                # Only its upstream connection suffers; a client gets no second response.
                await upstream.connections[-1].wait_client_gone()
                used = len(upstream.connections)
                for n in range(2):
                    await client.send(request(target=f"/v1/innocent-{n}"))
                    innocent = await client.read_response()
                    assert innocent.status == 200, kind
                    poisoned += innocent.body != f"/v1/innocent-{n}".encode()
                assert len(upstream.connections) == used + 1, kind
                rounds += 1
    report("U9", f"{leftover_name} {when}: poisoned of {2 * rounds}", poisoned)
    assert poisoned == 0


@pytest.mark.parametrize("framing", [b"Content-Length: 45", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("method", "status_line", "status"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n", 304),
        ("HEAD", b"HTTP/1.1 200 OK\r\n", 200),
    ],
    ids=["204", "304", "HEAD"],
)
async def test_u9_a_connection_that_announced_a_body_which_must_not_come_is_not_used_again(
    start_gateway: StartGateway, method: str, status_line: bytes, status: int, framing: bytes
) -> None:
    """Its body may still come: were the connection used again, as the next one's response."""

    async def script(connection: UpstreamConnection) -> None:
        seen = await connection.read_request()
        if not seen.target.endswith("first"):
            await connection.send(echo(seen))
        else:
            await connection.send(status_line + framing + b"\r\n\r\n")
            await connection.read_request()
            await connection.send(POISON)

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        first = await ask(gateway.port, request(method, "/v1/first"), method)
        assert (first.status, first.body) == (status, b"")
        if status == 204:
            # RFC 9110 section 8.6 and RFC 9112 section 6.1 forbid both on a 204.
            assert first.values("content-length") == first.values("transfer-encoding") == []
        second = await ask(gateway.port, request(target="/v1/second"), "GET")
    assert (second.status, second.body) == (200, b"/v1/second")


async def test_u9_an_answer_given_before_it_was_asked_for_is_not_used(
    start_gateway: StartGateway,
) -> None:
    """An idle connection on which a response arrives is closed, not answered from."""
    async with ScriptedUpstream(raw_reply(echo)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for n in range(5):
            response = await ask(gateway.port, request(target=f"/v1/{n}"), "GET")
            assert response.body == f"/v1/{n}".encode()
            connection = upstream.connections[-1]
            await connection.send(POISON)
            await connection.wait_client_gone()
        assert len(upstream.connections) == 5


# -- U15: closing as it is used again ---------------------------------------------------------


async def read_then_close(connection: UpstreamConnection) -> None:
    await connection.read_request()


async def read_then_reset(connection: UpstreamConnection) -> None:
    await connection.read_request()
    connection.reset()


async def half_close_then_read(connection: UpstreamConnection) -> None:
    connection.half_close()
    await connection.read_request()


async def close_at_once(connection: UpstreamConnection) -> None:
    connection.close()


FAREWELLS = (read_then_close, read_then_reset, half_close_then_read, close_at_once)


async def test_u15_a_post_is_never_sent_twice_when_a_pooled_connection_closes(
    start_gateway: StartGateway, report: Report
) -> None:
    """Each upstream connection answers once; a POST then meets it as it closes, at every
    distance between the two that a few turns of the event loop make."""

    async def script(connection: UpstreamConnection) -> None:
        seen = await connection.read_request()
        await connection.send(echo(seen))
        if seen.method == "GET":
            number = int(seen.target.rpartition("/")[2])
            for _ in range(number // len(FAREWELLS) % 6):
                await asyncio.sleep(0)
            with suppress(PeerGone):
                await FAREWELLS[number % len(FAREWELLS)](connection)
        connection.close()

    tries = 288
    statuses: Counter[int] = Counter()
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            for number in range(tries):
                await client.send(request(target=f"/v1/warm/{number}"))
                warm = await client.read_response()
                assert warm.status == 200
                for _ in range(number // len(FAREWELLS) // 6 % 6):
                    await asyncio.sleep(0)
                await client.send(request("POST", f"/v1/post/{number}", body=b'{"pay": 1}'))
                response = await client.read_response("POST")
                statuses[response.status] += 1
                if response.status == 200:
                    assert response.body == f"/v1/post/{number}".encode()
                else:
                    assert_error(response, 502, code="upstream_reset")
        seen = Counter(seen.target for seen in upstream.requests if seen.method == "POST")
    assert seen
    report("U15", f"most times one of {tries} POSTs was seen", max(seen.values()))
    report("U15", "POSTs answered 200", statuses[200])
    report("U15", "POSTs answered 502", statuses[502])
    assert max(seen.values()) == 1
    assert set(statuses) <= {200, 502}
    # Both sides of the race were met, or nothing was shown.
    assert statuses[200] >= 10
    assert statuses[502] >= 10


async def test_u15_a_get_is_sent_again_once_when_a_pooled_connection_closes(
    start_gateway: StartGateway, report: Report
) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.send(echo(await connection.read_request()))
        await connection.read_request()

    tries = 50
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert (await ask(gateway.port, request(target="/v1/warm"), "GET")).status == 200
        for number in range(tries):
            response = await ask(gateway.port, request(target=f"/v1/get/{number}"), "GET")
            assert (response.status, response.body) == (200, f"/v1/get/{number}".encode())
        seen = Counter(seen.target for seen in upstream.requests)
    seen.pop("/v1/warm")
    report("U15", f"most times one of {tries} GETs was seen", max(seen.values()))
    assert set(seen.values()) == {2}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_u15_a_retry_goes_to_a_new_connection_not_through_every_stale_one(
    start_gateway: StartGateway, method: str
) -> None:
    stale = 5
    all_here = asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        first = await connection.read_request()
        if "warm" in first.target:
            if len(connection.upstream.requests) == stale:
                all_here.set()
            await all_here.wait()
            await connection.send(echo(first))
            await connection.read_request()  # and close on it
        else:
            await connection.send(echo(first))

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        warm = [ask(gateway.port, request(target=f"/v1/warm/{n}"), "GET") for n in range(stale)]
        assert [response.status for response in await asyncio.gather(*warm)] == stale * [200]
        assert len(upstream.connections) == stale
        body = b"{}" if method == "PUT" else None
        response = await ask(gateway.port, request(method, "/v1/x", body=body), method)
        assert response.status == 200
        assert [seen.target for seen in upstream.requests].count("/v1/x") == 2


async def test_u15_a_first_use_that_closes_is_a_failure_like_others(
    start_gateway: StartGateway,
) -> None:
    """A new connection was not closing as it was picked: the request itself brought this on."""
    async with ScriptedUpstream(read_then_close) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"retries": {"attempts": 0}})
        )
        response = await ask(gateway.port, request(), "GET")
        assert_error(response, 502, code="upstream_reset")
        assert len(upstream.requests) == 1
