"""Cost of hooks for an event of a stream, beside the cost of an event without any."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence

import orjson

from gateway.exchange import Exchange
from gateway.hooks import HookedEvent, Refused, TextWindow
from gateway.hooks.guarded import GuardedHook, HookSinks
from gateway.hooks.stages import stages_of
from gateway.hooks.stream import HookedStream
from gateway.sse import EventSplitter
from gateway.telemetry.metrics.registry import Registry
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UpstreamResponse

_ROUNDS = 5
_EVENTS = 2000
_WORD = re.compile("forbidden")
_NAMES = {
    "event": "by event, synchronous",
    "async": "by event, asynchronous, no wait",
    "change": "by event, each is changed",
    "400": "by window of 400 characters",
    "20": "by window of 20 characters",
    "waits": "by window of 400 characters, asynchronous",
}
HookCosts = dict[str, float]
"""µs of CPU time for an event, by kind of hook."""


class _ByEvent:
    def on_event(self, event: HookedEvent) -> None:
        for passage in event.passages:
            if _WORD.search(passage.text):
                raise Refused


class _ByEventLater:
    async def on_event(self, event: HookedEvent) -> None:
        for passage in event.passages:
            if _WORD.search(passage.text):
                raise Refused


class _Changing:
    def on_event(self, event: HookedEvent) -> None:
        for passage in event.passages:
            passage.text = passage.text.upper()


class _ByWindow:
    def __init__(self, chars: int) -> None:
        self.window = chars

    def on_window(self, window: TextWindow) -> None:
        if _WORD.search(window.text):
            raise Refused


class _ByWindowLater:
    window = 400

    async def on_window(self, window: TextWindow) -> None:
        await asyncio.sleep(0)
        if _WORD.search(window.text):
            raise Refused


def measure() -> HookCosts:
    """Measure the CPU time, the minimum of several rounds. Takes some seconds."""
    hooks: dict[str, Sequence[object]] = {
        "event": [_ByEvent()],
        "async": [_ByEventLater()],
        "change": [_Changing()],
        "400": [_ByWindow(400)],
        "20": [_ByWindow(20)],
        "waits": [_ByWindowLater()],
    }
    costs = {
        _NAMES[name]: min(asyncio.run(_event_us(made)) for _ in range(_ROUNDS))
        for name, made in hooks.items()
    }
    both = [_ByEvent(), _ByWindow(400)]
    costs["two: by event, and by window"] = min(
        asyncio.run(_event_us(both)) for _ in range(_ROUNDS)
    )
    return costs


def render(costs: HookCosts) -> str:
    """Return the costs as a table."""
    lines = [f"{'hook':44}{'µs an event':>14}"]
    return "\n".join([*lines, *(f"{name:44}{cost:14.1f}" for name, cost in costs.items())])


async def _event_us(hooks: Sequence[object]) -> float:
    exchange = Exchange("POST", "127.0.0.1", False)
    sinks = HookSinks(Registry(), lambda *_: None)
    guarded = [
        GuardedHook("hook", "route", hook, timeout_s=2.0, is_open=False, sinks=sinks)
        for hook in hooks
    ]
    head = ResponseHead(200, b"OK", [(b"Content-Type", b"text/event-stream")], "1.1")
    raw = UpstreamResponse(head, None)
    stream = HookedStream(
        raw, head, stages_of(guarded, exchange), EventSplitter(), exchange, is_lines=False
    )
    sink = _Sink()
    stream.response.attach(sink)
    events = [_event(number) for number in range(_EVENTS)]
    started = time.process_time()
    for event in events:
        raw.feed(event)
        await asyncio.sleep(0)  # as bytes of a socket come
    raw.finish(None)
    await sink.ended.wait()
    spent = time.process_time() - started
    assert sink.events == _EVENTS
    return (spent - await _loop_s()) / _EVENTS * 1e6


async def _loop_s() -> float:
    """Return the CPU time of as many turns of the event loop."""
    started = time.process_time()
    for _ in range(_EVENTS):
        await asyncio.sleep(0)
    return time.process_time() - started


class _Sink:
    def __init__(self) -> None:
        self.events = 0
        self.ended = asyncio.Event()

    def feed(self, data: bytes) -> None:
        self.events += data.count(b"\n\n")

    def finish(self, _: object) -> None:
        self.ended.set()


def _event(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f" w{number % 100}"}, "finish_reason": None}
    document = {
        "id": "chatcmpl-0123456789",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "llama-3.1-8b",
        "choices": [choice],
    }
    return b"data: %b\n\n" % orjson.dumps(document)
