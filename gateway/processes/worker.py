"""Worker: one serving process, forked by the master, from its start to its drain."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from gateway.admin.record_collector import leave_records
from gateway.admin.worker_api import WorkerApi
from gateway.app import CannotBuild
from gateway.config import Config, ConfigError, Loaded, load_kept
from gateway.config.secret_sources import KnownSecrets
from gateway.load.allocator import keep_freed_memory
from gateway.process_state import ProcessState
from gateway.processes.child import report_failure, report_ready, stop_signals
from gateway.server.cannot_start import CannotStart
from gateway.server.garbage import GarbageCollection
from gateway.server.serving import Server
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.logs.logger import LogSink, LogWriter, is_console, make_logger
from gateway.telemetry.logs.recent import RecentLines
from gateway.wiring.traces import local_store

_SWITCH_S = 0.0005
"""Longest time for which a thread keeps the interpreter from the event loop: of Python's 5 ms, each
turn of the loop waits that long while a thread prepares another configuration.
"""
CONFIG = "config.json"
"""Name of the file with the configuration that every worker serves; a worker reads it at start."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Context of a worker: its slot, its sockets, and its pipes to the master."""

    slot: int
    workers: int
    sockets: Sequence[socket.socket]
    folder: Path
    """Private folder of this gateway, which the workers share."""
    status: int
    """Pipe to the master. The worker writes `ready`, or the reason why it cannot start; then a NUL
    and, after a reason, the exit code.
    """
    master: int
    """Pipe whose other end closes when the master ends."""
    secrets: KnownSecrets
    """Secrets that the master has fetched."""

    @property
    def socket_path(self) -> Path:
        """Path of the Unix socket on which this worker answers the admin process."""
        return socket_path(self.folder, self.slot)


def socket_path(folder: Path, slot: int) -> Path:
    """Return the path of the Unix socket on which a worker answers the admin process."""
    return folder / f"worker-{slot}.sock"


async def work(context: WorkerContext) -> None:
    """Serve until SIGTERM, then drain. A second signal ends the process at once."""
    try:
        kept = (context.folder / CONFIG).read_bytes()
        loaded = load_kept(context.folder / CONFIG, context.secrets)
        with LogWriter() as writer:
            await _serve(context, loaded, kept, writer)
    except ConfigError as exc:
        report_failure(context.status, str(exc), 1)
    except CannotBuild as exc:
        problems = ConfigError(loaded.source.problem(*fault) for fault in exc.faults)
        report_failure(context.status, str(problems), 1)
    except CannotStart as exc:
        report_failure(context.status, f"gateway: {exc}", 3)


async def _serve(context: WorkerContext, loaded: Loaded, kept: bytes, writer: LogWriter) -> None:
    keep_freed_memory()
    sys.setswitchinterval(_SWITCH_S)
    signals = stop_signals(context.master)
    options = loaded.config.server
    log = loaded.config.telemetry.log
    control = LogControl(log.level, log.sample)
    recent = RecentLines(writer)
    logger = _logger(context, loaded.config, recent, control)
    state = ProcessState.begin(
        loaded.config,
        logger,
        log=control,
        folder=context.folder if context.workers > 1 else None,
        slot=context.slot,
        traces=local_store(loaded.config, loaded.base, os.environ),
    )
    server = Server(loaded.config, state)
    async with AsyncExitStack() as stack:
        await server.start(context.sockets)
        stack.push_async_callback(server.stop)
        api = await WorkerApi(server, context.slot, recent).start(context.socket_path)
        stack.push_async_callback(api.cleanup)
        # A reload asks only workers that can be reached, so it may have missed this one while it
        # started.
        if (context.folder / CONFIG).read_bytes() != kept:
            known = loaded.secrets.as_fallback()
            newest = await asyncio.to_thread(load_kept, context.folder / CONFIG, known)
            await server.prepare(newest.config)
            server.commit()
        garbage = GarbageCollection(server)
        garbage.start()
        stack.callback(garbage.close)
        report_ready(context.status)
        received = await signals.get()
        options = server.runtime.config.server
        logger.info(
            "draining",
            signal=received,
            open=state.overload.requests,
            grace_s=options.drain,
        )
        draining = asyncio.create_task(_drain(server, options.drain_delay, options.drain))
        impatient = asyncio.create_task(signals.get())
        await asyncio.wait((draining, impatient), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, impatient):
            task.cancel()
        await asyncio.wait((draining, impatient))
    leave_records(state.records, context.folder, context.slot)
    logger.info("stopped")


async def _drain(server: Server, delay_s: float, grace_s: float) -> None:
    server.listener.draining = True  # readiness checks see it from now on
    await asyncio.sleep(delay_s)
    await server.stop(grace_s)


def _logger(
    context: WorkerContext, config: Config, sink: LogSink, control: LogControl
) -> FilteringBoundLogger:
    options = config.telemetry.log
    console = is_console(options)
    logger = make_logger(sink, level=options.level, console=console, control=control)
    return logger.bind(worker=context.slot) if context.workers > 1 else logger
