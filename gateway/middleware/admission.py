"""Admission control: a request waits in a fair queue until its backend has capacity."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.admission.gate import Gate, QueueWait
from gateway.exchange import Exchange
from gateway.request import Request


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of a busy backend by tenant and tier."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight by tenant; the default is 1."""
    priorities: Mapping[str, int] = field(default_factory=dict)
    """Priority by tier; the default is 0, higher goes first."""


class Admission:
    """Policy that passes a request through the gates of its model and of its upstream, in this
    order.
    """

    def __init__(
        self, models: Mapping[str, Gate], upstreams: Mapping[str, Gate], shares: Shares
    ) -> None:
        self._models = dict(models)
        self._upstreams = dict(upstreams)
        self._shares = shares

    def inherit(self, other: Admission) -> None:
        """Take over the gates of another configuration, with the requests admitted and those
        queued.
        """
        for gates, old in ((self._models, other._models), (self._upstreams, other._upstreams)):
            for name in gates.keys() & old.keys():
                old[name].options = gates[name].options
                gates[name] = old[name]

    @property
    def gates(self) -> Sequence[Gate]:
        """Gates of models and upstreams."""
        return (*self._models.values(), *self._upstreams.values())

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Wait for both gates, if there are any. Raise QueueFull or QueueTimeout. A request whose
        client leaves while it waits is never sent to the upstream.
        """
        exchange = request.exchange
        assert exchange.target is not None  # Resolve has run before
        model = self._models.get(exchange.served or exchange.model or "")
        upstream = self._upstreams.get(exchange.target.upstream.name)
        if model is None and upstream is None:
            return None
        if model is not None:
            if not model.enter_now():
                return self._wait(exchange, model, upstream)
            exchange.at_end(model.left)
        if upstream is not None:
            if not upstream.enter_now():
                return self._wait(exchange, upstream)
            exchange.at_end(upstream.left)
        if exchange.trace is not None and exchange.trace.sampled:
            exchange.trace.passed("admission")
        return None

    async def _wait(self, exchange: Exchange, *gates: Gate | None) -> None:
        for gate in gates:
            if gate is not None:
                await self._pass(gate, exchange)

    async def _pass(self, gate: Gate, exchange: Exchange) -> None:
        principal = exchange.principal
        tenant = (principal.tenant or principal.subject) if principal else exchange.client_ip
        tier = principal.tier if principal is not None else None
        started = time.perf_counter()
        mark = exchange.trace.begin("admission") if exchange.trace is not None else None
        early = exchange.early
        target = exchange.target
        assert target is not None
        try:
            ahead = await gate.enter(
                tenant,
                priority=self._shares.priorities.get(tier or "", 0),
                weight=self._shares.weights.get(tenant, 1.0),
                least_s=target.upstream.wait_for_start_s,
                patience_s=None if exchange.deadline is None else exchange.deadline - started,
                told=None if early is None else early.queued,
            )
        finally:
            if early is not None:
                early.queued(None)
        exchange.at_end(gate.left)
        if mark is not None:
            mark.ended = time.perf_counter()
        if ahead:
            wait = exchange.queued = exchange.queued or QueueWait()
            wait.position = max(ahead, wait.position)
            wait.seconds += time.perf_counter() - started
