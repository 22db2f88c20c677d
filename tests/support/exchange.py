"""Whole exchanges in one call, for tests of the response only."""

from __future__ import annotations

from tests.support.client import ConnectionEnded, RawClient, Response, request

POST = request(
    "POST",
    "/v1/chat/completions",
    headers=["Content-Type: application/json"],
    body=b'{"model":"m","stream":true}',
)
EVENTS = (b'data: {"n":1}\n\n', b'data: {"n":2}\n\n')


async def ask(port: int, raw: bytes = POST, method: str = "POST") -> Response:
    """Send one request on a new connection. Return the response."""
    async with RawClient(port) as client:
        await client.send(raw)
        return await client.read_response(method)


async def read_stream(client: RawClient) -> tuple[bytes, bool]:
    """Return the rest of a chunked body, and True if its last chunk came."""
    data = b""
    try:
        while (piece := await client.read_chunk()) is not None:
            data += piece
    except ConnectionEnded:
        assert client.unread == b"", f"a chunk was left half-sent: {client.unread[:80]!r}"
        return data, False
    return data, True
