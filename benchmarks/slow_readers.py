"""Memory of the gateway for each stream whose client does not read."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.answers import WrongAnswer, check
from benchmarks.peers import gateway
from benchmarks.processes import cores, free_ports, running

_BUFFER_BYTES = 32 * 1024  # Linux doubles this value
_PATIENCE_S = 60.0
_POLL_S = 0.2
_SETTLED_KIB = 512
_SETTLED_POLLS = 5
_TCP_ESTABLISHED = 1


@dataclass(frozen=True, slots=True)
class Cost:
    """Resident memory of the gateway, before the readers came and with them."""

    readers: int
    before_kib: int
    after_kib: int

    @property
    def each_kib(self) -> float:
        """Memory of one stream."""
        return (self.after_kib - self.before_kib) / self.readers

    def __str__(self) -> str:
        return (
            f"{self.readers} streams nobody reads: {self.each_kib:.1f} KiB each "
            f"({self.before_kib / 1024:.1f} MiB before, {self.after_kib / 1024:.1f} MiB with them)"
        )


def measure(mockllm: Path, folder: Path, readers: int) -> Cost:
    """Open streams, read only the start of each head, and wait until the gateway's memory is
    stable.

    Raise WrongAnswer if a stream is refused or cut, or if the memory does not become stable.
    """
    ours, theirs = cores()
    backend, port = free_ports(2)
    room = readers + 100
    command = gateway(
        folder,
        port,
        backend,
        # Long enough that no stream is cut for being slow during the measurement.
        server={"send_timeout": "5m", "max_connections": room},
        mock={"max_connections": room},
    )
    log = folder / "log"
    with (
        running([str(mockllm), str(backend)], backend, core=theirs, log=log),
        running(command, port, core=ours, log=log) as process,
        ExitStack() as stack,
    ):
        check(port, backend, None)
        before = rss_kib(process.pid)
        opened = [stack.enter_context(_stream(port)) for _ in range(readers)]
        after = _rss_at_rest_kib(process.pid)
        gone = sum(not _is_open(one) for one in opened)
        if gone:
            raise WrongAnswer(f"{gone} of {readers} streams were cut")
    return Cost(readers, before, after)


def _stream(port: int) -> socket.socket:
    """Open a stream of 200 MB, and read only the start of its head. Raise WrongAnswer."""
    body = json.dumps({"model": "mock-200000-0-1000", "stream": True}, separators=(",", ":"))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    one = socket.socket()
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        one.settimeout(_PATIENCE_S)
        one.connect(("127.0.0.1", port))
        one.sendall((head + body).encode())
        status = one.recv(12)
        if status != b"HTTP/1.1 200":
            raise WrongAnswer(f"a stream was answered {status!r}")
    except OSError as exc:
        one.close()
        raise WrongAnswer(f"a stream was not answered: {exc!r}") from exc
    except WrongAnswer:
        one.close()
        raise
    return one


def _is_open(one: socket.socket) -> bool:
    return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED


def rss_kib(pid: int) -> int:
    """Return the resident memory of a process and its children, in KiB. A gateway's workers are
    children of its master.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = 0
    for each in (str(pid), *children):
        pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _rss_at_rest_kib(pid: int) -> int:
    """Return the memory once it has been stable for a second. Raise WrongAnswer if it does not
    become stable within a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    last, same = rss_kib(pid), 0
    while same < _SETTLED_POLLS:
        if time.monotonic() > deadline:
            raise WrongAnswer(f"memory still changes after {_PATIENCE_S:.0f} s: {last} KiB")
        time.sleep(_POLL_S)
        now = rss_kib(pid)
        same = same + 1 if abs(now - last) < _SETTLED_KIB else 0
        last = now
    return last
