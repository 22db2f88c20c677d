"""Whole exchanges in one call, for tests that care about what comes back and not about how."""

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
    """The response to one request on a connection of its own."""
    async with RawClient(port) as client:
        await client.send(raw)
        return await client.read_response(method)


async def read_stream(client: RawClient) -> tuple[bytes, bool]:
    """What is left of a chunked body, and whether its last chunk came."""
    data = b""
    try:
        while (piece := await client.read_chunk()) is not None:
            data += piece
    except ConnectionEnded:
        assert client.unread == b"", f"a chunk was left half-sent: {client.unread[:80]!r}"
        return data, False
    return data, True
