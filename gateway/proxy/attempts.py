"""Which endpoint a request is sent to, when it is sent again, and when it is given up.

A request is sent again only where nothing can happen twice that anybody would notice: after no
connection was made; if it is idempotent; or if the upstream's owner opted in for what is not, and
no byte of an answer's body has come. Never after the first byte has gone to the client.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterable

from gateway.errors import (
    GatewayError,
    NoEndpoint,
    UpstreamBusy,
    UpstreamConnectFailed,
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamFirstByteTimeout,
    UpstreamInvalidResponse,
    UpstreamTotalTimeout,
)
from gateway.exchange import GatewayRequest
from gateway.proxy.attempt import IDEMPOTENT, Attempt, SendOptions
from gateway.proxy.request_head import request_head
from gateway.proxy.resolve import Target
from gateway.upstream.connection import UpstreamResponse
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.upstream import Upstream

_RETRY_AFTER = re.compile(rb"[0-9]{1,5}")
_LONGEST_COOLING_S = 300.0
_PATIENT_S = 5.0
"""The longest Retry-After that is waited for where there is nobody else to ask."""


class Attempts:
    """One request's way to an answer."""

    def __init__(
        self,
        request: GatewayRequest,
        target: Target,
        body: bytes | None,
        options: SendOptions,
        tried: Iterable[Endpoint] = (),
    ) -> None:
        """`tried` are endpoints that it is not sent to."""
        self.request = request
        self.target = target
        self.body = body
        self.options = options
        self.streamed = body is None and request.body_exists
        self._deadline = request.exchange.deadline
        self._retries = target.upstream.options.retries
        self._tried = list(tried)
        self._repeatable = not self.streamed and (
            self._retries.post or request.method in IDEMPOTENT
        )
        self._left = self._retries.attempts
        self._hint = target.hint(request, body)

    def head(self, endpoint: Endpoint) -> bytes:
        return request_head(self.request, self.target, endpoint, self.body, self.options.strip)

    async def send(self) -> UpstreamResponse:
        """The response, its head read. Its endpoint is released when the exchange ends.

        Raise GatewayError.
        """
        self._upstream.budget.deposit()
        failure: GatewayError = NoEndpoint()
        while True:
            endpoint = await self._upstream.acquire(self._hint, self._tried, self._patience_s())
            if endpoint is None:
                if not (self._left and self._helps_later(failure)):
                    raise failure
                self._left -= 1
                self._tried.clear()
                await self._wait(self._backoff_s(), failure)
                continue
            attempt = Attempt(self, endpoint)
            try:
                if self._retries.hedge and self._repeatable:
                    attempt = await self._hedged(attempt)
                else:
                    await self._run(attempt)
            except (UpstreamConnectFailed, UpstreamBusy) as exc:
                failure = exc
                self._tried.append(endpoint)
                continue
            except UpstreamError as exc:
                if not self._helps(exc) or not self._may_repeat(endpoint):
                    raise
                failure = exc
                await self._wait(self._backoff_s(), failure)
                continue
            response = attempt.response
            assert response is not None
            pause_s = self._repeats(attempt, response)
            if pause_s is None:
                return self._taken(attempt, response)
            attempt.abandon()
            await self._wait(pause_s, failure)

    # -- one attempt -----------------------------------------------------------------------

    async def _run(self, attempt: Attempt) -> None:
        """Run it; what it tells about its endpoint is learnt. Raise what ended it: it is let go."""
        upstream, timeouts = self._upstream, self.target.timeouts
        exchange = self.request.exchange
        exchange.attempts += 1
        exchange.endpoint = attempt.endpoint.url
        first_byte_s = timeouts.first_byte_s
        if self._repeatable and self._left and self._retries.per_try_s is not None:
            first_byte_s = min(first_byte_s, self._retries.per_try_s)
        try:
            if self._deadline is None:
                response = await attempt.run(timeouts.connect_s, first_byte_s)
            else:
                response = await self._in_time(attempt, first_byte_s, self._deadline)
            if self._retries.post and response.head.status < 400:
                # While nothing of the answer has come, another endpoint can give it.
                await response.begun()
        except BaseException as exc:
            attempt.abandon()
            # How long a client waits at most says nothing about the endpoint.
            if isinstance(exc, UpstreamError) and not isinstance(exc, UpstreamTotalTimeout):
                upstream.failed(attempt.endpoint, exc.code)
            raise
        if response.head.status >= 500:
            upstream.failed(attempt.endpoint, f"status {response.head.status}")
        else:
            upstream.answered(attempt.endpoint)
        if response.head.status in (429, 503):
            pause_s = _retry_after_s(response)
            if pause_s:
                upstream.cool(attempt.endpoint, min(pause_s, _LONGEST_COOLING_S))

    async def _in_time(
        self, attempt: Attempt, first_byte_s: float, deadline: float
    ) -> UpstreamResponse:
        try:
            async with asyncio.timeout(deadline - time.perf_counter()):
                return await attempt.run(self.target.timeouts.connect_s, first_byte_s)
        except TimeoutError:
            raise UpstreamTotalTimeout("no answer in time") from None

    def _taken(self, attempt: Attempt, response: UpstreamResponse) -> UpstreamResponse:
        """This is the answer."""
        exchange = self.request.exchange
        exchange.endpoint = attempt.endpoint.url
        exchange.attempt = attempt
        exchange.at_end(attempt.ended)
        if response.head.status < 400:
            exchange.on_first_byte = attempt.began
        if self._deadline is not None and not response.complete:
            left_s = max(0.0, self._deadline - time.perf_counter())
            error = UpstreamTotalTimeout("the answer took too long")
            timer = asyncio.get_running_loop().call_later(left_s, response.fail, error)
            exchange.at_end(lambda _: timer.cancel())
        return response

    # -- another one ---------------------------------------------------------------------

    def _helps(self, failure: UpstreamError) -> bool:
        """Whether asking again might have another outcome."""
        if isinstance(failure, UpstreamInvalidResponse):
            return False
        # Who was silent until the timeout is not asked again at once: another one is.
        return not isinstance(failure, UpstreamFirstByteTimeout) or self._several

    def _helps_later(self, failure: GatewayError) -> bool:
        """Whether everybody may be asked again, once everybody was: some may be back by then."""
        if isinstance(failure, UpstreamConnectFailed):
            # It was not sent at all, so nothing is repeated.
            return self._several or not isinstance(failure, UpstreamConnectTimeout)
        return (
            self._several
            and self._repeatable
            and isinstance(failure, UpstreamError)
            and self._upstream.budget.withdraw()
        )

    @property
    def _upstream(self) -> Upstream:
        """A reload may have given its endpoints to another one meanwhile."""
        return self.target.upstream.latest

    @property
    def _several(self) -> bool:
        return len(self._upstream.endpoints) > 1

    def _others(self, endpoint: Endpoint) -> bool:
        """Whether there is an endpoint that was not asked yet."""
        return any(e is not endpoint and e not in self._tried for e in self._upstream.endpoints)

    def _repeats(self, attempt: Attempt, response: UpstreamResponse) -> float | None:
        """Whether an answer is an error that is not taken: seconds until another is asked for."""
        if response.head.status not in self._retries.statuses:
            return None
        pause_s = _retry_after_s(response)
        if not pause_s or self._others(attempt.endpoint):
            return self._backoff_s() if self._may_repeat(attempt.endpoint) else None
        # There is nobody else, and it says when to come back.
        if pause_s > _PATIENT_S or self._late(pause_s) or not self._may_repeat(attempt.endpoint):
            return None
        return pause_s

    def _may_repeat(self, endpoint: Endpoint) -> bool:
        """Whether what was sent to `endpoint` may be sent again. If so, it is counted."""
        if not (self._repeatable and self._left) or self._late(0.0):
            return False
        if not self._upstream.budget.withdraw():
            return False
        self._left -= 1
        self._upstream.counts.retries += 1
        self._tried.append(endpoint)
        if all(e in self._tried for e in self._upstream.endpoints):
            # From the beginning, but not with the last one.
            self._tried = [endpoint] if self._several else []
        return True

    def _backoff_s(self) -> float:
        """Exponential, with full jitter."""
        options = self._retries
        done = options.attempts - self._left
        longest_s = min(options.backoff_s * 2**done, options.longest_backoff_s)
        return random.uniform(0.0, longest_s)  # noqa: S311 -- no secret

    async def _wait(self, pause_s: float, failure: GatewayError) -> None:
        """Raise the failure, if there is no time for another attempt."""
        if self._late(pause_s):
            raise failure
        await asyncio.sleep(pause_s)

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
        """The first of two attempts to begin its answer; the second starts when the first is late.

        Raise what the last one raised.
        """
        upstream, options = self._upstream, self._retries
        after_s = options.hedge_after_s
        if after_s is None:
            after_s = upstream.begin_s.at(0.95)
        if after_s is None:
            await self._run(first)
            return first
        running = {asyncio.create_task(self._begun(first)): first}
        try:
            done, _ = await asyncio.wait(running, timeout=after_s)
            if not done and (second := await self._second(first)) is not None:
                running[asyncio.create_task(self._begun(second))] = second
            while True:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    attempt = running.pop(task)
                    if task.exception() is None or not running:
                        task.result()
                        return attempt
        finally:
            for task, attempt in running.items():
                if not task.cancel() and task.exception() is None:
                    attempt.abandon()
            await asyncio.gather(*running, return_exceptions=True)

    async def _second(self, first: Attempt) -> Attempt | None:
        """Another endpoint, if there is one and the budget allows it."""
        upstream = self._upstream
        if upstream.budget.balance < 1.0:
            return None
        endpoint = await upstream.acquire(self._hint, [*self._tried, first.endpoint])
        if endpoint is None:
            return None
        upstream.budget.withdraw()
        upstream.counts.hedges += 1
        return Attempt(self, endpoint)

    async def _begun(self, attempt: Attempt) -> None:
        await self._run(attempt)
        response = attempt.response
        assert response is not None
        try:
            await response.begun()
        except BaseException:
            attempt.abandon()
            raise


def _retry_after_s(response: UpstreamResponse) -> float:
    """The pause it asks for in seconds; 0 for none, or one that is a date."""
    for name, value in response.head.fields:
        if name.lower() == b"retry-after" and _RETRY_AFTER.fullmatch(value):
            return float(value)
    return 0.0
