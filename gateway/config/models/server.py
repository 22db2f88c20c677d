"""Sections `server`, `admin`, `telemetry` and `demo`: the gateway's own processes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.config.models.operators import MachineToken, OperatorAuditSettings, SignInSettings
from gateway.config.models.section import Section
from gateway.config.models.traces import Traces
from gateway.config.secrets import Secret
from gateway.config.types import FileName, LinkTemplate, Listen, Name, Network, OneOrMore, Url
from gateway.config.units import Duration, Size


class PlaygroundSettings(Section):
    """A page for callers at /playground/ of the public listener: they chat with a key of theirs."""

    route: str = Field(
        description="Route that the page calls. Its path ends in /, and it has models."
    )
    password: Secret = Field(
        description="Password of 16 characters or more, for HTTP Basic with any user name. It "
        "opens the page only; each call needs its caller's own credential."
    )


class ListenerTls(Section):
    """TLS of the public listener. A certificate whose files are replaced is served within a
    second.
    """

    cert: FileName = Field(description="PEM file of the certificate, with its chain.")
    key: FileName = Field(description="PEM file of its private key, without a password.")
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest accepted TLS version.")
    client_ca: FileName | None = Field(
        None,
        description="PEM file of the authorities of client certificates, which clients are then "
        "asked for. `auth.NAME` of type `client_certificate` turns them into principals.",
    )
    client_certificate: Literal["optional", "required"] = Field(
        "optional",
        description="`required`: a client without a certificate cannot connect.",
    )


class ServerSettings(Section):
    """The public listener."""

    listen: Listen = Field(
        "127.0.0.1:8080", description="Address and port; port 0 takes a free one."
    )
    tls: ListenerTls | None = Field(
        None, description="TLS for clients. Without it, use a proxy in front that speaks TLS."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        description="Networks of proxies whose X-Forwarded-* and X-Request-ID are trusted, such "
        "as nginx's.",
    )
    max_connections: int = Field(
        10_000,
        ge=1,
        description="Largest number of open client connections; one more gets 503 and is closed.",
    )
    workers: int = Field(
        1, ge=1, le=256, description="Number of serving processes, one for each core."
    )
    max_requests: int = Field(
        5000,
        ge=1,
        description="Largest number of requests in progress in each worker, streams included; "
        "more is 503 overloaded.",
    )
    max_memory: Size | None = Field(
        None,
        description="Memory of each worker; above it, new requests get 503 overloaded. Default: "
        "its share of 90 % of the memory of the container or machine.",
    )
    body_memory: Size | None = Field(
        None,
        ge=1024**2,
        description="Memory of each worker for request bodies that it reads whole; above it, "
        "requests with a body get 503 overloaded. Default: a quarter of `max_memory`.",
    )
    header_bytes: Size = Field(
        32 * 1024, ge=1024, description="Largest request line and headers together; more is 431."
    )
    header_count: int = Field(
        100, ge=1, le=1000, description="Largest number of request headers; more is 431."
    )
    header_timeout: Duration = Field(
        10.0,
        gt=0,
        description="Longest time from a request's first byte to the end of its headers; then 408.",
    )
    body_timeout: Duration = Field(
        30.0, gt=0, description="Longest silence inside a request body; then 408."
    )
    body_rate: Size | None = Field(
        1024,
        ge=1,
        description="Slowest rate of a request body, in bytes a second; a client that is "
        "`body_timeout` behind gets 408. null: no minimum.",
    )
    send_timeout: Duration = Field(
        30.0,
        gt=0,
        description="Longest time in which a client reads nothing of the bytes that wait for "
        "it; then its connection is cut.",
    )
    keepalive: Duration = Field(75.0, description="Longest idle time of a client connection.")
    drain: Duration = Field(
        30.0, description="Longest time that requests and streams may continue after SIGTERM."
    )
    drain_delay: Duration = Field(
        0.0,
        description="Time before `drain` in which the gateway still accepts connections while "
        "/readyz reports that it drains, so that load balancers notice first.",
    )
    watch: bool = Field(False, description="Reload when a file of the configuration changes.")
    hide_server: bool = Field(
        True, description="Remove the upstream's Server header from responses."
    )
    client_js: bool = Field(
        False,
        description="Serve `GET /client.js`: a module for web pages that reads event streams "
        "and reconnects to them. Every origin may import it, without a credential.",
    )
    playground: PlaygroundSettings | None = Field(
        None, description="Serve a playground for callers at /playground/. Off by default."
    )


class Admin(Section):
    """Operator's listener: health, state, reload, dashboards. Never on the public port."""

    listen: Listen = Field(
        "127.0.0.1:9090", description="Address and port of the listener, for operators only."
    )
    token: Secret | None = Field(
        None,
        description="Token with the role `admin`, as `Authorization: Bearer`; /livez and "
        "/readyz need none. Unless the listener is on the loopback interface, this, `tokens` or "
        "`sign_in` is required.",
    )
    public_url: OneOrMore = Field(
        (),
        description="URLs at which browsers reach this listener through a proxy, such as "
        "https://gateway.example.com; with a path if the proxy serves it below one. `sign_in` "
        "sends people back there, and nowhere else. Default: localhost only.",
    )
    tokens: dict[Name, MachineToken] = Field(
        default_factory=dict,
        description="Tokens of programs, each with a role. The audit log shows their names.",
    )
    sign_in: SignInSettings | None = Field(
        None, description="Sign-in of people at an OpenID Connect issuer."
    )
    audit: OperatorAuditSettings = Field(
        default_factory=OperatorAuditSettings, description="Audit log of what operators do."
    )
    links: dict[str, LinkTemplate] = Field(
        default_factory=dict,
        description="Links from a request in the dashboard to other systems, by name, such as "
        "`Jaeger: http://localhost:16686/trace/{trace_id}`. `{trace_id}` and `{request_id}` are "
        "filled in.",
    )


class Log(Section):
    """Structured log on standard output."""

    format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: console on a terminal, JSON lines elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is written."
    )
    access: bool = Field(True, description="Write one line for each request, when it ends.")
    sample: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of successful requests whose access line is written.",
    )


class MetricsSettings(Section):
    """Metrics, for `/metrics` on the admin listener and for its dashboard."""

    tokens: bool = Field(
        True,
        description="Read token usage in the answers of models, for metrics, logs and traces; "
        "compressed answers are then not asked for. false: only where a limit counts tokens.",
    )
    tenants: int = Field(
        200,
        ge=1,
        le=5000,
        description="Largest number of tenants with a label of their own, in the order of their "
        "first request; the rest are `other`.",
    )
    semconv: Literal["1.44", "next"] = Field(
        "1.44",
        description="Names of the GenAI metrics: as in OpenTelemetry's semantic conventions 1.44, "
        "or as they are being renamed, gen_ai.client.inference.*.",
    )
    otlp: Url | None = Field(
        None,
        description="Collector for OTLP over HTTP, besides /metrics, such as "
        "http://127.0.0.1:4318; headers from OTEL_EXPORTER_OTLP_HEADERS.",
    )
    interval: Duration = Field(15.0, ge=1.0, description="Interval of the OTLP export.")


class TelemetrySettings(Section):
    """Logs, metrics and traces of the gateway."""

    log: Log = Field(default_factory=Log, description="The log.")
    metrics: MetricsSettings | None = Field(
        default_factory=MetricsSettings, description="Metrics; null: none."
    )
    traces: Traces | None = Field(
        default_factory=Traces, description="Traces, and usage by day; null: none."
    )


class Demo(Section):
    """Built-in backend for trials. It imitates OpenAI, Ollama and Anthropic."""

    listen: Listen = Field("127.0.0.1:8081", description="Address and port of the demo backend.")
    pace: Duration = Field(0.02, description="Time between two tokens.")
