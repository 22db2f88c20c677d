"""Where one request on a connection ends and the next one begins, and what is between them."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import aiohttp
import httpx
import pytest
from aiohttp.streams import StreamReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.load.backlog import STEPS_A_TURN
from gateway.load.pacing import LINES_A_TURN
from gateway.server import listener
from tests.support.client import End, RawClient, request
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.nginx import StartNginx
from tests.support.refusal import assert_error
from tests.support.upstream import LAST_CHUNK, Request, ScriptedUpstream, chunk, raw_reply, reply
from tests.support.waiting import PATIENCE_S, SLACK_S

HEADER_TIMEOUT_S = 0.5


def length_of_body(seen: Request) -> bytes:
    return reply(b"%d" % len(seen.body))


def post(body: bytes, chunk_bytes: int | None = None, target: str = "/v1/x") -> bytes:
    """A request with this body, by Content-Length or in chunks of so many bytes."""
    if chunk_bytes is None:
        return request("POST", target, body=body)
    chunks = (chunk(body[at : at + chunk_bytes]) for at in range(0, len(body), chunk_bytes))
    coding = ["Transfer-Encoding: chunked"]
    return request("POST", target, headers=coding) + b"".join(chunks) + LAST_CHUNK


async def send_in_reads(client: RawClient, data: bytes, cuts: Sequence[int]) -> None:
    """Send it cut at these indices, so that the gateway reads each piece for itself."""
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(data)]):
        await client.send(data[begin:end])
        for _ in range(3):  # turns of the loop: the bytes leave, arrive, and are read
            await asyncio.sleep(0)


async def assert_idle(client: RawClient) -> None:
    """Nothing was sent that was not asked for, and the connection serves another request."""
    assert (client.end, client.unread) == (End.OPEN, b"")
    await client.send(request())
    assert (await client.read_response()).body == b"0"


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[RunningGateway]:
    """Small caps, so that a body of some KiB is over them; it answers with a body's length."""
    server = {"header_bytes": "1KiB", "header_timeout": f"{HEADER_TIMEOUT_S}s"}
    async with ScriptedUpstream(raw_reply(length_of_body)) as upstream:
        yield await start_gateway(simple_config(upstream.url, server=server))


class Idle:
    """Connections that have to be idle at the end of a test."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway = gateway
        self._clients: list[RawClient] = []

    async def connect(self) -> RawClient:
        """Another of them."""
        client = await RawClient(self._gateway.port).__aenter__()
        self._clients.append(client)
        return client

    async def check(self) -> None:
        """Wait until the time for a head is over: that is when a stray 408 would come."""
        await asyncio.sleep(1.5 * HEADER_TIMEOUT_S)
        for client in self._clients:
            await assert_idle(client)

    async def close(self) -> None:
        """Close all of them."""
        for client in self._clients:
            await client.__aexit__(None, None, None)


@pytest.fixture
async def idle(gateway: RunningGateway) -> AsyncIterator[Idle]:
    idle = Idle(gateway)
    yield idle
    try:
        await idle.check()
    finally:
        await idle.close()


# -- what a body leaves behind -----------------------------------------------------------------

# Blank lines and heads in a body are what a search for the end of a head would fall for.
bodies = st.one_of(
    st.integers(0, 5000).map(bytes),
    st.lists(st.sampled_from([b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1", b"0", b"a"])).map(b"".join),
)
requests = st.one_of(
    st.just((request(), 0)),
    st.tuples(bodies, st.none() | st.integers(1, 4000)).map(
        lambda drawn: (post(*drawn), len(drawn[0]))
    ),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversation=st.lists(requests, min_size=1, max_size=4), data=st.data())
async def test_requests_cut_anywhere_are_answered_once_each_and_by_nothing_else(
    idle: Idle,
    conversation: list[tuple[bytes, int]],
    data: st.DataObject,
) -> None:
    stream = b"".join(raw for raw, _ in conversation)
    cuts = data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8))
    client = await idle.connect()
    await send_in_reads(client, stream, sorted(cuts))
    for _, size in conversation:
        assert (await client.read_response()).body == b"%d" % size


@pytest.mark.parametrize("size", [1, 400, 32 * 1024, 32 * 1024 + 1])
async def test_a_repeated_head_may_have_a_body_of_any_size(idle: Idle, size: int) -> None:
    client = await idle.connect()
    for length in (3, size, size, 3):
        await client.send(post(b"x" * length))
        assert (await client.read_response()).body == b"%d" % length


async def test_a_large_body_is_forwarded_alike_whether_its_head_is_known_or_not(
    start_gateway: StartGateway,
) -> None:
    sizes = (40_000, 40_000, 300_000, 5, 40_001)
    async with ScriptedUpstream(raw_reply(reply(b"{}"))) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            for size in sizes:
                raw = post(b"x" * size)
                for piece in (raw[:-3], raw[-3:]):  # the end of the body in a read of its own
                    await client.send(piece)
                assert (await client.read_response()).status == 200
    heads = []
    for seen, size in zip(upstream.requests, sizes, strict=True):
        assert seen.body == b"x" * size
        assert seen.value("Content-Length") == str(size).encode()
        varying = (b"content-length", b"x-request-id", b"traceparent")
        heads.append([field for field in seen.headers if field[0].lower() not in varying])
    assert heads == [heads[0]] * len(sizes)


async def test_a_head_of_another_connection_is_answered_as_if_it_were_parsed(
    gateway: RunningGateway,
) -> None:
    for length in (3, 400, 5):
        raw = request("POST", headers=["Connection: close"], body=b"x" * length)
        async with RawClient(gateway.port) as client:
            await client.send(raw)
            response = await client.read_response()
            assert response.body == b"%d" % length
            assert response.value("Connection") == b"close"
            assert await client.read_to_end() == b""


async def test_a_known_head_has_the_address_of_its_own_client(start_gateway: StartGateway) -> None:
    def address(seen: Request) -> bytes:
        return reply(seen.value("X-Forwarded-For") or b"")

    async with ScriptedUpstream(raw_reply(address)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        loop, raw = asyncio.get_running_loop(), request(headers=["Connection: close"])
        for host in 2 * ("127.0.0.1", "127.0.0.2"):
            with socket.socket() as client:
                client.setblocking(False)
                client.bind((host, 0))
                await loop.sock_connect(client, ("127.0.0.1", gateway.port))
                await loop.sock_sendall(client, raw)
                async with asyncio.timeout(PATIENCE_S):
                    received = b""
                    while piece := await loop.sock_recv(client, 4096):
                        received += piece
            assert received.endswith(host.encode())


async def test_a_refused_client_that_stays_does_not_hold_up_a_drain(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "FAREWELL_S", 60.0)
    async with RawClient(gateway.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nX: " + b"a" * 2000)
        assert (await client.read_response()).status == 431
        async with asyncio.timeout(PATIENCE_S):  # not the time that the client has for the response
            await gateway.server.listener.drain(60.0)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reads=st.lists(st.lists(requests, min_size=1, max_size=3), min_size=2, max_size=5))
async def test_heads_that_are_repeated_are_answered_as_those_that_are_parsed(
    idle: Idle, reads: list[list[tuple[bytes, int]]]
) -> None:
    client = await idle.connect()
    for conversation in reads:  # one request in each read, as most clients send them, or several
        await client.send(b"".join(raw for raw, _ in conversation))
        for _, size in conversation:
            assert (await client.read_response()).body == b"%d" % size


async def test_a_body_cut_at_any_byte_of_its_end_leaves_the_connection_idle(idle: Idle) -> None:
    follower = request()
    for first in (post(bytes(3000)), post(bytes(3000), chunk_bytes=1000)):
        for cut in range(len(first) - 12, len(first) + len(follower)):
            client = await idle.connect()
            await send_in_reads(client, first + follower, [cut])
            assert (await client.read_response()).body == b"3000"
            assert (await client.read_response()).body == b"0"


async def test_a_body_in_any_number_of_reads_leaves_the_connection_idle(idle: Idle) -> None:
    for chunk_bytes, reads in itertools.product((None, 7, 5000), (1, 2, 3, 10, 100)):
        raw = post(bytes(30_000), chunk_bytes)
        client = await idle.connect()
        for _ in range(3):
            await send_in_reads(client, raw, range(0, len(raw), len(raw) // reads + 1)[1:])
            assert (await client.read_response()).body == b"30000"


async def test_blank_lines_between_requests_begin_none(idle: Idle) -> None:
    client = await idle.connect()
    for blank in (b"\r\n", b"\r\n\r\n", b"\n", b"\r\n" * 1000):
        await client.send(post(b"x") + blank)
        assert (await client.read_response()).body == b"1"


@pytest.mark.parametrize("chunk_bytes", [None, 1000], ids=["length", "chunked"])
@pytest.mark.parametrize("whole", [False, True], ids=["in its last read", "in one read"])
async def test_a_head_that_begins_behind_a_body_has_its_time_and_no_more(
    gateway: RunningGateway, chunk_bytes: int | None, whole: bool
) -> None:
    raw = post(bytes(3000), chunk_bytes)
    async with RawClient(gateway.port) as client:
        await send_in_reads(client, raw + b"GET /v1/x HT", [] if whole else [2000])
        assert (await client.read_response()).body == b"3000"
        started = asyncio.get_running_loop().time()
        assert_error(await client.read_response(), 408, code="request_timeout")
        assert asyncio.get_running_loop().time() - started < SLACK_S


@pytest.mark.parametrize("chunk_bytes", [None, 1000], ids=["length", "chunked"])
async def test_a_pipelined_head_is_capped_wherever_it_begins(
    gateway: RunningGateway, chunk_bytes: int | None
) -> None:
    long = request(headers=["X-A: " + "a" * 500, "X-B: " + "b" * 500])
    for cut in (1, 2000, 3200, 3500):
        async with RawClient(gateway.port) as client:
            await send_in_reads(client, post(bytes(3000), chunk_bytes) + long, [cut])
            assert (await client.read_response()).body == b"3000"
            assert_error(await client.read_response(), 431)


# -- by real clients and proxies ---------------------------------------------------------------

SIZES = [2_000, 40_000, 300_000] * 5
Ask = Callable[[int], Awaitable[tuple[int, str]]]
"""POST a body of this size, or GET if it is 0; status and body of the answer."""


async def assert_no_stray_answer(gateway: RunningGateway, ask: Ask) -> None:
    """Uploads and requests after them are answered on one connection, after a pause too."""
    for size in SIZES:
        for asked in (size, 0):
            assert await ask(asked) == (200, str(asked))
    await ask(SIZES[-1])
    (connection,) = gateway.server.listener.connections
    await asyncio.sleep(1.5 * HEADER_TIMEOUT_S)
    assert await ask(0) == (200, "0")
    assert [connection] == [*gateway.server.listener.connections]


async def ask_httpx(client: httpx.AsyncClient, size: int) -> tuple[int, str]:
    answer = await client.request("POST" if size else "GET", "/v1/x", content=bytes(size))
    return answer.status_code, answer.text


async def test_nginx_with_one_kept_connection_gets_no_stray_answer(
    gateway: RunningGateway, start_nginx: StartNginx
) -> None:
    nginx = await start_nginx(gateway.port, keepalive=1)
    async with httpx.AsyncClient(base_url=nginx.url, verify=nginx.trust(), trust_env=False) as http:
        await assert_no_stray_answer(gateway, lambda size: ask_httpx(http, size))


async def test_httpx_gets_no_stray_answer(gateway: RunningGateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        await assert_no_stray_answer(gateway, lambda size: ask_httpx(http, size))


async def test_aiohttp_gets_no_stray_answer(gateway: RunningGateway) -> None:
    async with aiohttp.ClientSession(gateway.url) as session:

        async def ask(size: int) -> tuple[int, str]:
            method = "POST" if size else "GET"
            async with session.request(method, "/v1/x", data=bytes(size)) as answer:
                return answer.status, await answer.text()

        await assert_no_stray_answer(gateway, ask)


async def test_http_client_gets_no_stray_answer(gateway: RunningGateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)

    def converse(size: int) -> tuple[int, str]:
        connection.request("POST" if size else "GET", "/v1/x", bytes(size) or None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    try:
        await assert_no_stray_answer(gateway, lambda size: asyncio.to_thread(converse, size))
    finally:
        connection.close()


# -- work per turn of the event loop -----------------------------------------------------------


class Turns:
    """Counts turns of the event loop, and how much of something happens in one of them at most."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._last = count()
        self._loop = asyncio.get_running_loop()
        self.most_in_a_turn = 0
        self.turns = 0
        self._handle = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        count = self._count()
        self.most_in_a_turn = max(self.most_in_a_turn, count - self._last)
        self._last = count
        self.turns += 1
        self._handle = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        """Count no more."""
        self._handle.cancel()


@pytest.mark.parametrize("target", ["/nowhere", "/v1/x"], ids=["404", "200"])
async def test_one_pipelined_request_of_a_connection_begins_in_each_turn(
    start_gateway: StartGateway, target: str
) -> None:
    async with ScriptedUpstream(raw_reply(length_of_body)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        turns = Turns(lambda: len(gateway.log_lines))
        async with RawClient(gateway.port) as client:
            await client.send(300 * request(target=target))
            for _ in range(300):
                await client.read_response()
        turns.stop()
        assert turns.turns >= 300
        assert turns.most_in_a_turn == 1


async def test_many_connections_that_pipeline_share_what_a_turn_begins(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(raw_reply(length_of_body)) as upstream, AsyncExitStack() as stack:
        gateway = await start_gateway(simple_config(upstream.url))
        clients = [await stack.enter_async_context(RawClient(gateway.port)) for _ in range(10)]
        for client in clients:
            await client.send(60 * request(target="/nowhere"))
            await client.read_response()
        turns = Turns(lambda: len(gateway.log_lines))
        for client in clients:
            for _ in range(59):
                await client.read_response()
        turns.stop()
    # What is begun in one turn may be logged in two.
    assert turns.most_in_a_turn <= 2 * STEPS_A_TURN


async def test_tiny_chunks_of_an_upload_are_parsed_a_few_in_each_turn(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = 0
    fed = StreamReader.end_http_chunk_receiving

    def count(reader: StreamReader) -> None:
        nonlocal parsed
        parsed += 1
        fed(reader)

    monkeypatch.setattr(StreamReader, "end_http_chunk_receiving", count)
    async with ScriptedUpstream(raw_reply(length_of_body)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        turns = Turns(lambda: parsed)
        async with RawClient(gateway.port) as client:
            await client.send(post(bytes(20_000), chunk_bytes=1))
            assert (await client.read_response()).body == b"20000"
        turns.stop()
    assert parsed >= 20_000
    # One read of the socket brings 10 000 of them.
    assert turns.most_in_a_turn <= (1 + STEPS_A_TURN) * LINES_A_TURN / 2
