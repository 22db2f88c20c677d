"""Responses that write themselves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from gateway.client_response import ClientResponse
from gateway.request import Request


class Client:
    """Connection that keeps alive, and counts complete responses."""

    def __init__(self, transport: object = "transport") -> None:
        self.transport = transport
        self.complete: list[web.StreamResponse] = []

    def may_keep_alive(self) -> bool:
        return True

    def sent(self, response: web.StreamResponse) -> None:
        self.complete.append(response)


class Written(ClientResponse):
    """Response whose end the test decides."""

    starts = 0

    def start(self, request: Request) -> None:
        self.connection: object = self._begin(request)
        self.starts += 1

    def end(self) -> None:
        self._complete()


def request(client: Client) -> Any:
    return SimpleNamespace(client=client)


async def test_a_plug_in_may_prepare_it_and_wait_for_its_end() -> None:
    client, response = Client(), Written()
    before = response.prepared
    assert not before
    await response.prepare(cast(web.Request, SimpleNamespace(original=request(client))))
    await response.prepare(request(client))
    assert response.prepared
    assert response.starts == 1
    waits = asyncio.ensure_future(response.write_eof())
    await asyncio.sleep(0)
    assert not waits.done()
    assert response.connection is client
    response.end()
    await waits
    assert client.complete == [response]


def test_it_keeps_the_connection_alive_unless_it_was_told_not_to() -> None:
    kept, closed = Written(), Written()
    closed.force_close()
    for response in (kept, closed):
        response.start(request(Client()))
    assert (kept.keep_alive, closed.keep_alive) == (True, False)


def test_a_client_that_has_left_is_an_error() -> None:
    with pytest.raises(ConnectionResetError):
        Written().start(request(Client(transport=None)))
