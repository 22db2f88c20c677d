"""One serving process: the listener, and the runtime behind it, which a reload replaces."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Sequence

from aiohttp import http_parser

from gateway.app import Runtime
from gateway.config import Config
from gateway.process_state import ProcessState
from gateway.server.listener import Listener
from gateway.server.pulse import Pulse

_GC_YOUNG_OBJECTS = 10_000


class CannotStart(Exception):
    """The process cannot serve; the text says why and what to do."""


class Server:
    """Serves a configuration in the running event loop."""

    def __init__(self, config: Config, state: ProcessState) -> None:
        self.state = state
        self.pulse = Pulse(state.overload, state.logger)
        self.started_at = time.time()
        self._stopped = False
        self.reloads = 0
        """Configurations taken over since."""
        self._config = config
        self._prepared: Runtime | None = None
        self._listener: Listener | None = None
        self._servers: list[asyncio.Server] = []
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def listener(self) -> Listener:
        """The public listener; there is one after `start`."""
        assert self._listener is not None
        return self._listener

    @property
    def runtime(self) -> Runtime:
        """What serves requests now."""
        return self.listener.runtime

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve what arrives at these listening sockets. Raise CannotStart, or CannotBuild."""
        require_c_parser()
        runtime = Runtime(self._config, self.state)
        runtime.start()
        self._listener = Listener(runtime, self._config.server, self.state.logger)
        loop = asyncio.get_running_loop()
        self._servers = [await loop.create_server(self._listener, sock=each) for each in sockets]
        self.pulse.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stop listening, let what is under way end within `grace_s`, then end it."""
        if self._stopped:
            return
        for each in self._servers:
            each.close()
        self.pulse.close()
        if self._listener is not None:
            await self._listener.drain(grace_s)
            await self.abandon()
            await self.runtime.close()
        await asyncio.gather(*self._retiring)
        self.state.offload.close()
        self._stopped = True

    # -- reload ----------------------------------------------------------------------------

    async def prepare(self, config: Config) -> None:
        """Build all of another configuration; nothing of it serves yet. Raise CannotBuild."""
        await self.abandon()
        self._prepared = Runtime(config, self.state, previous=self.runtime)

    async def abandon(self) -> None:
        """Forget what was prepared."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.close(self.runtime)

    def commit(self) -> None:
        """Serve what was prepared: new requests by it, those under way by what they began with. Who
        has prepared nothing has begun with it.
        """
        new, old = self._prepared, self.runtime
        if new is None:
            return
        self._prepared = None
        new.start()
        self.listener.replace(new)
        self.state.carry(new.config)
        self.reloads += 1
        old.retired = lambda: self._retire(old, new)
        if not old.exchanges:
            old.retired()

    def _retire(self, old: Runtime, new: Runtime) -> None:
        old.retired = None
        task = asyncio.create_task(old.close(new))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def settle_garbage_collector() -> None:
    """Keep what lives for ever out of collections, and collect in larger steps.

    A full collection walks every module and model and stops the loop for 25 ms; requests leave
    next to no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG_OBJECTS, 20, 50)


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
