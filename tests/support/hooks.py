"""Hooks for tests, events of a streamed chat, and a guardrail service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel

from gateway.exchange import Exchange
from gateway.hooks import HookedAnswer, HookedRequest, Refused, TextWindow
from gateway.hooks.events import HookedEvent
from gateway.sse import Event

DONE = b"data: [DONE]\n\n"
MARK = "secret"


def chunk_of(text: str, index: int = 0, **fields: Any) -> bytes:
    """Return an event of OpenAI's chat API."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None, **fields}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


def an_exchange() -> Exchange:
    """Return an exchange without a connection."""
    exchange = Exchange("POST", "127.0.0.1", False)
    exchange.request_id = "r1"
    return exchange


def event_of(raw: bytes) -> HookedEvent:
    """Return an event as hooks see it."""
    return HookedEvent(Event(raw), an_exchange())


def text_of(events: bytes, index: int = 0) -> str:
    """Return the text of one choice of a stream."""
    text = ""
    for line in events.splitlines():
        data = line.removeprefix(b"data: ")
        if data.startswith(b"{"):
            for choice in json.loads(data).get("choices", ()):
                if choice.get("index", 0) == index:
                    text += choice["delta"].get("content", "")
    return text


class Guardrail:
    """Guardrail service over HTTP, as an async context manager. `verdict` decides by what it was
    asked.
    """

    def __init__(self, verdict: Callable[[dict[str, Any]], Any]) -> None:
        self.verdict = verdict
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.connections: set[object] = set()
        self.peers: set[str | None] = set()
        """Addresses of those that ask."""
        self.gate = asyncio.Event()
        """Calls are answered while this is set."""
        self.gate.set()
        self.at_once = self.most_at_once = 0
        self.changed = asyncio.Condition()
        application = web.Application()
        application.router.add_post("/judge", self._judge)
        self._server = TestServer(application)

    @property
    def url(self) -> str:
        """Address for `url`."""
        return str(self._server.make_url("/judge"))

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gate.set()
        await self._server.close()

    async def wait_calls(self, count: int) -> None:
        """Wait until so many calls are under way at once."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.at_once >= count)

    async def _judge(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.connections.add(request.transport)
        self.peers.add(request.remote)
        asked = json.loads(body)
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        async with self.changed:
            self.changed.notify_all()
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        verdict = self.verdict(asked)
        if isinstance(verdict, web.StreamResponse):
            return verdict
        return web.json_response(verdict)

    @property
    def texts(self) -> Sequence[str]:
        """Texts that were judged."""
        return [asked.get("text", asked.get("input", "")) for asked in self.asked]


# -- hooks by their dotted name ------------------------------------------------------------------


class Shout:
    """Writes texts in capitals, event by event."""

    def on_request(self, request: HookedRequest) -> None:
        """Change the request."""
        for passage in request.passages:
            passage.text = passage.text.upper()

    def on_answer(self, answer: HookedAnswer) -> None:
        """Change a whole answer."""
        for passage in answer.passages:
            passage.text = passage.text.upper()

    def on_event(self, event: HookedEvent) -> None:
        """Change an event."""
        for passage in event.passages:
            passage.text = passage.text.upper()


class SlowShout(Shout):
    """Does the same after a turn of the event loop."""

    async def on_request(self, request: HookedRequest) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_request(request)

    async def on_answer(self, answer: HookedAnswer) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_answer(answer)

    async def on_event(self, event: HookedEvent) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_event(event)


class Words:
    """Refuses or replaces a word, window by window."""

    class Options(BaseModel):
        """Options."""

        window: int = 20
        refuse: str = MARK
        replace: str = "darn"

    def __init__(self, options: Options) -> None:
        self._options = options
        self.window = options.window

    def on_request(self, request: HookedRequest) -> None:
        """Judge the request."""
        if self._options.refuse in request.text:
            raise Refused("a word", message="Mind your words.")

    def on_window(self, window: TextWindow) -> None:
        """Judge a part of an answer."""
        word, text = self._options.replace, window.text
        if self._options.refuse in window.before[-10:] + text:
            raise Refused("a word")
        at = text.find(word)
        while at >= 0:
            window.replace(at, at + len(word), "d***")
            at = text.find(word, at + len(word))
        if not window.is_final:
            window.hold(next(n for n in range(len(word), -1, -1) if _ends(text, word[:n])))


def _ends(text: str, start: str) -> bool:
    return text.endswith(start)


class Broken:
    """Fails whatever it sees."""

    def on_request(self, request: HookedRequest) -> None:
        """Change something, then fail."""
        request.passages[0].text = "half done"
        raise RuntimeError(f"cannot judge {request.text}")

    def on_answer(self, answer: HookedAnswer) -> None:
        """Fail."""
        raise RuntimeError(f"cannot judge {answer.text}")

    def on_event(self, event: HookedEvent) -> None:
        """Fail."""
        raise RuntimeError(f"cannot judge {event.text}")


class Closing(Shout):
    """Notes when it is closed."""

    closed: ClassVar[list[str]] = []

    async def close(self) -> None:
        """Note it, and fail."""
        self.closed.append("closed")
        raise RuntimeError("cannot close")


class Stuck:
    """Never gives a verdict."""

    async def on_window(self, window: TextWindow) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()
