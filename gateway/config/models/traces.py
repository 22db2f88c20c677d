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
        True,
        description="Keep answers of 500 and above, streams that broke off, and clients that left.",
    )
    slow: Duration | None = Field(
        10.0, gt=0, description="Keep requests whose first token took this long; null: none."
    )
    limited: bool = Field(True, description="Keep requests refused with 429.")


class Traces(Section):
    """Traces of requests: spans for a collector, and a local store for operators."""

    sample: Ratio | None = Field(
        None,
        description="Share of requests that are sampled, from 0 to 1, by trace id. Default: "
        "OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, or 0.1.",
    )
    keep: KeepTraces = Field(
        default_factory=KeepTraces,
        description="Requests that are kept locally besides the sampled ones.",
    )
    local: str | None = Field(
        ".gateway/traces.db",
        min_length=1,
        description="SQLite file of the local store, relative to the configuration's folder; "
        "null: none.",
    )
    age: Duration = Field(7 * 86400.0, gt=0, description="Longest time that a request is kept.")
    size: Size = Field(
        256 * 1024**2,
        ge=1024**2,
        description="Largest size of the file; beyond it, the oldest requests are dropped.",
    )
    usage_age: Duration = Field(
        400 * 86400.0,
        gt=0,
        description="Longest time that the daily counts of tokens and cost are kept. When they "
        "take more than half of `size`, the oldest days lose their users and API keys.",
    )
    otlp: Url | None = Field(
        None,
        description="Collector for spans of sampled requests, such as http://127.0.0.1:4318. "
        "Default: OTEL_EXPORTER_OTLP_ENDPOINT, or none.",
    )
    protocol: Literal["http", "grpc"] | None = Field(
        None, description="Protocol of OTLP. Default: OTEL_EXPORTER_OTLP_PROTOCOL, or http."
    )
    headers: dict[HeaderName, Secret] = Field(
        default_factory=dict, description="Headers for the collector, such as its API key."
    )
    trust: tuple[Network, ...] | None = Field(
        None,
        description="Clients whose `traceparent` is continued; requests of others get a new "
        "trace with a link to theirs. Default: `server.trusted_proxies`.",
    )
    follow: bool = Field(
        False,
        description="Sample requests that such a client has sampled. false: `sample` alone "
        "decides.",
    )
    semconv: Literal["1.44", "next"] = Field(
        "1.44",
        description="Names of the attributes: as in OpenTelemetry's semantic conventions 1.44, "
        "or as the GenAI ones are being renamed.",
    )
    content: Size = Field(
        16 * 1024,
        description="Largest recorded prompt and largest recorded answer of a request, on "
        "routes that record them.",
    )
    redact: tuple[Pattern, ...] = Field(
        (),
        description="Regular expressions whose matches are masked. Keys, tokens and e-mail "
        "addresses always are.",
    )


class RouteTraces(Section):
    """Trace settings of this route that differ from `telemetry.traces`."""

    sample: Ratio | None = Field(
        None, description="Share of this route's requests that are sampled."
    )
    content: bool = Field(
        False,
        description="Record prompts and answers of sampled requests, redacted and cut: see "
        "`telemetry.traces`.",
    )
