"""One gateway in this process, and one caller and one backend that take turns with it.

The script (caller and backend) runs in a thread and takes the next step when the event loop has
nothing left to do. So a request makes the same calls in the same order every time, whatever else
the machine does, and each call belongs to one step.
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
from collections.abc import Callable
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
_PATIENCE_S = 10.0
_PLENTY = "1000000000/minute"


class Step(StrEnum):
    """Part of a streamed chat."""

    REQUEST = "The request, until the backend has it"
    FIRST = "The response's head and first event, until the caller has them"
    EVENT = "One more event"
    END = "The last bytes, and everything that is done afterwards"


def configuration(backend: int, *, whole: bool) -> dict[str, Any]:
    """Return one route: bare, or with a JWT, three limits, admission, a JSON access log, metrics,
    and a trace of every request.
    """
    upstream: dict[str, Any] = {"endpoints": [{"url": f"http://127.0.0.1:{backend}"}]}
    route = {"name": "main", "path": "/v1/", "auth": "anonymous", "upstream": "main"}
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
    """Caller and backend of one gateway. Every method returns when the gateway is idle."""

    def __init__(self, port: int, backend: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._backend = backend
        self._caller = socket.create_connection(("127.0.0.1", port), _PATIENCE_S)
        self._upstreams: list[socket.socket] = []
        self._authorization = f"Authorization: Bearer {bearer()}\r\n"
        self._woken, self._wake = os.pipe()

    def close(self) -> None:
        """Close every connection."""
        for each in (self._caller, *self._upstreams):
            each.close()
        os.close(self._woken)
        os.close(self._wake)

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

    def chat(
        self, events: int, step: Callable[[Step], None] = lambda _: None, *, joined: int = 1
    ) -> None:
        """Stream one chat. `step` is called when the gateway is idle before each step. Each event
        but the first is `joined` events in one packet.
        """
        step(Step.REQUEST)
        upstream = self._ask(stream=True)
        for number in range(events):
            step(Step.EVENT if number else Step.FIRST)
            if number:
                upstream.sendall(_chunk(_EVENT) * joined)
                self._receive(_EVENT, joined)
            else:
                upstream.sendall(_STREAM_HEAD + _chunk(_EVENT))
                self._receive(_EVENT)
        step(Step.END)
        upstream.sendall(_chunk(_LAST) + b"0\r\n\r\n")
        self._receive(b"0\r\n\r\n")

    def ask(self) -> None:
        """Ask for one answer that is not a stream."""
        upstream = self._ask(stream=False)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        upstream.sendall(head % len(_ANSWER) + _ANSWER)
        self._receive(_ANSWER)

    def _ask(self, *, stream: bool) -> socket.socket:
        """Send a request. Return the connection on which the backend got it."""
        asked = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        body = json.dumps(asked).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nUser-Agent: bench\r\n"
        head += f"Content-Type: application/json\r\n{self._authorization}"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        self._caller.sendall(head.encode() + body)
        got = b""
        while True:
            ready, _, _ = select.select([self._backend, *self._upstreams], [], [], _PATIENCE_S)
            if not ready:
                raise TimeoutError("the backend got no request")
            for each in ready:
                if each is self._backend:
                    self._upstreams.append(each.accept()[0])
                    continue
                got += each.recv(65536)
                if _is_whole(got):
                    self.settle()
                    return each

    def _receive(self, expected: bytes, times: int = 1) -> None:
        got = b""
        while got.count(expected) < times:
            data = self._caller.recv(65536)
            if not data:
                raise ConnectionError(f"the gateway closed the connection after {got!r}")
            got += data
        if got.startswith(b"HTTP/1.1 ") and not got.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"not answered: {got!r}")
        self.settle()


def run(script: Callable[[Script], None], *, whole: bool) -> None:
    """Run a script with a gateway that this thread serves."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        uvloop.run(_run(script, Path(folder), whole=whole))


async def _run(script: Callable[[Script], None], folder: Path, *, whole: bool) -> None:
    (folder / "public.pem").write_bytes(public_pem())
    loop = asyncio.get_running_loop()
    with (
        socket.create_server(("127.0.0.1", 0)) as backend,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        document = configuration(backend.getsockname()[1], whole=whole)
        config = load_text(json.dumps(document), base=folder)
        logger = make_logger(lambda _: None, level=config.telemetry.log.level, console=False)
        server = Server(config, ProcessState.begin(config, logger))
        await server.start([listening])
        try:
            port = int(listening.getsockname()[1])

            def run_script() -> None:
                made = Script(port, backend, loop)
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
