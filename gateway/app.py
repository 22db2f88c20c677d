"""Builds what runs out of one configuration: a `Runtime`, which serves requests until it is closed.

Nothing here is decided at request time. A reload builds another runtime beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.auth.jwt import REVOKED
from gateway.config import Config
from gateway.config.problems import Fault, dotted
from gateway.dialects import DIALECTS
from gateway.errors import GatewayError
from gateway.exchange import GatewayRequest
from gateway.forwarded import TrustedProxies
from gateway.intake import Intake
from gateway.limiting.leases import Leases
from gateway.limiting.rules import LEASE_TTL_S
from gateway.middleware.chain import compose
from gateway.middleware.errors import ErrorMapping
from gateway.routing import RouteTable
from gateway.store.following import Following
from gateway.wiring.admission import admission
from gateway.wiring.auth import providers
from gateway.wiring.routes import Parts, outer, plugins, routes
from gateway.wiring.store import stores
from gateway.wiring.upstreams import upstreams


class CannotBuild(Exception):
    """A valid configuration asks for parts that do not work here."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{dotted(path)}: {message}" for path, message in faults))
        self.faults = faults


class Runtime:
    """Everything one configuration needs at request time."""

    def __init__(self, config: Config, logger: FilteringBoundLogger) -> None:
        """Raise CannotBuild, with all that cannot be built."""
        faults: list[Fault] = []
        self.proxies = TrustedProxies(config.server.trusted_proxies)
        self.upstreams = upstreams(
            config,
            lambda name, endpoint, state, why: logger.warning(
                "endpoint", upstream=name, endpoint=endpoint.url, state=state.value, reason=why
            ),
        )
        loaded = plugins(config, faults)
        opened = stores(
            config, lambda state, why: logger.warning("store", breaker=state, reason=why), faults
        )
        if opened is None:
            raise CannotBuild(faults)
        self.stores = opened
        self._revoked = Following(
            opened.records, REVOKED, report=lambda why: logger.warning("store", reason=why)
        )
        self.providers = providers(
            config,
            opened.records,
            self._revoked,
            lambda name, text: logger.warning("auth", provider=name, reason=text),
            faults,
        )
        if faults:
            raise CannotBuild(faults)
        self.leases = Leases(opened.limits, LEASE_TTL_S)
        self.admission = admission(config)
        parts = Parts(
            self.providers,
            self.upstreams,
            opened.limits,
            self.leases,
            self.admission,
            loaded,
            logger,
        )
        self.routes = RouteTable(routes(config, parts))
        self._intake = Intake(self.routes, self.proxies)
        self._refuse = compose(
            [*outer(config, logger), ErrorMapping(DIALECTS["openai"], logger)], _refuse
        )

    async def respond(self, request: GatewayRequest) -> web.StreamResponse:
        """The response to a request. Errors are responses too; only a cancellation is raised."""
        try:
            handler = self._intake.route(request)
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
        self._revoked.start()
        for upstream in self.upstreams.values():
            upstream.start()

    async def close(self) -> None:
        """Close idle upstream connections; exchanges under way go on."""
        for provider in self.providers.values():
            provider.close()
        self._revoked.close()
        self.leases.close()
        await self.stores.close()
        for upstream in self.upstreams.values():
            upstream.close()


async def _refuse(request: GatewayRequest) -> web.StreamResponse:
    assert request.exchange.refusal is not None
    raise request.exchange.refusal
