"""Section `telemetry.traces`: what is recorded of requests, and where it is sent."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import HeaderName, Network, Url
from gateway.config.units import Duration, Size


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as exc:
        raise ValueError(f"not a regular expression: {exc}") from None
    return value


Pattern = Annotated[
    str, AfterValidator(_pattern), WithJsonSchema({"type": "string", "format": "regex"})
]
Ratio = Annotated[float, Field(ge=0, le=1)]


class KeepTraces(Section):
    """Requests that are kept locally although they were not sampled."""

    errors: bool = Field(
        True, description="Answers of 500 and above, streams that broke off, clients that left."
    )
    slow: Duration | None = Field(
        10.0, gt=0, description="Requests whose first token took so long; null: none."
    )
    limited: bool = Field(True, description="Those refused with 429.")


class Traces(Section):
    """Traces of requests: spans for a collector, and a local store for operators."""

    sample: Ratio | None = Field(
        None,
        description="Share of requests that are sampled, from 0 to 1, by their trace id. Default: "
        "what OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say, or 0.1.",
    )
    keep: KeepTraces = Field(
        default_factory=KeepTraces, description="What is kept locally beside those."
    )
    local: str | None = Field(
        ".gateway/traces.db",
        min_length=1,
        description="SQLite file of the local store, from the configuration's folder; null: none.",
    )
    age: Duration = Field(7 * 86400.0, gt=0, description="How long a request stays in it.")
    size: Size = Field(
        256 * 1024**2,
        ge=1024**2,
        description="How large the file may grow: then the oldest go.",
    )
    usage_age: Duration = Field(
        400 * 86400.0,
        gt=0,
        description="How long the daily counts of tokens and cost stay in it. When they take more "
        "than half of `size`, the oldest days lose their users and API keys.",
    )
    otlp: Url | None = Field(
        None,
        description="Collector that spans of sampled requests go to, such as "
        "http://127.0.0.1:4318. Default: what OTEL_EXPORTER_OTLP_ENDPOINT says, or none.",
    )
    protocol: Literal["http", "grpc"] | None = Field(
        None, description="OTLP over; default: what OTEL_EXPORTER_OTLP_PROTOCOL says, or http."
    )
    headers: dict[HeaderName, Secret] = Field(
        default_factory=dict, description="Headers for the collector, such as its API key."
    )
    trust: tuple[Network, ...] | None = Field(
        None,
        description="Clients whose `traceparent` is gone on with; others get a new trace that is "
        "linked to theirs. Default: `server.trusted_proxies`.",
    )
    follow: bool = Field(
        False, description="Sample what such a client sampled; otherwise `sample` alone decides."
    )
    semconv: Literal["1.44", "next"] = Field(
        "1.44",
        description="Names of attributes: as in OpenTelemetry's semantic conventions 1.44, or as "
        "the GenAI ones are being renamed.",
    )
    content: Size = Field(
        16 * 1024, description="Where a route records prompts and answers: at most so much of each."
    )
    redact: tuple[Pattern, ...] = Field(
        (),
        description="Regular expressions; what they find there is masked. Keys, tokens and e-mail "
        "addresses always are.",
    )


class RouteTraces(Section):
    """Trace settings of this route that differ from `telemetry.traces`."""

    sample: Ratio | None = Field(None, description="Another share of its requests.")
    content: bool = Field(
        False,
        description="Record prompts and answers of sampled requests, redacted and cut: see "
        "`telemetry.traces`.",
    )
