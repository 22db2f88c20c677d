"""The admin listener answers malformed requests by itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.admin import admin
from tests.support.gateway import (
    StartGatewayProcess,
    simple_config,
)

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_a_page_that_leaves_before_its_answer_is_nobodys_fault(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    for _ in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.admin_port)
        writer.write(b"GET /api/events?topics=now HTTP/1.1\r\nHost: localhost\r\n\r\n")
        writer.transport.abort()
    assert (await admin(gateway, "GET", "/livez")).status == 200
    assert b"Traceback" not in gateway.errors, gateway.errors.decode()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /play/api/secret y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Secret : secret\r\n\r\n",
        b"secret\r\n\r\n",
    ],
    ids=["request line", "header", "no HTTP"],
)
async def test_a_malformed_request_is_answered_without_its_bytes(
    start_gateway_process: StartGatewayProcess, raw: bytes
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.admin_port)
    writer.write(raw)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 400 Bad Request\r\n" in head
    assert body == b'{"error":"the request is not valid HTTP/1.1"}\n'
    assert b"Server: gateway" in head
    assert (await admin(gateway, "GET", "/livez")).value("server") == b"gateway"
