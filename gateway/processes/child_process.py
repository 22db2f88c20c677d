"""Child process of the master: its fork, and the report of its start."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
"""Signals that the master handles."""
_QUICK_S = 10.0
"""A child that exits within this time counts as a failed start."""


@dataclass(frozen=True, slots=True)
class Report:
    """Report of a child about its start."""

    is_ready: bool
    text: str
    """URL of the child or an empty text if it is ready, else the reason why it cannot start."""
    code: int
    """Exit code for the master, if the child cannot start."""


@dataclass(slots=True)
class Child:
    """Child process that the master keeps running."""

    name: str
    keeps: Sequence[socket.socket]
    """Listening sockets that the child uses. It closes the others after the fork."""
    run: Callable[[int], None]
    """Work of the child. Takes the writing end of the pipe on which the child reports that it is
    ready, or why it cannot start.
    """
    pid: int = 0
    """Process id; 0 if the child is not running."""
    status: int = -1
    """Reading end of the pipe; -1 if it is closed."""
    ready: bool = False
    where: str = ""
    """URL that the child reported when it became ready, or an empty text."""
    started_at: float = 0.0
    deaths: int = 0
    """Consecutive failed starts, see `_QUICK_S`."""
    start_at: float = 0.0
    """Time of the next start, in `time.monotonic` seconds."""
    _words: bytearray = field(default_factory=bytearray)

    def start(self, listening: Iterable[socket.socket], life: int) -> None:
        """Fork the child. It closes those of the `listening` sockets that it does not use, and
        `life`, the end of the pipe that shows it the end of the master.
        """
        self.status, status = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._run(status, listening, life)
        os.close(status)
        self.pid, self.ready, self.started_at = pid, False, time.monotonic()
        self._words.clear()

    def _run(self, status: int, listening: Iterable[socket.socket], life: int) -> NoReturn:
        """Run the child's work in the forked process."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends these signals to all processes; only the master reacts to them.
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)
            os.close(life)  # otherwise the child does not see the end of the master
            for each in listening:
                if each not in self.keeps:
                    each.close()
            self.run(status)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # the reader is gone, or the disk is full
                    stream.flush()
            os._exit(code)

    def read_status(self) -> Report | None:
        """Read the pipe. Return the child's report once it is complete, else None."""
        data = os.read(self.status, 65536)
        self._words += data
        if data and b"\0" not in self._words:
            return None
        os.close(self.status)
        self.status = -1
        text, _, rest = bytes(self._words).partition(b"\0")
        if text == b"ready":
            self.ready, self.where = True, rest.decode()
            return Report(True, self.where, 0)
        return Report(False, text.decode(), int(rest or b"3")) if text else None

    def count_death(self) -> None:
        """Note that the process has ended. A quick end counts as a failed start."""
        self.pid = 0
        quick = time.monotonic() - self.started_at < _QUICK_S
        self.deaths = self.deaths + 1 if quick else 0
