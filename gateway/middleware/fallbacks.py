"""Fallbacks: if one deployment or model cannot answer, the gateway asks another one."""

from __future__ import annotations

from collections.abc import Awaitable

from aiohttp import web

from gateway.dialects import refusals
from gateway.errors import (
    GatewayError,
    Unavailable,
    UpstreamBusy,
    UpstreamError,
    UpstreamTotalTimeout,
)
from gateway.pending import Answer, Pending
from gateway.pipeline import Result, Segment
from gateway.proxy.attempt import SendOptions
from gateway.proxy.relay import RelayedResponse
from gateway.proxy.translated import understands
from gateway.request import Request
from gateway.routing.applied_rules import apply_rules, fits
from gateway.routing.deployments import assign, unassign
from gateway.routing.resolve import rename_model
from gateway.routing.target import Deployed, Target, target_of
from gateway.upstream.deployment import Assignment

_LONGEST_REASON = 200
"""Maximum characters of a backend's message in the list of models that failed."""
_TOO_LONG = "prompt too long"


class Fallbacks:
    """Policy that asks the other deployments of the model, and then its fallbacks, as long as no
    part of an answer was sent.
    """

    def __init__(self, sending: SendOptions) -> None:
        self._sending = sending

    def passes(self, request: Request, rest: Segment) -> Result:
        """Return the first usable response. If all fail, return the last response or raise the last
        error. No task is needed unless the first target fails.
        """
        exchange = request.exchange
        target = target_of(exchange)
        if not target.fallbacks and target.deployed is None:
            return rest.begin(request)
        trial = _Trial(request, rest, self._sending)
        if target.deployed is not None and exchange.assignment is None:
            return trial.after(UpstreamBusy("no deployment has room"))
        try:
            result = rest.begin(request)
        except GatewayError as exc:
            return trial.after(exc)
        if not isinstance(result, Pending):
            return trial.wait(result)
        trial.watch(result)
        return trial


class _Trial(Pending):
    """Answer of the first target that answers."""

    __slots__ = ("_body", "_first", "_mark", "_rest", "_sending")

    def __init__(self, request: Request, rest: Segment, sending: SendOptions) -> None:
        super().__init__(request)
        self._rest = rest
        self._sending = sending
        self._body = request.exchange.body
        self._mark = request.exchange.mark()
        self._first: Pending | None = None
        """Answer of the first target, which arrives without a task."""

    def watch(self, first: Pending) -> None:
        """Deliver the answer of the first target, or another one if it is not usable."""
        self._first = first
        first.then = self._arrived

    def cancel(self) -> None:
        if self._first is not None:
            self._first.cancel()

    def _arrived(self, request: Request, answer: Answer) -> None:
        self._first = None  # it refers to this object
        if isinstance(answer, Exception) or answer.status >= 400:
            request.client.work(self._deliver(answer))
        else:
            self.then(request, answer)

    async def _deliver(self, answer: Answer) -> None:
        """Deliver the answer to use after `answer`, that of the first target."""
        try:
            answer = await self.after(answer)
        except Exception as exc:
            answer = exc
        self.then(self.request, answer)

    async def wait(
        self, result: web.StreamResponse | Awaitable[web.StreamResponse]
    ) -> web.StreamResponse:
        """Wait for the first target. Return the first usable response."""
        answer: Answer
        try:
            answer = result if isinstance(result, web.StreamResponse) else await result
        except GatewayError as exc:
            answer = exc
        return await self.after(answer)

    async def after(self, answer: Answer) -> web.StreamResponse:
        """Return `answer`, which is that of the first target, if it is usable, and otherwise the
        first usable response of the others. If all fail, return the last response or raise the last
        error.
        """
        request, exchange = self.request, self.request.exchange
        target = target_of(exchange)
        others = _Others(request, self._sending)
        while True:
            reason = await _shortcoming(answer, target)
            same_model = reason != _TOO_LONG
            found = None if reason is None else await others.next(target, same_model=same_model)
            if found is None:
                if isinstance(answer, Exception):
                    raise answer
                return answer
            name, following, assignment = found
            exchange.unwind(self._mark)
            failed = exchange.served or exchange.model
            if target.deployed is not None:
                failed = f"{failed} at {target.upstream.name}"
            exchange.falls_back(name, following, f"{failed}: {reason}")
            if assignment is None:
                unassign(exchange)
            else:
                assign(exchange, assignment)
            target = following
            own_name = target.rename_to or exchange.served or exchange.model
            assert own_name is not None
            rename_model(request, self._body, own_name)
            waiting = apply_rules(request, target, self._sending.reader)
            if waiting is not None:
                await waiting
            try:
                answer = await self._rest.run(request)
            except GatewayError as exc:
                answer = exc


class _Others:
    """Targets that may be asked after one has failed."""

    def __init__(self, request: Request, sending: SendOptions) -> None:
        self._request = request
        self._sending = sending
        exchange = request.exchange
        self._models = [
            one
            for one in target_of(exchange).fallbacks
            if one[1].serves(one[0], exchange.principal)
        ]
        self._tried: set[str] = set()
        """Keys of the model's deployments that were asked."""

    async def next(
        self, failed: Target, *, same_model: bool
    ) -> tuple[str | None, Target, Assignment | None] | None:
        """Return the next target: the name of the fallback, or None for another deployment of the
        same model; the target; and its place at a deployment, if it has one. None if there is no
        other target.
        """
        if (assignment := self._request.exchange.assignment) is not None:
            self._tried.add(assignment.deployment.key)
        if same_model and failed.deployed is not None:
            found = await self._deployment(failed.deployed)
            if found is not None:
                return None, *found
        while self._models:
            name, target = self._models.pop(0)
            self._tried.clear()
            if target.deployed is not None:
                found = await self._deployment(target.deployed)
                if found is not None:
                    return name, *found
            elif await self._takes(target):
                return name, target, None
        return None

    async def _deployment(self, model: Deployed) -> tuple[Target, Assignment] | None:
        """Return a deployment of the model that was not asked and understands the request."""
        request = self._request
        while True:
            exchange = request.exchange
            found = model.choose(exchange, request.headers, exchange.body, self._tried)
            if found is None or await self._takes(found[0]):
                return found
            self._tried.add(found[1].deployment.key)

    async def _takes(self, target: Target) -> bool:
        """Tell whether the request fits into the model, and can be translated for the target."""
        request = self._request
        return fits(request, target, surely=True) and await understands(
            request, target, self._sending
        )


async def _shortcoming(answer: Answer, target: Target) -> str | None:
    """Return why another target should be asked instead of using this answer; None if it is usable,
    or an error that another target would have, too.
    """
    if isinstance(answer, UpstreamTotalTimeout):
        return None  # no time is left for another model
    if isinstance(answer, UpstreamError | Unavailable):
        return answer.code
    if isinstance(answer, Exception):
        return None
    status = answer.status
    if status < 400:
        return None
    rotates = target.deployed is not None and status in target.upstream.options.retries.rotate
    if status == 429 or status >= 500 or rotates:
        words = answer.words if isinstance(answer, RelayedResponse) else None
        return f"status {status}: {words[:_LONGEST_REASON]}" if words else f"status {status}"
    if status in refusals.STATUSES and isinstance(answer, RelayedResponse):
        body = await answer.held(refusals.LONGEST_BYTES)
        if body is not None and refusals.too_long(status, body):
            return _TOO_LONG
    return None
