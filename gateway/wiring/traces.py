"""Construction of tracing, from `telemetry.traces` and OpenTelemetry's environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gateway.config import Config, models
from gateway.hooks.recorded import RecordedRedaction
from gateway.limiting.prices import place
from gateway.middleware.request_classes import RequestClasses
from gateway.middleware.tracing import TraceOptions, Tracing
from gateway.routing.forwarded import TrustedProxies
from gateway.telemetry.traces.recording import KeepRules, TraceRecords
from gateway.usage import Usage
from gateway.wiring.hooks import Hooks
from gateway.wiring.prices import prices

_SAMPLE = 0.1
TracingOf = Callable[[models.Route | None], Tracing]
"""Function that returns the middleware of a route. None stands for requests without a route."""


def tracing(
    config: Config,
    records: TraceRecords,
    hooks: Hooks | None = None,
    classes: RequestClasses | None = None,
) -> TracingOf | None:
    """Return the function that makes the tracing middleware, or None if nothing is traced. Changes
    nothing: see `apply`.
    """
    traces = config.telemetry.traces
    if traces is None or disabled(os.environ):
        return None
    networks = config.server.trusted_proxies if traces.trust is None else traces.trust
    trusts = TrustedProxies(networks).trusts if networks else None
    keep = KeepRules(traces.keep.errors, traces.keep.slow, traces.keep.limited)
    dialects = {name: upstream.dialect for name, upstream in config.upstreams.items()}
    sample, follow = head_sampling(traces, os.environ)

    def of(route: models.Route | None) -> Tracing:
        own = route.traces if route is not None else models.RouteTraces()
        options = TraceOptions(
            route_path=route.path if route is not None else "",
            sample=sample if own.sample is None else own.sample,
            keep=keep,
            trusts=trusts,
            follow=follow,
            dialects=dialects,
            content=own.content,
            redaction=_redaction(hooks, route),
        )
        return Tracing(options, records, classes)

    return of


def apply(config: Config, records: TraceRecords) -> None:
    """Let the records of this process follow a configuration that is served from now on: its
    prices, and whether there is a destination for records.
    """
    traces = config.telemetry.traces
    if traces is not None:
        records.wanted = traces.local is not None or otlp_endpoint(traces, os.environ) is not None
    of_models = prices(config)

    def price(model: str, used: Usage) -> tuple[float, str]:
        if model not in of_models:
            return 0.0, ""
        own, currency = of_models[model]
        return own.of(used) / 1e6, currency

    def surcharge(model: str, upstream: str, used: Usage) -> float:
        own = of_models.get(place(model, upstream))
        return 0.0 if own is None else (own[0].of(used) - of_models[model][0].of(used)) / 1e6

    records.price = price
    deployed = (one for model in config.models.values() for one in model.deployments)
    records.surcharge = surcharge if any(one.price is not None for one in deployed) else None


def _redaction(hooks: Hooks | None, route: models.Route | None) -> RecordedRedaction | None:
    """Return the redaction of a route's recorded content, if it has one."""
    redactors = () if hooks is None or route is None else hooks.of(route.name).redactors
    return RecordedRedaction(redactors) if redactors else None


def otlp_endpoint(traces: models.Traces, environ: Mapping[str, str]) -> str | None:
    """Return the URL to which spans are exported, or None."""
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    return (
        traces.otlp
        or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or None
    )


def local_store(config: Config, base: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the file of the local store, or None if there is none. `base` is the folder of the
    configuration.
    """
    traces = config.telemetry.traces
    if traces is None or traces.local is None or disabled(environ):
        return None
    return base / traces.local


def disabled(environ: Mapping[str, str]) -> bool:
    """Tell whether OpenTelemetry is disabled for this process."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


_SAMPLERS = ("always_on", "always_off", "traceidratio")
_PROTOCOLS = ("grpc", "http/protobuf")
_COUNTS = ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY")


def misread(traces: models.Traces, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each OpenTelemetry variable with an invalid value, and what applies instead. The text
    does not contain the value.
    """
    if disabled(environ):
        return
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    kind = sampler.removeprefix("parentbased_")
    if traces.sample is None and kind:
        if kind not in _SAMPLERS:
            yield "OTEL_TRACES_SAMPLER", f"is none of {', '.join(_SAMPLERS)}; one in ten is sampled"
        elif kind == "traceidratio" and not _is(float, environ.get("OTEL_TRACES_SAMPLER_ARG")):
            yield "OTEL_TRACES_SAMPLER_ARG", "is not a number; all are sampled"
    if otlp_endpoint(traces, environ) is None:
        return
    protocol = traces.protocol
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        said = environ.get(name)
        if protocol is None and said:
            protocol = "grpc" if said == "grpc" else "http"
            if said not in _PROTOCOLS:
                yield name, f"is none of {', '.join(_PROTOCOLS)}; it is http/protobuf"
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        said = environ.get(name)
        if traces.otlp is None and said:
            if protocol != "grpc" and not said.startswith(("http://", "https://")):
                yield name, "is not http://HOST:PORT; nothing can be sent there"
            break
    for name in (f"OTEL_BSP_{count}" for count in _COUNTS):
        if not _is(int, environ.get(name)):
            yield name, "is not a whole number; it is as if it were not set"


def _is(kind: Callable[[str], object], text: str | None) -> bool:
    """Tell whether the value of a variable is valid. A variable that is not set is valid."""
    try:
        kind(text or "0")
    except ValueError:
        return False
    return True


def head_sampling(traces: models.Traces, environ: Mapping[str, str]) -> tuple[float, bool]:
    """Return the share of requests to sample, and True if trusted callers' decisions count."""
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    follow = traces.follow or sampler.startswith("parentbased_")
    if traces.sample is not None:
        return traces.sample, traces.follow
    kind = sampler.removeprefix("parentbased_")
    if kind == "always_on":
        return 1.0, follow
    if kind == "always_off":
        return 0.0, follow
    if kind == "traceidratio":
        try:
            ratio = float(environ.get("OTEL_TRACES_SAMPLER_ARG", "1"))
        except ValueError:
            ratio = 1.0  # the specification's default for an invalid value
        return min(max(ratio, 0.0), 1.0), follow
    return _SAMPLE, follow
