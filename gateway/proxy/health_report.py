"""What an upstream learns from an attempt: its health, its quotas, and whether it is asleep.

A good answer of the only endpoint teaches nothing, so most requests do not come here: see
`Upstream.is_plain`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import Protocol

from gateway.errors import GatewayError, UpstreamConnectFailed
from gateway.request import Request
from gateway.routing.target import Target
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.head import ResponseHead
from gateway.upstream.quota import (
    LONGEST_PAUSE_S,
    pause_after_s,
    reported_quotas,
    retry_after_s,
    used_up_s,
)
from gateway.upstream.resolve import AddressRefused
from gateway.upstream.upstream import Upstream
from gateway.upstream.waking import Waking

_FOR_GOOD = (ssl.SSLError, AddressRefused)
"""Causes of a failed connection that waiting does not mend."""


class Tried(Protocol):
    """Attempt that has a response head or failed."""

    @property
    def request(self) -> Request:
        """Request that was sent."""

    @property
    def target(self) -> Target:
        """Target that it was sent to."""

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint that was asked."""

    @property
    def tried(self) -> Sequence[Endpoint]:
        """Endpoints that need not be asked next."""

    @property
    def turn(self) -> asyncio.Future[None] | None:
        """Turn of a request that tries whether its backend has started."""


def report_answer(attempt: Tried, head: ResponseHead) -> None:
    """Record what a response head says of its endpoint."""
    upstream, endpoint, status = attempt.target.upstream, attempt.endpoint, head.status
    latest = upstream.latest
    if latest.waking is not None:
        if is_asleep(head):
            _finds_asleep(attempt, latest, latest.waking, retry_after_s(head.fields))
            return
        latest.waking.awake()
    if status < 400:
        upstream.answered(endpoint)
        if head.tells_quota and spares(attempt.target):
            _learn_quota(attempt, head)
        return
    if status >= 500:
        upstream.failed(endpoint, f"status {status}")
    else:
        upstream.answered(endpoint)
    if status in upstream.options.retries.rotate and spares(attempt.target):
        upstream.cool(endpoint, pause_after_s(status, head.fields))
    elif status in (429, 503) and (asked_s := retry_after_s(head.fields)):
        upstream.cool(endpoint, min(asked_s, LONGEST_PAUSE_S))


def report_failure(attempt: Tried, error: BaseException, *, fault: bool) -> None:
    """Record an attempt without a response. `fault`: the endpoint caused the error."""
    latest = attempt.target.upstream.latest
    if latest.waking is not None:
        if isinstance(error, UpstreamConnectFailed) and not isinstance(error.__cause__, _FOR_GOOD):
            _finds_asleep(attempt, latest, latest.waking, None)
            return
        latest.waking.undecided(attempt.turn)
    if fault:
        assert isinstance(error, GatewayError)
        attempt.target.upstream.failed(attempt.endpoint, error.code)


def is_asleep(head: ResponseHead) -> bool:
    """Tell whether a response is that of a backend, or of its proxy, that has not started."""
    return head.status == 503 and retry_after_s(head.fields) is not None


def spares(target: Target) -> bool:
    """Tell whether others can serve while one endpoint is left alone."""
    return len(target.upstream.latest.endpoints) > 1 or target.deployed is not None


def _finds_asleep(
    attempt: Tried, upstream: Upstream, waking: Waking, pause_s: float | None
) -> None:
    """Note that the backend of an attempt has not started, unless another endpoint has."""
    if not waking.is_waking and upstream.has_ready([*attempt.tried, attempt.endpoint]):
        upstream.cool(attempt.endpoint, waking.options.pause_s)
    else:
        waking.asleep(pause_s)


def _learn_quota(attempt: Tried, head: ResponseHead) -> None:
    """Record what is left of the provider's quota. One that is used up is left alone."""
    upstream = attempt.target.upstream
    pause_s = used_up_s(head.fields)
    if pause_s:
        upstream.cool(attempt.endpoint, pause_s)
    quotas = reported_quotas(head.fields)
    upstream.reported(attempt.endpoint, quotas)
    assignment = attempt.request.exchange.assignment
    if assignment is not None:
        assignment.deployment.load.provider.learn(quotas, time.monotonic())
