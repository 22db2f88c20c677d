"""Pipeline of one route: its policies in order, and the handler that answers what they pass.

A policy is one object with the phases that it needs:

- `on_request(request)` returns None to pass the request on, a response to answer it, or an
  awaitable of either. It raises GatewayError to refuse the request.
- `on_response(request, response)` returns the response to send, or a coroutine for it. It does not
  wait if it sees the errors of the gateway, too.
- `on_end(exchange)` runs once, when the request has ended.
- `on_report(exchanges)` runs soon after that, once for some requests: see
  `gateway/telemetry/reports.py`.
- `around(request, handler)` is aiohttp's middleware signature, for plug-ins, which run the rest of
  the pipeline themselves. It runs in a task.
- `passes(request, rest)` runs the rest of the pipeline itself, too, and returns what a handler
  returns: fallbacks begin the rest again. No policy behind it has a response phase.

`Pipeline.serve` runs the phases as plain calls. From the first awaitable on, it runs the same
phases in a task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from inspect import isfunction
from types import CoroutineType
from typing import Any, Protocol, TypeAlias, TypeVar

from aiohttp import web

from gateway.exchange import Exchange
from gateway.outcome import Commit
from gateway.pending import Answer, Pending
from gateway.request import Request

Outcome = web.StreamResponse | Awaitable[web.StreamResponse | None] | None
"""Result of a request phase."""
Result = web.StreamResponse | Awaitable[web.StreamResponse]
"""Result of a handler. A `Pending` is an awaitable that can do without a task."""
Handler = Callable[[Request], Result]
OnRequest = Callable[[Request], Outcome]
Finished: TypeAlias = "web.StreamResponse | CoroutineType[Any, Any, web.StreamResponse]"
"""Result of a response phase."""
OnResponse = Callable[[Request, web.StreamResponse], Finished]
Responses = tuple[tuple[int, OnResponse], ...]
"""Response phases in order, with their numbers from 1."""
AtOnce = Callable[[Request, web.StreamResponse], web.StreamResponse]
"""Response phase that does not wait."""
OnEnd = Callable[[Exchange], None]
OnReport = Callable[[Iterator[Exchange]], None]
Around = Callable[[Request, Callable[[Request], Awaitable[web.StreamResponse]]], Result]
Passes = Callable[[Request, "Segment"], Result]
Rest = TypeVar("Rest")

_EARLY = Commit.EARLY  # a member of an enum is found by a slow path


class Errors(Protocol):
    """Policy that turns an error into a response."""

    def response(self, error: Exception, request: Request) -> web.StreamResponse:
        """Return the response for an error."""

    def joined(self, request: Request, response: web.StreamResponse) -> Finished:
        """Return the response to send in a stream that was opened early."""


class Segment:
    """Policies up to the next one that runs the rest itself, and the handler behind them."""

    def __init__(self, policies: Sequence[object], handler: Handler) -> None:
        self._steps: tuple[OnRequest, ...] = _phases(policies, "on_request")
        self.through: Responses = tuple(enumerate(reversed(_phases(policies, "on_response")), 1))
        """Response phases, in order."""
        # A bound method is called without the detour by the object's type.
        self._handler: Handler = handler if isfunction(handler) else handler.__call__  # type: ignore[operator]

    def begin(self, request: Request) -> Result:
        """Run the request phases. Return the response, or what is to be waited for. Raise what the
        phases raise.

        The response of a `Pending` has not passed the phases of `through` yet.
        """
        steps = iter(self._steps)
        for step in steps:
            outcome = step(request)
            if outcome is not None:
                if isinstance(outcome, web.StreamResponse):
                    return finished(self.through, request, outcome)
                return self._continue(request, steps, outcome)
        result = self._handler(request)
        if isinstance(result, Pending):
            return result
        if isinstance(result, web.StreamResponse):
            return finished(self.through, request, result)
        return self._continue(request, steps, result)

    async def run(self, request: Request) -> web.StreamResponse:
        """Return the response, in a task."""
        result = self.begin(request)
        if isinstance(result, Pending):
            result = finished(self.through, request, await result)
        return result if isinstance(result, web.StreamResponse) else await result

    async def _continue(
        self,
        request: Request,
        steps: Iterator[OnRequest],
        waiting: Awaitable[web.StreamResponse | None],
    ) -> web.StreamResponse:
        """Wait for the result of a phase, then run the remaining `steps`."""
        response = await waiting
        if response is None:
            for step in steps:
                outcome = step(request)
                if outcome is None:
                    continue
                response = outcome if isinstance(outcome, web.StreamResponse) else await outcome
                if response is not None:
                    break
            else:
                result = self._handler(request)
                response = result if isinstance(result, web.StreamResponse) else await result
        end = finished(self.through, request, response)
        return end if isinstance(end, web.StreamResponse) else await end


def finished(phases: Responses, request: Request, response: web.StreamResponse) -> Finished:
    """Run response phases. Return the response, or a coroutine for it from the first phase on that
    has to wait.
    """
    for number, phase in phases:
        result = phase(request, response)
        # An instance check of aiohttp's abstract response class takes longer.
        if type(result) is CoroutineType:
            return _finished_later(phases[number:], request, result)  # type: ignore[return-value]
        response = result
    return response


async def _finished_later(
    phases: Responses, request: Request, waiting: Awaitable[web.StreamResponse]
) -> web.StreamResponse:
    response = await waiting
    for _, phase in phases:
        result = phase(request, response)
        response = result if isinstance(result, web.StreamResponse) else await result
    return response


class Pipeline:
    """All policies of a route, from the first that sees a request to the handler."""

    def __init__(
        self,
        outer: Sequence[object],
        errors: Errors,
        inner: Sequence[object],
        handler: Handler,
        *,
        ended: OnEnd | None = None,
        later: Callable[[Sequence[OnReport]], OnEnd] | None = None,
    ) -> None:
        """`outer` policies see every response, `inner` ones those that are no errors of the
        gateway. `ended` is called after all end phases. `later` returns what makes reports soon; it
        is needed if a policy has some.
        """
        self._begins = _phases(outer, "on_request")
        self._responses: tuple[AtOnce, ...] = tuple(reversed(_phases(outer, "on_response")))
        self._errors = errors
        reports = tuple(reversed(_phases([*outer, *inner], "on_report")))
        if reports:
            assert later is not None
            reports = (later(reports),)
        self._ends = (
            *reversed(_phases([*outer, *inner], "on_end")),
            *reports,
            *([ended] if ended is not None else ()),
        )
        self._segment = _segments(inner, handler)
        self._arrived_later = self._answer_later  # one bound method for all requests

    def serve(self, request: Request) -> None:
        """Answer a request: at once, when a `Pending` is delivered, or in a task."""
        request.exchange.phases = self._ends
        for phase in self._begins:
            phase(request)
        try:
            result = self._segment.begin(request)
        except Exception as exc:
            self._refuse(request, exc)
            return
        if isinstance(result, Pending):
            result.then = self._arrived_later
            request.client.pending = result
        elif isinstance(result, web.StreamResponse):
            self._answer(request, result)
        else:
            request.client.work(self._work(request, result))

    def refuse(self, request: Request, error: Exception) -> None:
        """Answer a request with an error, without asking the inner policies."""
        request.exchange.phases = self._ends
        for phase in self._begins:
            phase(request)
        self._refuse(request, error)

    async def _work(self, request: Request, waiting: Awaitable[web.StreamResponse]) -> None:
        try:
            response = await waiting
        except Exception as exc:
            self._refuse(request, exc)
        else:
            self._answer(request, response)

    def _answer_later(self, request: Request, answer: Answer) -> None:
        """Answer with what a `Pending` delivered."""
        try:
            if isinstance(answer, Exception):
                self._refuse(request, answer)
                return
            result = finished(self._segment.through, request, answer)
            if type(result) is CoroutineType:
                request.client.work(self._work(request, result))
                return
            self._answer(request, result)
        except Exception as exc:
            request.client.broke(exc)

    def _refuse(self, request: Request, error: Exception) -> None:
        self._answer(request, self._errors.response(error, request))

    def _answer(self, request: Request, response: web.StreamResponse) -> None:
        exchange = request.exchange
        early = exchange.early
        if early is not None:
            if exchange.commit is _EARLY:
                joined = self._errors.joined(request, response)
                if type(joined) is CoroutineType:
                    request.client.work(self._send_later(request, joined))
                    return
                response = joined
            early.close()
            exchange.early = None  # so that the end has nothing to close
        for phase in self._responses:
            response = phase(request, response)
        request.client.send(response)

    async def _send_later(self, request: Request, waiting: Awaitable[web.StreamResponse]) -> None:
        response = await waiting
        early = request.exchange.early
        assert early is not None  # it is why the response was waited for
        early.close()
        for phase in self._responses:
            response = phase(request, response)
        request.client.send(response)


def _phases(policies: Sequence[object], name: str) -> tuple[Any, ...]:
    """Return this phase of the policies that have it. Bound methods are looked up once, here."""
    return tuple(
        getattr(policy, name) for policy in policies if getattr(policy, name, None) is not None
    )


def _segments(policies: Sequence[object], handler: Handler) -> Segment:
    """Cut the policies at those that run the rest themselves."""
    for number, policy in enumerate(policies):
        passes: Passes | None = getattr(policy, "passes", None)
        if passes is not None:
            rest = _segments(policies[number + 1 :], handler)
            assert not rest.through
            return Segment(policies[:number], _handed(passes, rest))
        around: Around | None = getattr(policy, "around", None)
        if around is not None:
            rest = _segments(policies[number + 1 :], handler)
            return Segment(policies[:number], _handed(around, rest.run))
    return Segment(policies, handler)


def _handed(policy: Callable[[Request, Rest], Result], rest: Rest) -> Handler:
    """Return the handler that hands a request, and the rest of the pipeline, to a policy."""

    def handle(request: Request) -> Result:
        return policy(request, rest)

    return handle
