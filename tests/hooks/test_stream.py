"""A stream that hooks allow leaves as it came: whatever its pieces, and whether hooks wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError, UpstreamReset
from gateway.hooks import HookedEvent, TextWindow
from gateway.hooks.guarded import GuardedHook, HookSinks
from gateway.hooks.stages import stages_of
from gateway.hooks.stream import HookedStream
from gateway.sse import EventSplitter
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UpstreamResponse
from tests.support.hooks import DONE, an_exchange, chunk_of, text_of

PIECES = (
    *(chunk_of(text, index) for text in ("", "a", "two words") for index in (0, 1)),
    *(b": comment\n\n", b"event: x\r\ndata: {}\r\n\r\n", b"data: no json\n\n", b"\n\n", DONE),
    b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\n',
    b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
)


class _Watching:
    """Allows everything, event by event or window by window."""

    def __init__(self, kind: str) -> None:
        self.seen: list[str] = []
        self.window = 5
        self.holds = kind != "watch"
        if kind == "event":
            self.on_event = self._on_event
        elif kind == "async event":
            self.on_event = self._on_event_later  # type: ignore[assignment]
        elif kind == "window":
            self.on_window = self._on_window
        else:
            self.on_window = self._on_window_later  # type: ignore[assignment]

    def _on_event(self, event: HookedEvent) -> None:
        self.seen.append(event.text)

    async def _on_event_later(self, event: HookedEvent) -> None:
        await asyncio.sleep(0)
        self.seen.append(event.text)

    def _on_window(self, window: TextWindow) -> None:
        self.seen.append(window.text)
        window.hold(2)

    async def _on_window_later(self, window: TextWindow) -> None:
        await asyncio.sleep(0)
        self.seen.append(window.text)


class _Sink:
    def __init__(self) -> None:
        self.data = b""
        self.error: GatewayError | None = None
        self.ended = asyncio.Event()

    def feed(self, data: bytes) -> None:
        self.data += data

    def finish(self, error: GatewayError | None) -> None:
        self.error = error
        self.ended.set()


KINDS = ("event", "async event", "window", "async window", "watch")


def begun(hooks: Sequence[object]) -> tuple[UpstreamResponse, _Sink]:
    """Return the source of a stream with these hooks, and its sink."""
    exchange = an_exchange()
    sinks = HookSinks(None, lambda *_: None)
    guarded = [
        GuardedHook("h", "r", hook, timeout_s=5, is_open=False, sinks=sinks) for hook in hooks
    ]
    head = ResponseHead(200, b"OK", [(b"Content-Type", b"text/event-stream")], "1.1")
    raw, sink = UpstreamResponse(head, None), _Sink()
    stream = HookedStream(
        raw, head, stages_of(guarded, exchange), EventSplitter(), exchange, is_lines=False
    )
    stream.response.attach(sink)
    return raw, sink


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.booleans(),
)
def test_an_allowed_stream_leaves_byte_for_byte(
    events: list[bytes], sizes: list[int], kinds: list[str], waits: bool
) -> None:
    data = b"".join(events)

    async def passed() -> None:
        hooks = [_Watching(kind) for kind in kinds]
        raw, sink = begun(hooks)
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            raw.feed(data[at : at + size])
            at, turn = at + size, turn + 1
            if waits:
                await asyncio.sleep(0)
        raw.finish(None)
        await asyncio.wait_for(sink.ended.wait(), 5)
        assert sink.error is None
        assert sink.data == data

    asyncio.run(passed())


async def test_a_window_sees_the_whole_text_once() -> None:
    hook = _Watching("async window")
    raw, sink = begun([hook])
    for word in ("one ", "two ", "three"):
        raw.feed(chunk_of(word))
    raw.finish(None)
    await sink.ended.wait()
    assert "".join(hook.seen) == "one two three"


async def test_a_mistake_of_the_gateway_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def rendered(_: HookedEvent) -> bytes:
        raise AssertionError("a mistake")

    monkeypatch.setattr(HookedEvent, "rendered", rendered)
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    raw, sink = begun([_Watching("async event")])
    raw.feed(chunk_of("abc"))
    await asyncio.wait_for(sink.ended.wait(), 5)
    assert sink.error is not None
    assert sink.error.code == "internal_error"
    assert told[0]["message"] == "hooks of request r1"


async def test_text_that_is_held_is_sent_before_an_error_of_the_backend() -> None:
    raw, sink = begun([_Watching("async window")])
    raw.feed(chunk_of("abc"))
    raw.finish(UpstreamReset("gone"))
    await sink.ended.wait()
    assert text_of(sink.data) == "abc"
    assert isinstance(sink.error, UpstreamReset)
