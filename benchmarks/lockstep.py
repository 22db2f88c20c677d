"""Gateway in this process, with callers and a backend that take turns with it.

The script (callers and backend) runs in a thread and takes the next step when the event loop has
nothing left to do. The loop is held while several connections send, and so finds all of them ready.
So a request makes the same calls in the same order every time, whatever else the machine does, and
each call belongs to one step.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.peers import JWT
from benchmarks.tokens import bearer, public_pem
from gateway.config import load_text
from gateway.process_state import ProcessState
from gateway.server.serving import Server
from gateway.telemetry.logs.logger import make_logger

_EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
_LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}\n\ndata: [DONE]\n\n'
)
_ANSWER = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"word"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}'
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_TURNS = 3
"""Turns of the loop after which nothing that a step caused is left to do."""
_LATER_S = 0.1
"""Time in which work that was put off is done, too."""
_PATIENCE_S = 60.0
"""Longest time without an answer. Instrumented code takes some 50 times as long as usual."""
_PLENTY = "1000000000/minute"


class Step(StrEnum):
    """Part of a streamed chat."""

    REQUEST = "The request, until the backend has it"
    FIRST = "The response's head and first event, until the caller has them"
    EVENT = "One more event"
    END = "The last bytes, and everything that is done afterwards"


def bare(_: Path, backend: int) -> str:
    """Return one route without policies."""
    return json.dumps(_configuration(backend, whole=False))


def whole(_: Path, backend: int) -> str:
    """Return one route with a JWT, three limits, admission, a JSON access log, metrics, and a trace
    of every request.
    """
    return json.dumps(_configuration(backend, whole=True))


def _configuration(backend: int, *, whole: bool) -> dict[str, Any]:
    upstream: dict[str, Any] = {"endpoints": [{"url": f"http://127.0.0.1:{backend}"}]}
    route = {"name": "main", "path": "/v1/", "auth": "anonymous", "upstream": "main"}
    route["heartbeat"] = "1h"  # so that its timer fires in no step, however slow the machine is
    if not whole:
        silent = {"log": {"access": False}, "metrics": None, "traces": None}
        return {"upstreams": {"main": upstream}, "routes": [route], "telemetry": silent}
    del route["upstream"]
    return {
        "admin": {"listen": "127.0.0.1:0"},
        "auth": {"bench": JWT},
        "limits": {
            "requests": {"key": "subject", "requests": _PLENTY},
            "tokens": {"key": "subject", "tokens": _PLENTY, "concurrency": 32},
        },
        "upstreams": {"main": {**upstream, "admission": {"concurrency": 4}}},
        "models": {"m": {"upstream": "main"}},
        "telemetry": {"log": {"format": "json"}, "traces": {"sample": 1.0}},
        "routes": [{**route, "auth": ["bench"], "models": ["m"], "limits": ["requests", "tokens"]}],
    }


class Script:
    """Callers and backend of one gateway. Every method returns when the gateway is idle. All
    callers do the same at the same instant.
    """

    def __init__(
        self, port: int, backend: socket.socket, loop: asyncio.AbstractEventLoop, callers: int
    ) -> None:
        self._loop = loop
        self._backend = backend
        self._port = port
        self._callers = [self._connected() for _ in range(callers)]
        self._upstreams: list[socket.socket] = []
        self._authorization = f"Authorization: Bearer {bearer()}\r\n"
        self._woken, self._wake = os.pipe()
        self._released, self._release = os.pipe()

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), _PATIENCE_S)

    def close(self) -> None:
        """Close every connection."""
        for each in (*self._callers, *self._upstreams):
            each.close()
        for end in (self._woken, self._wake, self._released, self._release):
            os.close(end)

    def run_in_loop(self, call: Callable[[], object]) -> None:
        """Run a function in the gateway's thread."""
        self._loop.call_soon_threadsafe(call)
        self.settle()

    def settle(self) -> None:
        """Wait until the loop has run everything that is ready."""
        for _ in range(_TURNS):
            # A function in C: it does not show among the calls.
            self._loop.call_soon_threadsafe(os.write, self._wake, b"x")
            os.read(self._woken, 1)

    def wait(self, seconds: float = _LATER_S) -> None:
        """Wait until work that was put off is done."""
        time.sleep(seconds)
        self.settle()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the loop during the block. It then finds everything at once that was sent."""
        self._loop.call_soon_threadsafe(self._hold)
        os.read(self._woken, 1)
        try:
            yield
        finally:
            os.write(self._release, b"x")

    def _hold(self) -> None:
        os.write(self._wake, b"x")
        os.read(self._released, 1)

    def chat(
        self, events: int, step: Callable[[Step], None] = lambda _: None, *, joined: int = 1
    ) -> None:
        """Stream one chat to each caller. `step` is called when the gateway is idle before each
        step. Each event but the first is `joined` events in one packet.
        """
        step(Step.REQUEST)
        upstreams = self._ask(stream=True)
        for number in range(events):
            step(Step.EVENT if number else Step.FIRST)
            if number:
                self._answer(upstreams, _chunk(_EVENT) * joined, _EVENT, joined)
            else:
                self._answer(upstreams, _STREAM_HEAD + _chunk(_EVENT), _EVENT)
        step(Step.END)
        self._answer(upstreams, _chunk(_LAST) + b"0\r\n\r\n", b"0\r\n\r\n")

    def ask(self, step: Callable[[Step], None] = lambda _: None) -> None:
        """Ask for one answer that is not a stream, for each caller. `step` is called when the
        gateway is idle before the request and before its answer.
        """
        step(Step.REQUEST)
        upstreams = self._ask(stream=False)
        step(Step.END)
        self._answer_whole(upstreams)

    def ask_alone(self) -> None:
        """Ask for one answer on a connection of its own for each caller, which the gateway closes
        after it.
        """
        kept, self._callers = self._callers, [self._connected() for _ in self._callers]
        self._answer_whole(self._ask(stream=False, line="Connection: close\r\n"))
        for caller in self._callers:
            caller.close()
        self._callers = kept
        self.settle()

    def _ask(self, *, stream: bool, line: str = "") -> list[socket.socket]:
        """Send the requests, with one more header line. Return the connections on which the backend
        got them.
        """
        asked = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        body = json.dumps(asked).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nUser-Agent: bench\r\n"
        head += f"Content-Type: application/json\r\n{self._authorization}{line}"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        with self._held():
            for caller in self._callers:
                caller.sendall(head.encode() + body)
        got: dict[socket.socket, bytes] = {}
        while len(got) < len(self._callers) or not all(map(_is_whole, got.values())):
            ready, _, _ = select.select([self._backend, *self._upstreams], [], [], _PATIENCE_S)
            if not ready:
                raise TimeoutError(f"the backend got {len(got)} requests")
            for each in ready:
                if each is self._backend:
                    self._upstreams.append(each.accept()[0])
                    continue
                data = each.recv(65536)
                if not data:
                    raise ConnectionError("the gateway closed a connection to the backend")
                got[each] = got.get(each, b"") + data
        self.settle()
        return list(got)

    def _answer_whole(self, upstreams: Sequence[socket.socket]) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._answer(upstreams, head % len(_ANSWER) + _ANSWER, _ANSWER)

    def _answer(
        self, upstreams: Sequence[socket.socket], data: bytes, expected: bytes, times: int = 1
    ) -> None:
        """Send data as the backend, until every caller has got what is expected, so many times."""
        with self._held():
            for upstream in upstreams:
                upstream.sendall(data)
        for caller in self._callers:
            got = b""
            while got.count(expected) < times:
                more = caller.recv(65536)
                if not more:
                    raise ConnectionError(f"the gateway closed the connection after {got!r}")
                got += more
            if got.startswith(b"HTTP/1.1 ") and not got.startswith(b"HTTP/1.1 200 "):
                raise ConnectionError(f"not answered: {got!r}")
        self.settle()


Document = Callable[[Path, int], str]
"""Function that returns the text of a configuration; its arguments are the folder of the
configuration, which has `public.pem`, and the port of the backend.
"""


def run(script: Callable[[Script], None], document: Document, *, callers: int = 1) -> None:
    """Run a script with a gateway that this thread serves."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        uvloop.run(_run(script, Path(folder), document, callers))


async def _run(
    script: Callable[[Script], None], folder: Path, document: Document, callers: int
) -> None:
    (folder / "public.pem").write_bytes(public_pem())
    loop = asyncio.get_running_loop()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=callers) as backend,
        socket.create_server(("127.0.0.1", 0), backlog=callers) as listening,
    ):
        config = load_text(document(folder, backend.getsockname()[1]), base=folder)
        logger = make_logger(lambda _: None, level=config.telemetry.log.level, console=False)
        server = Server(config, ProcessState.begin(config, logger))
        await server.start([listening])
        try:
            port = int(listening.getsockname()[1])

            def run_script() -> None:
                made = Script(port, backend, loop, callers)
                try:
                    script(made)
                finally:
                    made.close()

            await asyncio.to_thread(run_script)
        finally:
            await server.stop()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _is_whole(request: bytes) -> bool:
    head, found, body = request.partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return len(body) >= (int(length[1]) if length else 0)
