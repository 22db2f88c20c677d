"""Admin process: the operator's listener, and the tasks that are done once for all workers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.admin.alerts import Alerts
from gateway.admin.api import AdminApi
from gateway.admin.cache_api import CacheApi
from gateway.admin.drained_endpoints import DrainedEndpoints
from gateway.admin.fleet import Fleet
from gateway.admin.history import HistoryApi
from gateway.admin.holders_api import HoldersApi
from gateway.admin.keys_api import KeysApi
from gateway.admin.log_settings import LogSettings
from gateway.admin.members_api import MembersApi
from gateway.admin.metrics import GatewayMetrics
from gateway.admin.openapi import OpenApi
from gateway.admin.operation import routes
from gateway.admin.playground import Playground
from gateway.admin.playground_socket import PlaygroundSocket
from gateway.admin.reload import Reloader
from gateway.admin.runner import AdminRunner
from gateway.aiohttp_adaptor import HttpProcessingError
from gateway.config import Config, load_kept
from gateway.config.secret_sources import KnownSecrets
from gateway.processes.child import report_ready, stop_signals
from gateway.processes.operator_access import OperatorAccess
from gateway.processes.trace_collection import TraceCollection
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.logs.logger import LogWriter, is_console, make_logger

_SHUTDOWN_S = 2.0
_NICE = 5
"""Niceness: a quarter of a core if a worker wants all of it, which answers probes in time."""
_EVERY_S = 0.5


async def serve_admin(
    kept: Path,
    secrets: KnownSecrets,
    workers: list[Path],
    listening: socket.socket | None,
    public: str,
    status: int,
    master: int,
) -> None:
    """Serve until SIGTERM or the end of the master.

    `kept` is the file with the configuration that is served, `secrets` are the values that the
    master has fetched, `workers` are the sockets of the workers, `public` is the URL of the public
    listener, `status` and `master` are the pipes of a child. Without `listening` there is no API,
    but SIGHUP still reloads.
    """
    _give_way()
    loaded = load_kept(kept, secrets)
    loop = asyncio.get_running_loop()
    log = loaded.config.telemetry.log
    control = LogControl(log.level, log.sample)
    with LogWriter() as writer:
        logger = make_logger(writer, level=log.level, console=is_console(log), control=control)
        async with AsyncExitStack() as stack:
            fleet = Fleet([str(path) for path in workers])
            stack.push_async_callback(fleet.close)
            reloader = Reloader(loaded, kept, fleet, logger)

            def config() -> Config:
                return reloader.loaded.config

            operators = OperatorAccess(reloader, logger, public)
            stack.push_async_callback(operators.close)
            drained = DrainedEndpoints(fleet)
            counted = loaded.config.telemetry.metrics
            collector = TraceCollection(loaded, kept.parent, fleet, logger)
            stack.callback(collector.close)
            alerts = Alerts(fleet, config, logger)
            metrics = GatewayMetrics(
                fleet,
                reloader,
                lambda: {**collector.counts(), **alerts.counts(), **operators.counts()},
                collector.minutes,
            )
            stack.callback(metrics.close)
            if counted is not None and counted.otlp is not None:
                from gateway.telemetry.metrics.otlp import OtlpMetrics

                sending = OtlpMetrics(
                    counted.otlp,
                    metrics.now,
                    interval_s=counted.interval,
                    newer=counted.semconv == "next",
                    report=lambda text: logger.warning("metrics", reason=text),
                )
                stack.callback(asyncio.create_task(sending.keep()).cancel)

            def apply(new: Config) -> None:
                operators.apply(new)
                collector.change_headers(new)

            reloader.on_applied = apply
            reloader.on_reload = operators.note_reload
            settings = LogSettings(fleet, control)
            reloads: set[asyncio.Task[object]] = set()

            def reload() -> None:
                reloads.add(task := asyncio.create_task(reloader.reload("SIGHUP")))
                task.add_done_callback(reloads.discard)

            loop.add_signal_handler(signal.SIGHUP, reload)
            for background in (
                *(reloader.watch(), drained.keep(), metrics.keep()),
                *(settings.keep(), collector.run(), alerts.keep(metrics), operators.audit.keep()),
            ):
                stack.callback(asyncio.create_task(background).cancel)
            runner: web.AppRunner | None = None
            if listening is not None:
                apis = (
                    settings,
                    collector.api,
                    KeysApi(config, collector.reader),
                    CacheApi(fleet),
                    HoldersApi(config),
                    MembersApi(config, collector.reader),
                    HistoryApi(metrics.history, metrics.minutes),
                    OpenApi(config),
                    *operators.apis,
                )
                more = [
                    *(route for one in apis for route in routes(one)),
                    *operators.routes,
                    *Playground(public).routes(),
                    *PlaygroundSocket(public).routes(),
                ]
                api = AdminApi(
                    *(fleet, reloader, drained, operators.auth, metrics, operators.audit),
                    more,
                    collector.topics,
                )
                runner = AdminRunner(
                    api.application(),
                    access_log=None,
                    shutdown_timeout=_SHUTDOWN_S,
                    logger=_faults_to(logger),
                )
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.SockSite(runner, listening).start()
            stop = stop_signals(master)
            report_ready(status)
            await stop.get()
            if runner is not None:
                await runner.cleanup()
            await _collect_the_rest(collector, stop)


def _give_way() -> None:
    """Let workers go first on a core that they share with this process: what it does may wait, and
    on Linux it does not interrupt them when it wakes up.
    """
    with suppress(OSError):  # a container may forbid either
        os.nice(_NICE)
        if sys.platform == "linux":
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class _Faults(logging.Handler):
    """Log handler that passes on the exceptions that aiohttp logs. It drops those of malformed
    requests: they are answered with 400, are no error of this process, and may contain a token.
    """

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line to the gateway's log."""
        exc_info = record.exc_info
        if exc_info is None or not isinstance(exc_info[1], HttpProcessingError):
            self._logger.error("unhandled", exc_info=exc_info or None)


def _faults_to(logger: FilteringBoundLogger) -> logging.Logger:
    """Return a logger for aiohttp's server that writes to the gateway's log."""
    faults = logging.Logger("gateway.admin", logging.WARNING)
    faults.addHandler(_Faults(logger))
    return faults


async def _collect_the_rest(collector: TraceCollection, stop: asyncio.Queue[str]) -> None:
    """Collect traces until no worker is left, or until a second signal to stop. After an upgrade,
    workers still drain for a while.
    """
    while await collector.once():
        try:
            async with asyncio.timeout(_EVERY_S):
                await stop.get()
        except TimeoutError:
            continue
        await collector.once()
        return
