"""Upstreams and their endpoints out of the `upstreams` section."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, models
from gateway.headers import lines
from gateway.upstream.pool import EndpointPool, parse_address
from gateway.upstream.tls import client_context
from gateway.upstream.upstream import Endpoint, Timeouts, Upstream


def upstreams(config: Config) -> Mapping[str, Upstream]:
    """The upstreams by name."""
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
