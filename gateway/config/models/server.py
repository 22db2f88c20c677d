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
        description="Route that the page calls. Its path ends in /, and it lists models."
    )
    password: Secret = Field(
        description="Asked for by HTTP Basic, with any user name: 16 characters or more. It opens "
        "the page only; each call needs its caller's own credential."
    )


class ListenerTls(Section):
    """TLS of the public listener. A certificate whose files are replaced is served within a
    second.
    """

    cert: FileName = Field(description="PEM file of the certificate, with its chain.")
    key: FileName = Field(description="PEM file of its private key, without a password.")
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="The oldest version accepted.")
    client_ca: FileName | None = Field(
        None,
        description="PEM file of the authorities of client certificates, which are asked for then. "
        "`auth.NAME` of type `client_certificate` says whose they are.",
    )
    client_certificate: Literal["optional", "required"] = Field(
        "optional",
        description="`required`: a client without a certificate cannot connect.",
    )


class ServerSettings(Section):
    """The public listener."""

    listen: Listen = Field(
        "127.0.0.1:8080", description="Address and port; port 0 asks the kernel."
    )
    tls: ListenerTls | None = Field(
        None, description="TLS for clients. Without it, a proxy in front has to speak it."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        description="Networks whose X-Forwarded-* and X-Request-ID are believed, such as nginx's.",
    )
    max_connections: int = Field(
        10_000, ge=1, description="Open client connections; one more is answered 503 and closed."
    )
    workers: int = Field(1, ge=1, le=256, description="Processes that serve; one for each core.")
    max_requests: int = Field(
        5000,
        ge=1,
        description="Requests under way in each worker, streams included; more is 503 overloaded.",
    )
    max_memory: Size | None = Field(
        None,
        description="Memory of each worker; above it new requests are 503 overloaded. Default: its "
        "share of 90 % of what the container or the machine has.",
    )
    body_memory: Size | None = Field(
        None,
        ge=1024**2,
        description="Memory of each worker for request bodies that it reads whole; above it "
        "requests with a body are 503 overloaded. Default: a quarter of `max_memory`.",
    )
    header_bytes: Size = Field(
        32 * 1024, ge=1024, description="Request line and headers together; more is 431."
    )
    header_count: int = Field(100, ge=1, le=1000, description="Request headers; more is 431.")
    header_timeout: Duration = Field(
        10.0, gt=0, description="From a request's first byte to its last header; 408."
    )
    body_timeout: Duration = Field(
        30.0, gt=0, description="Longest silence inside a request body; 408."
    )
    body_rate: Size | None = Field(
        1024,
        ge=1,
        description="Bytes a second that a request body has to come at; 408 for a client that is "
        "`body_timeout` behind. null: any.",
    )
    send_timeout: Duration = Field(
        30.0,
        gt=0,
        description="Longest time a client may take no byte of what waits for it; then it is cut.",
    )
    keepalive: Duration = Field(75.0, description="How long an idle client connection stays open.")
    drain: Duration = Field(
        30.0, description="On SIGTERM, how long requests and streams may go on."
    )
    drain_delay: Duration = Field(
        0.0,
        description="Before that, how long it still accepts while /readyz says it drains, so that "
        "load balancers notice first.",
    )
    watch: bool = Field(False, description="Reload when this file changes.")
    hide_server: bool = Field(True, description="Drop the upstream's Server header from responses.")
    client_js: bool = Field(
        False,
        description="Serve `GET /client.js`: a module for pages that reads event streams and "
        "reconnects to them. Every origin may import it, without a credential.",
    )
    playground: PlaygroundSettings | None = Field(
        None, description="Serve a playground for callers at /playground/. Off by default."
    )


class Admin(Section):
    """Operator's listener: health, state, reload, dashboards. Never on the public port."""

    listen: Listen = Field("127.0.0.1:9090", description="Address and port, for operators only.")
    token: Secret | None = Field(
        None,
        description="Token with the role `admin`. Asked for as `Authorization: Bearer`, but for "
        "/livez and /readyz. This, `tokens` or `sign_in` is needed where it does not listen on the "
        "loopback interface.",
    )
    public_url: OneOrMore = Field(
        (),
        description="URLs at which browsers reach this listener through a proxy, such as "
        "https://gateway.example.com; with a path where the proxy serves it below one. `sign_in` "
        "sends people back there, and nowhere else. Without it: localhost only.",
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
        description="Where else a request is told of, by the name of the link in the dashboard, "
        "such as `Jaeger: http://localhost:16686/trace/{trace_id}`. `{trace_id}` and "
        "`{request_id}` are filled in.",
    )


class Log(Section):
    """Structured log on standard output."""

    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, JSON lines elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level kept."
    )
    access: bool = Field(True, description="One line for each request, when it ends.")
    sample: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of these lines that is written, of requests that went well.",
    )


class MetricsSettings(Section):
    """Metrics, for `/metrics` on the admin listener and for its dashboard."""

    tokens: bool = Field(
        True,
        description="Read in the answers of models how many tokens they used, for metrics, logs "
        "and traces alike; compressed answers are not asked for then. `false`: only where a limit "
        "counts tokens.",
    )
    tenants: int = Field(
        200, ge=1, le=5000, description="Tenants told apart, first come; the rest are `other`."
    )
    semconv: Literal["1.44", "next"] = Field(
        "1.44",
        description="Names of the GenAI metrics: as in OpenTelemetry's semantic conventions 1.44, "
        "or as they are being renamed, gen_ai.client.inference.*.",
    )
    otlp: Url | None = Field(
        None,
        description="Collector they are also sent to by OTLP over HTTP, such as "
        "http://127.0.0.1:4318; headers from OTEL_EXPORTER_OTLP_HEADERS.",
    )
    interval: Duration = Field(15.0, ge=1.0, description="How often they are sent there.")


class TelemetrySettings(Section):
    """Logs, metrics and traces of the gateway."""

    log: Log = Field(default_factory=Log, description="The log.")
    metrics: MetricsSettings | None = Field(
        default_factory=MetricsSettings, description="What is counted; null: nothing is."
    )
    traces: Traces | None = Field(
        default_factory=Traces, description="Traces, and usage by day; null: none."
    )


class Demo(Section):
    """Built-in backend for trials. It imitates OpenAI, Ollama and Anthropic."""

    listen: Listen = Field("127.0.0.1:8081", description="Where the demo backend listens.")
    pace: Duration = Field(0.02, description="Time between two tokens.")
