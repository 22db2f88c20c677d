"""Tunnels through an HTTP proxy, whatever it answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.http.egress import Proxy
from tests.support.waiting import eventually

ANSWER = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n"


@asynccontextmanager
async def proxy(*pieces: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Run a proxy that answers in these pieces. Yield its port, and the heads that it receives."""
    heads: list[bytes] = []
    ended: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(done := asyncio.Event())
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.002)
            writer.close()
            await reader.read()  # until the other side closes, too
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heads
        for done in ended:
            await done.wait()


async def received(port: int, *, host: str = "backend") -> bytes:
    """Return what a host sends through a tunnel."""
    sock = await Proxy("http", "127.0.0.1", port, "us er", "pä:ss").open(host, 443)
    loop, data = asyncio.get_running_loop(), b""
    with sock:
        while more := await loop.sock_recv(sock, 100):
            data += more
    return data


@pytest.mark.parametrize(
    "pieces",
    [
        [ANSWER + b"hello"],
        [ANSWER[:9], ANSWER[9:40], ANSWER[40:], b"hello"],
        [bytes([byte]) for byte in ANSWER + b"hello"],
        [b"HTTP/1.0 200\n\nhello"],
        [b"HTTP/1.1 204 No Content\r\n\r\nhello"],
    ],
)
async def test_a_tunnel_begins_after_the_proxys_answer_however_it_arrives(
    pieces: Sequence[bytes],
) -> None:
    async with proxy(*pieces) as (port, _):
        assert await received(port) == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000,
        b"HTTP/1.1 abc\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\xff\xfe",
        b"",
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_an_error_of_the_network(answer: bytes) -> None:
    async with proxy(answer) as (port, _):
        with pytest.raises(OSError, match=r"proxy|reset") as failed:
            await received(port)
        assert len(str(failed.value)) < 100


async def test_the_host_and_the_credential_are_told_to_the_proxy() -> None:
    async with proxy(ANSWER) as (port, heads):
        await received(port, host="2001:db8::1")
    (head,) = heads
    assert head.startswith(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n")
    assert b"\r\nProxy-Authorization: Basic dXMgZXI6cMOkOnNz\r\n" in head


async def test_a_tunnel_that_is_given_up_leaves_no_socket() -> None:
    async with proxy(ANSWER[:9], *[b""] * 1000) as (port, heads):
        opening = asyncio.create_task(received(port))
        await eventually(lambda: bool(heads))
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
