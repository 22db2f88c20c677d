"""Server of one process: the listener, and its runtime, which a reload replaces."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from functools import partial

from gateway.aiohttp_adaptor import has_c_parser
from gateway.app import Runtime
from gateway.config import Config
from gateway.load.overload import BACKLOG
from gateway.process_state import ProcessState
from gateway.server.acceptor import Acceptor, Begin
from gateway.server.cannot_start import CannotStart
from gateway.server.handshakes import Handshakes
from gateway.server.listener import Listener
from gateway.server.loop_monitor import LoopMonitor
from gateway.server.revocation import RevocationCheck
from gateway.server.takeover import Takeover
from gateway.server.tls import CertificateFiles, server_context


class Server:
    """Server of one configuration in the running event loop."""

    def __init__(self, config: Config, state: ProcessState) -> None:
        self.state = state
        self.loop_monitor = LoopMonitor(state.overload, state.logger)
        self.started_at = time.time()
        self._stopped = False
        self.reloads = 0
        """Number of reloads since the start."""
        self._config = config
        self._prepared: Runtime | None = None
        self._listener: Listener | None = None
        self._acceptors: list[Acceptor] = []
        self._revocation: RevocationCheck | None = None
        self._watching: asyncio.Task[None] | None = None
        """Watch over the files of the certificate."""
        self.runtimes: list[Runtime] = []
        """Runtimes in use, the oldest first: replaced ones that still serve requests, and the
        current one.
        """
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def listener(self) -> Listener:
        """Public listener. Exists after `start`."""
        assert self._listener is not None
        return self._listener

    @property
    def runtime(self) -> Runtime:
        """Runtime that serves new requests."""
        return self.listener.runtime

    @property
    def retired(self) -> int:
        """Number of runtimes that a reload has replaced, and that are closed."""
        return self.reloads + 1 - len(self.runtimes) - len(self._retiring)

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve the connections of these listening sockets. Raise CannotStart or CannotBuild."""
        require_c_parser()
        runtime = Runtime(self._config, self.state)
        await runtime.list_models()
        runtime.build_routes()
        runtime.start()
        self.runtimes.append(runtime)
        self._listener = Listener(
            runtime, self._config.server, self.state.logger, self.state.writes
        )
        runtime.streams.heir = Takeover(self._listener.branch, runtime.streams)
        begin = self._how_connections_begin(self._listener)
        for each in sockets:
            acceptor = Acceptor(each, begin)
            acceptor.start(BACKLOG)
            self._acceptors.append(acceptor)
        self.loop_monitor.start()
        self._revocation = RevocationCheck(self._listener)
        self._revocation.start()

    def _how_connections_begin(self, listener: Listener) -> Begin:
        """Return the function that makes an accepted socket a connection. Raise CannotStart."""
        certificate = self._certificate()
        if certificate is None:
            return partial(asyncio.get_running_loop().connect_accepted_socket, listener)
        longest_s = self._config.server.header_timeout
        return Handshakes(listener, lambda: certificate.context, longest_s).begin

    def _certificate(self) -> CertificateFiles | None:
        """Return the certificate of the listener, and watch over its files. None without TLS. Raise
        CannotStart.
        """
        options = self._config.server.tls
        if options is None:
            return None
        try:
            context = server_context(options)
        except (OSError, ssl.SSLError) as exc:
            raise CannotStart(f"server.tls: {exc}") from exc
        logger = self.state.logger
        files = CertificateFiles(context, options, lambda text: logger.warning("tls", reason=text))
        self._watching = asyncio.create_task(files.watch())
        return files

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stop listening, let exchanges end within `grace_s` seconds, then end the others."""
        if self._stopped:
            return
        for each in self._acceptors:
            each.close()
        for each in self._acceptors:
            await each.closed()
        self.loop_monitor.close()
        if self._revocation is not None:
            self._revocation.close()
        if self._watching is not None:
            self._watching.cancel()
        if self._listener is not None:
            self.runtime.streams.heir = None
            await self._listener.drain(grace_s)
            await self.abandon()
            await self.runtime.close()
        await asyncio.gather(*self._retiring)
        self.state.reports.make()
        self.state.offload.close()
        self._stopped = True

    # -- reload ----------------------------------------------------------------------------

    async def prepare(self, config: Config) -> None:
        """Build the runtime of another configuration, without serving it. Raise CannotBuild."""
        await self.abandon()
        self._prepared = prepared = Runtime(config, self.state, previous=self.runtime)
        await prepared.list_models()
        await prepared.build_routes_aside()

    async def abandon(self) -> None:
        """Close the prepared runtime, if there is one."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.close(self.runtimes)

    def commit(self) -> None:
        """Serve new requests with the prepared runtime; requests in flight stay with the old one.
        Do nothing if no runtime is prepared: this process started with the new configuration.
        """
        new, old = self._prepared, self.runtime
        if new is None:
            return
        self._prepared = None
        new.start()
        self.listener.replace(new)
        new.streams.heir = Takeover(self.listener.branch, new.streams)
        self.state.carry(new.config)
        self.reloads += 1
        self.runtimes.append(new)
        old.retired = lambda: self._retire(old)
        if not old.exchanges:
            old.retired()

    def _retire(self, old: Runtime) -> None:
        old.retired = None
        self.runtimes.remove(old)
        task = asyncio.create_task(old.close(tuple(self.runtimes)))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def require_c_parser() -> None:
    """Raise CannotStart if aiohttp uses its Python parser.

    That parser is slower, and had a request smuggling vulnerability that the C parser did not have
    (CVE-2025-53643).
    """
    if not has_c_parser():
        raise CannotStart(
            "aiohttp runs without its C parser, which this gateway needs for safe parsing. "
            "Unset AIOHTTP_NO_EXTENSIONS and reinstall aiohttp from a wheel: "
            "pip install --force-reinstall --only-binary :all: aiohttp"
        )
