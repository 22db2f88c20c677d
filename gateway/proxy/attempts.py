"""Retries of one request, and everything else that it may have to wait for.

A request is sent again only if the repetition cannot have a visible side effect: after a failed
connect; if its method is idempotent; or, for other methods, if the route's configuration allows it
and no byte of a response body has arrived. It is never sent again after the first byte has gone to
the client.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.dialects.backend_words import words_of
from gateway.errors import (
    GatewayError,
    NoEndpoint,
    UpstreamBusy,
    UpstreamConnectFailed,
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamFirstByteTimeout,
    UpstreamIdleTimeout,
    UpstreamInvalidResponse,
    UpstreamReset,
    UpstreamTotalTimeout,
    UpstreamWaking,
)
from gateway.exchange import Exchange
from gateway.proxy.attempt import IDEMPOTENT, Attempt, SendOptions, without_model
from gateway.proxy.first_attempt import FirstAttempt
from gateway.proxy.health_report import is_asleep
from gateway.proxy.hedging import SOONEST_S, hedged
from gateway.proxy.request_head import Rewrite
from gateway.proxy.upload import Upload
from gateway.request import Request
from gateway.routing.target import Target
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.quota import retry_after_s
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.upstream import Upstream
from gateway.upstream.waking import Waking

if TYPE_CHECKING:
    from gateway.telemetry.traces.recording import Trace

_PATIENT_S = 5.0
"""The longest Retry-After that is waited for if no other endpoint is left."""
_SHORTEST_START_S = 1.0
"""The shortest wait for a start, of a request that has waited in a queue for longer."""


@dataclass(slots=True)
class _StartWait:
    """Wait of a request for a backend that scales from zero."""

    until: float
    """Time by which the backend has to have started, in `time.perf_counter` seconds."""
    turn: asyncio.Future[None] | None = None
    """Turn to try whether it has."""


class Attempts:
    """All attempts of one request that are made in a task."""

    __slots__ = (
        "_deadline",
        "_first",
        "_hint",
        "_lacking",
        "_left",
        "_retries",
        "_start",
        "_tried",
        "_upload",
        "body",
        "options",
        "request",
        "rewrite",
        "target",
    )

    def __init__(
        self,
        request: Request,
        target: Target,
        body: bytes | None,
        options: SendOptions,
        tried: Iterable[Endpoint] = (),
        rewrite: Rewrite | None = None,
        *,
        after: Attempt | None = None,
    ) -> None:
        """Exclude the endpoints in `tried` from the first round. `after` is the first attempt, if
        it was made without a task.
        """
        self.request = request
        self.target = target
        self.body = body
        self.options = options
        self.rewrite = rewrite
        self._first: Attempt | None = None
        """Attempt to begin with; None to look for an endpoint."""
        self._start: _StartWait | None = None
        self._deadline = request.exchange.deadline
        self._retries = retries = target.upstream.options.retries
        self._left = retries.attempts
        self._hint = target.hint(request.exchange, request.headers, body)
        self._lacking: tuple[Endpoint, ...] = ()
        """Endpoints that do not have the model, so that no round asks them."""
        if target.upstream.lacking:
            self._lacking = without_model(target, request.exchange)
        self._tried = [*tried, *self._lacking]
        """Endpoints that were asked in this round. A new round begins once all of them were."""
        self._upload: Upload | None = None
        if after is not None:
            self._upload = after.upload
            self._tried.append(after.endpoint)
            return
        target.upstream.budget.requests += 1
        if body is None and request.body_exists:
            self._upload = Upload(request, options.reader, target.upstream)

    async def send(
        self, *, again: bool = False, failure: GatewayError | None = None
    ) -> UpstreamResponse:
        """Return the response with its head read. Its endpoint is released when the exchange ends.

        `again`: the first attempt was sent before, and is repeated on a new connection. `failure`
        is the error of the last attempt. Raise GatewayError.
        """
        attempt, self._first = self._first, None
        while True:
            if attempt is None:
                attempt = await self._next(failure)
            try:
                if self._retries.hedge and attempt.is_repeatable:
                    attempt = await self._hedged(attempt)
                else:
                    await self._run(attempt, again=again)
            except (UpstreamConnectFailed, UpstreamBusy) as exc:
                failure, attempt = exc, None
                continue
            except UpstreamError as exc:
                pause_s = self.pause_after_failure(exc)
                failure = exc
            else:
                response = attempt.response
                assert response is not None
                pause = self.pause_after(attempt, response) if attempt.status >= 400 else None
                if pause is None:
                    self.body = None  # it need not stay in memory for as long as the response
                    self._choose(attempt, response)
                    return response
                pause_s = pause
            attempt, again = None, False
            await asyncio.sleep(pause_s)

    def begin_with(self, attempt: Attempt) -> None:
        """Make this attempt the first one. If `send` is cancelled before it begins, the attempt is
        released at the end.
        """
        self._first = attempt
        self.request.exchange.at_end(self._release)

    def _release(self, _: Exchange) -> None:
        if self._first is not None:
            self._first.abandon()

    async def _next(self, failure: GatewayError | None) -> Attempt:
        """Wait for an endpoint, in a new round if all were asked. Raise NoEndpoint, or the failure
        of the last attempt.
        """
        upstream = self.target.upstream
        while True:
            waking = self._upstream.waking
            if waking is not None and waking.is_waking:
                await self._wait_for_start(waking)
                self._tried = [*self._lacking]
            endpoint = upstream.acquire_now(self._hint, self._tried)
            if endpoint is None:
                patience_s = self._patience_s()
                endpoint = await upstream.acquire(self._hint, self._tried, patience_s)
            if endpoint is not None:
                return self._attempt(endpoint)
            if failure is None:
                raise NoEndpoint
            if not (self._left and self._helps_later(failure)):
                raise failure
            pause_s = self._backoff_s()
            if self._late(pause_s):
                raise failure
            self._left -= 1
            self._tried = [*self._lacking]
            await asyncio.sleep(pause_s)

    def _attempt(self, endpoint: Endpoint) -> Attempt:
        self._tried.append(endpoint)
        return Attempt(
            self.request,
            self.target,
            endpoint,
            self.body,
            self.options,
            self._tried,
            self.rewrite,
            self._upload,
            None if self._start is None else self._start.turn,
        )

    async def _wait_for_start(self, waking: Waking) -> None:
        """Wait until the backend has started, or until this request may try whether it has. Raise
        UpstreamWaking, UpstreamBusy or UpstreamTotalTimeout.
        """
        now, exchange = time.perf_counter(), self.request.exchange
        start = self._start
        if start is None:
            exchange.at_end(self._end_turn)
            queued_s = 0.0 if exchange.queued is None else exchange.queued.seconds
            most_s = waking.options.max_wait_s
            left_s = max(most_s - queued_s, min(most_s, _SHORTEST_START_S))
            start = self._start = _StartWait(now + left_s)
        deployed = self.target.deployed
        if deployed is not None and deployed.has_other(self._upstream):
            raise UpstreamWaking(1)
        patience_s = self._patience_s()
        longest_s = max(0.0, start.until - now)
        if patience_s is not None and patience_s < longest_s:
            try:
                start.turn = await waking.turn(patience_s)
            except UpstreamWaking:
                raise UpstreamTotalTimeout("the backend did not start in time") from None
        else:
            start.turn = await waking.turn(longest_s)

    def _end_turn(self, _: Exchange) -> None:
        """Let another request try, if this one ended before it could."""
        waking = self._upstream.waking
        if waking is not None and self._start is not None:
            waking.undecided(self._start.turn)

    def pause_after(self, attempt: Attempt, response: UpstreamResponse) -> float | None:
        """Return the pause in seconds before the request is sent again, because a retry may mend
        this error response. The attempt is then given up. None if the response is taken.
        """
        pause_s = self._repeats(response)
        if pause_s is not None:
            if self.request.exchange.trace is not None:
                self._tell_words(self.request.exchange.trace, attempt, response)
            attempt.abandon()
        return pause_s

    def pause_after_failure(self, failure: UpstreamError) -> float:
        """Return the pause in seconds before the request is sent again. Raise the failure if that
        is not allowed or does not help.
        """
        pause_s = self._backoff_s()
        if not self._helps(failure) or not self._may_repeat(pause_s):
            raise failure
        return pause_s

    # -- one attempt -----------------------------------------------------------------------

    async def _run(self, attempt: Attempt, *, again: bool = False) -> None:
        """Run the attempt, `again` on a new connection, and report its result. Raise the error that
        ended it, after releasing the attempt.
        """
        try:
            if self._deadline is None:
                response = await self._answer(attempt, again)
            else:
                response = await self._in_time(attempt, again, self._deadline)
        except BaseException as exc:
            attempt.report_failure(exc)
            raise
        attempt.report(response)

    @property
    def _repeatable(self) -> bool:
        """True if the request may be sent again after it has been sent once."""
        return self._upload is None and (
            self._retries.post or self.request.exchange.method in IDEMPOTENT
        )

    def _tell_words(self, trace: Trace, attempt: Attempt, response: UpstreamResponse) -> None:
        """Record in the trace the backend's error message, of a response that is dropped."""
        words = words_of(b"".join(response.unread), attempt.endpoint.url)
        if words is not None:
            trace.words = {**trace.words, attempt.number: words}

    async def _answer(self, attempt: Attempt, again: bool) -> UpstreamResponse:
        # The same endpoint again, which has all of its time.
        response = await attempt.run(0 if again else self._left, fresh=again)
        # Another endpoint may take over as long as no byte of the body has arrived.
        awaits_body = self._retries.post or (self._retries.hedge and self._repeatable)
        if awaits_body and 200 <= response.head.status < 400:
            await response.begun()
        return response

    async def _in_time(self, attempt: Attempt, again: bool, deadline: float) -> UpstreamResponse:
        try:
            async with asyncio.timeout(deadline - time.perf_counter()):
                return await self._answer(attempt, again)
        except TimeoutError:
            raise UpstreamTotalTimeout("no answer in time") from None

    def _choose(self, attempt: Attempt, response: UpstreamResponse) -> None:
        """Make this response the answer of the exchange, and start its deadline timer."""
        attempt.choose(response)
        if self._deadline is not None and not response.complete and response.tunnel is None:
            left_s = max(0.0, self._deadline - time.perf_counter())
            error = UpstreamTotalTimeout("the answer took too long")
            timer = asyncio.get_running_loop().call_later(left_s, response.fail, error)
            self.request.exchange.at_end(lambda _: timer.cancel())

    # -- retries ---------------------------------------------------------------------------

    def _helps(self, failure: UpstreamError) -> bool:
        """Tell whether a retry may have another outcome."""
        if isinstance(failure, UpstreamInvalidResponse):
            return False
        # An endpoint that was silent until the timeout is not asked again at once; another one is.
        silent = isinstance(failure, (UpstreamFirstByteTimeout, UpstreamIdleTimeout))
        return (
            not silent
            or self._upstream.has_other([*self._lacking, *self._tried[-1:]])
            or self._has_untried
        )

    def _helps_later(self, failure: GatewayError) -> bool:
        """Tell whether a new round may begin after all endpoints were asked: some may have
        recovered by then. Withdraws from the retry budget, unless the connection failed.
        """
        if isinstance(failure, UpstreamConnectFailed):
            # The request was never sent, so nothing is repeated.
            return self._several or not isinstance(failure, UpstreamConnectTimeout)
        return (
            self._several
            and self._repeatable
            and isinstance(failure, UpstreamError)
            and self._upstream.budget.withdraw()
        )

    @property
    def _upstream(self) -> Upstream:
        """The upstream that owns the endpoints now: a reload may have passed them to another
        one.
        """
        return self.target.upstream.latest

    @property
    def _several(self) -> bool:
        return len(self._upstream.endpoints) > 1

    def _repeats(self, response: UpstreamResponse) -> float | None:
        """Return the pause in seconds before a retry if the response is a retryable error,
        otherwise None.
        """
        status = response.head.status
        if self._upstream.waking is not None and is_asleep(response.head) and self._upload is None:
            # It has not begun, so nothing is done twice.
            return 0.0
        if (
            status in self._retries.rotate
            and self._upload is None
            and self._upstream.has_ready(self._tried)
        ):
            # The endpoint refused the request, so nothing is done twice.
            self._upstream.counts.retries += 1
            return 0.0
        if status not in self._retries.statuses:
            return None
        pause_s = retry_after_s(response.head.fields)
        if not pause_s or self._has_untried:
            pause_s = self._backoff_s()
        elif pause_s > _PATIENT_S:
            return None
        # Otherwise no other endpoint is left, and this one says when to come back.
        return pause_s if self._may_repeat(pause_s) else None

    @property
    def _has_untried(self) -> bool:
        """True if the next retry has an endpoint that was not tried yet. An endpoint ejected for
        failures is used by the last retry only: it may hang, while the others only had a brief
        failure.
        """
        upstream, tried = self._upstream, self._tried
        return upstream.has_other(tried) or upstream.has_ejected(tried, failed=self._left == 1)

    def _may_repeat(self, pause_s: float) -> bool:
        """Tell whether a request that was sent may be sent again after a pause. If so, count the
        retry and withdraw it from the retry budget.
        """
        if not (self._repeatable and self._left) or self._late(pause_s):
            return False
        if not self._upstream.budget.withdraw():
            return False
        if not self._has_untried:
            # Start a new round; include the last endpoint only if there is no other.
            self._tried = [*self._lacking, *self._tried[-1:]]
            if not self._upstream.has_other(self._tried):
                self._tried = [*self._lacking]
        self._left -= 1
        self._upstream.counts.retries += 1
        return True

    def _backoff_s(self) -> float:
        """Return the next backoff in seconds: exponential, with full jitter."""
        options = self._retries
        done = options.attempts - self._left
        longest_s = min(options.backoff_s * 2**done, options.longest_backoff_s)
        return random.uniform(0.0, longest_s)  # noqa: S311 -- no secret

    def _late(self, pause_s: float) -> bool:
        return self._deadline is not None and time.perf_counter() + pause_s >= self._deadline

    def _patience_s(self) -> float | None:
        if self._deadline is None:
            return None
        left_s = self._deadline - time.perf_counter()
        if left_s <= 0:
            raise UpstreamTotalTimeout("its time was over before it was sent")
        return left_s

    # -- hedging ---------------------------------------------------------------------------

    async def _hedged(self, first: Attempt) -> Attempt:
        after_s = self._retries.hedge_after_s
        if after_s is None:
            p95_s = self._upstream.begin_s.at(0.95)
            if p95_s is None:
                await self._run(first)
                return first
            after_s = max(p95_s, SOONEST_S)
        return await hedged(first, self._run, self._second, after_s, self._retries.statuses)

    def _second(self) -> Attempt | None:
        """Return an attempt at another endpoint, if one has capacity and the retry budget allows
        it.
        """
        upstream = self._upstream
        if upstream.budget.balance < 1.0:
            return None
        endpoint = upstream.acquire_now(self._hint, self._tried)
        if endpoint is None:
            return None
        upstream.budget.withdraw()
        upstream.counts.hedges += 1
        return self._attempt(endpoint)


def send_again(
    first: FirstAttempt, failure: Exception | None
) -> Coroutine[None, None, None] | None:
    """Return what sends a request again, because of the error of its first attempt or of its
    response. Raise the error, or return None for a response, if it is not sent again.
    """
    attempts = _after(first)
    if failure is None:
        assert first.response is not None
        pause_s = attempts.pause_after(first, first.response)
        return None if pause_s is None else _send_again(first, attempts, pause_s)
    if isinstance(failure, UpstreamReset) and first.may_have_met_a_closing_connection:
        attempts.begin_with(first)
        return _send_again(first, attempts, 0.0, again=True)
    first.report_failure(failure)
    if isinstance(failure, (UpstreamConnectFailed, UpstreamBusy)):
        return _send_again(first, attempts, 0.0, failure)  # it was not sent
    if not isinstance(failure, UpstreamError):
        raise failure
    return _send_again(first, attempts, attempts.pause_after_failure(failure), failure)


def _after(first: FirstAttempt) -> Attempts:
    return Attempts(first.request, first.target, first.body, first.options, after=first)


async def _send_again(
    first: FirstAttempt,
    attempts: Attempts,
    pause_s: float,
    failure: GatewayError | None = None,
    *,
    again: bool = False,
) -> None:
    """Send the request again, and deliver the response as the first attempt would."""
    request = first.request
    try:
        if pause_s:
            await asyncio.sleep(pause_s)
        response = await attempts.send(again=again, failure=failure)
        answer = first.finish(request, response)
    except Exception as exc:
        first.then(request, exc)
        return
    if isinstance(answer, web.StreamResponse):
        first.then(request, answer)
    else:
        await first.deliver(answer)
