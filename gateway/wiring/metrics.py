"""Construction of the request metrics, with the allowed values of their labels."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.config import Config, models
from gateway.middleware.metrics import Counting, Names
from gateway.middleware.request_classes import RequestClasses
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.semconv import provider
from gateway.wiring.prices import prices


def counting(
    config: Config, registry: Registry, classes: RequestClasses | None = None
) -> Counting | None:
    """Return what counts requests, or None if nothing needs it: no admin listener, no export and no
    alert.
    """
    options = config.telemetry.metrics
    if options is None or (config.admin is None and options.otlp is None and not config.alerts):
        return None
    found = config.models
    names = Names(
        paths={route.name: route.path for route in config.routes},
        models={
            (name, one.upstream): one.model or name
            for name, model in found.items()
            for one in model.served_by
        },
        providers={name: _provider(upstream) for name, upstream in config.upstreams.items()},
        prices=prices(config),
    )
    return Counting(
        registry, names, tenants=options.tenants, tokens=options.tokens, classes=classes
    )


def _provider(upstream: models.UpstreamSettings) -> str:
    urls = [endpoint.url for endpoint in upstream.endpoints]
    host = urlsplit(urls[0]).hostname if urls else None
    return provider(upstream.dialect, host or "")
