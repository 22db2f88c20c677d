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
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from enum import Enum
from pathlib import Path

import uvloop

from gateway.config import Loaded, keep
from gateway.config.secret_sources import KnownSecrets
from gateway.processes.admin import serve_admin
from gateway.processes.child_process import SIGNALS, Child
from gateway.processes.demo import serve_demo
from gateway.processes.folder import private_folder
from gateway.processes.listeners import Listeners
from gateway.processes.worker import CONFIG, WorkerContext, socket_path, work
from gateway.server.cannot_start import CannotStart
from gateway.server.serving import require_c_parser
from gateway.telemetry.logs.logger import direct_logger

_PREDECESSOR = "GATEWAY_PREDECESSOR"
"""Name of the environment variable with the pid of the master that this one replaces."""
_QUICK_DEATHS = 5
_PAUSE_S = 30.0
"""Pause between two starts of a child in a crash loop."""
_START_S = 60.0


class Phase(Enum):
    """Phases of the master."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


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
        self._reload_due = False
        """True if the admin process was asked to reload while it could not hear it."""
        self._successor_reload_due = False
        """True if a successor has to reload once it serves: it may have read its file before."""
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
            self._listeners = Listeners.of(config)
            self._stack.callback(self._listeners.close)
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
            self._children = self._make_children()
            for number in SIGNALS:
                signal.signal(number, _noted)
            signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
            self._stack.callback(self._end_children)
            # Garbage collection in the children then skips everything loaded so far, and the memory
            # stays shared with them.
            gc.freeze()
            try:
                for child in self._children:
                    child.start(self._listeners.open, self._life)
                self._watch()
            except StartFailed as exc:
                print(exc, file=sys.stderr, flush=True)
                return exc.code
            finally:
                os.close(self._life)
        return 0

    def _make_children(self) -> list[Child]:
        """Return all child processes that have to run."""
        config = self._loaded.config
        count = config.server.workers
        kept = self._folder / CONFIG
        listeners = self._listeners
        public, _ = listeners.urls
        workers = [socket_path(self._folder, slot) for slot in range(count)]
        children = []
        if config.demo is not None and listeners.demo is not None:
            demo, listening = config.demo, listeners.demo
            children.append(
                Child(
                    "demo",
                    (listening,),
                    lambda status: uvloop.run(serve_demo(demo, listening, status, self._alive)),
                )
            )
        for slot in range(count):
            # Outside Linux, all workers share one socket.
            own = listeners.public[slot::count] or listeners.public
            worker = Child(f"worker {slot}", own, lambda _: None)
            worker.run = self._worker(slot, count, worker)
            children.append(worker)
        children.append(
            Child(
                "admin",
                () if listeners.admin is None else (listeners.admin,),
                lambda status: uvloop.run(
                    serve_admin(
                        *(kept, self._secrets(), workers, listeners.admin),
                        *(public, status, self._alive),
                    )
                ),
            )
        )
        return children

    def _worker(self, slot: int, count: int, worker: Child) -> Callable[[int], None]:
        def run(status: int) -> None:
            secrets = self._secrets()
            context = WorkerContext(
                slot, count, worker.keeps, self._folder, status, self._alive, secrets
            )
            uvloop.run(work(context))

        return run

    def _secrets(self) -> KnownSecrets:
        """Return the fetched secrets for a child. At a restart they may be outdated. The child
        makes plug-ins of its own: they may hold connections, which two processes cannot share.
        """
        secrets = self._loaded.secrets
        if self._phase is Phase.STARTING:
            return KnownSecrets(secrets.known().values)
        return secrets.as_fallback()

    # -- children --------------------------------------------------------------------------

    def _watch(self) -> None:
        """Handle signals and children until the master drains and no child is left."""
        while any(child.pid for child in self._children) or self._phase is not Phase.DRAINING:
            pipes = {child.status: child for child in self._children if child.status >= 0}
            readable, _, _ = select.select([self._wakeup, *pipes], [], [], self._timeout_s())
            for end in readable:
                if end == self._wakeup:
                    self._handle_signals()
                else:
                    self._read_status(pipes[end])
            self._reap()
            self._restart()
            if self._phase is Phase.STARTING and time.monotonic() >= self._start_by:
                waited = [child.name for child in self._children if not child.ready]
                raise StartFailed(
                    f"gateway: not ready within {_START_S:.0f} s: {', '.join(waited)}. "
                    "Is the store, or a file on a network, slow to answer?",
                    3,
                )

    def _timeout_s(self) -> float | None:
        due = [child.start_at for child in self._children if not child.pid and child.start_at]
        if self._phase is Phase.STARTING:
            due.append(self._start_by)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _read_status(self, child: Child) -> None:
        report = child.read_status()
        if report is None:
            return
        if report.is_ready:
            if self._phase is Phase.STARTING and all(c.ready for c in self._children):
                self._serve()
            self._pass_on_reload()
        # Once the gateway serves, a failed start is logged, and tried again.
        elif self._phase is Phase.STARTING:
            raise StartFailed(report.text, report.code)
        else:
            self._logger.error("cannot_start", process=child.name, reason=report.text)

    def _serve(self) -> None:
        self._phase = Phase.SERVING
        listeners = self._listeners
        url, admin_url = listeners.urls
        port = listeners.public[0].getsockname()[1]
        workers = [child.pid for child in self._children if child.name.startswith("worker")]
        admin = listeners.admin and listeners.admin.getsockname()[1]
        location = self._loaded.config.store.location
        store = {"store": location.shown} if location.is_shared else {}
        self._logger.info(
            "listening",
            url=url,
            port=port,
            admin_port=admin,
            pid=os.getpid(),
            workers=workers,
            **store,
        )
        demo = next((child.where for child in self._children if child.name == "demo"), None)
        self.on_ready(url, admin_url, demo)
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
                self._child_died(child, os.waitstatus_to_exitcode(status))
            elif self._successor is not None and pid == self._successor.pid:
                self._logger.error("upgrade_failed", status=os.waitstatus_to_exitcode(status))
                self._successor = None

    def _child_died(self, child: Child, status: int) -> None:
        if child.status >= 0:
            self._read_status(child)  # the reason of a failed start, if the child reported one
        was = child.pid
        child.count_death()
        if self._phase is Phase.DRAINING:
            self._end_without_workers()
            return
        if self._phase is Phase.STARTING:
            raise StartFailed(f"gateway: {child.name} ended while it started (status {status})", 3)
        now = time.monotonic()
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
        if any(other.keeps and other.keeps[0] in self._listeners.public for other in siblings):
            shared = {one for other in self._children if other is not child for one in other.keeps}
            for one in child.keeps:
                if one not in shared:
                    one.close()

    def _restart(self) -> None:
        if self._phase is not Phase.SERVING:
            return
        now = time.monotonic()
        for child in self._children:
            if not child.pid and child.start_at <= now:
                child.start_at = 0.0
                try:
                    child.keeps = self._listeners.reopen(child.keeps)
                except OSError as exc:
                    child.start_at = now + _PAUSE_S
                    self._logger.error("cannot_start", process=child.name, reason=str(exc))
                    continue
                child.start(self._listeners.open, self._life)
                self._logger.info("restarted", process=child.name, pid=child.pid)

    # -- signals ---------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        for number in os.read(self._wakeup, 512):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._drain(signal.Signals(number).name)
            elif number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR2 and self._phase is Phase.SERVING:
                self._upgrade()

    def _reload(self) -> None:
        """Let the file be read again by the processes that serve, and by those that will."""
        self._reload_due = True
        self._successor_reload_due = self._successor is not None
        self._pass_on_reload()

    def _pass_on_reload(self) -> None:
        """Ask for the reloads that are due from those who can hear it now."""
        admin = next(child for child in self._children if child.name == "admin")
        if self._reload_due and self._phase is Phase.SERVING and admin.pid and admin.ready:
            self._reload_due = False
            os.kill(admin.pid, signal.SIGHUP)
        # A successor serves once it has ended this one.
        if self._successor_reload_due and self._phase is Phase.DRAINING and self._successor:
            self._successor_reload_due = False
            self._successor.send_signal(signal.SIGHUP)

    def _drain(self, why: str) -> None:
        again = self._phase is Phase.DRAINING
        self._phase = Phase.DRAINING
        self._logger.info("stopping", signal=why, at_once=again)
        if self._successor is not None:
            # The next master has its own admin process on the same socket.
            self._signal("admin", signal.SIGTERM)
        self._pass_on_reload()
        self._listeners.close_public()
        self._signal("worker", signal.SIGTERM)
        self._end_without_workers()

    def _end_without_workers(self) -> None:
        """End the other children once no worker is left."""
        if not any(c.pid for c in self._children if c.name.startswith("worker")):
            self._signal("", signal.SIGTERM)

    def _upgrade(self) -> None:
        if self._successor is not None:
            return
        environment = {
            **os.environ,
            **self._listeners.pass_on(),
            _PREDECESSOR: str(os.getpid()),
        }
        self._logger.info("upgrading", command=" ".join(self._command))
        self._successor = subprocess.Popen(  # noqa: S603 -- what this one was started as
            self._command,
            env=environment,
            pass_fds=[each.fileno() for each in self._listeners.open],
            # It would end it, until it handles signals itself.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )

    def _signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the children whose name starts with `name`."""
        for child in self._children:
            if child.pid and child.name.startswith(name):
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
