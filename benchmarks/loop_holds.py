"""Time for which a request body holds the event loop, by the size and shape of the body.

A gateway serves in this process, next to a task that runs in every turn of the loop. Client and
backend are other processes. A hold is the longest time between two turns while one request is
served: all other requests wait that long. It is measured in wall time, which other programs on the
core lengthen, and in CPU time of the whole process, which they do not.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uvloop

from gateway.config.load import load_text
from gateway.process_state import ProcessState
from gateway.server.garbage import GarbageCollection
from gateway.server.serving import Server

MIB = 1024 * 1024
SIZES = {"64 KiB": 64 * 1024, "1 MiB": MIB, "10 MiB": 10 * MIB - 1024}
_ROUNDS = 3
_MODEL = b'{"model":"m","max_tokens":5,'


def _filled(unit: bytes, before: bytes, behind: bytes) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        count = (size - len(before) - len(behind) - len(_MODEL)) // (len(unit) + 1)
        return _MODEL + before + b",".join([unit] * count) + behind

    return make


def _keys(size: int) -> bytes:
    return _MODEL + b",".join(b'"k%07d":0' % number for number in range(size // 14)) + b"}"


def _string(size: int) -> bytes:
    text = b"a" * (size - 100)
    return _MODEL + b'"messages":[{"role":"user","content":"%b"}]}' % text


SHAPES: dict[str, Callable[[int], bytes]] = {
    "one string": _string,
    "tiny messages": _filled(b'{"role":"user","content":"a"}', b'"messages":[', b"]}"),
    "a model in each object": _filled(b'{"model":"b"}', b'"x":[', b"]}"),
    "empty lists": _filled(b"[]", b'"x":[', b"]}"),
    "deep nesting": _filled(b"[" * 900 + b"]" * 900, b'"x":[', b"]}"),
    "numbers": _filled(b"1", b'"input":[', b"]}"),
    "short strings": _filled(b'"a"', b'"input":[', b"]}"),
    "keys": _keys,
}


@dataclass(frozen=True)
class Way:
    """How bodies are sent."""

    model: bytes
    """What stands for `"m"` in them."""
    path: str = "/v1/chat/completions"
    header: str = "X-Ignored: 1"


WAYS = {
    "renamed, counted": Way(b'"m"'),
    "translated": Way(b'"t"'),
    # Hashed, parsed, and sent without `background`.
    "kept, with a key": Way(
        b'"m","stream":true,"background":true', "/v1/responses", "Idempotency-Key: k"
    ),
}


@dataclass(frozen=True)
class Hold:
    """Longest hold for one body, the minimum of several rounds, in milliseconds."""

    route: str
    shape: str
    size: str
    wall_ms: float
    cpu_ms: float
    status: int


def measure(rounds: int = _ROUNDS) -> list[Hold]:
    """Return the holds for every route, shape and size."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(rounds))


def render(holds: Sequence[Hold]) -> str:
    """Return the holds as a table."""
    sizes = list(SIZES)
    lines = [f"{'ms of wall time / of CPU time':44}" + "".join(f"{size:>16}" for size in sizes)]
    for route in WAYS:
        for shape in SHAPES:
            found = [h for h in holds if (h.route, h.shape) == (route, shape)]
            cells = "".join(f"{h.wall_ms:9.1f} /{h.cpu_ms:5.1f}" for h in found)
            lines.append(f"{route + ': ' + shape:44}{cells}")
    worst = max(holds, key=lambda hold: hold.wall_ms)
    lines.append(f"worst: {worst.wall_ms:.1f} ms, {worst.route}, {worst.shape} of {worst.size}")
    return "\n".join(lines)


async def _measure(rounds: int) -> list[Hold]:
    holds = []
    async with _backend() as backend, _gateway(backend) as port:
        await _worst(port, WAYS["translated"], SHAPES["empty lists"](MIB))  # starts the helper
        for route, way in WAYS.items():
            for shape, make in SHAPES.items():
                for name, size in SIZES.items():
                    body = make(size - 50).replace(b'"m"', way.model, 1)
                    assert len(body) <= size, (shape, len(body), size)
                    found = [await _worst(port, way, body) for _ in range(rounds)]
                    wall, cpu = (min(one[at] for one in found) * 1e3 for at in (0, 1))
                    holds.append(Hold(route, shape, name, wall, cpu, found[0][2]))
    return holds


async def _worst(port: int, way: Way, body: bytes) -> tuple[float, float, int]:
    """Send one request. Return the longest hold in wall time and in CPU time, in seconds, and the
    status.
    """
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-S", "-c", _CLIENT, str(port), way.path, way.header),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(body)
    await client.stdin.drain()
    client.stdin.close()
    await client.stdout.readline()  # the client has the whole body, and starts to send
    answered = asyncio.create_task(client.stdout.read())
    wall = cpu = 0.0
    while not answered.done():
        began, busy = time.perf_counter(), time.process_time()
        await asyncio.sleep(0)
        wall = max(wall, time.perf_counter() - began)
        cpu = max(cpu, time.process_time() - busy)
    await client.wait()
    return wall, cpu, int((await answered).split(b" ")[1])


_CLIENT = """
import socket, sys
body = sys.stdin.buffer.read()
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
path, header = (word.encode() for word in sys.argv[2:])
sock.sendall(b"POST %b HTTP/1.1\\r\\nHost: a\\r\\n%b\\r\\n"
    b"Content-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
    % (path, header, len(body)))
sock.sendall(body)
print(sock.recv(65536).split(b"\\r\\n")[0].decode())
"""
_BACKEND = """
import asyncio, re
answer = b'{"type":"message","role":"assistant","model":"m","stop_reason":"end_turn",' \\
    b'"content":[{"type":"text","text":"x"}],"usage":{"input_tokens":1,"output_tokens":1}}'
async def serve(reader, writer):
    while True:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        left = int(re.search(rb"(?i)content-length: (\\d+)", head)[1])
        while left:
            left -= len(await reader.read(min(left, 262144)))
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n"
            b"Content-Length: %d\\r\\n\\r\\n%b" % (len(answer), answer))
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@asynccontextmanager
async def _backend() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _BACKEND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _gateway(backend: str) -> AsyncIterator[int]:
    endpoints = [{"url": backend}]
    document = {
        "upstreams": {
            "same": {"endpoints": endpoints},
            "other": {"endpoints": endpoints, "dialect": "anthropic"},
        },
        "models": {
            "m": {"upstream": "same", "model": "renamed"},
            "t": {"upstream": "other", "model": "renamed"},
        },
        "limits": {"all": {"key": "ip", "tokens": "1000000000/minute"}},
        "routes": [
            {
                "name": "chat",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["m", "t"],
                "limits": ["all"],
                "dialect": "openai",
                "resume": {"background": True},
            }
        ],
        "telemetry": {"log": {"access": False}},
    }
    config = load_text(json.dumps(document))
    server = Server(config, ProcessState.begin(config, structlog.get_logger()))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        await server.start([sock])
        garbage = GarbageCollection(server)  # as in a worker
        garbage.start()
        try:
            yield int(sock.getsockname()[1])
        finally:
            garbage.close()
            await server.stop()
