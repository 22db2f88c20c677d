"""Admin API: the combined state of all workers, and the actions of operators.

docs/admin-api.md lists every route. Those of traces are in `traces_api.py`, those of the log in
`log_settings.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web

from gateway.admin import backends, documents, limits
from gateway.admin.answer import SERVER, answer
from gateway.admin.audit import note
from gateway.admin.audit_log import AuditLog
from gateway.admin.auth import AdminAuth
from gateway.admin.drained_endpoints import DrainedEndpoints
from gateway.admin.feed import Feed, Source
from gateway.admin.fleet import Fleet
from gateway.admin.gate import AdminGate
from gateway.admin.masked_config import masked
from gateway.admin.metrics import GatewayMetrics
from gateway.admin.operation import Operation, Parameter, routes, sources
from gateway.admin.reload import ASKED, Reloader
from gateway.admin.reload_audit import note_reload
from gateway.admin.request_query import LIVE_FILTERS, selected
from gateway.telemetry.metrics.exposition import exposed
from gateway.telemetry.metrics.now import now
from gateway.telemetry.traces.log_line import record_of
from gateway.telemetry.traces.verdict import verdict

_IDENTITY = re.compile(r"[\x21-\x7e]{8,200}")
_TOPICS = (
    "Topics, separated by commas: `now`, `workers`, `upstreams`, `limits` and `requests`, which "
    "are the documents of these paths; `config`, the last reload; `kept`, which changes with "
    "every stored trace."
)
_UPSTREAM = Parameter("name", "Name of the upstream.")
_NO_ENDPOINT = {400: "The body has no `endpoint`.", 404: "There is no such endpoint."}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every response that does not set its own. Its bytes run no script on this origin, and
no page of another origin can embed them.
"""


@dataclass(eq=False)
class AdminApi:
    """Handlers of the admin API."""

    fleet: Fleet
    reloader: Reloader
    drained: DrainedEndpoints
    auth: AdminAuth
    metrics: GatewayMetrics
    audit: AuditLog
    more: Sequence[web.RouteDef] = ()
    """Further routes behind the same authentication."""
    topics: Mapping[str, Source] = field(default_factory=dict)
    """Further topics of the feed."""

    def __post_init__(self) -> None:
        self._feed = Feed({**sources(self), "config": self._reload_now, **self.topics})

    def application(self) -> web.Application:
        """Return the application: the routes, behind authentication."""
        app = web.Application(middlewares=[AdminGate(self.auth, self.audit).middleware])
        app.add_routes([*routes(self), *self.more])
        app.on_response_prepare.append(self._protect)
        app.on_shutdown.append(self._feed.close)
        return app

    @staticmethod
    async def _protect(_: web.Request, response: web.StreamResponse) -> None:
        """Add the headers just before the head is sent: also to streams, before the middleware."""
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = SERVER

    # -- health ----------------------------------------------------------------------------

    @Operation(
        "GET",
        "/livez",
        "Whether every worker answers, for liveness probes.",
        returns=documents.Liveness,
        errors={503: "A worker does not answer within a second."},
        refusal=documents.Liveness,
        is_open=True,
    )
    async def _live(self, _: web.Request) -> web.Response:
        silent = [one.worker for one in await self.fleet.ask("GET", "/status") if not one.ok]
        reasons = [f"worker {number} does not answer" for number in silent]
        return answer({"live": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @Operation(
        "GET",
        "/readyz",
        "Whether every worker is ready, for readiness probes.",
        returns=documents.Readiness,
        errors={503: "A worker is not ready; `reasons` says why."},
        refusal=documents.Readiness,
        is_open=True,
    )
    async def _ready(self, _: web.Request) -> web.Response:
        reasons, degraded = [], []
        for one in await self.fleet.ask("GET", "/status"):
            found = one.document["not_ready"] if one.ok else ["does not answer"]
            reasons += [f"worker {one.worker}: {reason}" for reason in found]
            partly = one.document["degraded"] if one.ok else ()
            degraded += [f"worker {one.worker}: {reason}" for reason in partly]
        document = {"ready": not reasons, "reasons": reasons, "degraded": degraded}
        return answer(document, 503 if reasons else 200)

    # -- state -------------------------------------------------------------------------------

    @Operation(
        "GET",
        "/metrics",
        "Metrics of all workers for Prometheus; see docs/metrics.md.",
        media="text/plain",
        errors={404: "`telemetry.metrics` is null."},
    )
    async def _exposed(self, request: web.Request) -> web.Response:
        options = self.reloader.loaded.config.telemetry.metrics
        if options is None:
            return answer({"error": "telemetry.metrics is null: nothing is counted"}, 404)
        body, content_type = exposed(
            await self.metrics.now(),
            request.headers.get("Accept", ""),
            newer=options.semconv == "next",
        )
        return web.Response(body=body, headers={"Content-Type": content_type})

    @Operation(
        "GET",
        "/api/now",
        "Rates, latencies and loads of the last minute and the last hour.",
        returns=documents.Now,
        is_source=True,
    )
    async def _metrics_now(self) -> Any:
        return now(self.metrics.history, await self.metrics.now(), time.time())

    @Operation(
        "GET",
        "/api/workers",
        "Workers with their loads.",
        returns=documents.Workers,
        is_source=True,
    )
    async def _workers_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/status")
        rows = [one.document if one.ok else {"worker": one.worker, "pid": None} for one in replies]
        return {"workers": rows}

    @Operation(
        "GET",
        "/api/upstreams",
        "Upstreams and their endpoints, with state and reason; models with several deployments.",
        returns=documents.Upstreams,
        is_source=True,
    )
    async def _upstreams_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/upstreams")
        found = [one for one in replies if one.ok]
        return {
            "upstreams": backends.merge_upstreams(found),
            "models": backends.merge_models(found),
        }

    @Operation(
        "GET",
        "/api/limits",
        "Remaining amounts by recently used key, and recent refusals.",
        returns=documents.Limits,
        is_source=True,
    )
    async def _limits_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/limits")
        return limits.merge_limits([one for one in replies if one.ok])

    @Operation(
        "GET",
        "/api/routes",
        "Routes in the order in which they are matched.",
        returns=documents.Routes,
        errors={503: "No worker answers."},
    )
    async def _routes(self, _: web.Request) -> web.Response:
        for one in await self.fleet.ask("GET", "/routes"):
            if one.ok:
                return answer({"routes": one.document})
        return answer({"error": "no worker answers"}, 503)

    @Operation(
        "GET",
        "/api/config",
        "The effective configuration, and the last reload.",
        returns=documents.Configuration,
        parameters=(
            Parameter(
                "units",
                "`file` writes durations, sizes and shares as in the file, such as `30s`. By "
                "default they are numbers: seconds, bytes, and shares of 1.",
                {"type": "string", "enum": ["file"]},
            ),
        ),
    )
    async def _config(self, request: web.Request) -> web.Response:
        in_units = request.query.get("units") == "file"
        return answer(
            {
                **await self._reload_now(),
                "reloads": [one.document for one in reversed(self.reloader.outcomes)],
                "included": [one.name for one in self.reloader.loaded.texts[1:]],
                "overrides": [one.document for one in self.reloader.loaded.overrides],
                "config": masked(self.reloader.loaded.config, in_units=in_units),
            }
        )

    async def _reload_now(self) -> Any:
        last = self.reloader.last
        return {
            "file": self.reloader.loaded.source.name,
            "last_reload": None if last is None else last.document,
        }

    @Operation(
        "GET",
        "/api/requests",
        "Requests in progress.",
        returns=documents.LiveRequests,
        parameters=LIVE_FILTERS,
        errors={400: "A parameter is malformed."},
        select=selected,
        is_source=True,
    )
    async def _requests_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/requests")
        rows = [{"worker": one.worker, **row} for one in replies if one.ok for row in one.document]
        return {"requests": sorted(rows, key=lambda row: -row["age_s"])}

    @Operation(
        "GET",
        "/api/logs",
        "Recent log lines that name a request or a trace, and the verdict on the request.",
        returns=documents.LogLines,
        parameters=(Parameter("id", "Complete id of a request or a trace.", required=True),),
        errors={400: "`id` is missing or malformed."},
    )
    async def _logs(self, request: web.Request) -> web.Response:
        identity = request.query.get("id", "")
        if not _IDENTITY.fullmatch(identity):
            return answer({"error": "id: send a request id or a trace id, whole"}, 400)
        replies = await self.fleet.ask("GET", f"/logs?id={quote(identity, safe='')}")
        lines = [line for one in replies if one.ok for line in one.document]
        lines.sort(key=lambda line: str(line.get("time", "")))
        ended = [line for line in lines if line.get("event") == "request"]
        judged = verdict(record_of(ended[-1])).document if ended else None
        return answer({"lines": lines, "verdict": judged})

    @Operation(
        "GET",
        "/api/events",
        "Documents as server-sent events: each when it changes.",
        media="text/event-stream",
        parameters=(Parameter("topics", _TOPICS, required=True),),
        errors={400: "No known topic was named.", 503: "Too many viewers."},
    )
    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._feed.serve(request, self.auth.still_admits)

    # -- actions -----------------------------------------------------------------------------

    @Operation(
        "DELETE",
        "/api/requests/{id}",
        "Cancel a request in progress: its caller gets `request_cancelled`.",
        returns=documents.Empty,
        parameters=(Parameter("id", "Id of the request."),),
        errors={404: "No such request is in progress."},
    )
    async def _cancel(self, request: web.Request) -> web.Response:
        request_id = quote(request.match_info["id"], safe="")
        replies = await self.fleet.ask("DELETE", f"/requests/{request_id}")
        if any(one.ok for one in replies):
            note(request, "request_cancelled", id=request.match_info["id"])
            return answer({})
        return answer({"error": "no such request is under way"}, 404)

    @Operation(
        "POST",
        "/api/upstreams/{name}/drain",
        "Send no more requests to an endpoint. Those in progress continue.",
        returns=documents.Empty,
        body=documents.DrainOrder,
        parameters=(_UPSTREAM,),
        errors=_NO_ENDPOINT,
    )
    async def _drain(self, request: web.Request) -> web.Response:
        return await self._set_drained(request, out=True)

    @Operation(
        "POST",
        "/api/upstreams/{name}/undrain",
        "Send requests to a drained endpoint again.",
        returns=documents.Empty,
        body=documents.DrainOrder,
        parameters=(_UPSTREAM,),
        errors=_NO_ENDPOINT,
    )
    async def _undrain(self, request: web.Request) -> web.Response:
        return await self._set_drained(request, out=False)

    @Operation(
        "POST",
        "/api/upstreams/{name}/models",
        "Ask an upstream for its models now. They are served as soon as they are listed.",
        returns=documents.Empty,
        parameters=(_UPSTREAM,),
        errors={404: "There is no such upstream with `discover_models`."},
    )
    async def _list_models(self, request: web.Request) -> web.Response:
        upstream = request.match_info["name"]
        replies = await self.fleet.ask("POST", f"/models?upstream={quote(upstream, safe='')}")
        if any(one.ok for one in replies):
            note(request, "models_listed", upstream=upstream)
            return answer({})
        return answer({"error": "there is no such upstream with discover_models"}, 404)

    async def _set_drained(self, request: web.Request, *, out: bool) -> web.Response:
        try:
            endpoint = orjson.loads(await request.read())["endpoint"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return answer({"error": 'send {"endpoint": NAME}, as in /api/upstreams'}, 400)
        upstream = request.match_info["name"]
        if await self.drained.set(upstream, str(endpoint), out=out):
            action = "endpoint_drained" if out else "endpoint_undrained"
            before, after = {"drained": not out}, {"drained": out}
            note(request, action, before, after, upstream=upstream, name=str(endpoint))
            return answer({})
        return answer({"error": "there is no such endpoint; see /api/upstreams"}, 404)

    @Operation(
        "POST",
        "/api/reload",
        "Read the configuration file again, and serve it if it is valid.",
        returns=documents.Reloaded,
        errors={400: "The file has problems. Nothing was changed."},
        refusal=documents.Reloaded,
    )
    async def _reload(self, request: web.Request) -> web.Response:
        outcome = await self.reloader.reload(ASKED)
        note_reload(request, outcome, str(self.reloader.file))
        return answer(
            {"file": str(self.reloader.file), **outcome.document}, 400 if outcome.problems else 200
        )
