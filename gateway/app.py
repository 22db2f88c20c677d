"""Builds what runs out of one configuration: a `Runtime`, which serves requests until it is closed.

Nothing here is decided at request time. A reload builds another runtime beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.admission.gate import Gate, GateOptions
from gateway.auth.revocations import Revocations
from gateway.config import Config, models
from gateway.config.problems import ConfigPath, dotted
from gateway.dialects import DIALECTS
from gateway.errors import GatewayError, MethodNotAllowed, NotFound, RequestError
from gateway.exchange import GatewayRequest
from gateway.forwarded import Claims, TrustedProxies
from gateway.headers import lines
from gateway.limiting.leases import Leases
from gateway.limiting.rules import LEASE_TTL_S
from gateway.middleware.access_log import AccessLog
from gateway.middleware.admission import Admission, Shares
from gateway.middleware.auth import Authenticate
from gateway.middleware.chain import Middleware, compose
from gateway.middleware.cors import Cors
from gateway.middleware.errors import ErrorMapping
from gateway.middleware.limits import Limits
from gateway.middleware.plugin import PluginError, load_plugin
from gateway.middleware.request_id import request_id
from gateway.proxy.forward import Forward, ForwardOptions
from gateway.proxy.resolve import Resolve, ResolveOptions, Target
from gateway.routing import Handler, RouteEntry, RouteTable
from gateway.target import host_name, split_target
from gateway.upstream.pool import EndpointPool, parse_address
from gateway.upstream.tls import client_context
from gateway.upstream.upstream import Endpoint, Timeouts, Upstream
from gateway.wiring.auth import providers
from gateway.wiring.limits import rules
from gateway.wiring.limits import store as limit_store

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CACHED_TARGETS = 4096


ConfigFault = tuple[ConfigPath, str]
"""The path of a value, and what is wrong with it."""


class CannotBuild(Exception):
    """A valid configuration asks for parts that do not work here."""

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        super().__init__("; ".join(f"{dotted(path)}: {message}" for path, message in faults))
        self.faults = faults


class Runtime:
    """Everything one configuration needs at request time."""

    def __init__(self, config: Config, logger: FilteringBoundLogger) -> None:
        """Raise CannotBuild, with all that cannot be built."""
        faults: list[ConfigFault] = []
        self.proxies = TrustedProxies(config.server.trusted_proxies)
        self.upstreams = _upstreams(config)
        self.revocations = Revocations(self._revoked)
        self.providers = providers(
            config,
            self.revocations,
            lambda name, text: logger.warning("auth", provider=name, reason=text),
            faults,
        )
        plugins = _plugins(config, faults)
        store = limit_store(
            config, lambda state, why: logger.warning("store", breaker=state, reason=why), faults
        )
        if faults or store is None:
            raise CannotBuild(faults)
        self.store = store
        self.leases = Leases(store, LEASE_TTL_S)
        self.admission = _admission(config)
        self.routes = RouteTable(_routes(config, self, plugins, logger))
        self._refuse = compose(
            [*_outer(config, logger), ErrorMapping(DIALECTS["openai"], logger)], _refuse
        )
        self._split = lru_cache(_CACHED_TARGETS)(split_target)
        self._host_name = lru_cache(_CACHED_TARGETS)(host_name)

    async def respond(self, request: GatewayRequest) -> web.StreamResponse:
        """The response to a request. Errors are responses too; only a cancellation is raised."""
        try:
            handler = self._resolve(request)
        except GatewayError as error:
            request.exchange.refusal = error
            if error.status not in (404, 405):
                # Whoever sent this may see other message boundaries than we do.
                request.exchange.must_close = True
            handler = self._refuse
        return await handler(request)

    def start(self) -> None:
        """Begin what goes on beside requests; there is an event loop now."""
        for provider in self.providers.values():
            provider.start()
        self.revocations.start()

    async def close(self) -> None:
        """Close idle upstream connections; exchanges under way go on."""
        for provider in self.providers.values():
            provider.close()
        self.revocations.close()
        self.leases.close()
        await self.store.close()
        for upstream in self.upstreams.values():
            upstream.close()

    async def _revoked(self) -> frozenset[str] | None:
        return await self.store.revoked()

    def _resolve(self, request: GatewayRequest) -> Handler:
        """Fill in what the request asks for, and find the chain that serves it."""
        exchange = request.exchange
        message = request._message
        headers = message.headers
        if message.method == "CONNECT":
            exchange.must_close = True  # what follows is no request
            raise MethodNotAllowed(", ".join(METHODS))
        host = headers["Host"]  # aiohttp's parser refuses HTTP/1.1 with none, or with two
        name = self._host_name(host)
        if name is None:
            raise RequestError("The Host header is malformed.", code="invalid_host")
        if message.chunked and headers["Transfer-Encoding"].strip().lower() != "chunked":
            raise RequestError("Only 'Transfer-Encoding: chunked' is understood.")
        if "Upgrade" in headers:
            self._check_upgrade(request)
        target = message.path
        if not target.startswith("/"):
            target = self._origin_form(target, host)
        split = self._split(target)
        if split is None:
            raise RequestError(
                "The path is not in canonical form: send it without '.' and '..' segments, "
                "empty segments, backslashes or needless escapes.",
                code="invalid_path",
            )
        exchange.host = name
        exchange.path, exchange.query = split
        self._find_client(request, host)
        match = self.routes.find(message.method, name, exchange.path)
        route = match.route
        if route is None and not match.allowed:
            raise NotFound
        if route is None or message.method not in METHODS:
            raise MethodNotAllowed(", ".join(sorted(match.allowed or METHODS)))
        exchange.route = route.name
        return route.handler

    @staticmethod
    def _check_upgrade(request: GatewayRequest) -> None:
        """No upgrade is served. One that cannot be ignored is refused; the rest is ignored."""
        request.exchange.must_close = True
        if request._message.upgrade or request.body_exists:
            raise RequestError("This path serves no protocol upgrade.", code="upgrade_refused")

    @staticmethod
    def _origin_form(target: str, host: str) -> str:
        """The origin-form of an absolute-form target (RFC 9112 section 3.2.2)."""
        scheme, separator, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        if not separator or scheme.lower() not in ("http", "https"):
            raise RequestError("The request target is malformed.", code="invalid_path")
        if authority.lower() != host.lower():
            raise RequestError("The request target and Host differ.", code="invalid_host")
        return slash + path or "/"

    def _find_client(self, request: GatewayRequest, host: str) -> None:
        exchange = request.exchange
        peer = exchange.client_ip
        secure = request._transport_sslcontext is not None
        if exchange.trusted_peer:
            headers = request._message.headers
            forwarded_host = headers.get("X-Forwarded-Host", "")
            claims = Claims(
                ", ".join(headers.getall("X-Forwarded-For", ())),
                headers.get("X-Forwarded-Proto", ""),
                forwarded_host if self._host_name(forwarded_host) is not None else "",
            )
            origin = self.proxies.origin(peer, secure=secure, host=host, claims=claims)
        else:
            origin = self.proxies.origin(peer, secure=secure, host=host)
        exchange.client_ip = origin.client_ip
        exchange.forwarded = origin.lines


async def _refuse(request: GatewayRequest) -> web.StreamResponse:
    assert request.exchange.refusal is not None
    raise request.exchange.refusal


def _outer(config: Config, logger: FilteringBoundLogger) -> list[Middleware]:
    chain: list[Middleware] = [request_id]
    if config.telemetry.log.access:
        chain.append(AccessLog(logger))
    return chain


def _upstreams(config: Config) -> dict[str, Upstream]:
    return {name: _upstream(name, options) for name, options in config.upstreams.items()}


def _upstream(name: str, options: models.Upstream) -> Upstream:
    context = None
    if any(endpoint.url.startswith("https:") for endpoint in options.endpoints):
        context = client_context(options.tls.ca, verify=options.tls.verify)
    fields = list(options.headers.items())
    shown = options.credentials
    if shown is not None and shown.bearer is not None:
        fields.append(("Authorization", f"Bearer {shown.bearer.reveal().decode()}"))
    elif shown is not None and shown.header is not None and shown.value is not None:
        fields.append((shown.header, shown.value.reveal().decode()))
    endpoints = []
    for endpoint in options.endpoints:
        address = parse_address(endpoint.url, context, options.tls.server_name)
        pool = EndpointPool(
            address,
            max_connections=options.max_connections,
            keepalive_s=options.keepalive,
            connect_s=options.timeouts.connect,
        )
        fixed = lines([("Host", address.authority), *fields])
        endpoints.append(Endpoint(pool, endpoint.weight, fixed))
    return Upstream(
        name,
        tuple(endpoints),
        Timeouts(options.timeouts.first_byte, options.timeouts.idle),
        frozenset(field.lower().encode() for field, _ in fields),
    )


def _routes(
    config: Config,
    runtime: Runtime,
    plugins: Mapping[str, Sequence[Middleware]],
    logger: FilteringBoundLogger,
) -> list[RouteEntry]:
    named = rules(config)
    entries = []
    for route in config.routes:
        dialect = route_dialect(config, route)
        chain: list[Middleware] = [*_outer(config, logger), ErrorMapping(DIALECTS[dialect], logger)]
        if route.cors is not None:
            chain.append(_cors(route, route.cors))
        if route.auth != "anonymous":
            chain.append(
                Authenticate([runtime.providers[name] for name in route.auth], route.scopes)
            )
        resolve = _resolve(config, route, runtime, dialect)
        own = [rule for name in route.limits for rule in named[name]]
        # A limit that depends on the model needs the body first; the others save reading it.
        early = any(rule.needs_model for rule in own)
        if early:
            chain.append(resolve)
        if own or (named and route.auth != "anonymous"):
            chain.append(
                Limits(
                    own,
                    named,
                    runtime.store,
                    runtime.leases,
                    show=route.limit_headers,
                    asks_usage=dialect == "openai",
                )
            )
        chain += plugins[route.name]
        if not early:
            chain.append(resolve)
        if runtime.admission is not None:
            chain.append(runtime.admission)
        entries.append(
            RouteEntry(
                name=route.name,
                path=route.path,
                methods=_methods(route),
                hosts=frozenset(route.hosts),
                handler=compose(chain, _forward(config, route, dialect)),
                dialect=dialect,
            )
        )
    return entries


def _methods(route: models.Route) -> frozenset[str]:
    """What is routed: preflights too, where they are answered."""
    methods = frozenset[str](route.methods)
    return methods | {"OPTIONS"} if methods and route.cors is not None else methods


def _cors(route: models.Route, options: models.Cors) -> Cors:
    return Cors(
        options.origins,
        methods=route.methods or METHODS,
        headers=options.headers,
        expose=options.expose,
        credentials=options.credentials,
        max_age_s=options.max_age,
        serves_options=not route.methods or "OPTIONS" in route.methods,
    )


def _plugins(config: Config, faults: list[ConfigFault]) -> dict[str, list[Middleware]]:
    """The plug-ins of each route. Those that cannot be used are added to `faults`."""
    plugins: dict[str, list[Middleware]] = {}
    for number, route in enumerate(config.routes):
        plugins[route.name] = []
        for index, plugin in enumerate(route.middleware):
            try:
                plugins[route.name].append(load_plugin(plugin.use, plugin.options))
            except PluginError as exc:
                faults.append((("routes", number, "middleware", index, *exc.path), exc.message))
    return plugins


def _admission(config: Config) -> Admission | None:
    """The gates, or None where nobody ever waits."""

    def gates(
        kind: str, sections: Mapping[str, models.Model] | Mapping[str, models.Upstream]
    ) -> dict[str, Gate]:
        return {
            name: Gate(
                f"{kind} {name}",
                GateOptions(found.concurrency, found.queue, found.max_wait),
            )
            for name, section in sections.items()
            if (found := section.admission) is not None
        }

    by_model, by_upstream = gates("model", config.models), gates("upstream", config.upstreams)
    if not by_model and not by_upstream:
        return None
    shares = Shares(config.shares.weights, config.shares.priorities)
    return Admission(by_model, by_upstream, shares)


def route_dialect(config: Config, route: models.Route) -> models.Dialect:
    """What callers speak on a route: what it says, else what its upstream speaks."""
    if route.dialect is not None:
        return route.dialect
    name = route.upstream or config.models[route.models[0]].upstream
    return config.upstreams[name].dialect


def _resolve(config: Config, route: models.Route, runtime: Runtime, dialect: str) -> Resolve:
    anonymous = route.auth == "anonymous"
    # Of every provider: what says who somebody is on one route says nothing on another.
    identity = frozenset[bytes]().union(
        *(provider.sent_headers for provider in runtime.providers.values()),
        {p.header.lower().encode() for p in runtime.providers.values() if p.header},
    )

    def target(upstream: str, model: models.Model | None) -> Target:
        return Target(
            runtime.upstreams[upstream],
            model.model if model else None,
            anonymous=anonymous,
            identity=identity,
            scopes=model.scopes if model else (),
        )

    targets = {
        name: target(model.upstream, model)
        for name, model in ((name, config.models[name]) for name in route.models)
    }
    fallback = target(route.upstream, None) if route.upstream else None
    spoken = DIALECTS[dialect]
    return Resolve(
        ResolveOptions(
            models=targets,
            fallback=fallback,
            models_path=route.path.removesuffix("/") + "/" + spoken.models_path,
            body_cap_bytes=route.body,
            body_silence_s=config.server.body_timeout,
            dialect=spoken,
        )
    )


def _forward(config: Config, route: models.Route, dialect: str) -> Forward:
    return Forward(
        ForwardOptions(
            strip=len(route.path.rstrip("/")) if route.strip else 0,
            body_cap_bytes=route.body,
            body_silence_s=config.server.body_timeout,
            dialect=DIALECTS[dialect],
            hide_server=config.server.hide_server,
        )
    )
