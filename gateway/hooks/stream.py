"""Streamed answer that passes the hooks of its route. It is the sink of the backend's response and
the source of the response that is relayed instead, so usage, recording, kept streams, compression
and the client see only judged events.

Events pass in the call that brings them, unless a hook has to wait. Then a task passes the events
in order, new ones are queued, and the source is paused once the queue is full.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence

from gateway.dialects.continuation import Splitter
from gateway.dialects.json_lines import Lines
from gateway.dialects.passages import TooDeep
from gateway.errors import GatewayError, HookUnavailable
from gateway.exchange import Exchange
from gateway.hooks.events import HookedEvent
from gateway.hooks.stages import HookStage
from gateway.sse import Event, EventTooLarge
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UpstreamResponse

_QUEUED_CAP_BYTES = 64 * 1024
"""Bytes of events that may wait for a hook before the source is paused."""


class HookedStream:
    """Streamed answer of one request. `response` is the one to relay."""

    def __init__(
        self,
        raw: UpstreamResponse,
        head: ResponseHead,
        stages: Sequence[HookStage],
        splitter: Splitter,
        exchange: Exchange,
        *,
        is_lines: bool,
    ) -> None:
        self._raw = raw
        self._stages = stages
        self._splitter = splitter
        self._exchange = exchange
        self._is_lines = is_lines
        self._queue: deque[HookedEvent] = deque()
        self._queued_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        """True once the source has ended; its error, if any, is in `_error`."""
        self._error: GatewayError | None = None
        self._over = False
        self._source_paused = False
        self._reader_paused = False
        self.response = UpstreamResponse(head, self)
        for stage in stages:
            stage.attach(self.fail_with)
        exchange.at_end(self._close)
        raw.read_into(self)

    # -- sink of the source ------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the source."""
        if self._over:
            return
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            self._take(exc.events)
            self.fail_with(HookUnavailable(reason="an event is too large for hooks"))
            return
        self._take(events)

    def finish(self, error: GatewayError | None) -> None:
        """Note the end of the source, with its error if it broke off."""
        if self._over or self._ended:
            return
        rest = self._splitter.flush()
        if error is None and rest:
            # Clients may read an event that no blank line ends.
            self._take([Event(rest)] if not self._is_lines else _lines(rest))
        self._ended, self._error = True, error
        if self._task is None and not self._over:
            self._drain()

    # -- source of the relayed response ------------------------------------------------------

    @property
    def silent_s(self) -> float | None:
        """Seconds since the source last sent anything."""
        return self._raw.silent_s

    def pause(self) -> None:
        """Pause the source, because the reader is too slow."""
        self._reader_paused = True
        self._hold()

    def resume(self) -> None:
        """Resume the source after a pause."""
        self._reader_paused = False
        self._hold()

    def fail(self, error: GatewayError) -> None:
        """End the stream with an error that did not come from a hook."""
        if not self._ended:
            self._raw.fail(error)
        self._end(error)

    def abort(self) -> None:
        """Stop: nobody reads the stream."""
        self._stop()
        self._raw.abort()

    def fail_with(self, error: GatewayError) -> None:
        """End the stream with a hook's error."""
        if self._over:
            return
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._raw.abort)
        tap = self._exchange.tap
        if tap is not None:
            # The caller pays for what was generated, and not only for what was sent.
            for stage in self._stages:
                for event in stage.held:
                    tap.feed(event.raw)
        self._end(error)

    # -- private -----------------------------------------------------------------------------

    def _take(self, events: Sequence[Event]) -> None:
        try:
            for event in events:
                made = HookedEvent(event, self._exchange, is_line=self._is_lines)
                self._queue.append(made)
                self._queued_bytes += len(made.raw)
        except TooDeep:
            self.fail_with(HookUnavailable(reason="an event is nested too deeply for hooks"))
            return
        if self._task is None:
            self._drain()
        elif self._queued_bytes > _QUEUED_CAP_BYTES:
            self._hold()

    def _hold(self) -> None:
        """Pause or resume the source."""
        if self._ended or self._over:
            return
        pause = self._reader_paused or (
            self._task is not None and self._queued_bytes > _QUEUED_CAP_BYTES
        )
        if pause != self._source_paused:
            self._source_paused = pause
            if pause:
                self._raw.pause()
            else:
                self._raw.resume()

    def _drain(self) -> None:
        """Pass the queued events through the hooks, until one has to wait."""
        sent: list[bytes] = []
        try:
            while self._queue:
                made = self._through([self._next()], 0)
                if not isinstance(made, list):
                    self._send(sent)
                    self._begin(made)
                    return
                sent += [event.rendered() for event in made]
            if self._ended:
                made = self._flushed(0)
                if not isinstance(made, list):
                    self._send(sent)
                    self._begin(made, is_last=True)
                    return
                sent += [event.rendered() for event in made]
        except GatewayError as exc:
            self._send(sent)
            self.fail_with(exc)
            return
        self._send(sent)
        if self._ended:
            self._end(self._error)

    def _next(self) -> HookedEvent:
        event = self._queue.popleft()
        self._queued_bytes -= len(event.raw)
        return event

    def _begin(self, waiting: Awaitable[list[HookedEvent]], *, is_last: bool = False) -> None:
        self._task = asyncio.create_task(self._work(waiting, is_last=is_last))
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """End the stream if the task failed unexpectedly, since nothing else ends it."""
        exc = None if task.cancelled() else task.exception()
        if exc is not None:
            self._task = None
            self.fail_with(GatewayError(reason=type(exc).__name__))
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"hooks of request {self._exchange.request_id}", "exception": exc}
            )

    async def _work(self, waiting: Awaitable[list[HookedEvent]], *, is_last: bool) -> None:
        """Wait for a hook, then pass the rest of the queue."""
        try:
            made = await waiting
        except GatewayError as exc:
            self._task = None
            self.fail_with(exc)
            return
        self._task = None
        if self._over:
            return
        self._send([event.rendered() for event in made])
        if is_last:
            self._end(self._error)
            return
        self._drain()
        self._hold()

    def _through(
        self, events: list[HookedEvent], at: int
    ) -> list[HookedEvent] | Awaitable[list[HookedEvent]]:
        """Pass events through the stages from `at` on."""
        for number in range(at, len(self._stages)):
            stage = self._stages[number]
            released: list[HookedEvent] = []
            for index, event in enumerate(events):
                made = stage.feed(event)
                if not isinstance(made, list):
                    return self._through_later(made, released, events[index + 1 :], number)
                released += made
            events = released
        return events

    async def _through_later(
        self,
        waiting: Awaitable[list[HookedEvent]],
        released: list[HookedEvent],
        rest: Sequence[HookedEvent],
        number: int,
    ) -> list[HookedEvent]:
        released += await waiting
        for event in rest:
            made = self._stages[number].feed(event)
            released += made if isinstance(made, list) else await made
        following = self._through(released, number + 1)
        return following if isinstance(following, list) else await following

    def _flushed(self, at: int) -> list[HookedEvent] | Awaitable[list[HookedEvent]]:
        """Return the events that the stages from `at` on still hold."""
        released: list[HookedEvent] = []
        for number in range(at, len(self._stages)):
            rest = self._stages[number].flush()
            if not isinstance(rest, list):
                return self._flushed_later(rest, released, number)
            made = self._through(rest, number + 1)
            if not isinstance(made, list):
                return self._flushed_later(made, released, number, is_through=True)
            released += made
        return released

    async def _flushed_later(
        self,
        waiting: Awaitable[list[HookedEvent]],
        released: list[HookedEvent],
        number: int,
        *,
        is_through: bool = False,
    ) -> list[HookedEvent]:
        made = await waiting
        if not is_through:
            following = self._through(made, number + 1)
            made = following if isinstance(following, list) else await following
        rest = self._flushed(number + 1)
        return [*released, *made, *(rest if isinstance(rest, list) else await rest)]

    def _send(self, pieces: Sequence[bytes]) -> None:
        if pieces and not self._over:
            self.response.feed(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _end(self, error: GatewayError | None) -> None:
        if self._over:
            return
        self._stop()
        self.response.ending = self._raw.ending
        self.response.finish(error)

    def _stop(self) -> None:
        self._over = True
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
        for stage in self._stages:
            stage.close()

    def _close(self, _: Exchange) -> None:
        self._stop()


def _lines(rest: bytes) -> Sequence[Event]:
    return Lines().feed(rest + b"\n")
