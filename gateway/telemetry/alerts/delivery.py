"""Delivery of alerts to one webhook: in order, signed, tried again with growing pauses.

The queue is bounded: if the receiver is down for long, the oldest events are dropped, and counted.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from gateway.http.connectors import connector_to
from gateway.http.egress import Proxy
from gateway.http.signature import signature
from gateway.telemetry.alerts.event import AlertEvent, AlertFormat, body_of

_QUEUED_CAP = 100
_ATTEMPTS = 6
_LONGEST_PAUSE_S = 60.0
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class AlertTarget:
    """Webhook that receives events."""

    url: str
    """May contain a secret, as Slack's do: must not be logged."""
    format: AlertFormat
    secret: bytes | None = None
    """Key of the signature."""
    proxy: Proxy | None = None


class DeliveryFailed(Exception):
    """An event was not accepted. The text says why, without the URL."""

    def __init__(self, reason: str, *, is_final: bool = False, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.is_final = is_final
        """True if another attempt would fail likewise."""
        self.pause_s = pause_s
        """Seconds for which the receiver asks to wait."""


async def deliver(target: AlertTarget, event: AlertEvent) -> None:
    """Send an event once. Raise DeliveryFailed."""
    body = body_of(event, target.format, socket.gethostname())
    headers = {"Content-Type": "application/json", "User-Agent": "llm-gateway"}
    headers["X-Gateway-Event"] = event.id
    if target.secret is not None:
        at = str(int(time.time()))
        headers["X-Gateway-Timestamp"] = at
        headers["X-Gateway-Signature"] = signature(target.secret, at, body)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector_to(target.url, target.proxy),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            ) as session,
            session.post(target.url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            status, after = response.status, response.headers.get("Retry-After", "")
    except OSError as exc:
        raise DeliveryFailed(str(exc) or type(exc).__name__) from exc
    except aiohttp.ClientError as exc:
        raise DeliveryFailed(type(exc).__name__) from None  # its text may contain the URL
    if not 200 <= status < 300:
        final = 300 <= status < 500 and status not in (408, 425, 429)
        pause_s = min(float(after), _LONGEST_PAUSE_S) if after.isdecimal() else 0.0
        raise DeliveryFailed(f"status {status}", is_final=final, pause_s=pause_s)


class Deliveries:
    """Queue of events for one webhook."""

    def __init__(
        self,
        target: AlertTarget,
        counts: Counter[str],
        report: Callable[[str, str], None],
        *,
        first_pause_s: float = 1.0,
    ) -> None:
        """Create the queue. `counts` counts the events as `sent`, `failed` or `dropped`. `report`
        is called with the id of an event that was not delivered, and the reason.
        """
        self.target = target
        self._counts = counts
        self._report = report
        self._first_pause_s = first_pause_s
        self._queue: deque[AlertEvent] = deque()
        self._added = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, event: AlertEvent) -> None:
        """Send an event when those before it are done. Needs a running event loop."""
        if len(self._queue) >= _QUEUED_CAP:
            self._counts["dropped"] += 1
            self._report(self._queue.popleft().id, "the queue is full")
        self._queue.append(event)
        self._added.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def take(self) -> list[AlertEvent]:
        """Stop, and return the events that were not sent."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        left = list(self._queue)
        self._queue.clear()
        return left

    async def _run(self) -> None:
        while True:
            while self._queue:
                event = self._queue[0]
                await self._send(event)
                # The queue may have dropped it meanwhile.
                if self._queue and self._queue[0] is event:
                    self._queue.popleft()
            self._added.clear()
            await self._added.wait()

    async def _send(self, event: AlertEvent) -> None:
        pause_s = self._first_pause_s
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await deliver(self.target, event)
            except DeliveryFailed as exc:
                if exc.is_final or attempt == _ATTEMPTS:
                    self._counts["failed"] += 1
                    self._report(event.id, str(exc))
                    return
                await asyncio.sleep(max(pause_s, exc.pause_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._counts["sent"] += 1
                return
