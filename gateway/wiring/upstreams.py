"""Construction of upstreams and their endpoints from the `upstreams` section."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config import Config, models
from gateway.dialects.openai.requests import STREAM_OPTIONS
from gateway.http.headers import lines
from gateway.load.turn_writes import TurnWrites
from gateway.upstream.address import parse_address
from gateway.upstream.checks import CheckOptions, Checks
from gateway.upstream.credential_mask import CredentialMask
from gateway.upstream.dialer import Dialer
from gateway.upstream.discovery.source import Found
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import EndpointState, Health, HealthOptions
from gateway.upstream.latencies import SlownessOptions
from gateway.upstream.optional_fields import OptionalFields
from gateway.upstream.options import Continues, RetryOptions, UpstreamOptions
from gateway.upstream.pool import EndpointPool
from gateway.upstream.tls import ClientContexts
from gateway.upstream.upstream import Report, Upstream
from gateway.upstream.wake_request import WakeRequest
from gateway.upstream.waking import WakeOptions, Waking
from gateway.wiring.balancers import balancer_of
from gateway.wiring.discovery import address_policy, source
from gateway.wiring.egress import proxy_of
from gateway.wiring.timeouts import timeouts_of

Tell = Callable[[str], None]
_PRESERVE = "preserve"
_HOSTS = ("upstream", _PRESERVE)
"""Values of `host` that are not a host name."""
Fields = Sequence[tuple[str, str]]
ReportedUsage = Callable[[str, Endpoint, EndpointState, str], None]
"""Function that is called with an upstream's name, an endpoint, its new state, and the reason."""


def upstreams(
    config: Config,
    report: ReportedUsage,
    tell: Callable[[str, str], None],
    told_waking: Callable[[str, str], None],
    contexts: ClientContexts,
    writes: TurnWrites,
) -> Mapping[str, Upstream]:
    """Return the upstreams by name. `tell` takes an upstream's name, and a text: that its discovery
    fails, or that it works again. `told_waking` is told of the start of one that scales from zero.
    """
    return {
        name: _upstream(
            name,
            options,
            _EndpointMaker(options, contexts, writes),
            _told(report, name),
            partial(tell, name),
            partial(told_waking, name),
        )
        for name, options in config.upstreams.items()
    }


def _told(report: ReportedUsage, name: str) -> Report:
    return lambda endpoint, state, why: report(name, endpoint, state, why)


def _upstream(
    name: str,
    options: models.UpstreamSettings,
    maker: _EndpointMaker,
    report: Report,
    tell: Tell,
    told_waking: Tell,
) -> Upstream:
    static = [
        Found(
            endpoint.url,
            urlsplit(endpoint.url).netloc,
            endpoint.weight,
            endpoint.priority,
            endpoint.name or "",
            _credential(endpoint.credentials),
        )
        for endpoint in options.endpoints
    ]
    own = [*options.headers.items(), *_credential(options.credentials)]
    fields = [*own, *(field for found in static for field in found.credential)]
    upstream = Upstream(
        name,
        _options(options, fields),
        balancer_of(options.balance),
        [maker.make(found) for found in static],
        now=time.monotonic,
        report=report,
    )
    if not options.stream_options:
        upstream.fields = OptionalFields([STREAM_OPTIONS])
    if options.discover is not None:
        upstream.parts.append(
            source(
                options.discover,
                address_policy(options),
                changed=lambda found: upstream.update(maker.follow(upstream.endpoints, found)),
                report=tell,
            )
        )
    if options.wake is not None:
        upstream.waking = _waking(options, options.wake, told_waking)
    if options.health is not None:
        upstream.parts.append(Checks(upstream, _checks(options.health)))
    return upstream


class _EndpointMaker:
    """Factory for the endpoints of one upstream, both configured and discovered ones."""

    def __init__(
        self, options: models.UpstreamSettings, contexts: ClientContexts, writes: TurnWrites
    ) -> None:
        self._options = options
        self._contexts = contexts
        self._writes = writes
        self._fields = tuple(options.headers.items())
        self._credential = _credential(options.credentials)
        self._health = _health(options)
        self._policy = address_policy(options)
        ca = options.tls.ca
        self._authority = Path(ca).read_bytes() if ca is not None else b""
        self._context: ssl.SSLContext | None = None

    def make(self, found: Found) -> Endpoint:
        """Return a new endpoint."""
        options = self._options
        name = options.tls.server_name or urlsplit(f"//{found.authority}").hostname
        authority = options.host if options.host not in _HOSTS else found.authority
        address = replace(parse_address(found.url, self._tls(found.url), name), authority=authority)
        host = [] if options.host == _PRESERVE else [("Host", authority)]
        own = [*self._fields, *(found.credential or self._credential)]
        return Endpoint(
            EndpointPool(
                Dialer(address, self._policy, proxy_of(options.proxy, urlsplit(found.url).scheme)),
                max_connections=options.max_connections,
                keepalive_s=options.keepalive,
                end_mark=options.end_mark,
                mask=CredentialMask(own) or None,
                writes=self._writes,
            ),
            Health(self._health),
            full_weight=found.weight,
            priority=found.priority,
            max_requests=options.max_requests,
            fixed_lines=lines([*host, *own]),
            signature=self._signature(found),
            name=found.name,
        )

    def follow(self, endpoints: Sequence[Endpoint], found: Sequence[Found]) -> list[Endpoint]:
        """Return the endpoints that were found. Unchanged endpoints are used again, with their
        connections and health; weight and priority are updated.
        """
        known = {endpoint.key: endpoint for endpoint in endpoints}
        followed = []
        for one in found:
            endpoint = known.get(one.key)
            if endpoint is None or endpoint.signature != self._signature(one):
                endpoint = self.make(one)
            endpoint.full_weight, endpoint.priority = one.weight, one.priority
            followed.append(endpoint)
        return followed

    def _signature(self, found: Found) -> object:
        """Return the settings of an endpoint and what its TLS files hold. If one changes, it
        counts as another endpoint.
        """
        options = self._options
        return (
            found.url,
            found.authority,
            options.host,
            self._fields,
            found.credential or self._credential,
            options.tls.server_name,
            self._tls(found.url),
            options.proxy,
            self._authority,
            options.allow_addresses,
            options.max_connections,
            options.keepalive,
            options.end_mark,
        )

    def _tls(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith("https:"):
            return None
        if self._context is None:
            options = self._options.tls
            own = None if options.cert is None else (options.cert, options.key or "")
            self._context = self._contexts.get(options.ca, verify=options.verify, own=own)
        return self._context


def _credential(shown: models.Credentials | None) -> tuple[tuple[str, str], ...]:
    """Return the header field of a credential; no field if there is none."""
    return () if shown is None else (shown.field,)


def _options(options: models.UpstreamSettings, fields: Fields) -> UpstreamOptions:
    retries, outliers, hedge = options.retries, options.outliers, options.hedge
    slowness = SlownessOptions(outliers.slow_factor, outliers.slow_floor, outliers.slow_answers)
    return UpstreamOptions(
        timeouts=timeouts_of(options.timeouts),
        replaced=frozenset(name.lower().encode() for name, _ in fields),
        retries=RetryOptions(
            attempts=retries.attempts,
            post=retries.post,
            statuses=frozenset(retries.statuses),
            rotate=frozenset(retries.rotate),
            per_try_s=retries.per_try,
            backoff_s=retries.backoff,
            longest_backoff_s=retries.longest_backoff,
            hedge=hedge is not None,
            hedge_after_s=None if hedge is None else hedge.after,
        ),
        keeps_host=options.host == _PRESERVE,
        continues=None if options.continues is None else Continues(options.continues),
        balance=options.balance,
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


def _health(options: models.UpstreamSettings) -> HealthOptions:
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


def _waking(options: models.UpstreamSettings, wake: models.WakeSettings, report: Tell) -> Waking:
    request = wake.request
    send = None
    if request is not None:
        fields = [] if request.credentials is None else [request.credentials.field]
        send = WakeRequest(request.method, request.url, fields).send
    return Waking(WakeOptions(wake.max_wait, wake.pause, options.pending), report=report, wake=send)


def _checks(options: models.HealthCheck) -> CheckOptions:
    return CheckOptions(
        path=options.path,
        interval_s=options.interval,
        timeout_s=options.timeout,
        statuses=frozenset(options.statuses or range(200, 400)),
        body=None if options.body is None else options.body.encode(),
    )
