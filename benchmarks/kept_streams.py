"""Many kept streams on one worker: memory, CPU time, latency of an append and of a replay.

Every client leaves after the head of its answer, and the generations go on without readers. An
append is measured by readers that follow some of the streams: from the moment when the backend
sends an event, to the moment when the reader has it. A replay is measured from the request to the
last event that the stream has so far.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.answers import WrongAnswer
from benchmarks.peers import gateway
from benchmarks.processes import cores, free_ports, redis_server, running
from benchmarks.processor import cpu_us, pss_kib, worker_of

_STORES = ("memory", "Redis")
_EVERY_S = 10.0
"""Time between two events of one stream."""
_OPEN_AT_ONCE = 50
_FOLLOWED = 100
_REPLAYS = 500
_PATIENCE_S = 120.0
_TIME = re.compile(rb"t=([0-9]+) ")
_ID = re.compile(rb"(?i)x-stream-id: ([0-9a-f]{34})")


@dataclass(frozen=True, slots=True)
class KeptStreams:
    """Result for one store. Times are in milliseconds."""

    store: str
    streams: int
    before_kib: int
    after_kib: int
    """Memory of the worker without and with the streams."""
    cpu_percent: float
    """CPU time of the worker, in percent of a core."""
    events_per_s: float
    append_p50_ms: float
    append_p99_ms: float
    replay_p50_ms: float
    replay_p99_ms: float


def measure(mockllm: Path, folder: Path, streams: int, seconds: float) -> list[KeptStreams]:
    """Return the results for streams in memory, and in Redis too. Raise WrongAnswer."""
    return [_measure(store, mockllm, folder, streams, seconds) for store in _STORES]


def render(found: Sequence[KeptStreams]) -> str:
    """Return the results as a table."""
    lines = [
        "| kept in | streams | MiB | KiB a stream | events/s | CPU, % of a core "
        "| append p50, p99 ms | replay p50, p99 ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        used_kib = one.after_kib - one.before_kib
        lines.append(
            f"| {one.store} | {one.streams} | {one.after_kib / 1024:.0f} "
            f"| {used_kib / one.streams:.1f} | {one.events_per_s:.0f} | {one.cpu_percent:.0f} "
            f"| {one.append_p50_ms:.1f}, {one.append_p99_ms:.1f} "
            f"| {one.replay_p50_ms:.1f}, {one.replay_p99_ms:.1f} |"
        )
    return "\n".join(lines)


def _measure(store: str, mockllm: Path, folder: Path, streams: int, seconds: float) -> KeptStreams:
    ours, theirs = cores()
    backend, port, admin, redis = free_ports(4)
    log = folder / "log"
    with ExitStack() as stack:
        url = "memory://"
        if store == "Redis":
            stack.enter_context(redis_server(folder, theirs, redis))
            url = f"redis://127.0.0.1:{redis}/0"
        command = gateway(
            folder,
            port,
            backend,
            route={"resume": {"on_disconnect": "detach", "reads": None}},
            server={"max_connections": streams + 1000, "max_requests": streams + 1000},
            mock={"max_connections": streams + 1000, "max_requests": streams + 1000},
            store={"url": url, "stream_bytes": "1GiB"},
            admin={"listen": f"127.0.0.1:{admin}"},
            telemetry={"log": {"access": False}},
        )
        stack.enter_context(running([str(mockllm), str(backend)], backend, core=theirs, log=log))
        stack.enter_context(running(command, port, core=ours, log=log))
        worker = worker_of(admin, theirs)
        before_kib = pss_kib([worker])
        return asyncio.run(_run(store, port, worker, before_kib, streams, seconds))


async def _run(
    store: str, port: int, worker: int, before_kib: int, streams: int, seconds: float
) -> KeptStreams:
    async with asyncio.timeout(_PATIENCE_S + 2 * seconds):
        gate = asyncio.Semaphore(_OPEN_AT_ONCE)
        names = await asyncio.gather(*(_begun(port, gate) for _ in range(streams)))
        await asyncio.sleep(_EVERY_S)  # so that each stream has more than its first event
        after_kib = pss_kib([worker])
        draw = random.Random(1)
        spent_us, since = cpu_us([worker]), time.monotonic()
        followed = draw.sample(names, min(_FOLLOWED, streams))
        each = await asyncio.gather(*(_appends(port, name, seconds) for name in followed))
        appends_ms = sorted(late for some in each for late in some)
        percent = (cpu_us([worker]) - spent_us) / (time.monotonic() - since) / 1e4
        replays_ms = sorted([await _replay(port, draw.choice(names)) for _ in range(_REPLAYS)])
    if not appends_ms:
        raise WrongAnswer(f"no event has arrived in {seconds:.0f} s")
    return KeptStreams(
        store,
        streams,
        before_kib,
        after_kib,
        percent,
        streams / _EVERY_S,
        _share(appends_ms, 0.5),
        _share(appends_ms, 0.99),
        _share(replays_ms, 0.5),
        _share(replays_ms, 0.99),
    )


async def _begun(port: int, gate: asyncio.Semaphore) -> str:
    """Begin a stream, and leave. Return its id."""
    body = b'{"model":"mock-1000-%d","stream":true,"messages":[]}' % int(_EVERY_S * 1e6)
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (request, len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        said = await reader.read(500)
        writer.close()
    found = _ID.search(head)
    if found is None:
        raise WrongAnswer(f"no stream: {head[:200]!r} {said!r}")
    return found[1].decode()


async def _opened(
    port: int, stream: str, after: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /streams/{stream}{after} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise WrongAnswer(f"no replay: {head[:200]!r}")
    return reader, writer


async def _appends(port: int, stream: str, seconds: float) -> list[float]:
    """Follow a stream. Return how late each event was that came after the first ones, in ms."""
    reader, writer = await _opened(port, stream)
    await reader.readuntil(b"\n\n\r\n")  # the events so far
    late_ms = []
    try:
        async with asyncio.timeout(seconds):
            while data := await reader.readuntil(b"\n\n\r\n"):
                now = time.monotonic_ns()
                late_ms += [(now - int(sent)) / 1e6 for sent in _TIME.findall(data)]
    except TimeoutError:
        pass
    writer.close()
    return late_ms


async def _replay(port: int, stream: str) -> float:
    """Read a stream from its beginning. Return the time to its newest event, in ms."""
    began = time.perf_counter()
    reader, writer = await _opened(port, stream)
    await reader.readuntil(b"\n\n\r\n")
    took_ms = (time.perf_counter() - began) * 1e3
    writer.close()
    return took_ms


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
