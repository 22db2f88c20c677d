"""Stages of a streamed answer, one for each hook. A stage takes events, and returns those that may
be sent, in order.

A stage returns at once if its hook does. Otherwise it returns an awaitable, and gets the next event
when that is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Protocol

from gateway.dialects.passages import Passage
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.hooks.content import TextWindow
from gateway.hooks.events import HookedEvent
from gateway.hooks.guarded import GuardedHook, HookPhase, Method
from gateway.hooks.windows import WindowBuffer

Released = list[HookedEvent] | Awaitable[list[HookedEvent]]
_Judged = Sequence[tuple[Hashable, TextWindow]]


class HookStage(Protocol):
    """Stage of one hook in a stream."""

    @property
    def held(self) -> Sequence[HookedEvent]:
        """Events that wait for a verdict."""

    def feed(self, event: HookedEvent) -> Released:
        """Return the events that may be sent. Raise what `GuardedHook.call` raises."""

    def flush(self) -> Released:
        """Return the events that are still held, at the end of the stream."""

    def attach(self, fail: Callable[[GatewayError], None]) -> None:
        """Join a stream; `fail` ends it with an error. Called again if another backend continues
        the answer.
        """

    def close(self) -> None:
        """Stop: the stream has ended."""


class EventStage:
    """Stage of a hook that judges event by event."""

    held: Sequence[HookedEvent] = ()

    def __init__(self, hook: GuardedHook, method: Method) -> None:
        self._hook = hook
        self._method = method

    def feed(self, event: HookedEvent) -> Released:
        waiting = self._hook.call(HookPhase.EVENT, self._method, event)
        return [event] if waiting is None else self._later(waiting, event)

    def flush(self) -> Released:
        return []

    def attach(self, fail: Callable[[GatewayError], None]) -> None:
        return

    def close(self) -> None:
        return

    async def _later(self, waiting: Awaitable[None], event: HookedEvent) -> list[HookedEvent]:
        await waiting
        return [event]


class WindowStage:
    """Stage of a hook that judges windows, and holds their text back."""

    def __init__(self, hook: GuardedHook, method: Method, exchange: Exchange) -> None:
        self._hook = hook
        self._method = method
        self._exchange = exchange
        self._buffer = WindowBuffer(hook.window_chars, exchange)

    @property
    def held(self) -> Sequence[HookedEvent]:
        return self._buffer.held

    def feed(self, event: HookedEvent) -> Released:
        buffer = self._buffer
        if event.passages and any(passage.repeats for passage in event.passages):
            return self._repeated(event)
        buffer.add(event)
        return self._judge(is_final=False) if buffer.is_due else buffer.passing()

    def flush(self) -> Released:
        return self._judge(is_final=True)

    def attach(self, fail: Callable[[GatewayError], None]) -> None:
        return

    def close(self) -> None:
        return

    def _judge(self, *, is_final: bool) -> Released:
        judged = self._buffer.windows(is_final=is_final)
        for number, (_, window) in enumerate(judged):
            waiting = self._hook.call(HookPhase.WINDOW, self._method, window)
            if waiting is not None:
                return self._later(waiting, judged, number + 1)
        return self._buffer.release(judged)

    async def _later(
        self, waiting: Awaitable[None], judged: _Judged, number: int
    ) -> list[HookedEvent]:
        await waiting
        for _, window in judged[number:]:
            again = self._hook.call(HookPhase.WINDOW, self._method, window)
            if again is not None:
                await again
        return self._buffer.release(judged)

    async def _repeated(self, event: HookedEvent) -> list[HookedEvent]:
        """Judge an event that repeats text. Text that was judged before is not judged again."""
        judged = self._judge(is_final=True)
        released = judged if isinstance(judged, list) else await judged
        for passage in event.passages:
            sent = self._buffer.sent_as(passage.text)
            if sent is not None:
                passage.text = sent
                continue
            window = whole_window(passage, self._exchange)
            waiting = self._hook.call(HookPhase.WINDOW, self._method, window)
            if waiting is not None:
                await waiting
            passage.text = window.edited
        return [*released, event]


class WatchStage:
    """Stage of a hook that judges windows while their text is sent. A refusal ends the stream."""

    held: Sequence[HookedEvent] = ()

    def __init__(self, hook: GuardedHook, method: Method, exchange: Exchange) -> None:
        self._hook = hook
        self._method = method
        self._exchange = exchange
        self._fail: Callable[[GatewayError], None] | None = None
        self._texts: dict[Hashable, list[Passage]] = {}
        self._chars = 0
        self._before: dict[Hashable, str] = {}
        self._task: asyncio.Task[None] | None = None

    def feed(self, event: HookedEvent) -> Released:
        for passage in event.passages:
            if passage.text and not passage.repeats:
                self._texts.setdefault(passage.key, []).append(passage)
                self._chars += len(passage.text)
        due = 0 < self._hook.window_chars <= self._chars
        if due and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._watch(self._taken(is_final=False)))
        return [event]

    def flush(self) -> Released:
        return self._last()

    def attach(self, fail: Callable[[GatewayError], None]) -> None:
        self._fail = fail

    def close(self) -> None:
        self._fail = None  # it refers to the stream, which refers to this stage
        if self._task is not None:
            self._task.cancel()

    async def _last(self) -> list[HookedEvent]:
        if self._task is not None:
            await self._task
        await self._judge(self._taken(is_final=True))
        return []

    def _taken(self, *, is_final: bool) -> list[TextWindow]:
        windows = []
        for key, passages in self._texts.items():
            text = "".join(passage.text for passage in passages)
            before = self._before.get(key, "")
            kind = passages[0].kind
            windows.append(TextWindow(text, before, kind, self._exchange, is_final=is_final))
            self._before[key] = (before + text)[-1000:]
        self._texts.clear()
        self._chars = 0
        return windows

    async def _watch(self, windows: Sequence[TextWindow]) -> None:
        try:
            await self._judge(windows)
        except GatewayError as exc:
            if self._fail is not None:
                self._fail(exc)

    async def _judge(self, windows: Sequence[TextWindow]) -> None:
        for window in windows:
            waiting = self._hook.call(HookPhase.WINDOW, self._method, window)
            if waiting is not None:
                await waiting


def stages_of(hooks: Sequence[GuardedHook], exchange: Exchange) -> list[HookStage]:
    """Return the stages of one answer."""
    stages: list[HookStage] = []
    for hook in hooks:
        if hook.on_event is not None:
            stages.append(EventStage(hook, hook.on_event))
        if hook.on_window is not None:
            kind = WindowStage if hook.holds else WatchStage
            stages.append(kind(hook, hook.on_window, exchange))
    return stages


def whole_window(passage: Passage, exchange: Exchange) -> TextWindow:
    """Return the window of a whole passage."""
    return TextWindow(passage.text, "", passage.kind, exchange, is_final=True)
