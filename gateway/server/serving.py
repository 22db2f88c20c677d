"""One serving process: the listener with its runtime, and the demo backend if there is one."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import http_parser
from structlog.typing import FilteringBoundLogger

from gateway.app import Runtime
from gateway.config import Config
from gateway.demo import DemoBackend
from gateway.server.listener import Listener
from gateway.telemetry.logs import LogSink, StreamWriter, make_logger

_BACKLOG = 4096
_GC_YOUNG_OBJECTS = 10_000


class CannotStart(Exception):
    """The process cannot serve; the text says why and what to do."""


class Server:
    """A gateway in the running event loop. `log` takes finished lines; default: standard output."""

    def __init__(self, config: Config, *, log: LogSink | None = None) -> None:
        self._config = config
        self._writer = StreamWriter() if log is None else None
        options = config.telemetry.log
        console = options.format == "console" or (
            options.format == "auto" and self._writer is not None and sys.stdout.isatty()
        )
        sink = self._writer if self._writer is not None else log
        assert sink is not None
        self.logger: FilteringBoundLogger = make_logger(sink, level=options.level, console=console)
        self._listener: Listener | None = None
        self._stack = AsyncExitStack()
        self._stopped = asyncio.Event()
        self.port = 0
        self.demo: DemoBackend | None = None
        self.on_listening: Callable[[], None] = lambda: None
        """Called once the listener accepts connections."""

    @property
    def url(self) -> str:
        """Where clients reach it."""
        host = self._config.server.listen.rpartition(":")[0] or "127.0.0.1"
        return f"http://{host}:{self.port}"

    @property
    def open_exchanges(self) -> int:
        """Requests under way, streams included."""
        return self._listener.open_exchanges if self._listener else 0

    @property
    def open_connections(self) -> int:
        """Client connections that are open."""
        return self._listener.open_connections if self._listener else 0

    @property
    def runtime(self) -> Runtime:
        """What serves requests now."""
        assert self._listener is not None
        return self._listener.runtime

    async def start(self) -> None:
        """Listen. Raise CannotStart, or CannotBuild."""
        require_c_parser()
        loop = asyncio.get_running_loop()
        try:
            await self._start_demo()
            runtime = Runtime(self._config, self.logger)
            self._stack.push_async_callback(runtime.close)
            runtime.start()
            self._listener = Listener(runtime, self._config.server, self.logger)
            server = await self._listen(self._listener, loop)
        except BaseException:
            await self._stack.aclose()
            raise
        self.port = server.sockets[0].getsockname()[1]
        self._server = server
        self.logger.info("listening", url=self.url, port=self.port)
        self.on_listening()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stop listening, let what is under way end within `grace_s`, then cut it."""
        assert self._listener is not None
        self._server.close()
        await self._listener.drain(grace_s)
        await self._stack.aclose()
        self.logger.info("stopped")
        if self._writer is not None:
            self._writer.close()
        self._stopped.set()

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, drain. A second signal ends at once."""
        loop = asyncio.get_running_loop()
        signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signals.put_nowait, number)
        await self.start()
        _settle_garbage_collector()
        received = await signals.get()
        grace_s = self._config.server.drain
        self.logger.info(
            "draining", signal=received.name, open=self.open_exchanges, grace_s=grace_s
        )
        draining = asyncio.create_task(self.stop(grace_s))
        impatient = asyncio.create_task(signals.get())
        await asyncio.wait((draining, impatient), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            draining.cancel()
            await asyncio.wait((draining,))
            await self.stop()
        impatient.cancel()
        await asyncio.wait((impatient,))

    async def _start_demo(self) -> None:
        options = self._config.demo
        if options is None:
            return
        host, port = split_address(options.listen)
        self.demo = DemoBackend(pace_s=options.pace)
        try:
            await self.demo.start(host, port)
        except OSError as exc:
            raise CannotStart(f"the demo backend cannot listen on {options.listen}: {exc}") from exc
        self._stack.push_async_callback(self.demo.stop)
        self.logger.info("demo_backend", url=self.demo.url)

    async def _listen(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> Any:
        address = self._config.server.listen
        host, port = split_address(address)
        try:
            return await loop.create_server(listener, host, port, backlog=_BACKLOG)
        except OSError as exc:
            raise CannotStart(
                f"cannot listen on {address}: {exc.strerror or exc}. "
                "Is another process there? Change server.listen."
            ) from exc


def _settle_garbage_collector() -> None:
    """Keep what lives for ever out of collections, and collect in larger steps.

    A full collection walks every module and model and stops the loop for 25 ms; requests leave
    next to no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG_OBJECTS, 20, 50)


def split_address(address: str) -> tuple[str | None, int]:
    """Host and port of `HOST:PORT`; an empty host is every interface."""
    host, _, port = address.rpartition(":")
    return host.strip("[]") or None, int(port)


def require_c_parser() -> None:
    """Raise CannotStart if aiohttp fell back to its Python parser.

    That one is slower and had request smuggling faults the C one had not (CVE-2025-53643).
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise CannotStart(
            "aiohttp runs without its C parser, which this gateway needs for safe parsing. "
            "Unset AIOHTTP_NO_EXTENSIONS and reinstall aiohttp from a wheel: "
            "pip install --force-reinstall --only-binary :all: aiohttp"
        )
