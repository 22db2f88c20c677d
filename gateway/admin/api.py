"""Admin API: the combined state of all workers, and the actions of operators.

GET    /livez                       200 if every worker answers
GET    /readyz                      200 if every worker is ready; otherwise the reasons
GET    /metrics                     metrics of all workers, for Prometheus
GET    /api/now                     rates, latencies and loads, now and in the last hour
GET    /api/workers                 processes: load, memory, lag
GET    /api/upstreams               endpoints, their state and why
POST   /api/upstreams/{name}/drain  {"endpoint": URL}: send no more requests to it
POST   /api/upstreams/{name}/undrain
GET    /api/routes                  routes in the order in which they are matched
GET    /api/config                  the effective configuration, secrets masked
GET    /api/requests                requests in flight
GET    /api/logs?id=                the last lines that name a request or a trace
GET    /api/limits                  remaining amounts by key, and recent refusals
GET    /api/events?topics=A,B       the same documents as server-sent events, when they change
GET    /api/session                 own session; POST {"token": ...} signs in, DELETE out
DELETE /api/requests/{id}           end a request
POST   /api/reload                  read the file again
       /api/traces, /api/usage      see `traces_api.py`
       /api/log                     see `log_settings.py`
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import __version__
from gateway.admin import limits
from gateway.admin.answer import SERVER, answer
from gateway.admin.auth import AdminAuth
from gateway.admin.drained_endpoints import DrainedEndpoints
from gateway.admin.feed import Feed, Source
from gateway.admin.fleet import Fleet, WorkerReply
from gateway.admin.metrics import GatewayMetrics
from gateway.admin.pages import VIEWS
from gateway.admin.reload import Reloader
from gateway.config import Config
from gateway.telemetry.metrics.exposition import exposed
from gateway.telemetry.metrics.now import now

_HEALTH = ("/livez", "/readyz")
_OPEN = (*VIEWS, "/favicon.ico", "/api/session")
"""Paths that need no authentication: they reveal nothing."""
_IDENTITY = re.compile(r"[\x21-\x7e]{8,200}")
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")
_QUERY_PASSWORD = re.compile(r"(?<=password=)[^&]*")
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
    more: Sequence[web.RouteDef] = ()
    """Further routes behind the same authentication."""
    topics: Mapping[str, Source] = field(default_factory=dict)
    """Further topics of the feed."""

    def __post_init__(self) -> None:
        self._documents: Mapping[str, Source] = {
            "now": self._metrics_now,
            "workers": self._workers_now,
            "upstreams": self._upstreams_now,
            "requests": self._requests_now,
            "limits": self._limits_now,
        }
        """Documents that have an address below /api/ and are topics of the feed."""
        self._feed = Feed({**self._documents, "config": self._reload_now, **self.topics})

    def application(self) -> web.Application:
        """Return the application: the routes, behind authentication."""
        app = web.Application(middlewares=[self._admit])
        app.add_routes(
            [
                web.get("/livez", self._live),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._exposed),
                *(web.get(f"/api/{name}", _of(found)) for name, found in self._documents.items()),
                web.post("/api/upstreams/{name}/{action:drain|undrain}", self._drain),
                web.get("/api/routes", self._routes),
                web.get("/api/config", self._config),
                web.delete("/api/requests/{id}", self._cancel),
                web.post("/api/reload", self._reload),
                web.get("/api/logs", self._logs),
                web.get("/api/events", self._events),
                web.get("/api/session", self._session),
                web.post("/api/session", self._sign_in),
                web.delete("/api/session", self._sign_out),
                *self.more,
            ]
        )
        app.on_response_prepare.append(self._protect)
        app.on_shutdown.append(self._feed.close)
        return app

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            if refusal.status == 401 and "Authorization" in request.headers:
                await self.auth.delay_answer(request)
            return refusal
        try:
            response = await handler(request)
        except web.HTTPException as exc:
            response = answer({"error": exc.reason}, exc.status)
        except web.RequestPayloadError:
            response = answer({"error": "the body is not what its headers say"}, 400)
        except ConnectionResetError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            # The client left before it sent the whole body, or before the response began. Nothing
            # needs to be logged. aiohttp tries to send this response, and notices that the client
            # is gone.
            response = web.Response()
        return response

    @staticmethod
    async def _protect(_: web.Request, response: web.StreamResponse) -> None:
        """Add the headers just before the head is sent: also to streams, before the middleware."""
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = SERVER

    def _refusal(self, request: web.Request) -> web.Response | None:
        resource = request.match_info.route.resource
        place = resource.canonical if resource is not None else ""
        if place in _HEALTH or place.startswith("/static/"):
            return None
        found = self.auth.refused_origin(request, is_document=place in VIEWS) or (
            None if place in _OPEN else self.auth.refusal(request)
        )
        if found is None:
            return None
        status, reason = found
        refused = answer({"error": reason}, status)
        if status == 401:
            refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    # -- sessions ----------------------------------------------------------------------------

    async def _session(self, request: web.Request) -> web.Response:
        refusal = self.auth.refusal(request)
        document: dict[str, Any] = {
            "needs_token": self.auth.needs_token,
            "admitted": refusal is None,
            "reason": refusal and refusal[1],
        }
        if refusal is None:
            admin = self.reloader.loaded.config.admin
            document |= {"version": __version__, "links": dict(admin.links) if admin else {}}
        return answer(document)

    async def _sign_in(self, request: web.Request) -> web.Response:
        try:
            token = str(orjson.loads(await request.read())["token"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return answer({"error": 'send {"token": ...}'}, 400)
        response = answer({})
        if self.auth.sign_in(request, token, response):
            return response
        await self.auth.delay_answer(request)
        return answer({"error": "that is not the admin token"}, 403)

    async def _sign_out(self, request: web.Request) -> web.Response:
        response = answer({})
        self.auth.sign_out(request, response)
        return response

    # -- health ----------------------------------------------------------------------------

    async def _live(self, _: web.Request) -> web.Response:
        silent = [one.worker for one in await self.fleet.ask("GET", "/status") if not one.ok]
        reasons = [f"worker {number} does not answer" for number in silent]
        return answer({"live": not reasons, "reasons": reasons}, 503 if reasons else 200)

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

    async def _metrics_now(self) -> Any:
        return now(self.metrics.history, await self.metrics.now(), time.time())

    async def _workers_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/status")
        rows = [one.document if one.ok else {"worker": one.worker, "pid": None} for one in replies]
        return {"workers": rows}

    async def _upstreams_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/upstreams")
        return {"upstreams": merge_upstreams([one for one in replies if one.ok])}

    async def _limits_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/limits")
        return limits.merge_limits([one for one in replies if one.ok])

    async def _routes(self, _: web.Request) -> web.Response:
        for one in await self.fleet.ask("GET", "/routes"):
            if one.ok:
                return answer({"routes": one.document})
        return answer({"error": "no worker answers"}, 503)

    async def _config(self, _: web.Request) -> web.Response:
        return answer({**await self._reload_now(), "config": masked(self.reloader.loaded.config)})

    async def _reload_now(self) -> Any:
        last = self.reloader.last
        return {
            "file": self.reloader.loaded.source.name,
            "last_reload": None if last is None else last.document,
        }

    async def _requests_now(self) -> Any:
        replies = await self.fleet.ask("GET", "/requests")
        rows = [{"worker": one.worker, **row} for one in replies if one.ok for row in one.document]
        return {"requests": sorted(rows, key=lambda row: -row["age_s"])}

    async def _logs(self, request: web.Request) -> web.Response:
        identity = request.query.get("id", "")
        if not _IDENTITY.fullmatch(identity):
            return answer({"error": "id: send a request id or a trace id, whole"}, 400)
        replies = await self.fleet.ask("GET", f"/logs?id={quote(identity, safe='')}")
        lines = [line for one in replies if one.ok for line in one.document]
        return answer({"lines": sorted(lines, key=lambda line: str(line.get("time", "")))})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._feed.serve(request, lambda one: self.auth.refusal(one) is None)

    # -- actions -----------------------------------------------------------------------------

    async def _cancel(self, request: web.Request) -> web.Response:
        request_id = quote(request.match_info["id"], safe="")
        replies = await self.fleet.ask("DELETE", f"/requests/{request_id}")
        if any(one.ok for one in replies):
            return answer({})
        return answer({"error": "no such request is under way"}, 404)

    async def _drain(self, request: web.Request) -> web.Response:
        out = request.match_info["action"] == "drain"
        try:
            endpoint = orjson.loads(await request.read())["endpoint"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return answer({"error": 'send {"endpoint": URL}'}, 400)
        if await self.drained.set(request.match_info["name"], str(endpoint), out=out):
            return answer({})
        return answer({"error": "there is no such endpoint; see /api/upstreams"}, 404)

    async def _reload(self, _: web.Request) -> web.Response:
        outcome = await self.reloader.reload("asked for by an operator")
        return answer(
            {"file": str(self.reloader.file), **outcome.document}, 400 if outcome.problems else 200
        )


def _of(source: Source) -> Handler:
    """Return a handler that answers with the document of a source."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return answer(await source())

    return handle


def merge_upstreams(replies: Sequence[WorkerReply]) -> list[dict[str, Any]]:
    """Combine the upstreams of all workers: each upstream once, with the sum of its loads, and the
    state of each endpoint in every worker.
    """
    merged: dict[str, dict[str, Any]] = {}
    for one in replies:
        for upstream in one.document:
            whole = merged.setdefault(
                upstream["name"],
                {
                    "name": upstream["name"],
                    "pending": 0,
                    "panicking": False,
                    "counts": Counter(),
                    "endpoints": {},
                },
            )
            whole["counts"].update(upstream["counts"])
            whole["pending"] += upstream["pending"]
            whole["panicking"] = whole["panicking"] or upstream["panicking"]
            for endpoint in upstream["endpoints"]:
                seen = whole["endpoints"].setdefault(
                    endpoint["url"], {**endpoint, "in_flight": 0, "connections": 0, "states": []}
                )
                seen["in_flight"] += endpoint["in_flight"]
                seen["connections"] += endpoint["connections"]
                seen["states"].append(endpoint["state"])
                if endpoint["state"] != "healthy":
                    seen["state"] = endpoint["state"]
                seen["why"] = endpoint["why"] or seen["why"]
    return [{**one, "endpoints": list(one["endpoints"].values())} for one in merged.values()]


def masked(config: Config) -> Any:
    """Return the configuration without secrets. Passwords in URLs and values of headers are masked,
    and also the options of plug-ins, since their meaning is unknown.
    """
    document = config.model_dump(mode="json")
    url = document["store"]["url"]
    if isinstance(url, str):
        document["store"]["url"] = _QUERY_PASSWORD.sub("***", _PASSWORD.sub("***@", url))
    for upstream in document["upstreams"].values():
        upstream["headers"] = dict.fromkeys(upstream["headers"], "***")
    for route in document["routes"]:
        for plugin in route["middleware"]:
            plugin["options"] = dict.fromkeys(plugin["options"], "***")
    return document
