"""Composing middlewares into one handler."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiohttp import web

from gateway.exchange import GatewayRequest
from gateway.middleware.chain import compose
from gateway.routing import Handler

REQUEST = cast(GatewayRequest, object())  # a chain passes it on and asks nothing of it


class Note:
    """A middleware that writes down when a request passes it, and when its response does."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        self._notes.append(f"{self._name} in")
        try:
            return await handler(request)
        finally:
            self._notes.append(f"{self._name} out")


async def teapot(request: GatewayRequest) -> web.StreamResponse:
    assert request is REQUEST
    return web.Response(status=418)


async def refuse(request: GatewayRequest, handler: Handler) -> web.StreamResponse:
    return web.Response(status=403)


async def test_no_middleware_is_the_handler() -> None:
    assert (await compose([], teapot)(REQUEST)).status == 418


async def test_requests_pass_in_the_order_listed_and_responses_in_reverse() -> None:
    notes: list[str] = []
    response = await compose([Note("a", notes), Note("b", notes)], teapot)(REQUEST)
    assert response.status == 418
    assert notes == ["a in", "b in", "b out", "a out"]


async def test_one_that_answers_keeps_the_request_from_those_behind_it() -> None:
    notes: list[str] = []
    chain = compose([Note("a", notes), refuse, Note("b", notes)], teapot)
    assert (await chain(REQUEST)).status == 403
    assert notes == ["a in", "a out"]


async def test_an_error_passes_every_middleware_on_its_way_out() -> None:
    async def fail(request: GatewayRequest) -> web.StreamResponse:
        raise LookupError

    notes: list[str] = []
    with pytest.raises(LookupError):
        await compose([Note("a", notes), Note("b", notes)], fail)(REQUEST)
    assert notes[2:] == ["b out", "a out"]


async def test_a_middleware_may_ask_again() -> None:
    async def twice(request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        await handler(request)
        return await handler(request)

    notes: list[str] = []
    await compose([twice, Note("a", notes)], teapot)(REQUEST)
    assert notes == ["a in", "a out"] * 2


async def test_a_chain_serves_requests_side_by_side() -> None:
    both_are_in = asyncio.Barrier(2)

    async def meet(request: GatewayRequest) -> web.StreamResponse:
        await both_are_in.wait()
        return web.Response(status=204)

    notes: list[str] = []
    chain = compose([Note("a", notes)], meet)
    async with asyncio.timeout(5):
        responses = await asyncio.gather(chain(REQUEST), chain(REQUEST))
    assert [response.status for response in responses] == [204, 204]
    assert notes == ["a in", "a in", "a out", "a out"]


async def test_a_list_changed_afterwards_changes_no_chain() -> None:
    middlewares = [refuse]
    chain = compose(middlewares, teapot)
    middlewares.clear()
    assert (await chain(REQUEST)).status == 403
