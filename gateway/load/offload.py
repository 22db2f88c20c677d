"""Helper process for work that would block the event loop.

A thread does not help: parsing JSON holds the interpreter's lock from beginning to end, which takes
seconds for a body of 10 MiB full of brackets. The helper starts with the first such work and does
one piece at a time. It exits after some idle time, or when its gateway is gone. Memory that a
hostile body makes it allocate is not this process's memory either.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TypeVar, cast

from gateway.errors import Overloaded

_T = TypeVar("_T")
_LENGTH_BYTES = 8
_LONGEST_S = 60.0
"""Maximum time for one piece of work; then the helper is killed."""
_IDLE_S = 60.0
"""Idle time after which a helper exits, and so returns its memory."""
_NICENESS = 5
_EXIT_S = 0.2
"""Time that a helper has to exit by itself."""


class Offload:
    """Helper process, and the thread that communicates with it."""

    def __init__(self, *, idle_s: float = _IDLE_S) -> None:
        self.longest_s = _LONGEST_S
        """Time after which a helper that has not answered is ended, in seconds."""
        self._idle_s = idle_s
        self._threads: ThreadPoolExecutor | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.runs = 0
        """Pieces of work started so far."""

    @property
    def helper(self) -> subprocess.Popen[bytes] | None:
        """The helper process, or None if none has been started or the last one was ended."""
        return self._process

    async def run(self, function: Callable[..., _T], *args: object) -> _T:
        """Run `function(*args)` in the helper; return or raise its outcome. Function, arguments and
        outcome must be picklable.

        Raise Overloaded if the helper was killed or took too long. Work whose caller is cancelled
        is still done.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "offload")
        self.runs += 1
        loop = asyncio.get_running_loop()
        result: _T = await loop.run_in_executor(self._threads, self._ask, function, args)
        return result

    def close(self) -> None:
        """End the helper. Work in progress fails."""
        threads, self._threads = self._threads, None
        if self._process is not None:
            self._process.kill()
        if threads is not None:
            threads.shutdown(cancel_futures=True)
        self._end()

    # Called in the thread:

    def _ask(self, function: Callable[..., _T], args: tuple[object, ...]) -> _T:
        asked = pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)
        answer = self._answer(asked)
        if answer is None and self._end() == 0:
            # The helper had just exited because it was idle.
            answer = self._answer(asked)
        if answer is None:
            raise Overloaded(f"the helper process ended: {self._end()}")
        failed, value = pickle.loads(answer)  # noqa: S301 -- from our own child
        if failed:
            raise value
        result: _T = value
        return result

    def _answer(self, asked: bytes) -> bytes | None:
        """Return the helper's answer; None if it ends before, or takes too long."""
        process = self._process
        if process is None:
            process = self._process = subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-m", "gateway.load.offload", str(self._idle_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        questions, answers = _raw(process.stdin), _raw(process.stdout)
        try:
            _write(questions, asked)
        except OSError:
            return None
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        return _read(answers) if poll.poll(self.longest_s * 1000) else None

    def _end(self) -> int | None:
        """Stop the helper, or kill it. Return its exit status, or None if there is none."""
        process, self._process = self._process, None
        if process is None:
            return None
        _raw(process.stdin).close()
        try:
            status = process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        _raw(process.stdout).close()
        return status


def _raw(pipe: IO[bytes] | None) -> io.RawIOBase:
    return cast(io.RawIOBase, pipe)  # the pipe is unbuffered


def _write(file: io.RawIOBase, data: bytes) -> None:
    view = memoryview(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    while view:
        view = view[file.write(view) or 0 :]


def _read(file: io.RawIOBase) -> bytes | None:
    """Return the next message, or None at the end of the file."""
    length = _exactly(file, _LENGTH_BYTES)
    return None if length is None else _exactly(file, int.from_bytes(length, "big"))


def _exactly(file: io.RawIOBase, size: int) -> bytes | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = file.readinto(view)
        if not count:
            return None
        view = view[count:]
    return bytes(data)


def main() -> None:
    """Run as the helper: answer each request on standard input until it ends or stays idle."""
    idle_s = float(sys.argv[1])
    # Ignore signals sent to the whole process group: the gateway handles them and drains first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # the kernel kills this process first if memory runs out
    os.nice(_NICENESS)  # the event loop has priority if cores are scarce
    gc.disable()  # nothing here makes reference cycles, and a parsed body has millions of objects
    asked, answers = io.FileIO(0), io.FileIO(os.dup(1), "w")
    os.dup2(2, 1)  # so that output of any print cannot corrupt an answer
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    while poll.poll(idle_s * 1000):
        data = _read(asked)
        if data is None:
            break
        function, args = pickle.loads(data)  # noqa: S301 -- from our own parent
        del data
        try:
            answer = False, function(*args)
        except Exception as exc:
            answer = True, exc
        del args
        _write(answers, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))
        del answer


if __name__ == "__main__":
    main()
