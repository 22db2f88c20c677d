"""Internal API of one worker for the admin process: HTTP on a Unix socket in a private folder.

Every client that can open the socket is trusted, since only the gateway's user can access the
folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from gateway.admin import backends
from gateway.admin.limits import worker_limits
from gateway.admin.worker_metrics import WorkerMetrics
from gateway.app import CannotBuild
from gateway.auth.tickets import TicketProvider
from gateway.config import ConfigError, load_document
from gateway.exchange import Exchange
from gateway.load.slices import WorkSlices
from gateway.proxy.progress import progress
from gateway.response_cache.store import PURGE_FILTERS, AnswerLabels
from gateway.server.serving import Server
from gateway.store.records import StoreUnavailable
from gateway.telemetry.as_json import as_json
from gateway.telemetry.logs.recent import RecentLines
from gateway.telemetry.traces.verdict import under_way
from gateway.wiring.routes import shown


class WorkerApi:
    """Handlers of one worker's internal API."""

    def __init__(self, server: Server, slot: int, recent: RecentLines) -> None:
        self._server = server
        self._slot = slot
        self._recent = recent
        self._run_id = f"{os.getpid()}-{server.started_at}"
        self._metrics = WorkerMetrics(server, slot)

    def application(self) -> web.Application:
        """Return the application with its routes."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/status", self._status),
                web.get("/metrics", self._metrics_document),
                web.get("/upstreams", self._upstreams),
                web.get("/routes", self._routes),
                web.post("/drain", self._drain),
                web.post("/models", self._list_models),
                web.get("/requests", self._requests),
                web.get("/limits", self._limits),
                web.get("/logs", self._logs),
                web.delete("/requests/{id}", self._cancel),
                web.delete("/cache", self._purge),
                web.post("/traces", self._traces),
                web.put("/log", self._log),
                web.post("/prepare", self._prepare),
                web.post("/commit", self._commit),
                web.post("/abandon", self._abandon),
            ]
        )
        return app

    async def start(self, path: Path) -> web.AppRunner:
        """Serve on a Unix socket. The caller must call `cleanup` of the runner."""
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # left by a worker that died
        await web.UnixSite(runner, str(path)).start()
        return runner

    async def _status(self, _: web.Request) -> web.Response:
        server = self._server
        return answer(
            {
                "worker": self._slot,
                "pid": os.getpid(),
                "not_ready": self._reasons(),
                "degraded": self._degraded(),
                "uptime_s": round(time.time() - server.started_at, 1),
                "reloads": server.reloads,
                "requests": server.state.overload.requests,
                "connections": server.listener.open_connections,
                "streams": server.listener.streams,
                "refused": server.state.overload.refused + server.state.bodies.refused,
                "kept_streams": len(server.runtime.streams),
                "kept_stream_bytes": server.runtime.streams.size_bytes,
                "memory_bytes": server.state.overload.memory_bytes,
                "worst_lag_ms": round(server.loop_monitor.worst_lag_s * 1e3, 1),
            }
        )

    def _reasons(self) -> list[str]:
        """Return why the worker should get no requests now; empty if it is ready."""
        server = self._server
        reasons = []
        if server.listener.draining:
            reasons.append("draining")
        overloaded = server.state.overload.reason
        if overloaded is not None:
            reasons.append(f"overloaded: {overloaded}")
        runtime = server.runtime
        away = self._providers_away()
        if away and len(away) == self._providers():
            reasons += away
        if not runtime.revoked.ready.is_set():
            reasons.append("store: revoked tokens were not read yet")
        return reasons

    def _degraded(self) -> list[str]:
        """Return why some requests fail or are not recorded, while the others are served."""
        away = self._providers_away()
        audit = self._server.runtime.prompt_audit
        reason = None if audit is None else audit.destination.reason
        recording = [] if reason is None else [f"prompt_audit: {reason}"]
        return (away if len(away) < self._providers() else []) + recording

    def _providers_away(self) -> list[str]:
        return [
            f"auth.{name}: {reason}"
            for name, provider in self._server.runtime.providers.items()
            if (reason := provider.not_ready()) is not None
        ]

    def _providers(self) -> int:
        """Return the number of identity providers. Ticket providers depend on the others."""
        found = self._server.runtime.providers.values()
        return sum(not isinstance(provider, TicketProvider) for provider in found)

    async def _metrics_document(self, _: web.Request) -> web.Response:
        found, slices = await self._metrics.snapshot(), WorkSlices()
        parts = []
        for name, rows in found.items():
            parts.append(b'"%b":%b' % (name.encode(), as_json(rows)))
            if slices.over:
                await slices.pause()
        life = as_json(self._run_id)
        return _json(b'{"life":%b,"metrics":{%b}}' % (life, b",".join(parts)))

    async def _upstreams(self, _: web.Request) -> web.Response:
        runtime = self._server.runtime
        return answer(backends.of_worker(runtime.upstreams, runtime.deployments, runtime.served))

    async def _routes(self, _: web.Request) -> web.Response:
        runtime = self._server.runtime
        return answer(shown(runtime.config, runtime.routes))

    async def _drain(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        upstream = self._server.runtime.upstreams.get(body["upstream"])
        for endpoint in upstream.endpoints if upstream is not None else ():
            if endpoint.key == body["endpoint"]:
                assert upstream is not None
                upstream.drain(endpoint, out=body["out"])
                return answer({})
        return answer({"error": "no such endpoint"}, 404)

    async def _list_models(self, request: web.Request) -> web.Response:
        polling = self._server.runtime.served.polling.get(request.query["upstream"])
        if polling is None:
            return answer({"error": "no such upstream"}, 404)
        polling.refresh()
        return answer({})

    async def _requests(self, _: web.Request) -> web.Response:
        return _json(await self.requests())

    async def requests(self) -> bytes:
        """Return a list with a row for each request in flight, as JSON. It is made in slices, so
        that no stream waits for it.
        """
        rows, slices = [], WorkSlices()
        for exchange in [*self._server.listener.exchanges]:
            if exchange.end_reason is None:
                rows.append(as_json(_request_row(exchange)))
            if slices.over:
                await slices.pause()
        return b"[%b]" % b",".join(rows)

    async def _limits(self, _: web.Request) -> web.Response:
        return answer(await worker_limits(self._server.runtime))

    async def _logs(self, request: web.Request) -> web.Response:
        return answer(self._recent.of(request.query["id"]))

    async def _cancel(self, request: web.Request) -> web.Response:
        cancelled = self._server.listener.cancel(request.match_info["id"])
        return answer({}, 200 if cancelled else 404)

    async def _purge(self, request: web.Request) -> web.Response:
        cache = self._server.runtime.answers
        if cache is None:
            return answer({"removed": 0})
        wanted = AnswerLabels(*(request.query.get(name) for name in PURGE_FILTERS))
        try:
            removed = await cache.remove(wanted)
        except StoreUnavailable as exc:
            return answer({"error": str(exc)}, 503)
        return answer({"removed": removed})

    async def _traces(self, request: web.Request) -> web.Response:
        records = self._server.state.records
        acknowledged = orjson.loads(await request.read()).get(records.boot, 0)
        return _json(records.take(acknowledged))

    async def _log(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self._server.state.log.set(body["level"], body["sample"])
        return answer({})

    # -- reload ----------------------------------------------------------------------------

    async def _prepare(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        try:
            loaded = await asyncio.to_thread(load_document, body)
            try:
                await self._server.prepare(loaded.config)
            except CannotBuild as exc:
                raise ConfigError(loaded.source.problem(*fault) for fault in exc.faults) from exc
        except ConfigError as exc:
            return answer({"problems": [str(problem) for problem in exc.problems]}, 400)
        return answer({})

    async def _commit(self, _: web.Request) -> web.Response:
        self._server.commit()
        return answer({})

    async def _abandon(self, _: web.Request) -> web.Response:
        await self._server.abandon()
        return answer({})


def answer(document: Any, status: int = 200) -> web.Response:
    """Return a response with a document as JSON."""
    return _json(as_json(document), status)


def _json(document: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=document, content_type="application/json")


def _request_row(exchange: Exchange) -> dict[str, Any]:
    principal, trace, now = exchange.principal, exchange.trace, time.perf_counter()
    state, silent_s = progress(exchange, now)
    first_token = exchange.first_token_at
    row = {
        "request_id": exchange.request_id,
        "age_s": round(now - exchange.started_at, 3),
        "state": state,
        "silent_s": silent_s and round(silent_s, 3),
        "ttft_s": first_token and round(first_token - exchange.started_at, 3),
        "method": exchange.method,
        "path": exchange.path,
        "route": exchange.route,
        "subject": principal and principal.subject,
        "tenant": principal and principal.tenant,
        "model": exchange.model,
        "served": exchange.served,
        "upstream": exchange.upstream,
        "endpoint": exchange.endpoint,
        "status": exchange.status,
        "bytes_out": exchange.bytes_out,
        "detached": exchange.detached,
        "client": exchange.client_ip,
        "stream": trace and trace.stream_digest,
        "reads": trace is not None and trace.reads,
    }
    return {**row, "verdict": under_way(row).document}
