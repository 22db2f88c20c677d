"""Outcome of one request, from its first byte to its end; its facts are in `gateway/facts.py`.

The connection creates the exchange, and the request refers to it. Whatever the request holds (a
slot, an endpoint, memory) is released by an `at_end` callback. What policies do at the end is a
phase of the pipeline. Each is called exactly once, however the request ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.admission.gate import QueueWait
from gateway.dialects.translation.pieces import Skip
from gateway.dialects.usage_chunk import UsageFilter
from gateway.dialects.usage_tap import UsageTap
from gateway.errors import ContentRefused, GatewayError, HookUnavailable
from gateway.facts import Facts, UnfinishedAnswer
from gateway.json_body import JsonBody
from gateway.limiting.decision import Decision
from gateway.load.overload import HeldBody
from gateway.outcome import Commit, EndReason, Failure, Stalls
from gateway.response_cache.use import CacheUse
from gateway.session import SessionState
from gateway.telemetry.captured_prompt import CapturedPrompt
from gateway.telemetry.request_class import RequestClass
from gateway.telemetry.traces.recording import Trace
from gateway.upstream.deployment import Assignment
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.upstream import Upstream
from gateway.usage import Estimate, Usage, estimate, estimate_unread

_WITHHELD = frozenset({ContentRefused.code, HookUnavailable.code})
_LONGEST_REASON = 2000
"""Characters kept of a message; a backend's words are cut at the same length."""


# A member of an enum is found by a slow path.
_OPEN, _EARLY, _ANSWERED = Commit.OPEN, Commit.EARLY, Commit.ANSWERED
_COMPLETE = EndReason.COMPLETE


class Place(Protocol):
    """Place in a queue."""

    @property
    def position(self) -> int:
        """Position in the queue; 1 is next."""

    @property
    def left_s(self) -> float:
        """Seconds until the request is removed from the queue."""


class EarlyStream(Protocol):
    """Writer of an event stream before its answer begins."""

    def queued(self, place: Place | None) -> None:
        """Note the request's place in a queue; None once it has left."""

    def close(self) -> None:
        """Stop writing: the answer begins, or the client has left."""


class ChosenTarget(Protocol):
    """Target of a request, as far as the exchange needs it; `gateway.routing.target` has it all."""

    @property
    def upstream(self) -> Upstream:
        """Upstream that the request goes to."""


class ChosenAttempt(Protocol):
    """Attempt whose response is the answer."""

    sent_at: float
    """Time at which the request had been sent completely."""
    response: UpstreamResponse | None

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint that answers."""

    def let_body_go(self) -> None:
        """Release the request body: it will not be sent again."""

    def lost(self, error: GatewayError) -> None:
        """Count a failure of the endpoint: its response broke off."""

    def ended(self, exchange: Exchange) -> None:
        """Release the endpoint, and record its success or failure."""


class BegunStream(Protocol):
    """Stream that a request begins; its policy has the rest."""

    @property
    def id(self) -> str:
        """Id of the stream."""


class DetachedOwner(Protocol):
    """Owner that can continue an exchange after its client has left."""

    def client_left(self) -> None:
        """Note that the client has left or has received everything. May release the exchange."""

    def fail(self, error: GatewayError) -> None:
        """End the exchange now, with this error. Releases it."""


@dataclass(slots=True)
class Detachment:
    """State of an exchange that has, or had, another owner besides its client."""

    owner: DetachedOwner | None
    """The other owner, until it releases the exchange."""
    client_left: bool = False
    outcome: EndReason | None = None
    """Reason with which the exchange ends when its client leaves, in place of the client's."""
    superseded: bool = False
    """True if another process continues the answer, and accounts for all of it."""


@dataclass(slots=True, eq=False, repr=False)
class Exchange(Facts):
    """Outcome of one request, with its facts. Times are in `time.perf_counter` seconds, and None
    until known.

    The attributes are slots, without values in the class: CPython 3.11 has no fast path for an
    attribute whose class has a value of the same name, and a request reads 200 of them.
    """

    # The response.
    id_line: bytes = b""
    """Header line with the request id, for the upstream and for every response."""
    made_headers: list[tuple[str, str]] | None = None
    """`response_headers`; None if nothing has asked for them."""
    status: int | None = None
    commit: Commit = _OPEN
    failure: Failure | None = None
    """Why the request failed, or what the backend said of its error; see `failed`."""
    end_reason: EndReason | None = None
    streamed: bool = False
    """True if the response is an event stream."""
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_saved: int = 0
    """Bytes of the response saved by compression."""
    usage: Usage | None = None
    """Tokens that the request used, as reported by logs, metrics, traces and limits. None until
    the request ends, and after that if it used none.
    """
    stalls: Stalls | None = None
    """Pauses of the response because the client did not read, if there were any."""

    # Times.
    first_byte_at: float | None = None
    """Time when the first byte of the response body was sent, whatever it contained."""
    first_token_at: float | None = None
    """Time when the first content, reasoning or tool call was sent; see `end`."""
    sent_at: float | None = None
    """Time when the request had been sent to the upstream that answers; set at the end."""
    ended_at: float = 0.0
    """Time when the exchange ended."""

    # The upstream that answers.
    target: ChosenTarget | None = None
    """Target of the request, once it is resolved."""
    assignment: Assignment | None = None
    """Place of the request at a deployment, if its model has several."""
    served: str | None = None
    """Name of the fallback that serves the request instead of its model."""
    fallbacks: Sequence[str] = ()
    """Models that failed, with the reason."""
    continued: int = 0
    """Number of times another upstream continued the answer."""
    skipped: dict[Skip, int] | None = None
    """Parts of the backend's response that the translation left out, with their counts."""
    upstream: str | None = None
    endpoint: str | None = None
    attempt: ChosenAttempt | None = None
    """Attempt whose response was chosen."""
    attempts: int = 0
    """Number of times the request was sent to an upstream."""
    on_first_byte: Callable[[float], None] | None = None
    """Called with the time at which the first byte of the body is sent."""

    # State of the policies.
    trace: Trace | None = None
    """Record of the request, if the route is traced."""
    decided: Decision | None = None
    """Decision of the limits, if there are any."""
    captured: CapturedPrompt | None = None
    """Prompt and answer, if the prompt audit records this request."""
    cache: CacheUse | None = None
    """Use of the response cache, on a route that has one."""
    new_stream: BegunStream | None = None
    """Stream that the request begins if its response can be kept, on a route with `resume`."""
    queued: QueueWait | None = None
    """Wait in the queues of admission, if there was one."""
    session: SessionState | None = None
    """State of a WebSocket request, on a route that serves WebSockets."""
    early: EarlyStream | None = None
    """Writer that opens the stream early if the request has to wait; closed at the end."""
    held: HeldBody | None = None
    """Share of the body in the memory budget for bodies."""
    tap: UsageTap | None = None
    """Reader of token usage from the response body, if tokens are counted."""
    request_class: RequestClass | None = None
    """Class of requests that it is reported with, once it has ended."""
    filter: UsageFilter | None = None
    """Filter that removes from an event stream what only the gateway asked for."""

    # The connection and the end.
    must_close: bool = False
    """True if the connection must not serve another request."""
    detachment: Detachment | None = None
    """State of an exchange that has, or had, another owner besides its client."""
    phases: Sequence[Callable[[Exchange], None]] = ()
    """What the policies of the pipeline do at the end, in order; see `end`."""

    _asked: Estimate | None = None
    _at_end: list[Callable[[Exchange], None]] | None = None

    @property
    def response_headers(self) -> list[tuple[str, str]]:
        """Other headers of every response to this request, whatever makes the response."""
        if self.made_headers is None:
            self.made_headers = []
        return self.made_headers

    def opened_early(self) -> None:
        """Note that the head of an event stream is sent before its answer."""
        self.commit, self.status = _EARLY, 200

    def answered(self, status: int) -> bool:
        """Note that the head of the response is sent now. Return False if the head of an event
        stream was sent before, so that only the body may follow.
        """
        self.status = status
        if self.commit is _EARLY:
            return False
        self.commit = _ANSWERED
        return True

    def begun(self) -> None:
        """Note that the first byte of the response body is sent now."""
        self.first_byte_at = now = time.perf_counter()
        if self.first_token_at is not None:
            self.first_token_at = now  # the token is in the same piece, which was inspected before
        if self.on_first_byte is not None:
            self.on_first_byte(now)

    @property
    def well(self) -> bool:
        """True if the request ended without an error: its response is complete, or is an error
        response whose status already says so.
        """
        error = self.error_code is not None and (self.status or 0) < 400
        return self.end_reason is EndReason.COMPLETE and not error

    @property
    def error_code(self) -> str | None:
        """Code of the error that ended the request."""
        return None if self.failure is None else self.failure.code

    @property
    def backend_url(self) -> str | None:
        """URL of the endpoint whose response was chosen, to be hidden from callers."""
        return None if self.attempt is None else self.attempt.endpoint.url

    @property
    def failed_early(self) -> bool:
        """True if the request failed before the first token of an answer. An answer that a hook
        withheld was generated, so it has not failed.
        """
        return (
            self.error_code is not None
            and self.first_token_at is None
            and self.error_code not in _WITHHELD
        )

    @property
    def asked(self) -> Estimate:
        """Usage that the request may have, estimated from its body on first access."""
        if self._asked is None:
            if self.json is not None:
                self._asked = self.json.asked
            elif self.body is None:
                return estimate_unread(self.bytes_in)
            else:
                self._asked = estimate({}, len(self.body))
        return self._asked

    @property
    def unfinished(self) -> UnfinishedAnswer | None:
        """Answer of a process that died, if the request continues one."""
        return None if self.delegated is None else self.delegated.unfinished

    def rewritten(self, made: JsonBody | None = None) -> None:
        Facts.rewritten(self, made)
        if made is not None:
            self._asked = None  # it may ask for fewer tokens

    @property
    def detached_owner(self) -> DetachedOwner | None:
        """Owner that continues the exchange after its client has left."""
        return None if self.detachment is None else self.detachment.owner

    @property
    def detached(self) -> bool:
        """True if the exchange continues without the client that began it."""
        detachment = self.detachment
        return detachment is not None and detachment.owner is not None and detachment.client_left

    @property
    def superseded(self) -> bool:
        """True if another process continues the answer, and accounts for all of it."""
        return self.detachment is not None and self.detachment.superseded

    def let_body_go(self) -> bool:
        """Release the memory of the request body, once the answer is chosen and the body is not
        needed again. Return False if it is recorded, or not counted in the budget.
        """
        if self.held is None or self.captured is not None:
            return False
        if self.trace is not None and self.trace.content is not None:
            return False
        self._asked = self.asked
        self.held.end(self)
        self.body = self.json = self.held = None
        if self.attempt is not None:
            self.attempt.let_body_go()
        return True

    def falls_back(self, name: str | None, target: ChosenTarget, failure: str) -> None:
        """Ask another target next: that of the fallback `name`, or another deployment of the same
        model if it is None. `failure` names what failed, and the reason.
        """
        self.fallbacks = [*self.fallbacks, failure]
        self.served, self.target = name or self.served, target
        self.on_first_byte = self.upstream = self.endpoint = None

    def continues(self, name: str | None, target: ChosenTarget) -> None:
        """Note that another endpoint continues the answer. `name` is that of the fallback, or None
        if the model is the same.
        """
        self.continued += 1
        self.served, self.target = name or self.served, target
        self.upstream = target.upstream.name

    def failed(self, error: GatewayError) -> None:
        """Record the error that ends the request, for its log line, span and trace page."""
        reason = error.reason
        if reason is None and error.limit is None and error.message != error.default_message:
            # The message describes this particular request. A plug-in's may be a whole page.
            reason = error.message[:_LONGEST_REASON]
        self.failure = Failure(error.code, reason, error.limit, error.retry_after_s, error.model)

    def passed_on(self, reason: str | None, code: str | None = None) -> None:
        """Record an error that the client got as the backend sent it. `code` is given if the status
        does not show the error. What was recorded before is kept.
        """
        known = self.failure
        if known is None:
            self.failure = Failure(code, reason)
        else:
            self.failure = replace(known, code=known.code or code, reason=known.reason or reason)

    def at_end(self, callback: Callable[[Exchange], None]) -> None:
        """Register a callback for the end of the exchange. It is called once; the newest runs
        first.
        """
        if self._at_end is None:
            self._at_end = []
        self._at_end.append(callback)

    def mark(self) -> int:
        """Return a mark for `unwind`."""
        return 0 if self._at_end is None else len(self._at_end)

    def unwind(self, mark: int) -> None:
        """Give up the attempt that was chosen, if any, and run and remove the callbacks registered
        since `mark`; the exchange continues. A callback that fails does not stop the others, which
        have slots to release.
        """
        callbacks = self._at_end
        if self.attempt is not None:
            try:
                self.attempt.ended(self)
            except Exception as exc:
                self.report_fault(exc)
        while callbacks is not None and len(callbacks) > mark:
            callback = callbacks.pop()
            try:
                callback(self)
            except Exception as exc:
                self.report_fault(exc)

    def leave(self, reason: EndReason) -> None:
        """End the client's side. Without a detached owner, this ends the exchange."""
        detachment = self.detachment
        if detachment is None:
            self.end(reason)
        elif detachment.owner is None:
            self.end(detachment.outcome or reason)
        else:
            detachment.client_left = True
            detachment.owner.client_left()

    def detach(self, owner: DetachedOwner) -> None:
        """Let an owner continue the exchange after its client has left, until `release`."""
        self.detachment = Detachment(owner)

    def release(self, reason: EndReason, *, superseded: bool = False) -> None:
        """End the detached owner's side. The exchange ends once the client's side has ended.
        `superseded`: another process continues the answer.
        """
        detachment = self.detachment
        if detachment is None:
            self.detachment = detachment = Detachment(None)
        detachment.owner = None
        detachment.superseded = detachment.superseded or superseded
        if detachment.client_left:
            self.end(reason)
        elif reason is not EndReason.COMPLETE:
            detachment.outcome = reason

    def end(self, reason: EndReason) -> None:
        """End the exchange. The first reason given is kept.

        The first call counts the usage, releases what the request holds (`at_end`), and then runs
        the end phases of the pipeline, which settle limits and report. One that fails does not stop
        the others.
        """
        if self.end_reason is not None:
            return
        self.end_reason = reason
        self.ended_at = now = time.perf_counter()
        if not self.streamed and reason is _COMPLETE and self.status == 200:
            # The first token of a response that is not streamed is there once it is complete.
            self.first_token_at = now if self.model is not None else None
        attempt = self.attempt
        if attempt is not None:
            self.sent_at = attempt.sent_at
        superseded = self.detachment is not None and self.detachment.superseded
        if self.tap is not None and self.usage is None and not superseded:
            try:
                self.usage = self.tap.usage(self)
            except Exception as exc:
                self.report_fault(exc)
        if attempt is not None or self._at_end:
            self.unwind(0)
        if self.early is not None:
            try:
                self.early.close()
            except Exception as exc:
                self.report_fault(exc)
        for phase in self.phases:
            try:
                phase(self)
            except Exception as exc:
                self.report_fault(exc)
        # These refer to the request, which refers to this exchange. Breaking the reference cycle
        # frees all of it at once. The garbage collector would need half as much time again as the
        # whole request.
        self.attempt = self.on_first_byte = self.early = None
        if self.session is not None:
            self.session.release()

    def report_fault(self, exc: Exception) -> None:
        """Report an exception of something that runs at the end."""
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"at the end of request {self.request_id}", "exception": exc}
        )
