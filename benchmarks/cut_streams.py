"""Streams whose clients are cut at random, and resume at either of two gateways with one Redis.

Every event has its number in its id, and its own time in its text, so that a lost or duplicate
event shows in both.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.answers import WrongAnswer
from benchmarks.journals import cpu_s
from benchmarks.peers import gateway
from benchmarks.processes import cores, free_ports, redis_server, running

_EVENT = re.compile(rb"id: ([0-9a-f]{34}\.([0-9]+))\ndata: ([^\n]*)\n\n")
_TIME = re.compile(rb"t=([0-9]+) ")
_BESIDE = 2
"""Number of events without a time: the first one, and [DONE]."""
_RESUME = {"on_disconnect": "grace", "grace": "30s", "ttl": "2m", "on_store_error": "refuse"}
_PAUSE_S = 0.5
_STAGGER_S = 5.0


@dataclass(slots=True)
class Outcome:
    """Totals of all streams."""

    streams: int = 0
    finished: int = 0
    events: int = 0
    lost: int = 0
    duplicates: int = 0
    cuts: int = 0
    moved: int = 0
    """Number of cuts after which the client used the other gateway."""
    refused: int = 0
    put_off: int = 0
    """Number of 503 responses after which the client tried again: the machine was too busy for
    Redis to answer in time.
    """
    seconds: float = 0.0
    gateway_us: float = 0.0
    """CPU time of both gateways for each event read, in µs."""

    def __str__(self) -> str:
        return (
            f"{self.finished} of {self.streams} streams finished in {self.seconds:.0f} s: "
            f"{self.events} events, {self.cuts} cuts ({self.moved} went on at the other gateway)\n"
            f"lost events {self.lost}, duplicates {self.duplicates}, refused {self.refused}, "
            f"put off {self.put_off}, "
            f"{self.gateway_us:.1f} µs of the gateways' CPU an event"
        )


@dataclass(slots=True)
class _Stream:
    """State of one stream as seen by its client."""

    id: str = ""
    last: int = 0
    times: set[int] = field(default_factory=set)
    done: bool = False
    complete: bool = False


def measure(mockllm: Path, folder: Path, streams: int, events: int, every_ms: int) -> Outcome:
    """Run that many streams of `events` events, one every `every_ms` ms. Raise WrongAnswer if a
    stream contains something else than events.
    """
    ours, theirs = cores()
    ports = free_ports(4)
    backend, redis, doors = ports[0], ports[1], ports[2:]
    log = folder / "log"
    room = 4 * streams
    with ExitStack() as stack:
        stack.enter_context(redis_server(folder, theirs, redis))
        url = f"redis://127.0.0.1:{redis}/0"
        command = [str(mockllm), str(backend)]
        stack.enter_context(running(command, backend, core=theirs, log=log))
        pids = []
        for number, port in enumerate(doors):
            own = folder / f"door-{number}"
            own.mkdir(exist_ok=True)
            command = gateway(
                own,
                port,
                backend,
                server={"max_connections": room, "max_requests": room},
                mock={"max_connections": room},
                route={
                    "resume": {
                        "on_disconnect": "grace",
                        "grace": "30s",
                        "ttl": "2m",
                        "on_store_error": "refuse",
                    }
                },
                store={"url": url, "stream_bytes": "1GiB"},
                telemetry={"log": {"access": False}},
                admin=None,
            )
            # Use both cores: one is not enough for two gateways, their load and Redis.
            process = stack.enter_context(running(command, port, core=ours | theirs, log=log))
            pids.append(process.pid)
        before = sum(map(cpu_s, pids))
        outcome = uvloop.run(_run(doors, streams, f"mock-{events}-{every_ms * 1000}", events))
        outcome.gateway_us = (sum(map(cpu_s, pids)) - before) * 1e6 / max(1, outcome.events)
    return outcome


async def _run(doors: Sequence[int], streams: int, model: str, events: int) -> Outcome:
    outcome = Outcome(streams)
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(streams):
            delay_s = _STAGGER_S * number / streams
            group.create_task(_one(doors, model, events, outcome, delay_s))
    outcome.seconds = time.monotonic() - started
    return outcome


async def _one(
    doors: Sequence[int], model: str, events: int, outcome: Outcome, delay_s: float
) -> None:
    loop = asyncio.get_running_loop()
    draw = random.Random(delay_s)
    await asyncio.sleep(delay_s)
    stream, port = _Stream(), draw.choice(doors)
    while not stream.complete:
        client = _Client(port, stream, model, outcome)
        await loop.create_connection(partial(_same, client), "127.0.0.1", port)
        # Do not cut before the first event: only the gateway knows the stream's id until then.
        patience_s = draw.expovariate(1 / 4) if stream.id else None
        try:
            async with asyncio.timeout(patience_s):
                await client.over
        except TimeoutError:
            client.cut()
            outcome.cuts += 1
        if client.put_off:
            outcome.put_off += 1
            await asyncio.sleep(_PAUSE_S)
            continue
        if client.refused:
            outcome.refused += 1
            return
        before, port = port, draw.choice(doors)
        outcome.moved += before != port
    outcome.finished += 1
    outcome.lost += events + _BESIDE - stream.last
    outcome.lost += events - len(stream.times)


def _same(client: _Client) -> _Client:
    return client


class _Client(asyncio.Protocol):
    """Connection of a client to its stream. The first connection of a stream cuts itself after the
    first event; later ones are cut at random.
    """

    def __init__(self, port: int, stream: _Stream, model: str, outcome: Outcome) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused = False
        self.put_off = False
        self._port = port
        self._stream = stream
        self._model = model
        self._outcome = outcome
        self._head = True
        self._held = b""
        self._text = b""
        self._first = not stream.id
        self._transport: asyncio.Transport | None = None

    def cut(self) -> None:
        """Abort the connection without a close."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        stream = self._stream
        if self._first:
            body = json.dumps({"model": self._model, "stream": True}, separators=(",", ":"))
            transport.write(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                f"\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
        else:
            transport.write(
                f"GET /streams/{stream.id.partition('.')[0]} HTTP/1.1\r\nHost: x\r\n"
                f"Last-Event-ID: {stream.id}\r\n\r\n".encode()
            )

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        if self._head:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._held = head
                return
            self._head = False
            if head.startswith(b"HTTP/1.1 204"):
                self._stream.complete = True
                self.connection_lost(None)
                return
            if head.startswith(b"HTTP/1.1 503"):
                self.put_off = True
                self.connection_lost(None)
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.refused = True
                self.connection_lost(None)
                return
        while data:
            size, found, rest = data.partition(b"\r\n")
            length = int(size, 16) if found else 0
            if not found or len(rest) < length + 2:
                break
            if not length:
                self._stream.complete = True
                self.connection_lost(None)
                return
            self._take(rest[:length])
            data = rest[length + 2 :]
        self._held = data
        if self._first and self._stream.id and not self.over.done():
            self._outcome.cuts += 1
            self.over.set_result(None)
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def _take(self, text: bytes) -> None:
        stream, outcome = self._stream, self._outcome
        text = self._text + text
        end = 0
        for event in _EVENT.finditer(text):
            if event.start() != end:
                raise WrongAnswer(f"between events: {text[end : event.start()]!r}")
            end = event.end()
            number = int(event[2])
            outcome.events += 1
            if number <= stream.last:
                outcome.duplicates += 1
            elif number > stream.last + 1:
                outcome.lost += number - stream.last - 1
            stream.last, stream.id = number, event[1].decode()
            if said := _TIME.search(event[3]):
                at = int(said[1])
                outcome.duplicates += at in stream.times
                stream.times.add(at)
        self._text = text[end:]
