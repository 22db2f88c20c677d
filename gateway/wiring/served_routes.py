"""Routes with the models that they serve now. They are built anew when a backend lists others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from structlog.typing import FilteringBoundLogger

from gateway.config import Config
from gateway.dialects import DIALECTS
from gateway.limiting.own_rules import OwnRules
from gateway.pipeline import Handler, OnEnd, Pipeline
from gateway.routing.deployments import Deployments
from gateway.routing.forwarded import TrustedProxies
from gateway.routing.matching import RequestMatcher
from gateway.routing.table import RouteTable
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.traces.recording import TraceRecords
from gateway.upstream.model_polling import ModelPolling
from gateway.wiring import traces
from gateway.wiring.deployments import deployments
from gateway.wiring.discovered_models import Lists, Merged, UpstreamModels, merged, polling
from gateway.wiring.metrics import counting
from gateway.wiring.parts import Parts
from gateway.wiring.pipelines import pipeline_without_route
from gateway.wiring.prices import prices
from gateway.wiring.routes import routes
from gateway.wiring.targets import model_access

_REBUILD_S = 1.0
"""Shortest time between two changes of the models that are served."""
_NAMED = 10
"""Number of models that a log line names."""


@dataclass(frozen=True, slots=True)
class BuiltRoutes:
    """All that depends on the models."""

    merged: Merged
    deployments: Mapping[str, Deployments]
    table: RouteTable
    routeless: Mapping[str, Pipeline]


class ServedRoutes:
    """Route table of a configuration, its deployments, and the models that backends list.

    A change of the models builds new pipelines, in a thread: 10 000 models take 0.4 s. They are
    served all at once. Requests in flight stay on the old ones.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        proxies: TrustedProxies,
        registry: Registry,
        records: TraceRecords,
        *,
        ended: OnEnd,
        server_options: Handler,
        previous: ServedRoutes | None = None,
    ) -> None:
        """Build nothing yet: see `build`. `parts` lack what depends on the models. `ended` counts a
        request out; `server_options` answers OPTIONS for the server as a whole.
        """
        self._config = config
        self._parts = parts
        self._proxies = proxies
        self._registry = registry
        self._records = records
        self._ended = ended
        self._server_options = server_options
        self._logger: FilteringBoundLogger = parts.sinks.logger
        self._following: asyncio.Task[None] | None = None
        """Task that serves other models; None unless they have changed."""
        self._outdated = False
        self._rebuilt_at = 0.0
        self._started = False
        self.routeless: Mapping[str, Pipeline] = {}
        """Pipelines of requests that no route serves, by dialect."""
        self.table = RouteTable(())
        self.matcher = RequestMatcher(self.table, proxies)
        self.deployments: Mapping[str, Deployments] = {}
        """Deployments of each model that has some."""
        self.polling: Mapping[str, ModelPolling] = polling(
            config,
            parts.upstreams,
            self._changed,
            lambda name, text: self._logger.warning("models", upstream=name, reason=text),
        )
        """Lists of models, by upstream."""
        for name, one in self.polling.items():
            if previous is not None and name in previous.polling:
                one.inherit(previous.polling[name])
        self.merged: Merged = Merged(config, {}) if previous is None else previous.merged

    async def list_models(self) -> None:
        """Ask each endpoint whose models are discovered for its list, if it was not asked yet.
        Called before `build`; takes no longer than the timeout of a list.
        """
        await asyncio.gather(*(one.first() for one in self.polling.values()))

    def build(self) -> None:
        """Build the routes with the models that are listed now."""
        self._use(self.built(self._lists()))

    async def build_aside(self) -> None:
        """Build the routes in a thread, so that the event loop goes on."""
        self._use(await asyncio.to_thread(self.built, self._lists()))

    def start(self, previous: ServedRoutes | None) -> None:
        """Begin to follow changes of the models, in place of `previous`, whose state is taken over.
        Needs a running event loop.
        """
        if previous is not None:
            previous.close()
            self._inherit(previous.deployments)
        traces.apply(self.merged.config, self._records)
        self._started = True
        for one in self.polling.values():
            one.start()
        if self._outdated:
            self._changed()

    def close(self) -> None:
        """Stop to follow changes of the models."""
        self._started = False
        if self._following is not None:
            self._following.cancel()
        for one in self.polling.values():
            one.close()

    def _inherit(self, before: Mapping[str, Deployments]) -> None:
        for name, deployed in self.deployments.items():
            if name in before:
                deployed.inherit(before[name])

    def _lists(self) -> Lists:
        self._outdated = False
        return {name: one.models() for name, one in self.polling.items()}

    def built(self, lists: Lists) -> BuiltRoutes:
        """Build what depends on the models. Runs in a thread: changes nothing that others read."""
        found = merged(self._config, lists)
        config = found.config
        deployed = deployments(config, self._parts.upstreams)
        sinks = self._parts.sinks
        sinks = replace(sinks, counting=counting(config, self._registry, sinks.classes))
        parts = replace(
            self._parts,
            deployments=deployed,
            discovered=found.discovered,
            access=model_access(config),
            most_output={
                name: model.max_output_tokens
                for name, model in config.models.items()
                if model.max_output_tokens is not None
            },
            sinks=sinks,
            own_rules=OwnRules(prices(config)),
        )
        return BuiltRoutes(
            found,
            deployed,
            RouteTable(routes(config, parts, self._ended)),
            {
                name: pipeline_without_route(config, sinks, name, self._server_options, self._ended)
                for name in DIALECTS
            },
        )

    def _use(self, built: BuiltRoutes) -> None:
        """Route requests from now on by what was built."""
        self._tell(built.merged)
        before, self.deployments = self.deployments, built.deployments
        self._inherit(before)
        self.merged, self.table, self.routeless = built.merged, built.table, built.routeless
        self.matcher = RequestMatcher(self.table, self._proxies)

    def _tell(self, found: Merged) -> None:
        """Log which models an upstream lists anew, and which it lists no more."""
        for name, now in found.by_upstream.items():
            before = self.merged.by_upstream.get(name, UpstreamModels())
            if now.cut and now.cut != before.cut:
                self._logger.warning(
                    "models",
                    upstream=name,
                    reason=f"its list has {now.cut} models too many, which are not served: "
                    "raise `discover_models.most`, or choose models with `only` and `hide`",
                )
            if now.served == before.served:
                continue
            added = sorted(set(now.served) - set(before.served))
            removed = sorted(set(before.served) - set(now.served))
            self._logger.info(
                "models",
                upstream=name,
                served=len(now.served),
                added=added[:_NAMED],
                more_added=max(0, len(added) - _NAMED),
                removed=removed[:_NAMED],
                more_removed=max(0, len(removed) - _NAMED),
            )

    def _changed(self) -> None:
        """Serve the models that are listed now: at once, but not more often than each second."""
        self._outdated = True
        if self._started and self._following is None:
            self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._outdated:
                await asyncio.sleep(self._rebuilt_at + _REBUILD_S - loop.time())
                self._rebuilt_at = loop.time()
                await self.build_aside()
                traces.apply(self.merged.config, self._records)
        finally:
            self._following = None
