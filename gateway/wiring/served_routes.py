"""Routes with the models that they serve now. They are built anew when a backend lists others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

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
from gateway.wiring.deployments import deployments
from gateway.wiring.discovered_models import Merged, UpstreamModels, merged, polling
from gateway.wiring.metrics import counting
from gateway.wiring.parts import Parts
from gateway.wiring.pipelines import pipeline_without_route
from gateway.wiring.prices import prices
from gateway.wiring.routes import routes
from gateway.wiring.traces import set_prices

_REBUILD_S = 1.0
"""Shortest time between two changes of the models that are served."""
_NAMED = 10
"""Number of models that a log line names."""


class ServedRoutes:
    """Route table of a configuration, its deployments, and the models that backends list.

    A change of the models builds new pipelines. Requests in flight stay on the old ones.
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
        """`parts` lack what depends on the models. `ended` counts a request out; `server_options`
        answers OPTIONS for the server as a whole.
        """
        self._config = config
        self._parts = parts
        self._proxies = proxies
        self._registry = registry
        self._records = records
        self._ended = ended
        self._server_options = server_options
        self._logger: FilteringBoundLogger = parts.sinks.logger
        self._rebuild: asyncio.TimerHandle | None = None
        """Timer of a change of the models."""
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
        self._build()

    async def list_models(self) -> None:
        """Ask each endpoint whose models are discovered for its list, if it was not asked yet.
        Called before `start`; takes no longer than the timeout of a list.
        """
        if self.polling:
            await asyncio.gather(*(one.first() for one in self.polling.values()))
            self._build()

    def start(self, previous: ServedRoutes | None) -> None:
        """Begin to follow changes of the models, in place of `previous`, whose state is taken over.
        Needs a running event loop.
        """
        if previous is not None:
            previous.close()
            self._inherit(previous.deployments)
        self._started = True
        for one in self.polling.values():
            one.start()

    def close(self) -> None:
        """Stop to follow changes of the models."""
        self._started = False
        if self._rebuild is not None:
            self._rebuild.cancel()
        for one in self.polling.values():
            one.close()

    def _inherit(self, before: Mapping[str, Deployments]) -> None:
        for name, deployed in self.deployments.items():
            if name in before:
                deployed.inherit(before[name])

    def _build(self) -> None:
        """Build what depends on the models: deployments, prices, and the pipelines of routes."""
        found = merged(self._config, {name: one.models() for name, one in self.polling.items()})
        self._tell(found)
        self.merged, config = found, found.config
        before, self.deployments = self.deployments, deployments(config, self._parts.upstreams)
        self._inherit(before)
        sinks = self._parts.sinks
        sinks = replace(sinks, counting=counting(config, self._registry, sinks.classes))
        set_prices(config, self._records)
        parts = replace(
            self._parts,
            deployments=self.deployments,
            discovered=found.discovered,
            sinks=sinks,
            own_rules=OwnRules(prices(config)),
        )
        self.table = RouteTable(routes(config, parts, self._ended))
        self.matcher = RequestMatcher(self.table, self._proxies)
        self.routeless = {
            name: pipeline_without_route(config, sinks, name, self._server_options, self._ended)
            for name in DIALECTS
        }

    def _tell(self, found: Merged) -> None:
        """Log which models an upstream lists anew, and which it lists no more."""
        for name, now in found.by_upstream.items():
            before = self.merged.by_upstream.get(name, UpstreamModels())
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
        if not self._started or self._rebuild is not None:
            return
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._rebuilt_at + _REBUILD_S)
        self._rebuild = loop.call_at(at, self._follow)

    def _follow(self) -> None:
        self._rebuild, self._rebuilt_at = None, asyncio.get_running_loop().time()
        self._build()
