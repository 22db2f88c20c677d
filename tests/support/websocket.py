"""WebSocket frames as raw bytes: written as wrongly as a test wants, and read strictly."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.client import Head, RawClient, request
from tests.support.gateway import simple_config
from tests.support.upstream import Request, UpstreamConnection

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "AQIDBAUGBwgJCgsMDQ4PEA=="
HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)
_MASK = b"\xa5\x5a\x0f\xf0"


class Readable(Protocol):
    """Connection of either side."""

    async def read_exactly(self, count: int) -> bytes:
        """Return the next `count` bytes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Frame as it was on the wire, but unmasked."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    masked: bool = False

    @property
    def code(self) -> int:
        """Code of a close frame; 1005 if it has none."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


@dataclass(frozen=True, slots=True)
class Heard:
    """Messages, pongs and close code that were received."""

    messages: list[tuple[int, bytes]]
    pongs: list[bytes]
    code: int
    reason: str


def frame(
    payload: bytes | str = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = _MASK,
    length: int | None = None,
) -> bytes:
    """Return a frame: that of a client, or with `mask` None that of a server. `length` is the
    length to declare, if not the real one.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data) if length is None else length
    bit = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def close(code: int | None = 1000, reason: bytes | str = b"", **how: Any) -> bytes:
    """Return a close frame."""
    said = reason.encode() if isinstance(reason, str) else reason
    return frame(b"" if code is None else code.to_bytes(2, "big") + said, CLOSE, **how)


async def read_frame(connection: Readable) -> Frame:
    """Return the next frame."""
    first, second = await connection.read_exactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await connection.read_exactly(2 if size == 126 else 8), "big")
    mask = await connection.read_exactly(4) if second & 0x80 else b""
    data = await connection.read_exactly(size) if size else b""
    if mask:
        cover = (mask * (size // 4 + 1))[:size]
        data = (int.from_bytes(data, "big") ^ int.from_bytes(cover, "big")).to_bytes(size, "big")
    return Frame(first & 0x0F, data, first >= 0x80, first >> 4 & 7, bool(mask))


async def hear(connection: Readable) -> Heard:
    """Return all messages up to the close frame. They must not be masked or out of order."""
    messages: list[tuple[int, bytes]] = []
    pongs: list[bytes] = []
    opcode, parts = CONTINUATION, bytearray()
    while True:
        heard = await read_frame(connection)
        assert not heard.masked
        assert not heard.rsv
        if heard.opcode == CLOSE:
            reason = heard.payload[2:].decode()
            return Heard(messages, pongs, heard.code, reason)
        if heard.opcode == PONG:
            pongs.append(heard.payload)
            continue
        assert (heard.opcode == CONTINUATION) == (opcode != CONTINUATION), heard
        opcode = opcode or heard.opcode
        parts += heard.payload
        if heard.fin:
            messages.append((opcode, bytes(parts)))
            opcode, parts = CONTINUATION, bytearray()


def config(upstream_url: str, **options: Any) -> dict[str, Any]:
    """Return a configuration with one anonymous route that serves WebSockets."""
    return simple_config(upstream_url, websocket=options or True)


def opening(target: str = "/v1/x", *lines: str, handshake: Iterable[str] = HANDSHAKE) -> bytes:
    """Return the handshake of a client."""
    return request(target=target, headers=[*handshake, *lines])


async def opened(client: RawClient, target: str = "/v1/x", *lines: str) -> Head:
    """Open a WebSocket. Return the head of the response, which must be a 101."""
    await client.send(opening(target, *lines))
    head = await client.read_head()
    assert head.status == 101, head.raw
    assert head.value("sec-websocket-accept") == accept_of(KEY).encode()
    return head


def accept_of(key: str) -> str:
    """Return the Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(
        key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False
    ).digest()
    return base64.b64encode(digest).decode()


def switching(asked: Request, *lines: str) -> bytes:
    """Return the 101 response to a handshake."""
    key = asked.value("sec-websocket-key")
    assert key is not None
    head = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_of(key.decode())}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


async def echo(connection: UpstreamConnection, *lines: str) -> None:
    """Script that echoes every data frame as it came, and the close frame too."""
    await connection.send(switching(await connection.read_request(), *lines))
    while True:
        said = await read_frame(connection)
        assert said.masked
        if said.opcode == PONG:
            continue
        opcode = PONG if said.opcode == PING else said.opcode
        await connection.send(frame(said.payload, opcode, fin=said.fin, mask=None))
        if opcode == CLOSE:
            return


async def join(connection: UpstreamConnection, *lines: str) -> Request:
    """Read the gateway's handshake, and accept it."""
    asked = await connection.read_request()
    await connection.send(switching(asked, *lines))
    return asked
