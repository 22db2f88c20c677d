"""TLS from the admin process to the gateway's own listener, by its address."""

from __future__ import annotations

import asyncio
import ssl

import trustme

from gateway.admin.own_listener import own_listener


async def test_the_certificate_may_be_for_the_name_that_clients_use() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("llm.example.com").configure_cert(context)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=own_listener())
        assert await reader.read() == b"here"
        writer.close()
