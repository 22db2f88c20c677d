"""Master process: owns the listening sockets, forks the child processes, and restarts them.

The master runs no event loop and no thread, so that it can fork at any time. A worker that dies is
replaced within milliseconds by one whose modules are already loaded. Besides the workers, there is
one process for the admin listener, so that a dashboard never takes time from a stream, and one for
the demo backend, if it is configured.

    SIGTERM, SIGINT  drain the workers, then end; a second signal ends at once
    SIGHUP           reload the configuration
    SIGUSR2          start another master on the same sockets, and drain once it serves
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import uvloop

from gateway.config import Loaded, keep
from gateway.processes import sockets
from gateway.processes.admin import serve_admin
from gateway.processes.demo import serve_demo
from gateway.processes.folder import private_folder
from gateway.processes.worker import CONFIG, WorkerContext, socket_path, work
from gateway.server.serving import CannotStart, require_c_parser
from gateway.telemetry.logs.logger import direct_logger

_PREDECESSOR = "GATEWAY_PREDECESSOR"
"""Name of the environment variable with the pid of the master that this one replaces."""
_QUICK_S = 10.0
"""A child that exits within this time counts as a failed start."""
_QUICK_DEATHS = 5
_PAUSE_S = 30.0
"""Pause between two starts of a child in a crash loop."""
_START_S = 60.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


class Phase(Enum):
    """Phases of the master."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(slots=True)
class Child:
    """Child process that the master keeps running."""

    name: str
    keeps: Sequence[socket.socket]
    """Listening sockets that the child uses. The fork inherits all of them, and closes the
    others.
    """
    run: Callable[[int], None]
    """Work of the child. Takes the writing end of the pipe on which the child reports that it is
    ready, or why it cannot start.
    """
    pid: int = 0
    """Process id; 0 if the child is not running."""
    said: int = -1
    """Reading end of the pipe; -1 if it is closed."""
    ready: bool = False
    where: str = ""
    """URL that the child reported when it became ready, or an empty text."""
    started_at: float = 0.0
    deaths: int = 0
    """Consecutive failed starts, see `_QUICK_S`."""
    start_at: float = 0.0
    """Time of the next start, in `time.monotonic` seconds."""
    words: bytearray = field(default_factory=bytearray)


class StartFailed(Exception):
    """A child cannot start. Has the reason, and the exit code for the master."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Master:
    """Master process of one gateway. `run` returns its exit code."""

    def __init__(self, loaded: Loaded, command: Sequence[str]) -> None:
        """Prepare a master; `run` starts it. `command` is the command line for an upgrade."""
        self._loaded = loaded
        self._command = list(command)
        self._phase = Phase.STARTING
        self._start_by = time.monotonic() + _START_S
        self._stack = ExitStack()
        self._successor: subprocess.Popen[bytes] | None = None
        self._sockets: list[socket.socket] = []
        self._admin: socket.socket | None = None
        self._demo: socket.socket | None = None
        self.on_ready: Callable[[str, str | None, str | None], None] = lambda *_: None
        """Called once every process is ready, with the URLs of the gateway, of the admin listener
        and of the demo backend; None if there is no such listener.
        """

    def run(self) -> int:
        """Serve until a signal ends the master, and return the exit code. Raise CannotStart."""
        require_c_parser()
        config = self._loaded.config
        with self._stack:
            logger = direct_logger(config.telemetry.log)
            self._logger = logger
            self._open_sockets()
            folder = private_folder(lambda why: logger.warning("folder", reason=why))
            self._folder = Path(self._stack.enter_context(folder))
            try:
                keep(self._loaded, self._folder / CONFIG)
            except OSError as exc:
                raise CannotStart(f"cannot write to {self._folder}: {exc.strerror}.") from exc
            self._wakeup, wakeup = os.pipe()
            self._alive, self._life = os.pipe()
            for end in (self._wakeup, wakeup):
                os.set_blocking(end, False)
            self._children = self._cast()
            for number in _SIGNALS:
                signal.signal(number, _noted)
            signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
            self._stack.callback(self._end_children)
            # Garbage collection in the children then skips everything loaded so far, and the memory
            # stays shared with them.
            gc.freeze()
            try:
                for child in self._children:
                    self._start(child)
                self._watch()
            except StartFailed as exc:
                print(exc, file=sys.stderr, flush=True)
                return exc.code
            finally:
                os.close(self._life)
        return 0

    def _open_sockets(self) -> None:
        config = self._loaded.config
        self._stack.callback(self._close_sockets)
        passed = sockets.inherited() or sockets.Inherited([], None, None)
        self._sockets = self._kept_or_bound(
            passed.public, config.server.listen, config.server.workers, "server.listen"
        )
        before = [passed.admin] if passed.admin is not None else []
        if config.admin is not None:
            listen = config.admin.listen
            self._admin = self._kept_or_bound(before, listen, 1, "admin.listen")[0]
        before = [passed.demo] if passed.demo is not None else []
        if config.demo is not None:
            listen = config.demo.listen
            self._demo = self._kept_or_bound(before, listen, 1, "demo.listen")[0]

    def _kept_or_bound(
        self, passed: list[socket.socket], address: str, count: int, setting: str
    ) -> list[socket.socket]:
        """Return the sockets passed on by the previous master if they have this address, otherwise
        new ones.
        """
        if passed and sockets.listens_on(passed[0], address):
            found = passed + sockets.beside(passed[0], max(0, count - len(passed)))
        else:
            for each in passed:
                each.close()
            found = sockets.bind(address, count, setting)
        return found

    def _close_sockets(self) -> None:
        for each in self._listening:
            each.close()

    @property
    def _listening(self) -> Sequence[socket.socket]:
        """Open listening sockets, the public one of each worker first."""
        others = (self._admin, self._demo)
        return [
            *(one for one in self._sockets if one.fileno() >= 0),
            *(one for one in others if one is not None),
        ]

    def _cast(self) -> list[Child]:
        """Return all child processes that have to run."""
        config = self._loaded.config
        count = config.server.workers
        kept = self._folder / CONFIG
        public = sockets.url_of(self._sockets[0])
        workers = [socket_path(self._folder, slot) for slot in range(count)]
        children = []
        if config.demo is not None and self._demo is not None:
            demo, listening = config.demo, self._demo
            children.append(
                Child(
                    "demo",
                    (listening,),
                    lambda said: uvloop.run(serve_demo(demo, listening, said, self._alive)),
                )
            )
        for slot in range(count):
            own = self._sockets[slot::count] or self._sockets  # outside Linux, all share one socket
            worker = Child(f"worker {slot}", own, lambda _: None)
            worker.run = self._worker(slot, count, worker)
            children.append(worker)
        children.append(
            Child(
                "admin",
                () if self._admin is None else (self._admin,),
                lambda said: uvloop.run(
                    serve_admin(kept, workers, self._admin, public, said, self._alive)
                ),
            )
        )
        return children

    def _worker(self, slot: int, count: int, worker: Child) -> Callable[[int], None]:
        def run(said: int) -> None:
            uvloop.run(
                work(WorkerContext(slot, count, worker.keeps, self._folder, said, self._alive))
            )

        return run

    # -- children --------------------------------------------------------------------------

    def _start(self, child: Child) -> None:
        child.said, said = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._be(child, said)
        os.close(said)
        child.pid, child.ready, child.started_at = pid, False, time.monotonic()
        child.words.clear()

    def _be(self, child: Child, said: int) -> None:
        """Run the child's work in the forked process. Does not return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends these signals to all processes; only the master reacts to them.
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)
            os.close(self._life)  # otherwise the child does not see the end of the master
            for each in self._listening:
                if each not in child.keeps:
                    each.close()
            child.run(said)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # the reader is gone, or the disk is full
                    stream.flush()
            os._exit(code)

    def _watch(self) -> None:
        """Handle signals and children until the master drains and no child is left."""
        while any(child.pid for child in self._children) or self._phase is not Phase.DRAINING:
            pipes = {child.said: child for child in self._children if child.said >= 0}
            readable, _, _ = select.select([self._wakeup, *pipes], [], [], self._patience_s())
            for end in readable:
                if end == self._wakeup:
                    self._handle_signals()
                else:
                    self._hear(pipes[end])
            self._reap()
            self._restart()
            if self._phase is Phase.STARTING and time.monotonic() >= self._start_by:
                waited = [child.name for child in self._children if not child.ready]
                raise StartFailed(
                    f"gateway: not ready within {_START_S:.0f} s: {', '.join(waited)}. "
                    "Is the store, or a file on a network, slow to answer?",
                    3,
                )

    def _patience_s(self) -> float | None:
        due = [child.start_at for child in self._children if not child.pid and child.start_at]
        if self._phase is Phase.STARTING:
            due.append(self._start_by)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _hear(self, child: Child) -> None:
        data = os.read(child.said, 65536)
        child.words += data
        if data and b"\0" not in child.words:
            return
        os.close(child.said)
        child.said = -1
        text, _, code = bytes(child.words).partition(b"\0")
        if text == b"ready":
            child.ready, child.where = True, code.decode()
            if self._phase is Phase.STARTING and all(c.ready for c in self._children):
                self._serve()
        elif text:
            # Once the gateway serves, a failed start is logged, and tried again.
            if self._phase is Phase.STARTING:
                raise StartFailed(text.decode(), int(code or b"3"))
            self._logger.error("cannot_start", process=child.name, reason=text.decode())

    def _serve(self) -> None:
        self._phase = Phase.SERVING
        url, port = sockets.url_of(self._sockets[0]), self._sockets[0].getsockname()[1]
        workers = [child.pid for child in self._children if child.name.startswith("worker")]
        admin = None if self._admin is None else self._admin.getsockname()[1]
        self._logger.info(
            "listening", url=url, port=port, admin_port=admin, pid=os.getpid(), workers=workers
        )
        demo = next((child.where for child in self._children if child.name == "demo"), None)
        self.on_ready(url, None if self._admin is None else sockets.url_of(self._admin), demo)
        predecessor = os.environ.pop(_PREDECESSOR, None)
        if predecessor is not None:
            with suppress(ProcessLookupError):
                os.kill(int(predecessor), signal.SIGTERM)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = next((c for c in self._children if c.pid == pid), None)
            if child is not None:
                self._died(child, os.waitstatus_to_exitcode(status))
            elif self._successor is not None and pid == self._successor.pid:
                self._logger.error("upgrade_failed", status=os.waitstatus_to_exitcode(status))
                self._successor = None

    def _died(self, child: Child, status: int) -> None:
        if child.said >= 0:
            self._hear(child)  # the reason of a failed start, if the child reported one
        was, child.pid = child.pid, 0
        if self._phase is Phase.DRAINING:
            if not any(c.pid for c in self._children if c.name.startswith("worker")):
                self._signal_all(signal.SIGTERM)
            return
        if self._phase is Phase.STARTING:
            raise StartFailed(f"gateway: {child.name} ended while it started (status {status})", 3)
        now = time.monotonic()
        child.deaths = child.deaths + 1 if now - child.started_at < _QUICK_S else 0
        loops = child.deaths >= _QUICK_DEATHS
        child.start_at = now + (_PAUSE_S if loops else 0.0)
        self._logger.error("died", process=child.name, pid=was, status=status, deaths=child.deaths)
        if loops:
            self._leave_to_siblings(child)
            self._logger.error(
                "crash_loop",
                process=child.name,
                reason=f"it ended {child.deaths} times soon after its start; see what it logged. "
                f"It is tried again every {_PAUSE_S:.0f} s",
            )

    def _leave_to_siblings(self, child: Child) -> None:
        """Close the sockets of a worker that will be down for long, so that the kernel gives its
        share of connections to the other workers. Otherwise they would wait in the queue of its
        sockets until it starts again.
        """
        siblings = [
            other for other in self._children if other is not child and other.ready and other.pid
        ]
        if any(other.keeps and other.keeps[0] in self._sockets for other in siblings):
            shared = {one for other in self._children if other is not child for one in other.keeps}
            for one in child.keeps:
                if one not in shared:
                    one.close()

    def _open_again(self, child: Child) -> None:
        """Replace the sockets of a worker that were closed, each in its place."""
        for index, one in enumerate(self._sockets):
            if one in child.keeps and one.fileno() < 0:
                open_one = next(other for other in self._sockets if other.fileno() >= 0)
                (self._sockets[index],) = sockets.beside(open_one, 1)
                child.keeps = [
                    self._sockets[index] if each is one else each for each in child.keeps
                ]

    def _restart(self) -> None:
        if self._phase is not Phase.SERVING:
            return
        now = time.monotonic()
        for child in self._children:
            if not child.pid and child.start_at <= now:
                child.start_at = 0.0
                try:
                    self._open_again(child)
                except OSError as exc:
                    child.start_at = now + _PAUSE_S
                    self._logger.error("cannot_start", process=child.name, reason=str(exc))
                    continue
                self._start(child)
                self._logger.info("restarted", process=child.name, pid=child.pid)

    # -- signals ---------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        for number in os.read(self._wakeup, 512):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._drain(signal.Signals(number).name)
            elif number == signal.SIGHUP:
                self._tell("admin", signal.SIGHUP)
            elif number == signal.SIGUSR2 and self._phase is Phase.SERVING:
                self._upgrade()

    def _drain(self, why: str) -> None:
        again = self._phase is Phase.DRAINING
        self._phase = Phase.DRAINING
        self._logger.info("stopping", signal=why, at_once=again)
        if self._successor is not None:
            # The next master has its own admin process on the same socket.
            self._tell("admin", signal.SIGTERM)
        for each in self._sockets:
            # Connections are refused once the last process has closed the socket.
            each.close()
        self._tell("worker", signal.SIGTERM)
        if not any(c.pid for c in self._children if c.name.startswith("worker")):
            self._signal_all(signal.SIGTERM)

    def _upgrade(self) -> None:
        if self._successor is not None:
            return
        environment = {
            **os.environ,
            sockets.INHERITED: sockets.pass_on(
                [one for one in self._sockets if one.fileno() >= 0], self._admin, self._demo
            ),
            _PREDECESSOR: str(os.getpid()),
        }
        self._logger.info("upgrading", command=" ".join(self._command))
        self._successor = subprocess.Popen(  # noqa: S603 -- what this one was started as
            self._command,
            env=environment,
            pass_fds=[each.fileno() for each in self._listening],
        )

    def _tell(self, name: str, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid and child.name.startswith(name):
                os.kill(child.pid, number)

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)

    def _end_children(self) -> None:
        """Kill all children that still run, and wait for them, however the master ends."""
        left = [child.pid for child in self._children if child.pid]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _noted(number: int, frame: object) -> None:
    """Do nothing: the signal number is in the wake-up pipe."""
