"""Processes of `gateway serve` that are forked from one that has imported the gateway.

Importing is most of the time that a gateway takes to start, and tests start more than a hundred.
Linux and macOS; tests that measure memory start a program of their own instead.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_LARGEST_ORDER = 128 * 1024


class ForkedProcess:
    """Process of a fork server, with the part of asyncio's interface that tests need."""

    def __init__(
        self, pid: int, status: int, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout
        self.stderr = stderr
        self._ended = asyncio.Event()
        self._status = status
        asyncio.get_running_loop().add_reader(status, self._end)

    def _end(self) -> None:
        """Read the exit status, or the end of the fork server, which takes no process with it."""
        asyncio.get_running_loop().remove_reader(self._status)
        self.returncode = int(os.read(self._status, 16) or -signal.SIGKILL)
        os.close(self._status)
        self._ended.set()

    async def wait(self) -> int:
        """Wait until the process has ended. Return its exit code, negative for a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Fork server. When it is closed, or this process has ended, it ends with all its processes."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            program = f"from tests.support.fork_server import serve; serve({other.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=_ROOT,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """End the fork server."""
        self._socket.close()
        self._process.wait()

    async def start(
        self, arguments: Sequence[str], first: str = "", *, folder: Path | None = None
    ) -> ForkedProcess:
        """Start `gateway` with these arguments and this process's environment, in `folder`, or in
        this process's directory. `first` is Python code that runs before.
        """
        order = {
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": str(folder or os.getcwd()),
            "first": first,
        }
        status, of_status = os.pipe()
        out, of_out = os.pipe()
        errors, of_errors = os.pipe()
        theirs = (of_out, of_errors, of_status)
        socket.send_fds(self._socket, [json.dumps(order).encode()], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        pid = int(self._socket.recv(16))
        return ForkedProcess(pid, status, await _reader(out), await _reader(errors))


async def _reader(descriptor: int) -> asyncio.StreamReader:
    """Return the output of a process, from its pipe."""
    stream = asyncio.StreamReader()
    file = open(descriptor, "rb", buffering=0)  # noqa: SIM115  # its transport closes it
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: _Output(stream), file)
    return stream


class _Output(asyncio.StreamReaderProtocol):
    def eof_received(self) -> bool:
        """Have the pipe closed."""
        super().eof_received()
        return False


def serve(number: int) -> None:
    """Fork for each order until the other side is closed. In a forked process: run its command."""
    # Here, since tests that only start processes need no gateway.
    import gateway.cli.serve  # noqa: F401  # imports all that a gateway needs
    from gateway.cli import main

    gc.collect()
    gc.freeze()
    woken, wakes = os.pipe()
    for descriptor in (woken, wakes):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    statuses: dict[int, int] = {}
    with socket.socket(fileno=number) as orders:
        while True:
            ready, _, _ = select.select([orders.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                _report(statuses)
            if orders.fileno() not in ready:
                continue
            said, descriptors, _, _ = socket.recv_fds(orders, _LARGEST_ORDER, 3)
            if not said:
                _end_all(statuses)
                return
            pid = os.fork()
            if pid == 0:
                break
            out, errors, statuses[pid] = descriptors
            os.close(out)
            os.close(errors)
            orders.send(b"%d" % pid)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _become(json.loads(said), *descriptors[:2])
    sys.exit(main())


def _end_all(running: Iterable[int]) -> None:
    """End the processes that are left: those of tests that were interrupted."""
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _report(statuses: dict[int, int]) -> None:
    """Tell how forked processes have ended."""
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        told = statuses.pop(pid)
        os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
        os.close(told)


def _become(order: dict[str, object], out: int, errors: int) -> None:
    """Be what a program started with this order would be."""
    os.setsid()
    os.dup2(out, 1)
    os.dup2(errors, 2)
    os.closerange(3, 1024)
    environment, arguments = order["environment"], order["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(order["folder"]))
    sys.argv = ["-c", *arguments]
    exec(str(order["first"]), {})  # noqa: S102  # of the test itself
