"""Builders of one route's policies. Each returns None if the route does not need the policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway import sse
from gateway.auth.tickets import TicketProvider
from gateway.config import Config, models
from gateway.config.served_names import served_models
from gateway.dialects import DIALECTS
from gateway.heartbeat import Heartbeats
from gateway.hooks.answers import AnswerHooks
from gateway.hooks.guarded import GuardedHook
from gateway.middleware.access_log import AccessLog
from gateway.middleware.admission import Admission
from gateway.middleware.audit_prompts import AuditPrompts, CaptureAnswers, CaptureRequests
from gateway.middleware.auth import Authenticate, IssueTicket
from gateway.middleware.cache import CacheAnswers
from gateway.middleware.compress import Compress
from gateway.middleware.cors import Cors
from gateway.middleware.early_head import Early
from gateway.middleware.errors import ErrorMapping
from gateway.middleware.fallbacks import Fallbacks
from gateway.middleware.hooks import JudgeRequests
from gateway.middleware.metrics import Counting
from gateway.middleware.mirror import MirrorRequests
from gateway.middleware.model_rules import ApplyModelRules
from gateway.middleware.plugin import Plugin
from gateway.middleware.publish_answer import PublishAnswer
from gateway.middleware.request_id import RequestId
from gateway.middleware.resume import Resume
from gateway.middleware.served import CostInUsage, ServedHeaders, UsageHeaders
from gateway.middleware.stream_lifetime import StreamLifetime
from gateway.middleware.tracing import Tracing
from gateway.middleware.upgrade import Upgrade
from gateway.pipeline import Handler
from gateway.proxy.attempt import SendOptions
from gateway.proxy.event_batch import BatchOptions
from gateway.proxy.forward import Forward, ForwardOptions
from gateway.proxy.relay import RelayOptions
from gateway.request_body.reader import BodyReader
from gateway.routing.model_listing import ModelListing
from gateway.routing.resolve import Resolve, ResolveOptions
from gateway.routing.table import METHODS
from gateway.sse import is_event_stream
from gateway.wiring import websocket
from gateway.wiring.bridge import bridged
from gateway.wiring.cache import cache_answers
from gateway.wiring.channel_policies import ChannelPolicies
from gateway.wiring.channels import channel_options
from gateway.wiring.mirror import mirror
from gateway.wiring.model_entries import model_entries
from gateway.wiring.parts import Named, Parts, TelemetrySinks
from gateway.wiring.prices import prices
from gateway.wiring.prompt_audit import record_options, record_price
from gateway.wiring.resume import resume_options
from gateway.wiring.route_dialect import route_dialect, route_named
from gateway.wiring.route_limits import RouteLimits, forwards
from gateway.wiring.self_service import self_service
from gateway.wiring.targets import Targets, has_rules


class OuterPolicies:
    """Builders of the policies that refused requests pass, too. `route` is None for requests that
    no route serves.
    """

    def __init__(
        self, config: Config, sinks: TelemetrySinks, route: models.Route | None = None
    ) -> None:
        self._config = config
        self._sinks = sinks
        self._route = route
        self.later = sinks.reports.later
        """Defers the making of reports: see `telemetry.reports`."""

    def identity(self) -> RequestId | Tracing:
        """Request id, with the trace if requests are traced."""
        traced = self._sinks.traced
        return RequestId() if traced is None else traced(self._route)

    def access_log(self) -> AccessLog | None:
        """Access log."""
        wanted = self._config.telemetry.log.access
        sinks = self._sinks
        return AccessLog(sinks.logger, sinks.log, sinks.classes) if wanted else None

    def metrics(self) -> Counting | None:
        """Request metrics."""
        return self._sinks.counting

    def compression(self) -> Compress | None:
        """Compression of responses."""
        wanted = self._route is not None and self._route.compress
        return Compress(wanted) if wanted else None


class RoutePolicies:
    """Builders of the policies and the handler of one route."""

    def __init__(self, config: Config, route: models.Route, named: Named, parts: Parts) -> None:
        """`named` are the rules of every limit in the configuration."""
        self._config = config
        self._route = route
        self._parts = parts
        self._served = served_models(config, route)
        self.outer = OuterPolicies(config, parts.sinks, route)
        self.dialect = route_dialect(config, route)
        server = config.server
        self._reader = BodyReader(
            route.body, server.body_timeout, parts.bodies, parts.offload, server.body_rate or 0
        )
        self._sending = SendOptions(len(route.path.rstrip("/")) if route.strip else 0, self._reader)
        self._sockets = websocket.settings(route)
        self._heartbeats = None if route.heartbeat is None else Heartbeats(route.heartbeat)
        self._preface = b"" if route.retry is None else sse.retry(round(route.retry * 1000))
        self._batch = None if route.batch is None else _batch_options(route.batch)
        self._forwards = forwards(route)
        self._checks = self._forwards and route.check_requests
        self.limits = RouteLimits(config, route, named, parts, self.dialect, self._reader)
        self._resume = self._made_resume()
        self.channels = self._made_channels()

    def errors(self) -> ErrorMapping:
        """Error mapping."""
        return ErrorMapping(DIALECTS[self.dialect], self._parts.sinks.logger)

    def cors(self, methods: Sequence[str] = ()) -> Cors | None:
        """CORS. `methods` replaces the route's own methods."""
        options = self._route.cors
        if options is None:
            return None
        methods = methods or self._route.methods
        return Cors(
            options.origins,
            methods=methods or METHODS,
            headers=options.headers,
            expose=options.expose,
            credentials=options.credentials,
            max_age_s=options.max_age,
            serves_options=not methods or "OPTIONS" in methods,
        )

    def upgrade(self) -> Upgrade | None:
        """Check of WebSocket handshakes."""
        return None if self._sockets is None else websocket.upgrade(self._sockets)

    def authentication(self, scopes: Sequence[str] = ()) -> Authenticate | None:
        """Authentication, and the scopes that the route requires. `scopes` are required, too."""
        route = self._route
        if route.auth == "anonymous":
            return None
        providers = [self._parts.providers[name] for name in route.auth]
        scopes = (*route.scopes, *scopes)
        return Authenticate(providers, scopes, ends_streams=route.end_on_expiry)

    def stream_lifetime(self) -> StreamLifetime | None:
        """Longest duration of streams."""
        lifetime_s = self._route.max_stream
        return None if lifetime_s is None else StreamLifetime(lifetime_s)

    def audit_prompts(self) -> AuditPrompts | None:
        """Records of prompts and answers."""
        settings, log = self._route.audit_prompts, self._parts.prompt_audit
        if settings is None or log is None or not self._forwards:
            return None
        options = record_options(self._config, settings, self.dialect, self._parts.hooks)
        return AuditPrompts(options, log, record_price(self._config))

    def capture_answers(self) -> CaptureAnswers | None:
        """Copies of answers for their records."""
        settings = self._route.audit_prompts
        wanted = self._forwards and settings is not None and settings.answer
        return CaptureAnswers() if wanted else None

    def capture_requests(self) -> CaptureRequests | None:
        """Bodies of requests for their records."""
        settings = self._route.audit_prompts
        wanted = self._forwards and settings is not None and settings.request
        return CaptureRequests(self._reader) if wanted else None

    def resume(self) -> Resume | None:
        """Streams that can be resumed."""
        return self._resume

    def publish_answer(self) -> PublishAnswer | None:
        """Publication of streamed answers in a channel."""
        if self.channels is None or not self._forwards:
            return None
        return self.channels.publish_answer()

    def self_service(self) -> Handler:
        """Return what answers callers about themselves."""
        return self_service(
            self._config, self._route, self._parts, self.limits, self._served, self._reader
        )

    def plugins(self) -> Sequence[Plugin]:
        """Plug-ins, in the order of the configuration."""
        return self._parts.plugins[self._route.name]

    def hooks(self) -> JudgeRequests | None:
        """Hooks that see requests."""
        judging = self._judging
        has_some = any(hook.on_request is not None for hook in judging)
        return JudgeRequests(judging, self._reader) if self._forwards and has_some else None

    @property
    def _judging(self) -> Sequence[GuardedHook]:
        return self._parts.hooks.of(self._route.name).judging

    def resolution(self) -> Resolve | None:
        """Model resolution, which reads the body if it has to."""
        if not self._forwards:
            return None
        config, route = self._config, self._route
        targets = Targets(config, route, self._parts, self.dialect)
        return Resolve(
            ResolveOptions(
                models={name: targets.model(name) for name in self._served},
                has_models=bool(route.models),
                fallback=targets.upstream(route.upstream) if route.upstream else None,
                listing=ModelListing(
                    route.path,
                    self.dialect,
                    model_entries(config, route, self._parts.discovered),
                ),
                reader=self._reader,
                reads_usage=_reads_usage(config.telemetry) or route.audit_prompts is not None,
                metered=self.limits.count_models,
            )
        )

    def description(self) -> object | None:
        """Description of the requests that the route checks."""
        route = self._route
        if not self._checks or not route.path.endswith("/"):
            return None
        from gateway.middleware.check_requests import RequestDescription

        return RequestDescription(DIALECTS[self.dialect], route.path)

    def checks(self) -> object | None:
        """Check of request bodies."""
        if not self._checks:
            return None
        # Imported here: the library takes 9 MB in each worker.
        from gateway.middleware.check_requests import CheckRequests

        return CheckRequests(self.dialect, self._reader)

    def model_rules(self) -> ApplyModelRules | None:
        """Rules of models for parameters, context windows and modalities."""
        has_some = any(has_rules(self._config.models[name]) for name in self._served)
        return ApplyModelRules(self._sending) if self._forwards and has_some else None

    def served(self) -> Sequence[object]:
        """Policies that tell callers the model, upstream, cost and usage of a response."""
        route = self._route
        told = frozenset(route.served_headers) if self._forwards else frozenset()
        found: list[object] = []
        if told & {"model", "upstream", "attempts", "cache"}:
            found.append(ServedHeaders(told))
        if self._forwards and route.cost_in_usage:
            found.append(CostInUsage(prices(self._config), DIALECTS[self.dialect].splitter))
        if told & {"cost", "cached_tokens"}:
            found.append(UsageHeaders(told, prices(self._config)))
        return found

    def early_head(self) -> Early | None:
        """Early heads of streams that have to wait."""
        dialect = DIALECTS[self.dialect]
        if not self._forwards or self._heartbeats is None:
            return None
        if not is_event_stream(dialect.stream_type):
            return None
        return Early(dialect, self._heartbeats, self._preface, reader=self._reader)

    def cache(self) -> CacheAnswers | None:
        """Response cache."""
        settings, cache = self._route.cache, self._parts.answers
        if settings is None or cache is None or not self._forwards:
            return None
        return cache_answers(
            self._config,
            self._route,
            settings,
            self.dialect,
            self._preface,
            cache,
            self.limits.all,
            self._parts.discovered,
        )

    def mirror(self) -> MirrorRequests | None:
        """Shadow traffic."""
        if not self._forwards:
            return None
        return mirror(self._config, self._route, self._parts, self.dialect, self._sending)

    def fallbacks(self) -> Fallbacks | None:
        """Other deployments and models, if one fails."""
        served = [self._config.models[name] for name in self._served]
        has_some = any(model.fallbacks or model.deployments for model in served)
        return Fallbacks(self._sending) if self._forwards and has_some else None

    def admission(self) -> Admission | None:
        """Queues of models and upstreams."""
        return self._parts.admission if self._forwards else None

    def handler(self) -> Handler:
        """Return what answers the requests that all policies pass."""
        route, parts, sockets = self._route, self._parts, self._sockets
        if route.issues is not None:
            tickets = parts.providers[route.issues]
            assert isinstance(tickets, TicketProvider)
            return IssueTicket(tickets)
        if route.bridge is not None:
            assert sockets is not None
            target = route_named(self._config, route.bridge.to)
            return bridged(route, target, self.dialect, sockets, parts.providers, parts.offload)
        switched = None if sockets is None else websocket.switched(sockets, parts.providers)
        return Forward(
            ForwardOptions(
                sending=self._sending,
                relay=RelayOptions(
                    DIALECTS[self.dialect],
                    self._config.server.hide_server,
                    self._heartbeats,
                    self._preface,
                    self._batch,
                ),
                switched=switched,
                hooks=self._answer_hooks(),
            )
        )

    def _answer_hooks(self) -> AnswerHooks | None:
        judging = self._judging
        has_some = any(hook.judges_answers for hook in judging)
        return AnswerHooks(judging, self._parts.offload) if has_some else None

    def _made_channels(self) -> ChannelPolicies | None:
        route, parts = self._route, self._parts
        if route.channels is None:
            return None
        options = channel_options(
            self._config,
            route,
            route.channels,
            parts.providers,
            parts.bodies,
            parts.offload,
            self._heartbeats,
            self._preface,
        )
        return ChannelPolicies(
            route, route.channels, options, parts.channels, self.limits, self.authentication
        )

    def _made_resume(self) -> Resume | None:
        route = self._route
        if route.resume is None:
            return None
        options = resume_options(self._config, route, route.resume, self.dialect, self._reader)
        options = replace(
            options, heartbeats=self._heartbeats, preface=self._preface, batch=self._batch
        )
        limits = [] if self.limits.head is None else [self.limits.head]
        return Resume(options, self._parts.streams, limits)


def _batch_options(batch: models.BatchSettings) -> BatchOptions:
    return BatchOptions(batch.max_delay, batch.max_bytes, batch.max_events)


def _reads_usage(telemetry: models.TelemetrySettings) -> bool:
    """True if somebody reports the tokens of requests. Limits read usage by themselves."""
    if telemetry.metrics is not None:
        return telemetry.metrics.tokens
    return telemetry.log.access or telemetry.traces is not None
