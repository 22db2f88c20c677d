"""Pipelines: the order of phases, with and without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from gateway.errors import GatewayError, NotFound
from gateway.exchange import Exchange
from gateway.outcome import EndReason
from gateway.pending import Pending
from gateway.pipeline import Pipeline, Result, Segment
from gateway.request import Request

Step = Callable[[Request], Awaitable[web.StreamResponse]]


class Client:
    """What a pipeline asks of a client's connection."""

    def __init__(self) -> None:
        self.responses: list[web.StreamResponse] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.pending: Any = None

    def send(self, response: web.StreamResponse) -> None:
        self.responses.append(response)

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))

    def broke(self, error: Exception) -> None:
        raise error


class Errors:
    """Turns errors into responses with their status."""

    def response(self, error: Exception, request: Request) -> web.StreamResponse:
        return web.Response(status=error.status if isinstance(error, GatewayError) else 500)

    def joined(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        raise AssertionError("no stream was opened early")


class Note:
    """Policy that notes its phases, and waits in its request phase if it is `slow`."""

    def __init__(self, name: str, notes: list[str], *, slow: bool = False) -> None:
        self._name, self._notes, self._slow = name, notes, slow

    def on_request(self, request: Request) -> Awaitable[None] | None:
        if self._slow:
            return self._wait()
        self._notes.append(f"{self._name} in")
        return None

    async def _wait(self) -> None:
        await asyncio.sleep(0)
        self._notes.append(f"{self._name} in")

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        self._notes.append(f"{self._name} out")
        return response

    def on_end(self, exchange: Exchange) -> None:
        self._notes.append(f"{self._name} end")


class Around:
    """Policy that asks the rest of the pipeline several times."""

    def __init__(self, times: int = 1) -> None:
        self._times = times

    async def around(self, request: Request, handler: Step) -> web.StreamResponse:
        for _ in range(self._times - 1):
            await handler(request)
        return await handler(request)


def made_request() -> tuple[Request, Client]:
    client = Client()
    request = SimpleNamespace(exchange=Exchange("GET", "192.0.2.1", False), client=client)
    return cast(Request, request), client


def teapot(_: Request) -> web.StreamResponse:
    return web.Response(status=418)


async def answered(pipeline: Pipeline) -> tuple[int, Exchange]:
    """Serve one request. Return the status of its response, and its exchange."""
    request, client = made_request()
    pipeline.serve(request)
    for task in client.tasks:
        await task
    (response,) = client.responses
    return response.status, request.exchange


async def test_a_request_that_waits_for_nothing_is_answered_at_once() -> None:
    notes: list[str] = []
    request, client = made_request()
    inner = [Note("c", notes), Note("d", notes)]
    Pipeline([Note("a", notes)], Errors(), inner, teapot).serve(request)
    assert [response.status for response in client.responses] == [418]
    assert client.tasks == []
    assert notes == ["a in", "c in", "d in", "d out", "c out", "a out"]


@pytest.mark.parametrize("slow", [0, 1, 2])
async def test_a_phase_that_waits_changes_no_order(slow: int) -> None:
    notes: list[str] = []
    inner = [Note(str(each), notes, slow=each == slow) for each in range(3)]
    status, _ = await answered(Pipeline([], Errors(), inner, teapot))
    assert status == 418
    assert notes == ["0 in", "1 in", "2 in", "2 out", "1 out", "0 out"]


class Slow:
    """Policy that waits in its response phase, and then replaces the response or fails."""

    def __init__(self, notes: list[str], error: Exception | None = None) -> None:
        self._notes, self._error = notes, error

    def on_response(
        self, request: Request, response: web.StreamResponse
    ) -> Awaitable[web.StreamResponse]:
        return self._wait(response)

    async def _wait(self, response: web.StreamResponse) -> web.StreamResponse:
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        self._notes.append("slow out")
        return web.Response(status=response.status + 1)


@pytest.mark.parametrize("around", [False, True], ids=["without a task", "in a task"])
@pytest.mark.parametrize("slow", [False, True], ids=["sync request", "request that waits"])
async def test_a_response_phase_that_waits_changes_no_order(around: bool, slow: bool) -> None:
    notes: list[str] = []
    inner = [
        Note("a", notes, slow=slow),
        *([Around()] if around else []),
        *(Note("b", notes), Slow(notes), Note("c", notes)),
    ]
    status, _ = await answered(Pipeline([Note("o", notes)], Errors(), inner, teapot))
    assert status == 419
    assert notes[-5:] == ["c out", "slow out", "b out", "a out", "o out"]


async def test_a_pending_answer_waits_for_a_response_phase() -> None:
    notes: list[str] = []
    request, client = made_request()
    later = Later(request)
    inner = [Note("a", notes), Slow(notes)]
    Pipeline([], Errors(), inner, lambda _: later).serve(request)
    later.then(request, web.Response(status=202))
    assert client.responses == []
    (task,) = client.tasks
    await task
    assert [response.status for response in client.responses] == [203]
    assert notes == ["a in", "slow out", "a out"]


async def test_an_error_of_a_response_phase_that_waits_is_a_response() -> None:
    notes: list[str] = []
    inner = [Note("a", notes), Slow(notes, NotFound())]
    status, _ = await answered(Pipeline([Note("o", notes)], Errors(), inner, teapot))
    assert status == 404
    assert notes == ["o in", "a in", "o out"]


async def test_an_answer_of_a_policy_keeps_the_request_from_those_behind() -> None:
    notes: list[str] = []

    class Answer:
        def on_request(self, request: Request) -> web.StreamResponse:
            return web.Response(status=204)

    inner = [Note("a", notes), Answer(), Note("b", notes)]
    status, _ = await answered(Pipeline([], Errors(), inner, teapot))
    assert status == 204
    assert notes == ["a in", "b out", "a out"]


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "later"])
async def test_an_error_is_a_response_that_only_outer_policies_see(slow: bool) -> None:
    notes: list[str] = []

    def refuse(_: Request) -> web.StreamResponse:
        raise NotFound

    inner = [Note("b", notes, slow=slow)]
    status, _ = await answered(Pipeline([Note("a", notes)], Errors(), inner, refuse))
    assert status == 404
    assert notes == ["a in", "b in", "a out"]


async def test_a_refused_request_meets_the_outer_policies_only() -> None:
    notes: list[str] = []
    pipeline = Pipeline([Note("a", notes)], Errors(), [Note("b", notes)], teapot)
    request, client = made_request()
    pipeline.refuse(request, NotFound())
    request.exchange.end(EndReason.COMPLETE)
    (response,) = client.responses
    assert response.status == 404
    assert notes == ["a in", "a out", "b end", "a end"]


async def test_the_rest_runs_as_often_as_the_policy_around_it_asks() -> None:
    notes: list[str] = []
    inner = [Note("a", notes), Around(2), Note("b", notes), Around(), Note("c", notes)]
    status, _ = await answered(Pipeline([], Errors(), inner, teapot))
    assert status == 418
    rest = ["b in", "c in", "c out", "b out"]
    assert notes == ["a in", *rest, *rest, "a out"]


class Passes:
    """Policy that begins the rest itself."""

    def passes(self, request: Request, rest: Segment) -> Result:
        return rest.begin(request)


class Asks:
    """Policy without a response phase."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def on_request(self, request: Request) -> None:
        self._notes.append("asked")


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "request that waits"])
@pytest.mark.parametrize("around", [False, True], ids=["in no task", "in a task"])
async def test_the_rest_needs_no_task_where_a_policy_begins_it_by_a_call(
    around: bool, slow: bool
) -> None:
    notes: list[str] = []
    request, client = made_request()
    later = Later(request)
    outer = [Note("a", notes), *([Around()] if around else []), Note("b", notes, slow=slow)]
    inner = [*outer, Slow(notes), Passes(), Asks(notes)]
    Pipeline([], Errors(), inner, lambda _: later).serve(request)
    for _ in range(5):
        await asyncio.sleep(0)
    assert bool(client.tasks) == (slow or around)
    later.then(request, web.Response(status=202))
    for task in client.tasks:
        await task
    assert [response.status for response in client.responses] == [203]
    assert notes == ["a in", "b in", "asked", "slow out", "b out", "a out"]


class Later(Pending):
    """An answer that the test delivers."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize("around", [False, True], ids=["without a task", "in a task"])
async def test_a_pending_answer_passes_the_response_phases_when_it_is_delivered(
    around: bool,
) -> None:
    notes: list[str] = []
    request, client = made_request()
    later = Later(request)
    inner = [Note("a", notes), *([Around()] if around else []), Note("b", notes)]
    Pipeline([], Errors(), inner, lambda _: later).serve(request)
    if around:
        await asyncio.sleep(0)
    assert (client.pending is None) == around
    assert client.responses == []
    later.then(request, web.Response(status=202))
    for task in client.tasks:
        await task
    assert [response.status for response in client.responses] == [202]
    assert notes == ["a in", "b in", "b out", "a out"]


async def test_a_pending_answer_is_cancelled_with_the_task_that_waits_for_it() -> None:
    request, client = made_request()
    later = Later(request)
    Pipeline([], Errors(), [Around()], lambda _: later).serve(request)
    (task,) = client.tasks
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert later.cancelled
    assert client.responses == []


async def test_the_end_phases_run_from_the_innermost_out_and_counting_out_comes_last() -> None:
    notes: list[str] = []
    pipeline = Pipeline(
        [Note("a", notes), Note("b", notes)],
        Errors(),
        [Note("c", notes)],
        teapot,
        ended=lambda _: notes.append("counted out"),
    )
    _, exchange = await answered(pipeline)
    notes.clear()
    exchange.end(EndReason.COMPLETE)
    assert notes == ["c end", "b end", "a end", "counted out"]
