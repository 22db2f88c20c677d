"""Runtime: everything built from one configuration, which serves requests until it is closed.

Nothing is configured at request time. A reload builds another runtime beside the current one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from aiohttp import web

from gateway.auth.holders import Holders
from gateway.auth.jwt import REVOKED
from gateway.auth.provider import Provider
from gateway.channels.channels import Channels
from gateway.config import Config
from gateway.config.problems import Fault, dotted
from gateway.errors import GatewayError, Overloaded
from gateway.exchange import Exchange
from gateway.hooks.guarded import HookSinks
from gateway.limiting.activity import LimitActivity
from gateway.limiting.leases import Leases
from gateway.limiting.own_rules import OwnRules
from gateway.limiting.rules import LEASE_TTL_S
from gateway.limiting.soft_limits import SoftLimits
from gateway.middleware.own_usage import OwnUsage
from gateway.middleware.request_classes import RequestClasses
from gateway.process_state import ProcessState
from gateway.prompt_audit.audit_log import PromptLog
from gateway.proxy.shadow import Shadows
from gateway.request import Request
from gateway.response_cache.cache import AnswerCache
from gateway.resume.streams import Streams
from gateway.routing.deployments import Deployments
from gateway.routing.forwarded import TrustedProxies
from gateway.routing.matching import ServerOptions
from gateway.routing.table import METHODS, RouteTable
from gateway.store.record_watcher import RecordWatcher
from gateway.wiring.admission import admission
from gateway.wiring.auth import providers
from gateway.wiring.cache import answer_cache, caches
from gateway.wiring.channels import channels, has_channels
from gateway.wiring.hooks import Hooks, hooks
from gateway.wiring.parts import Parts, TelemetrySinks, plugins
from gateway.wiring.prompt_audit import audit_log
from gateway.wiring.resume import resumes, streams
from gateway.wiring.served_routes import ServedRoutes
from gateway.wiring.store import Stores, stores
from gateway.wiring.traces import tracing
from gateway.wiring.upstreams import upstreams


class CannotBuild(Exception):
    """A valid configuration asks for parts that do not work on this machine."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{dotted(path)}: {message}" for path, message in faults))
        self.faults = faults


class Runtime:
    """Objects that serve the requests of one configuration.

    A runtime that replaces another keeps what did not change: stores and their counters, fetched
    keys, endpoints with their connections and health, and queues with the requests in them.
    """

    def __init__(
        self,
        config: Config,
        state: ProcessState,
        previous: Runtime | None = None,
    ) -> None:
        """Build all parts; `previous` is not changed before `start`. Raise CannotBuild with every
        part that cannot be built.
        """
        logger = state.logger
        faults: list[Fault] = []
        self.config = config
        self.overload = state.overload
        self.exchanges = 0
        """Exchanges in flight."""
        self.retired: Callable[[], None] | None = None
        """Called when the last exchange ends, after another runtime has taken over."""
        self._previous = previous
        self.proxies = TrustedProxies(config.server.trusted_proxies)
        self.upstreams = upstreams(
            config,
            lambda name, endpoint, health, why: logger.warning(
                "endpoint", upstream=name, endpoint=endpoint.key, state=health.value, reason=why
            ),
            lambda name, text: logger.warning("discovery", upstream=name, reason=text),
            lambda name, text: logger.warning("waking", upstream=name, reason=text),
            state.contexts,
            state.writes,
        )
        loaded = plugins(config, faults)
        self.hooks: Hooks = hooks(
            config,
            HookSinks(
                None if config.telemetry.metrics is None else state.registry,
                lambda name, route, phase, why: logger.warning(
                    "hook", hook=name, route=route, phase=phase, reason=why
                ),
            ),
            faults,
            {} if previous is None else previous.hooks.searches,
        )
        same_store = previous is not None and previous.config.store == config.store
        opened = (
            previous.stores
            if previous is not None and same_store
            else stores(
                config,
                state.folder,
                lambda breaker, why: logger.warning("store", breaker=breaker, reason=why),
                faults,
            )
        )
        if opened is None:
            raise CannotBuild(faults)
        self.stores: Stores = opened
        self.revoked: RecordWatcher
        self.holders: Holders
        self.leases: Leases
        self.limit_activity: LimitActivity
        if previous is not None and same_store:
            self.revoked, self.leases = previous.revoked, previous.leases
            self.limit_activity, self.holders = previous.limit_activity, previous.holders
        else:
            self.revoked = RecordWatcher(
                opened.records, REVOKED, report=lambda why: logger.warning("store", reason=why)
            )
            self.holders = Holders(
                opened.records, report=lambda why: logger.warning("store", reason=why)
            )
            self.leases = Leases(opened.limits, LEASE_TTL_S)
            self.limit_activity = LimitActivity()
        kept = (
            previous.streams
            if previous is not None and same_store and resumes(config) == resumes(previous.config)
            else streams(
                config,
                state.folder,
                state.slot,
                lambda store, why: logger.warning("streams", store=store, reason=why),
                faults,
            )
        )
        if kept is None:
            raise CannotBuild(faults)
        self.streams: Streams = kept
        shared = (
            previous.channels
            if previous is not None
            and same_store
            and has_channels(config) == has_channels(previous.config)
            else channels(
                config,
                state.folder,
                state.slot,
                lambda store, why: logger.warning("channels", store=store, reason=why),
                faults,
            )
        )
        if shared is None:
            raise CannotBuild(faults)
        self.channels: Channels = shared
        has_same_cache = previous is not None and same_store and caches(config)
        self.answers: AnswerCache | None = (
            previous.answers
            if previous is not None and has_same_cache and previous.answers is not None
            else answer_cache(
                config, lambda store, why: logger.warning("cache", store=store, reason=why), faults
            )
        )
        keeps_audit = previous is not None and previous.config.prompt_audit == config.prompt_audit
        self.prompt_audit: PromptLog | None = (
            previous.prompt_audit
            if previous is not None and keeps_audit
            else audit_log(
                config,
                lambda now, why: logger.warning("prompt_audit", destination=now, reason=why),
                faults,
            )
        )
        self.providers = providers(
            config,
            opened.records,
            self.revoked,
            self.holders,
            lambda name, text: logger.warning("auth", provider=name, reason=text),
            faults,
            kept=_unchanged(previous, config) if previous is not None and same_store else {},
        )
        if faults:
            raise CannotBuild(faults)
        self.shadows: Shadows = Shadows() if previous is None else previous.shadows
        self.admission = admission(config)
        classes = RequestClasses()
        sinks = TelemetrySinks(
            logger,
            state.log,
            tracing(config, state.records, self.hooks, classes),
            None,
            classes,
            state.reports,
        )
        parts = Parts(
            self.providers,
            self.upstreams,
            {},
            {},
            {},
            {},
            opened.limits,
            self.leases,
            self.limit_activity,
            self.admission,
            loaded,
            self.hooks,
            self.streams,
            self.channels,
            self.answers,
            self.prompt_audit,
            self.shadows,
            state.bodies,
            state.offload,
            sinks,
            OwnRules({}),
            SoftLimits(
                lambda warning: logger.warning("budget_warning", **dataclasses.asdict(warning))
            ),
            opened.records,
            OwnUsage(state.traces),
        )
        self.served: ServedRoutes = ServedRoutes(
            config,
            parts,
            self.proxies,
            state.registry,
            state.records,
            ended=self._ended,
            server_options=_server_options,
            previous=None if previous is None else previous.served,
        )

    @property
    def routes(self) -> RouteTable:
        """Route table with the models that are served now."""
        return self.served.table

    @property
    def deployments(self) -> Mapping[str, Deployments]:
        """Deployments of each model that has some."""
        return self.served.deployments

    async def list_models(self) -> None:
        """Ask upstreams for the models that are discovered, before the routes are built."""
        await self.served.list_models()

    def build_routes(self) -> None:
        """Build the routes, before `start`."""
        self.served.build()

    async def build_routes_aside(self) -> None:
        """Build the routes in a thread, before `start`, while another runtime serves requests."""
        await self.served.build_aside()

    def serve(self, request: Request) -> None:
        """Answer a request through the pipeline of its route, or refuse it."""
        self.exchanges += 1
        overload = self.overload
        overload.requests += 1
        try:
            route = self.served.matcher.route(request)
        except GatewayError as error:
            if error.status not in (404, 405):
                # Client and gateway may disagree on message boundaries after such a request.
                request.exchange.must_close = True
            self.served.routeless["openai"].refuse(request, error)
            return
        except ServerOptions:
            self.served.routeless["openai"].serve(request)
            return
        if overload.requests > overload.admitted and (reason := overload.reason) is not None:
            overload.refused += 1
            self.served.routeless[route.dialect].refuse(request, Overloaded(reason))
            return
        route.pipeline.serve(request)

    def _ended(self, exchange: Exchange) -> None:
        """Count an exchange out."""
        self.exchanges -= 1
        overload = self.overload
        overload.requests -= 1
        if not self.exchanges and self.retired is not None:
            self.retired()
        if overload.on_idle is not None and not overload.requests:
            overload.on_idle()

    def start(self) -> None:
        """Start background tasks, and take over state from the previous runtime. Needs a running
        event loop.
        """
        previous, self._previous = self._previous, None
        if previous is not None:
            for name, upstream in self.upstreams.items():
                if name in previous.upstreams:
                    upstream.inherit(previous.upstreams[name])
            if self.admission is not None and previous.admission is not None:
                self.admission.inherit(previous.admission)
        for name, provider in self.providers.items():
            if previous is None or previous.providers.get(name) is not provider:
                provider.start()
        if previous is None or previous.revoked is not self.revoked:
            self.revoked.start()
        if previous is None or previous.streams is not self.streams:
            self.streams.start()
        if previous is None or previous.channels is not self.channels:
            self.channels.start()
            if previous is not None:
                previous.channels.drain()
        if self.prompt_audit is not None and (
            previous is None or previous.prompt_audit is not self.prompt_audit
        ):
            self.prompt_audit.start()
        for upstream in self.upstreams.values():
            upstream.start()
        self.served.start(None if previous is None else previous.served)

    async def close(self, others: Collection[Runtime] = ()) -> None:
        """Stop background tasks and close idle upstream connections, except what one of `others`
        uses: the current runtime, and replaced ones with exchanges in flight.
        """
        for name, provider in self.providers.items():
            if all(one.providers.get(name) is not provider for one in others):
                provider.close()
        if not others:
            await self.shadows.close()
        self.served.close()
        for upstream in self.upstreams.values():
            upstream.close()
        await self.hooks.close()
        audit, answers = self.prompt_audit, self.answers
        if audit is not None and all(one.prompt_audit is not audit for one in others):
            await audit.close()
        if all(one.streams is not self.streams for one in others):
            await self.streams.close()
        if all(one.channels is not self.channels for one in others):
            await self.channels.close()
        if answers is not None and all(one.answers is not answers for one in others):
            await answers.close()
        if any(one.stores is self.stores for one in others):
            return
        self.revoked.close()
        self.holders.close()
        self.leases.close()
        await self.stores.close()


def _unchanged(previous: Runtime, config: Config) -> Mapping[str, Provider]:
    """Return the providers whose configuration is unchanged."""
    return {
        name: provider
        for name, provider in previous.providers.items()
        if config.auth.get(name) == previous.config.auth[name]
    }


def _server_options(request: Request) -> web.StreamResponse:
    return web.Response(status=204, headers={"Allow": ", ".join(METHODS)})
