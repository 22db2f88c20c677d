"""Construction of the route table, and of each route's middleware chain. Chains are composed once;
requests only call them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from structlog.typing import FilteringBoundLogger

from gateway import sse
from gateway.auth.provider import Provider
from gateway.auth.tickets import TicketProvider
from gateway.config import Config, models
from gateway.config.problems import Fault
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS
from gateway.dialects.translation.options import ThinkingWord, TranslationOptions
from gateway.dialects.translation.translation import Translation
from gateway.limiting.guard import GuardedStore
from gateway.limiting.leases import Leases
from gateway.limiting.rules import Rule
from gateway.limiting.seen import Seen
from gateway.middleware.access_log import AccessLog
from gateway.middleware.admission import Admission
from gateway.middleware.auth import Authenticate, IssueTicket
from gateway.middleware.compress import Compress
from gateway.middleware.cors import Cors
from gateway.middleware.early_head import Early
from gateway.middleware.errors import ErrorMapping
from gateway.middleware.fallbacks import Fallbacks
from gateway.middleware.limits import HeadLimits, Limits
from gateway.middleware.metrics import Counting
from gateway.middleware.plugin import Plugin, PluginError, load_plugin
from gateway.middleware.request_id import RequestId
from gateway.middleware.resume import Resume, no_stream
from gateway.model_access import ModelAccess, ServedModel
from gateway.model_target import Target
from gateway.offload import Offload
from gateway.overload import BodyBudget
from gateway.pipeline import Handler, OnEnd, Pipeline
from gateway.proxy.attempt import SendOptions
from gateway.proxy.body import BodyReader
from gateway.proxy.forward import Forward, ForwardOptions
from gateway.proxy.heartbeat import Heartbeats
from gateway.proxy.model_listing import ModelListing
from gateway.proxy.resolve import Resolve, ResolveOptions
from gateway.resume.streams import Streams
from gateway.routing import METHODS, RouteEntry, RouteTable
from gateway.sse import is_event_stream
from gateway.telemetry.logs.control import LogControl
from gateway.upstream.upstream import Upstream
from gateway.wiring import websocket
from gateway.wiring.bridge import bridged
from gateway.wiring.hints import hint_of, reads_json
from gateway.wiring.limits import rules
from gateway.wiring.resume import resume_options, streams_path
from gateway.wiring.timeouts import timeouts_of
from gateway.wiring.traces import TracingOf

Plugins = Mapping[str, Sequence[Plugin]]
"""Plug-ins of each route, by route name."""
Named = Mapping[str, Sequence[Rule]]
"""Rules of each limit, by limit name."""


@dataclass(frozen=True, slots=True)
class Telling:
    """Telemetry sinks of requests: log, traces and metrics."""

    logger: FilteringBoundLogger
    log: LogControl
    """Setting of which log lines are written."""
    traced: TracingOf | None
    counting: Counting | None


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts that all routes share."""

    providers: Mapping[str, Provider]
    upstreams: Mapping[str, Upstream]
    store: GuardedStore
    leases: Leases
    seen: Seen
    admission: Admission | None
    plugins: Plugins
    streams: Streams
    bodies: BodyBudget
    offload: Offload
    telling: Telling


def outer(config: Config, telling: Telling, route: models.Route | None = None) -> list[object]:
    """Return the outermost policies, which refused requests pass too."""
    traced, counting = telling.traced, telling.counting
    policies: list[object] = [RequestId() if traced is None else traced(route)]
    if config.telemetry.log.access:
        policies.append(AccessLog(telling.logger, telling.log))
    if counting is not None:
        policies.append(counting)
    return policies


def routes(config: Config, parts: Parts, ended: OnEnd) -> list[RouteEntry]:
    """Return the entries of the route table, each with its pipeline. `ended` counts a request
    out.
    """
    named = rules(config)
    entries = []
    for route in config.routes:
        dialect = route_dialect(config, route)
        heartbeats = None if route.heartbeat is None else Heartbeats(route.heartbeat)
        before = [
            *outer(config, parts.telling, route),
            *([Compress(route.compress)] if route.compress else ()),
        ]
        errors = ErrorMapping(DIALECTS[dialect], parts.telling.logger)
        chain = [*_gatekeepers(route, parts)]
        limits = _limits(config, route, named, parts)
        on_head = [HeadLimits(one, _reader(config, route, parts)) for one in limits]
        if route.resume is not None:
            options = resume_options(
                config, route, route.resume, dialect, _reader(config, route, parts)
            )
            options = replace(options, heartbeats=heartbeats, preface=_preface(route))
            resume = Resume(options, parts.streams, on_head)
            chain.append(resume)
            entries.append(
                RouteEntry(
                    name=route.name,
                    path=streams_path(route),
                    methods=frozenset(),
                    hosts=frozenset(route.hosts),
                    pipeline=Pipeline(
                        before,
                        errors,
                        [*_gatekeepers(route, parts, ("GET", "DELETE")), resume],
                        no_stream,
                        ended=ended,
                    ),
                    dialect=dialect,
                )
            )
        end: Handler
        if route.issues is not None:
            tickets = parts.providers[route.issues]
            assert isinstance(tickets, TicketProvider)
            chain += [*limits, *parts.plugins[route.name]]
            end = IssueTicket(tickets)
        elif route.bridge is not None:
            sockets = websocket.settings(route)
            assert sockets is not None
            chain += [*limits, *parts.plugins[route.name]]
            target = _route(config, route.bridge.to)
            end = bridged(route, target, dialect, sockets, parts.providers, parts.offload)
        else:
            # Limits that need no body are checked before it is read, the others right after.
            if _needs_body(route, named):
                chain += on_head
            chain += _towards_upstream(config, route, named, parts, limits, heartbeats)
            end = _forward(config, route, parts, dialect, heartbeats)
        entries.append(
            RouteEntry(
                name=route.name,
                path=route.path,
                methods=_methods(route),
                hosts=frozenset(route.hosts),
                pipeline=Pipeline(before, errors, chain, end, ended=ended),
                dialect=dialect,
                upgrades=websocket.settings(route) is not None,
            )
        )
    return entries


def _gatekeepers(route: models.Route, parts: Parts, methods: Sequence[str] = ()) -> list[object]:
    """Return the policies that decide whether a request is admitted: CORS, upgrades and
    authentication. `methods` replaces the route's methods for CORS.
    """
    chain: list[object] = []
    if route.cors is not None:
        chain.append(_cors(route.cors, methods or route.methods))
    sockets = websocket.settings(route)
    if sockets is not None:
        chain.append(websocket.upgrade(sockets))
    if route.auth != "anonymous":
        chain.append(
            Authenticate(
                [parts.providers[name] for name in route.auth],
                route.scopes,
                ends_streams=route.end_on_expiry,
            )
        )
    return chain


def _towards_upstream(
    config: Config,
    route: models.Route,
    named: Named,
    parts: Parts,
    limits: Sequence[Limits],
    heartbeats: Heartbeats | None,
) -> list[object]:
    """Return the policies between admission and forwarding: limits, plug-ins, the choice of a
    target, early heads, fallbacks and queues.
    """
    dialect = route_dialect(config, route)
    resolve = _resolve(config, route, named, parts, dialect)
    chain: list[object]
    if _needs_body(route, named):
        chain = [resolve, *limits, *parts.plugins[route.name]]
    else:
        chain = [*limits, *parts.plugins[route.name], resolve]
    if heartbeats is not None and is_event_stream(DIALECTS[dialect].stream_type):
        chain.append(
            Early(
                DIALECTS[dialect],
                heartbeats,
                _preface(route),
                reader=_reader(config, route, parts),
            )
        )
    if any(config.models[name].fallbacks for name in route.models):
        chain.append(Fallbacks(_sending(config, route, parts)))
    if parts.admission is not None:
        chain.append(parts.admission)
    return chain


def _reader(config: Config, route: models.Route, parts: Parts) -> BodyReader:
    server = config.server
    return BodyReader(
        route.body, server.body_timeout, parts.bodies, parts.offload, server.body_rate or 0
    )


def _sending(config: Config, route: models.Route, parts: Parts) -> SendOptions:
    strip = len(route.path.rstrip("/")) if route.strip else 0
    return SendOptions(strip, _reader(config, route, parts))


def _needs_body(route: models.Route, named: Named) -> bool:
    """Tell whether a limit of the route, or one that a principal may have, depends on the body."""
    names = route.limits if route.auth == "anonymous" else named
    return any(rule.needs_model for name in names for rule in named[name])


def _limits(config: Config, route: models.Route, named: Named, parts: Parts) -> list[Limits]:
    own = [rule for name in route.limits for rule in named[name]]
    # An authenticated principal may have limits of its own.
    if not own and not (named and route.auth != "anonymous"):
        return []
    return [
        Limits(
            own,
            named,
            parts.store,
            parts.leases,
            parts.seen,
            show=route.limit_headers,
            asks_usage=DIALECTS[route_dialect(config, route)].asks_for_usage,
            most={
                name: model.max_output_tokens
                for name, model in config.models.items()
                if model.max_output_tokens is not None
            },
        )
    ]


def _methods(route: models.Route) -> frozenset[str]:
    """Return the methods to route. They include OPTIONS if the route answers preflights."""
    methods = frozenset[str](route.methods)
    return methods | {"OPTIONS"} if methods and route.cors is not None else methods


def _cors(options: models.CorsSettings, methods: Sequence[str]) -> Cors:
    return Cors(
        options.origins,
        methods=methods or METHODS,
        headers=options.headers,
        expose=options.expose,
        credentials=options.credentials,
        max_age_s=options.max_age,
        serves_options=not methods or "OPTIONS" in methods,
    )


def plugins(config: Config, faults: list[Fault]) -> Plugins:
    """Load the plug-ins. A plug-in that cannot be used is added to `faults`."""
    loaded: dict[str, list[Plugin]] = {}
    for number, route in enumerate(config.routes):
        loaded[route.name] = []
        for index, plugin in enumerate(route.middleware):
            try:
                loaded[route.name].append(load_plugin(plugin.use, plugin.options))
            except PluginError as exc:
                faults.append((("routes", number, "middleware", index, *exc.path), exc.message))
    return loaded


def shown(config: Config, table: RouteTable) -> list[dict[str, str]]:
    """Return the routes in readable form, in the order in which they are matched."""
    by_name = {route.name: route for route in config.routes}
    rows = []
    for entry in table.routes:
        route = by_name[entry.name]
        if route.issues is not None:
            ends = [f"tickets of {route.issues}"]
        elif route.bridge is not None:
            ends = [f"generations of {route.bridge.to}"]
        elif entry.path != route.path:
            ends = ["kept streams"]
        else:
            ends = [*route.models, *([route.upstream] if route.upstream else [])]
        rows.append(
            {
                "route": entry.name,
                "path": entry.path + ("*" if entry.path.endswith("/") else ""),
                "methods": ",".join(sorted(entry.methods)) or "any",
                "hosts": ",".join(sorted(entry.hosts)) or "any",
                "auth": route.auth if isinstance(route.auth, str) else ",".join(route.auth),
                "limits": ",".join(route.limits) or "none",
                "dialect": entry.dialect,
                "to": ",".join(ends),
            }
        )
    return rows


def route_dialect(config: Config, route: models.Route) -> Dialect:
    """Return the dialect of a route's callers: the configured one, or that of its upstream."""
    if route.dialect is not None:
        return route.dialect
    if route.issues is not None:
        return "openai"
    if route.bridge is not None:
        return route_dialect(config, _route(config, route.bridge.to))
    name = route.upstream or config.models[route.models[0]].upstream
    return config.upstreams[name].dialect


def _route(config: Config, name: str) -> models.Route:
    return next(route for route in config.routes if route.name == name)


class _Targets:
    """Construction of a route's targets: one for each model or upstream that it may use."""

    def __init__(self, config: Config, route: models.Route, parts: Parts, dialect: Dialect) -> None:
        self._config = config
        self._dialect = dialect
        self._route = route
        self._upstreams = parts.upstreams
        self._traced = parts.telling.traced is not None
        providers = parts.providers.values()
        # Headers of every provider: a header that identifies callers on one route must not be
        # believed on another.
        self._identity = frozenset[bytes]().union(
            *(provider.sent_headers for provider in providers),
            {provider.header.lower().encode() for provider in providers if provider.header},
        )

    def model(self, name: str) -> Target:
        """Return the target of a model, with the targets of its fallbacks."""
        model = self._config.models[name]
        others = model.fallbacks
        fallbacks = [(other, self._alone(other, legible=other != others[-1])) for other in others]
        return self.upstream(model.upstream, model, fallbacks, legible=bool(fallbacks))

    def _alone(self, name: str, *, legible: bool) -> Target:
        model = self._config.models[name]
        return self.upstream(model.upstream, model, legible=legible)

    def upstream(
        self,
        name: str,
        model: models.Model | None = None,
        fallbacks: Sequence[tuple[str, Target]] = (),
        *,
        legible: bool = False,
    ) -> Target:
        """Return the target of an upstream. `legible`: its responses must be readable."""
        upstream = self._upstreams[name]
        options = self._config.upstreams[name]
        renames = options.model_name == "asked" and self._dialect == options.dialect
        return Target(
            upstream,
            model.model if model else None,
            timeouts=timeouts_of(options.timeouts, self._route.timeouts),
            hint=hint_of(options.balance),
            fallbacks=fallbacks,
            anonymous=self._route.auth == "anonymous",
            identity=self._identity,
            scopes=model.scopes if model else (),
            legible=(
                legible or renames or self._route.resume is not None or self._route.traces.content
            ),
            translation=_translation(self._dialect, options, upstream.options.replaced),
            tells_asked=renames,
            traced=self._traced,
            access=_access(self._config, name),
            reads_json=reads_json(options.balance),
            queued=options.admission is not None,
        )


def _access(config: Config, upstream: str) -> ModelAccess:
    """Return the models that callers may name to an upstream."""
    served: dict[str, list[ServedModel]] = {}
    for name, model in config.models.items():
        if model.upstream == upstream:
            one = ServedModel(name, frozenset(model.scopes))
            served.setdefault(model.model or name, []).append(one)
    return ModelAccess(served)


def _translation(
    dialect: Dialect, options: models.UpstreamSettings, replaced: frozenset[bytes]
) -> Translation | None:
    """Return the translation between callers and upstream, or None if both use the same dialect:
    then bytes are relayed unchanged.
    """
    if dialect == options.dialect:
        return None
    said = options.translation
    own = TranslationOptions(
        said.max_tokens,
        ThinkingWord(said.thinking),
        options.continues,
        efforts=said.efforts,
        max_tokens_field=said.max_tokens_field,
        base=said.base,
        tells_asked=options.model_name != "backend",
    )
    return Translation(dialect, options.dialect, own, replaced)


def _resolve(
    config: Config, route: models.Route, named: Named, parts: Parts, dialect: Dialect
) -> Resolve:
    targets = _Targets(config, route, parts, dialect)
    return Resolve(
        ResolveOptions(
            models={name: targets.model(name) for name in route.models},
            fallback=targets.upstream(route.upstream) if route.upstream else None,
            listing=ModelListing(route.path, dialect),
            reader=_reader(config, route, parts),
            reads_usage=_reads_usage(config.telemetry),
            metered=any(rule.needs_model for name in route.limits for rule in named[name]),
        )
    )


def _reads_usage(telemetry: models.Telemetry) -> bool:
    """True if somebody reports the tokens of requests. Limits read usage by themselves."""
    if telemetry.metrics is not None:
        return telemetry.metrics.tokens
    return telemetry.log.access or telemetry.traces is not None


def _preface(route: models.Route) -> bytes:
    return b"" if route.retry is None else sse.retry(round(route.retry * 1000))


def _forward(
    config: Config,
    route: models.Route,
    parts: Parts,
    dialect: Dialect,
    heartbeats: Heartbeats | None,
) -> Forward:
    sockets = websocket.settings(route)
    return Forward(
        ForwardOptions(
            sending=_sending(config, route, parts),
            dialect=DIALECTS[dialect],
            hide_server=config.server.hide_server,
            heartbeats=heartbeats,
            preface=_preface(route),
            switched=websocket.switched(sockets, parts.providers) if sockets is not None else None,
        )
    )
