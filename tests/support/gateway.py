"""Gateways under test: in the test's own event loop, or as a separate process.

The first kind starts quickly, exposes its log and is checked for leaks. The second kind is for
tests of memory, signals and file descriptor limits.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import stat
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import yaml

from gateway.config import load_text
from gateway.process_state import ProcessState
from gateway.processes.sockets import bind
from gateway.server.serving import Server
from gateway.telemetry.logs.logger import make_logger
from tests.support.fork_server import ForkedProcess, ForkServer
from tests.support.waiting import PATIENCE_S, eventually

LogLine = dict[str, Any]
_START_PATIENCE_S = 30.0
_LEAK_GRACE_S = 10.0
_STOP_GRACE_S = 2.0
_POLL_S = 0.001


def simple_config(
    upstream_url: str,
    *,
    server: Mapping[str, Any] | None = None,
    upstream: Mapping[str, Any] | None = None,
    **route: Any,
) -> dict[str, Any]:
    """Return a configuration with one anonymous route `/v1/` to one upstream. Keywords add or
    replace keys of the route.
    """
    return {
        "server": {**(server or {})},
        "upstreams": {"main": {"endpoints": [{"url": upstream_url}], **(upstream or {})}},
        "routes": [
            {"name": "main", "path": "/v1/", "auth": "anonymous", "upstream": "main", **route}
        ],
    }


def config_text(config: Mapping[str, Any] | str, sections: Mapping[str, Any]) -> str:
    """Return YAML with test defaults: any port, JSON logs. `sections` are merged into the top-level
    sections.
    """
    document: dict[str, Any] = yaml.safe_load(config) if isinstance(config, str) else {**config}
    for name, value in sections.items():
        old = document.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        document[name] = {**old, **value} if both else value  # type: ignore[dict-item]
    document["server"] = {"listen": "127.0.0.1:0", **document.get("server", {})}
    document.setdefault("admin", {"listen": "127.0.0.1:0"})
    # Otherwise requests are sampled at random.
    document.setdefault("telemetry", {"log": {"format": "json"}, "traces": {"sample": 0}})
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)


class LogLines:
    """Log sink that keeps all lines, and lets tests wait for a line."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self.due: Callable[[], None] = lambda: None
        """Writes the lines of requests that have ended, which a gateway does a little later."""
        self._lines: list[LogLine] = []
        self.malformed: list[bytes] = []
        """Lines that are not JSON. Fixtures report them as faults."""
        self._changed = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        self._raw += data
        for line in data.split(b"\n")[:-1]:
            try:
                self._lines.append(json.loads(line))
            except ValueError:
                self.malformed.append(line)
        self._changed.set()

    @property
    def raw(self) -> bytearray:
        """Every byte written."""
        self.due()
        return self._raw

    @property
    def lines(self) -> list[LogLine]:
        """Every line, parsed."""
        self.due()
        return self._lines

    @property
    def requests(self) -> list[LogLine]:
        """Lines of the access log."""
        return [line for line in self.lines if line.get("event") == "request"]

    async def wait_for(
        self, predicate: Callable[[LogLine], bool], *, patience_s: float = PATIENCE_S
    ) -> LogLine:
        """Return the first line, past or future, that the predicate accepts. Raise TimeoutError."""
        async with asyncio.timeout(patience_s):
            seen = 0
            while True:
                for line in self.lines[seen:]:
                    if predicate(line):
                        return line
                seen = len(self.lines)
                self._changed.clear()
                await self._changed.wait()


class RunningGateway:
    """Gateway in the running event loop."""

    def __init__(self, config: Mapping[str, Any] | str, sections: Mapping[str, Any]) -> None:
        self.log = LogLines()
        self.config = load_text(config_text(config, sections))
        options = self.config.telemetry.log
        logger = make_logger(self.log, level=options.level, console=options.format == "console")
        self.server = Server(self.config, ProcessState.begin(self.config, logger))
        self.log.due = self.server.state.reports.make
        self._sockets = bind(self.config.server.listen, 1)

    @property
    def port(self) -> int:
        """Port on which it listens at 127.0.0.1."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Base URL of the gateway, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_lines(self) -> list[LogLine]:
        """Every log line, parsed."""
        return self.log.lines

    async def wait_for_log(self, predicate: Callable[[LogLine], bool]) -> LogLine:
        """Return the first log line, past or future, that the predicate accepts."""
        return await self.log.wait_for(predicate)

    async def start(self) -> None:
        """Start to listen."""
        await self.server.start(self._sockets)

    async def stop(self) -> list[str]:
        """Stop, and return the faults: exchanges that outlived their clients, endpoints with
        requests in flight that nobody made, malformed log lines.
        """
        ended = not await _outlasts(lambda: self.server.state.overload.requests)
        open_exchanges = self.server.state.overload.requests
        await self.server.stop()
        for sock in self._sockets:
            sock.close()
        faults = [] if ended else [f"{open_exchanges} exchanges are open without a client"]
        for upstream in self.server.runtime.upstreams.values():
            carried = [f"{e.url} carries {e.in_flight}" for e in upstream.endpoints if e.in_flight]
            faults += carried + ([f"{upstream.pending} wait"] if upstream.pending else [])
        return faults + [f"log line {line!r} is not JSON" for line in self.log.malformed]


class Footprint:
    """Snapshot of the tasks and file descriptors of this process, to find leaks later.

    It also collects uncaught exceptions, which the event loop would only log.
    """

    def __init__(self) -> None:
        self._uncaught: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._keep)
        self._tasks = asyncio.all_tasks()
        self._fds = _open_fds()

    async def leaks(self) -> list[str]:
        """Return the tasks and descriptors that are new and do not end within a grace time, and the
        uncaught exceptions.
        """
        leaks = []
        if await _outlasts(lambda: len(self._new_tasks())):
            leaks.append(f"tasks are still running: {self._new_tasks()}")
        if await _outlasts(lambda: max(0, _open_fds() - self._fds)):
            leaks.append(f"{_open_fds() - self._fds} file descriptors are still open")
        asyncio.get_running_loop().set_exception_handler(None)
        return leaks + self._uncaught

    def _keep(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exception = context.get("exception")
        trace = "".join(traceback.format_exception(exception)) if exception else ""
        self._uncaught.append(f"{context['message']} {trace}")

    def _new_tasks(self) -> set[asyncio.Task[Any]]:
        me = asyncio.current_task()
        return {task for task in asyncio.all_tasks() - self._tasks if task is not me}


class GatewayProcess:
    """Process that runs `gateway serve`.

    `nofile` is its file descriptor limit. `first` is Python code that runs before the gateway's,
    for example to set a shorter wait. A `fork_server` starts it, unless it has an `nofile`, with
    the gateway imported already. Memory and CPU are read from /proc (Linux).
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str,
        sections: Mapping[str, Any],
        file: Path,
        *,
        nofile: int | None = None,
        first: str = "",
        fork_server: ForkServer | None = None,
    ) -> None:
        self.log = LogLines()
        self.errors = bytearray()
        """Output on standard error."""
        self.port = 0
        self.admin_port = 0
        self.worker_pids: list[int] = []
        """Process ids of the workers at the start."""
        self.file = file
        """Path of the configuration file."""
        self.file.write_text(config_text(config, sections))
        self._nofile = nofile
        self._program = f"{first}\nimport sys; from gateway.cli import main; sys.exit(main())"
        self._first = first
        self._fork_server = None if nofile else fork_server
        self._process: asyncio.subprocess.Process | ForkedProcess | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the process, and return when it listens."""
        self._process = process = await self._begin("serve", "--config", str(self.file))
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            asyncio.create_task(self._keep_lines(process.stdout)),
            asyncio.create_task(self._keep_errors(process.stderr)),
        ]
        listening = self.log.wait_for(
            lambda line: line["event"] == "listening", patience_s=_START_PATIENCE_S
        )
        ready = asyncio.create_task(listening)
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                await asyncio.wait(self._readers)
                raise AssertionError(f"the gateway did not start: {self.errors.decode()}")
            self.port = int(ready.result()["port"])
            self.admin_port = int(ready.result()["admin_port"] or 0)
            self.worker_pids = list(ready.result()["workers"])
        except BaseException:
            await self.stop()
            raise
        finally:
            ready.cancel()
            ended.cancel()

    async def _begin(self, *arguments: str) -> asyncio.subprocess.Process | ForkedProcess:
        if self._fork_server is not None:
            return await self._fork_server.start(arguments, self._first)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", self._program, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self._limit,
        )

    async def stop(self) -> None:
        """End the process: by SIGTERM, or by force if it does not end within a grace time."""
        process = self._running()
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_GRACE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                async with asyncio.timeout(PATIENCE_S):
                    await process.wait()
        _, unended = await asyncio.wait(self._readers, timeout=_STOP_GRACE_S)
        if unended:  # a successor still runs, and writes to the same pipes
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.wait(unended)

    @property
    def pid(self) -> int:
        """Process id of the first worker, whose memory and CPU are measured."""
        return self.worker_pids[0]

    @property
    def master_pid(self) -> int:
        """Process id of the master, which receives the signals."""
        return self._running().pid

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the first worker now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def own_bytes(self) -> int:
        """Part of the resident memory that is not shared with another process."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        private = (line.split() for line in lines if line.startswith("Private_"))
        return sum(int(kib) for _, kib, _ in private) * 1024

    @property
    def cpu_s(self) -> float:
        """CPU time used by the first worker so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def open_fds(self) -> int:
        """Number of open file descriptors of the first worker now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self._running().send_signal(number)

    async def wait(self) -> int:
        """Wait until the master has ended. Return its exit status."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._running().wait()

    def _running(self) -> asyncio.subprocess.Process | ForkedProcess:
        assert self._process is not None, "not started"
        return self._process

    def _limit(self) -> None:
        if self._nofile is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._nofile, hard))

    async def _keep_lines(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.log(line)

    async def _keep_errors(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.errors += line


class StartGateway(Protocol):
    """Type of the fixture `start_gateway`, which starts a gateway in the event loop:

    await start_gateway(simple_config(upstream.url), server={"send_timeout": "1s"})
    """

    def __call__(
        self, config: Mapping[str, Any] | str, **sections: Any
    ) -> Awaitable[RunningGateway]:
        """Start a gateway. When the test ends, it is stopped and checked for leaks."""


class StartGatewayProcess(Protocol):
    """Type of the fixture that starts a gateway process. For `nofile` and `first` see
    GatewayProcess.
    """

    def __call__(
        self,
        config: Mapping[str, Any] | str,
        *,
        nofile: int | None = None,
        first: str = "",
        **sections: Any,
    ) -> Awaitable[GatewayProcess]:
        """Start a gateway process. It is stopped when the test ends."""


async def _outlasts(left: Callable[[], int]) -> bool:
    """Tell whether something is still left after the grace time."""
    try:
        await eventually(lambda: not left(), patience_s=_LEAK_GRACE_S)
    except TimeoutError:
        return True
    return False


def _open_fds() -> int:
    """Return the number of open sockets, pipes and files, without the /dev/null that libuv keeps as
    a spare descriptor.
    """
    count = 0
    for name in os.listdir("/dev/fd"):
        try:
            count += not stat.S_ISCHR(os.fstat(int(name)).st_mode)
        except OSError:  # the descriptor of the listing itself
            continue
    return count
