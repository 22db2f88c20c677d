"""What a reader costs that does not read: memory of the gateway for each such stream."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from benchmarks.peers import PEERS
from benchmarks.processes import cores, free_port, running

_BUFFER_BYTES = 64 * 1024
_SETTLED_BYTES = 512 * 1024
_PATIENCE_S = 60.0


def measure(mockllm: Path, folder: Path, readers: int) -> str:
    """KiB a reader, in a sentence. Each has 64 KiB of receive buffer and reads nothing."""
    ours, theirs = cores()
    backend, port = free_port(), free_port()
    command = PEERS["gateway"].command(folder, port, backend)
    log = folder / "log"
    with (
        running([str(mockllm), str(backend)], backend, core=theirs, log=log),
        running(command, port, core=ours, log=log) as gateway,
    ):
        before = _rss_kib(gateway.pid)
        sockets = [_ask(port) for _ in range(readers)]
        after = _settled_kib(gateway.pid)
        for one in sockets:
            one.close()
    per_reader = (after - before) / readers
    return (
        f"{readers} streams nobody reads: {per_reader:.0f} KiB each ({after / 1024:.0f} MiB in all)"
    )


def _ask(port: int) -> socket.socket:
    body = json.dumps({"model": "mock-200000-0-1000", "stream": True, "messages": []}).encode()
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES // 2)
    one.connect(("127.0.0.1", port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    one.sendall(head.encode() + body)
    return one


def _rss_kib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise RuntimeError("no VmRSS")


def _settled_kib(pid: int) -> float:
    """The memory once it has stopped growing."""
    deadline = time.monotonic() + _PATIENCE_S
    last, same = _rss_kib(pid), 0
    while same < 5 and time.monotonic() < deadline:
        time.sleep(0.2)
        now = _rss_kib(pid)
        same = same + 1 if abs(now - last) * 1024 < _SETTLED_BYTES else 0
        last = now
    return last
