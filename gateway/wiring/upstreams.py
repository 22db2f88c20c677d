"""Upstreams and their endpoints out of the `upstreams` section."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.config import Config, models
from gateway.headers import lines
from gateway.upstream.balancing import Balancer, LeastRequests
from gateway.upstream.checks import CheckOptions, Checks
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import Health, HealthOptions, State
from gateway.upstream.latencies import SlownessOptions
from gateway.upstream.pool import EndpointPool, parse_address
from gateway.upstream.tls import client_context
from gateway.upstream.upstream import (
    Report,
    RetryOptions,
    Timeouts,
    Upstream,
    UpstreamOptions,
)

Fields = Sequence[tuple[str, str]]
Told = Callable[[str, Endpoint, State, str], None]
"""Takes an upstream's name, an endpoint of it, the state it is in now, and why."""


def upstreams(config: Config, report: Told) -> Mapping[str, Upstream]:
    """The upstreams by name."""
    return {
        name: _upstream(name, options, _told(report, name))
        for name, options in config.upstreams.items()
    }


def _told(report: Told, name: str) -> Report:
    return lambda endpoint, state, why: report(name, endpoint, state, why)


def _upstream(name: str, options: models.Upstream, report: Report) -> Upstream:
    fields = _fields(options)
    health = _health(options)
    authority = Path(options.tls.ca).read_bytes() if options.tls.ca else b""
    context = None
    if any(endpoint.url.startswith("https:") for endpoint in options.endpoints):
        context = client_context(options.tls.ca, verify=options.tls.verify)
    endpoints = []
    for endpoint in options.endpoints:
        address = parse_address(endpoint.url, context, options.tls.server_name)
        pool = EndpointPool(
            address, max_connections=options.max_connections, keepalive_s=options.keepalive
        )
        endpoints.append(
            Endpoint(
                pool,
                Health(health),
                weight=endpoint.weight,
                priority=endpoint.priority,
                max_requests=options.max_requests,
                fixed_lines=lines([("Host", address.authority), *fields]),
                signature=(fields, options.tls, authority, options.max_connections),
            )
        )
    upstream = Upstream(
        name,
        _options(options, fields),
        _balancer(options),
        endpoints,
        now=time.monotonic,
        report=report,
    )
    if options.health is not None:
        upstream.parts.append(Checks(upstream, _checks(options.health)))
    return upstream


def _fields(options: models.Upstream) -> Fields:
    """The headers that stand on every request, the credential among them."""
    fields = list(options.headers.items())
    shown = options.credentials
    if shown is not None and shown.bearer is not None:
        fields.append(("Authorization", f"Bearer {shown.bearer.reveal().decode()}"))
    elif shown is not None and shown.header is not None and shown.value is not None:
        fields.append((shown.header, shown.value.reveal().decode()))
    return fields


def _options(options: models.Upstream, fields: Fields) -> UpstreamOptions:
    retries, outliers, hedge = options.retries, options.outliers, options.hedge
    slowness = SlownessOptions(outliers.slow_factor, outliers.slow_floor)
    return UpstreamOptions(
        timeouts=Timeouts(
            options.timeouts.connect,
            options.timeouts.first_byte,
            options.timeouts.idle,
            options.timeouts.total,
        ),
        replaced=frozenset(name.lower().encode() for name, _ in fields),
        retries=RetryOptions(
            attempts=retries.attempts,
            post=retries.post,
            statuses=frozenset(retries.statuses),
            per_try_s=retries.per_try,
            backoff_s=retries.backoff,
            longest_backoff_s=retries.longest_backoff,
            hedge=hedge is not None,
            hedge_after_s=None if hedge is None else hedge.after,
        ),
        budget_share=retries.budget,
        budget_reserve=float(retries.reserve),
        health=_health(options),
        outliers=outliers.enabled,
        slowness=slowness if outliers.enabled else None,
        max_ejected=outliers.max_ejected,
        panic=outliers.panic,
        pending=options.pending,
        pending_s=options.pending_wait,
    )


def _health(options: models.Upstream) -> HealthOptions:
    outliers, checks = options.outliers, options.health
    return HealthOptions(
        failures=outliers.failures,
        base_s=outliers.base,
        longest_s=outliers.longest,
        probes=outliers.probes,
        successes=outliers.successes,
        slow_start_s=outliers.slow_start,
        healthy_checks=2 if checks is None else checks.healthy,
        unhealthy_checks=3 if checks is None else checks.unhealthy,
    )


def _checks(options: models.HealthCheck) -> CheckOptions:
    return CheckOptions(
        path=options.path,
        interval_s=options.interval,
        timeout_s=options.timeout,
        statuses=frozenset(options.statuses or range(200, 400)),
        body=None if options.body is None else options.body.encode(),
    )


def _balancer(options: models.Upstream) -> Balancer:
    return LeastRequests()
