"""Endpoint selection, retries and hedging for one request.

A request is sent again only if the repetition cannot have a visible side effect: after a failed
connect; if its method is idempotent; or, for other methods, if the route's configuration allows it
and no byte of a response body has arrived. It is never sent again after the first byte has gone to
the client.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, cast

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
from gateway.pending import Answer, Pending
from gateway.pipeline import Result
from gateway.proxy.attempt import IDEMPOTENT, Attempt, SendOptions, is_fault
from gateway.proxy.request_head import Rewrite
from gateway.request import Request
from gateway.routing.target import NO_HINT, Target, no_hint
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.quota import (
    LONGEST_PAUSE_S,
    pause_after_s,
    reported_quotas,
    retry_after_s,
    used_up_s,
)
from gateway.upstream.resolve import AddressRefused
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.upstream import Upstream
from gateway.upstream.waking import Waking

if TYPE_CHECKING:
    from gateway.telemetry.traces.recording import Trace

_PATIENT_S = 5.0
"""The longest Retry-After that is waited for if no other endpoint is left."""
_FOR_GOOD = (ssl.SSLError, AddressRefused)
"""Causes of a failed connection that waiting does not mend."""
_SHORTEST_START_S = 1.0
"""The shortest wait for a start, of a request that has waited in a queue for longer."""
_SOONEST_HEDGE_S = 0.01
"""The shortest hedge delay. uvloop's timers count milliseconds: a p95 below one would hedge every
request.
"""


Finish = Callable[[Request, UpstreamResponse], Result]
"""What makes the response for the client from the one that was chosen."""


@dataclass(slots=True)
class _StartWait:
    """Wait of a request for a backend that scales from zero."""

    until: float
    """Time by which the backend has to have started, in `time.perf_counter` seconds."""
    turn: asyncio.Future[None] | None = None
    """Turn to try whether it has."""


class Attempts(Pending):
    """All attempts of one request.

    The first attempt needs no task: `begin` sends it on an idle connection, which calls `answered`.
    Everything that has to wait (a new connection, a pause, hedging, a deadline) is in the coroutine
    `send`.
    """

    __slots__ = (
        "_attempt",
        "_connection",
        "_deadline",
        "_finish",
        "_hint",
        "_lacking",
        "_left",
        "_retries",
        "_start",
        "_tried",
        "_uploading",
        "body",
        "options",
        "rewrite",
        "streamed",
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
        finish: Finish | None = None,
    ) -> None:
        """Exclude the endpoints in `tried` from the first round. `finish` is needed by `begin`."""
        self.request = request
        self.target = target
        self.body = body
        self.options = options
        self.rewrite = rewrite
        self._finish = finish
        self._attempt: Attempt | None = None
        """Attempt that was made by `begin`."""
        self._connection: UpstreamConnection | None = None
        """Connection on which `begin` has sent it."""
        self.streamed = False
        """True if the body is not in memory: it is sent while it arrives, so only once."""
        self._uploading = False
        self._start: _StartWait | None = None
        self._lacking: tuple[Endpoint, ...] = ()
        """Endpoints that do not have the model, so that no round asks them."""
        if body is None and request.body_exists:
            self.streamed = self._uploading = True
            self.target.upstream.latest.uploads += 1
            request.exchange.at_end(self._end_upload)
        self._deadline = request.exchange.deadline
        self._retries = retries = target.upstream.options.retries
        if target.upstream.lacking:
            self._lacking = self._without_model()
        self._tried = [*tried, *self._lacking]
        """Endpoints that were asked in this round. A new round begins once all of them were."""
        self._left = retries.attempts
        self._hint = (
            NO_HINT
            if target.hint is no_hint
            else target.hint(request.exchange, request.headers, body)
        )
        target.upstream.budget.deposit()

    # -- without a task --------------------------------------------------------------------

    def begin(self) -> bool:
        """Send the request now, if a connection is idle and nothing has to be waited for but the
        response. Return False otherwise: then `send` has to be awaited.
        """
        retries = self._retries
        if self._deadline is not None or ((retries.post or retries.hedge) and self._awaits_body):
            return False
        waking = self.target.upstream.waking
        if waking is not None and waking.is_waking:
            return False
        endpoint = self.target.upstream.acquire_now(self._hint, self._tried)
        if endpoint is None:
            return False
        self._tried.append(endpoint)
        self._attempt = attempt = Attempt(self, endpoint)
        self._connection = connection = endpoint.pool.take_idle()
        if connection is None:
            self._leave_to_task(attempt)
            return False
        first_byte_s = self._enter(attempt)
        try:
            attempt.send(connection, self, first_byte_s)
        except BaseException:
            attempt.abandon()
            raise
        return True

    def answered(self, response: UpstreamResponse) -> None:
        """Deliver the response of the first attempt, or begin to send the request again."""
        attempt, request = self._attempt, self.request
        assert attempt is not None
        assert self._finish is not None
        attempt.take(response)
        self._attempt = self._connection = None
        try:
            self._report(attempt, response)
            if attempt.status >= 400:
                pause_s = self._pause_after(attempt, response)
                if pause_s is not None:
                    request.client.work(self._send_again(pause_s))
                    return
            answer = self._finish(request, self._taken(attempt, response))
        except Exception as exc:
            self.then(request, exc)
            return
        # An instance check of aiohttp's abstract response class takes longer.
        if type(answer) is CoroutineType:
            request.client.work(self._deliver(answer))
        else:
            self.then(request, cast(web.StreamResponse, answer))

    def failed(self, error: GatewayError) -> None:
        """Deliver the error that ended the first attempt, or begin to send the request again."""
        attempt, request = self._attempt, self.request
        assert attempt is not None
        self._attempt = self._connection = None
        if isinstance(error, UpstreamReset) and attempt.may_have_met_a_closing_connection:
            self._leave_to_task(attempt)
            request.client.work(self._send_again(0.0, again=True))
            return
        self._report_failure(attempt, error)
        try:
            if not isinstance(error, UpstreamError):
                raise error
            pause_s = self._pause_after_failure(error)
        except Exception as exc:
            self.then(request, exc)
        else:
            request.client.work(self._send_again(pause_s, error))

    def cancel(self) -> None:
        """Give up the first attempt."""
        attempt, connection = self._attempt, self._connection
        if attempt is not None and connection is not None:
            self._attempt = self._connection = None
            connection.abandon(self)
            self._report_failure(attempt, asyncio.CancelledError())

    def _leave_to_task(self, attempt: Attempt) -> None:
        """Let a task make this attempt. If the task is cancelled before it begins, the attempt is
        released at the end.
        """
        self._attempt = attempt
        self.request.exchange.at_end(self._release)

    def _release(self, _: Exchange) -> None:
        if self._attempt is not None:
            self._attempt.abandon()

    async def _send_again(
        self, pause_s: float, failure: GatewayError | None = None, *, again: bool = False
    ) -> None:
        """Continue in a task after the first attempt, which is repeated if `again`."""
        assert self._finish is not None
        try:
            if pause_s:
                await asyncio.sleep(pause_s)
            response = await self.send(again=again, failure=failure)
            answer = self._finish(self.request, response)
        except Exception as exc:
            self.then(self.request, exc)
            return
        if isinstance(answer, web.StreamResponse):
            self.then(self.request, answer)
        else:
            await self._deliver(answer)

    async def _deliver(self, waiting: Awaitable[web.StreamResponse]) -> None:
        answer: Answer
        try:
            answer = await waiting
        except Exception as exc:
            answer = exc
        self.then(self.request, answer)

    # -- in a task -------------------------------------------------------------------------

    async def send(
        self, *, again: bool = False, failure: GatewayError | None = None
    ) -> UpstreamResponse:
        """Return the response with its head read. Its endpoint is released when the exchange ends.

        `again`: repeat the attempt of `begin` on a new connection. `failure` is the error of the
        last attempt. Raise GatewayError.
        """
        attempt, self._attempt = self._attempt, None
        while True:
            if attempt is None:
                attempt = await self._next(failure)
            try:
                if self._retries.hedge and self._repeatable:
                    attempt = await self._hedged(attempt)
                else:
                    await self._run(attempt, again=again)
            except (UpstreamConnectFailed, UpstreamBusy) as exc:
                failure, attempt = exc, None
                continue
            except UpstreamError as exc:
                pause_s = self._pause_after_failure(exc)
                failure = exc
            else:
                response = attempt.response
                assert response is not None
                pause = self._pause_after(attempt, response) if attempt.status >= 400 else None
                if pause is None:
                    return self._taken(attempt, response)
                pause_s = pause
            attempt, again = None, False
            await asyncio.sleep(pause_s)

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
                self._tried.append(endpoint)
                return Attempt(self, endpoint)
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
        self._give_turn_back()

    def _give_turn_back(self) -> None:
        waking = self._upstream.waking
        if waking is not None and self._start is not None:
            waking.undecided(self._start.turn)

    def _finds_asleep(self, attempt: Attempt, pause_s: float | None) -> None:
        """Note that the backend of an attempt has not started, unless another endpoint has."""
        upstream = self._upstream
        assert upstream.waking is not None
        if not upstream.waking.is_waking and upstream.has_ready([*self._tried, attempt.endpoint]):
            upstream.cool(attempt.endpoint, upstream.waking.options.pause_s)
        else:
            upstream.waking.asleep(pause_s)

    def _pause_after(self, attempt: Attempt, response: UpstreamResponse) -> float | None:
        """Return the pause in seconds before the request is sent again, because a retry may mend
        this error response. The attempt is then given up. None if the response is taken.
        """
        pause_s = self._repeats(response)
        if pause_s is not None:
            if self.request.exchange.trace is not None:
                self._tell_words(self.request.exchange.trace, attempt, response)
            attempt.abandon()
        return pause_s

    def _pause_after_failure(self, failure: UpstreamError) -> float:
        """Return the pause in seconds before the request is sent again. Raise the failure if that
        is not allowed or does not help.
        """
        pause_s = self._backoff_s()
        if not self._helps(failure) or not self._may_repeat(pause_s):
            raise failure
        return pause_s

    def uploaded(self) -> None:
        """Note that the request body has been sent completely."""
        if self._uploading:
            self._uploading = False
            self._upstream.uploads -= 1

    def _end_upload(self, _: Exchange) -> None:
        self.uploaded()

    # -- one attempt -----------------------------------------------------------------------

    def _enter(self, attempt: Attempt) -> float:
        """Count an attempt that begins. Return its first-byte timeout in seconds."""
        exchange = self.request.exchange
        exchange.attempts += 1
        attempt.number = exchange.attempts
        exchange.endpoint = attempt.endpoint.key
        if exchange.trace is not None:
            attempt.began_at = time.perf_counter()
        first_byte_s, per_try_s = self.target.timeouts.first_byte_s, self._retries.per_try_s
        if per_try_s is not None and self._may_follow():
            return min(first_byte_s, per_try_s)
        return first_byte_s

    async def _run(self, attempt: Attempt, *, again: bool = False) -> None:
        """Run the attempt, `again` on a new connection, and report its result to the upstream's
        health tracking. Raise the error that ended it, after releasing the attempt.
        """
        first_byte_s = self.target.timeouts.first_byte_s if again else self._enter(attempt)
        try:
            if self._deadline is None:
                response = await self._answer(attempt, first_byte_s, again)
            else:
                response = await self._in_time(attempt, first_byte_s, again, self._deadline)
        except BaseException as exc:
            self._report_failure(attempt, exc)
            raise
        self._report(attempt, response)

    def _report(self, attempt: Attempt, response: UpstreamResponse) -> None:
        """Tell health tracking and the trace of an attempt that has a response head."""
        upstream, status, trace = self.target.upstream, attempt.status, self.request.exchange.trace
        if trace is not None:
            self._tell(trace, attempt, "")
        waking = self._upstream.waking
        if waking is not None:
            if self._is_asleep(response):
                self._finds_asleep(attempt, retry_after_s(response.head.fields))
                return
            waking.awake()
        if status < 400:
            upstream.answered(attempt.endpoint)
            head = response.head
            if head.tells_quota and self._spares:
                self._learn_quota(attempt, response)
            return
        if status >= 500:
            upstream.failed(attempt.endpoint, f"status {status}")
        else:
            upstream.answered(attempt.endpoint)
        if status in self._retries.rotate and self._spares:
            upstream.cool(attempt.endpoint, pause_after_s(status, response.head.fields))
        elif status in (429, 503) and (asked_s := retry_after_s(response.head.fields)):
            upstream.cool(attempt.endpoint, min(asked_s, LONGEST_PAUSE_S))

    def _learn_quota(self, attempt: Attempt, response: UpstreamResponse) -> None:
        """Record what is left of the provider's quota. One that is used up is left alone."""
        fields = response.head.fields
        pause_s = used_up_s(fields)
        if pause_s:
            self.target.upstream.cool(attempt.endpoint, pause_s)
        quotas = reported_quotas(fields)
        self.target.upstream.reported(attempt.endpoint, quotas)
        assignment = self.request.exchange.assignment
        if assignment is not None:
            assignment.deployment.load.provider.learn(quotas, time.monotonic())

    def _report_failure(self, attempt: Attempt, exc: BaseException) -> None:
        """Tell health tracking and the trace of an attempt without a response, and release it."""
        trace = self.request.exchange.trace
        if trace is not None:
            self._tell(trace, attempt, exc.code if isinstance(exc, GatewayError) else "cancelled")
        attempt.abandon()
        waking = self._upstream.waking
        if waking is not None:
            if isinstance(exc, UpstreamConnectFailed) and not isinstance(exc.__cause__, _FOR_GOOD):
                self._finds_asleep(attempt, None)
                return
            self._give_turn_back()
        if is_fault(exc):
            self.target.upstream.failed(attempt.endpoint, exc.code)

    @property
    def _awaits_body(self) -> bool:
        """True if another endpoint may still take over while no byte of the body has arrived."""
        return self._retries.post or (self._retries.hedge and self._repeatable)

    @property
    def _repeatable(self) -> bool:
        """True if the request may be sent again after it has been sent once."""
        return not self.streamed and (
            self._retries.post or self.request.exchange.method in IDEMPOTENT
        )

    def _tell(self, trace: Trace, attempt: Attempt, outcome: str) -> None:
        """Record in the trace an attempt that has a response head or failed. `outcome` is the error
        code.
        """
        target, exchange, endpoint = self.target, self.request.exchange, attempt.endpoint
        model = target.rename_to or exchange.served or exchange.model
        now, name, status = time.perf_counter(), target.upstream.name, attempt.status
        trace.attempts += (
            (attempt.number, attempt.began_at, now, endpoint.url, name, model, status, outcome),
        )

    def _tell_words(self, trace: Trace, attempt: Attempt, response: UpstreamResponse) -> None:
        """Record in the trace the backend's error message, of a response that is dropped."""
        words = words_of(b"".join(response.unread), attempt.endpoint.url)
        if words is not None:
            trace.words = {**trace.words, attempt.number: words}

    async def _answer(self, attempt: Attempt, first_byte_s: float, again: bool) -> UpstreamResponse:
        response = await attempt.run(self.target.timeouts.connect_s, first_byte_s, fresh=again)
        if self._awaits_body and 200 <= response.head.status < 400:
            await response.begun()
        return response

    async def _in_time(
        self, attempt: Attempt, first_byte_s: float, again: bool, deadline: float
    ) -> UpstreamResponse:
        try:
            async with asyncio.timeout(deadline - time.perf_counter()):
                return await self._answer(attempt, first_byte_s, again)
        except TimeoutError:
            raise UpstreamTotalTimeout("no answer in time") from None

    def _taken(self, attempt: Attempt, response: UpstreamResponse) -> UpstreamResponse:
        """Make this response the answer of the exchange, and start its deadline timer."""
        exchange = self.request.exchange
        exchange.endpoint = attempt.endpoint.key
        exchange.attempt = attempt
        exchange.at_end(attempt.ended)
        target = self.target
        if attempt.status < 400 and (target.upstream.asks_how_soon or target.measures):
            exchange.on_first_byte = attempt.began
        if self._deadline is not None and not response.complete and response.tunnel is None:
            left_s = max(0.0, self._deadline - time.perf_counter())
            error = UpstreamTotalTimeout("the answer took too long")
            timer = asyncio.get_running_loop().call_later(left_s, response.fail, error)
            exchange.at_end(lambda _: timer.cancel())
        return response

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

    def _without_model(self) -> tuple[Endpoint, ...]:
        """Return the endpoints that do not list the model."""
        target, exchange = self.target, self.request.exchange
        name = target.rename_to or exchange.served or exchange.model
        return target.upstream.latest.lacking.get(name or "", ())

    @property
    def _several(self) -> bool:
        return len(self._upstream.endpoints) > 1

    @property
    def _spares(self) -> bool:
        """True if others can serve while one endpoint is left alone."""
        return self._several or self.target.deployed is not None

    def _repeats(self, response: UpstreamResponse) -> float | None:
        """Return the pause in seconds before a retry if the response is a retryable error,
        otherwise None.
        """
        status = response.head.status
        if self._upstream.waking is not None and self._is_asleep(response) and not self.streamed:
            # It has not begun, so nothing is done twice.
            return 0.0
        if (
            status in self._retries.rotate
            and not self.streamed
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

    def _is_asleep(self, response: UpstreamResponse) -> bool:
        """Tell whether a response is that of a backend, or of its proxy, that has not started."""
        head = response.head
        return head.status == 503 and retry_after_s(head.fields) is not None

    @property
    def _has_untried(self) -> bool:
        """True if the next retry has an endpoint that was not tried yet. An endpoint ejected for
        failures is used by the last retry only: it may hang, while the others only had a brief
        failure.
        """
        upstream, tried = self._upstream, self._tried
        return upstream.has_other(tried) or upstream.has_ejected(tried, failed=self._left == 1)

    def _may_follow(self) -> bool:
        """Tell whether another endpoint may be asked after this one."""
        return (
            self._repeatable
            and self._left > 0
            and self._upstream.budget.balance >= 1.0
            and self._upstream.has_other(self._tried)
        )

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
        """Run two attempts and return the first to begin its response; the second starts once the
        first is late.

        A failed attempt is dropped while the other one runs. Raise the error of the last one.
        """
        after_s = self._retries.hedge_after_s
        if after_s is None:
            p95_s = self._upstream.begin_s.at(0.95)
            if p95_s is None:
                await self._run(first)
                return first
            after_s = max(p95_s, _SOONEST_HEDGE_S)
        running = {asyncio.create_task(self._run(first)): first}
        try:
            done, _ = await asyncio.wait(running, timeout=after_s)
            if not done and (second := self._second()) is not None:
                running[asyncio.create_task(self._run(second))] = second
            while True:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    attempt = running[task]
                    failed = isinstance(task.exception(), GatewayError)
                    worse = failed or attempt.status in self._retries.statuses
                    if len(running) == 1 or not worse:
                        task.result()
                        await _let_go({one: running.pop(one) for one in [*running] if one != task})
                        return attempt
                    del running[task]
                    if not failed:
                        attempt.abandon()
        except BaseException:
            await _let_go(running)
            raise

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
        self._tried.append(endpoint)
        return Attempt(self, endpoint)


async def _let_go(running: Mapping[asyncio.Task[None], Attempt]) -> None:
    """End attempts, whether they have a response or not."""
    for task, attempt in running.items():
        if not task.cancel() and task.exception() is None:
            attempt.abandon()
    await asyncio.gather(*running, return_exceptions=True)
