"""Models of `config.yaml`, with one module for each part of the file.

Models describe YAML and nothing else: no behaviour, and no I/O except for secrets. Checks that need
more than one section (does this route's upstream exist?) are in `check.py` and `references.py`.
Reading files, `${ENV}` and line numbers are in `load.py`. Docstrings and field descriptions are the
source of `docs/configuration.md`.
"""

from __future__ import annotations

from pydantic import Field

from gateway.config.models.auth import ApiKeyProvider, Claims, JwtProvider, Provider, TicketProvider
from gateway.config.models.limits import Limit, Shares, Store, Tier
from gateway.config.models.routes import (
    Bridge,
    Cors,
    Middleware,
    Resume,
    Route,
    RouteTimeouts,
    WebSocket,
)
from gateway.config.models.section import Section
from gateway.config.models.server import Admin, Demo, Log, Metrics, Server, Telemetry
from gateway.config.models.traces import KeepTraces, RouteTraces, Traces
from gateway.config.models.upstreams import (
    Admission,
    Credentials,
    Discover,
    Endpoint,
    HashKey,
    HealthCheck,
    Hedge,
    Model,
    Outliers,
    Price,
    Retries,
    Timeouts,
    Tls,
    Translation,
    Upstream,
)
from gateway.config.types import Name

__all__ = [
    "Admin",
    "Admission",
    "ApiKeyProvider",
    "Bridge",
    "Claims",
    "Config",
    "Cors",
    "Credentials",
    "Demo",
    "Discover",
    "Endpoint",
    "HashKey",
    "HealthCheck",
    "Hedge",
    "JwtProvider",
    "KeepTraces",
    "Limit",
    "Log",
    "Metrics",
    "Middleware",
    "Model",
    "Outliers",
    "Price",
    "Provider",
    "Resume",
    "Retries",
    "Route",
    "RouteTimeouts",
    "RouteTraces",
    "Server",
    "Shares",
    "Store",
    "Telemetry",
    "TicketProvider",
    "Tier",
    "Timeouts",
    "Tls",
    "Traces",
    "Translation",
    "Upstream",
    "WebSocket",
]


class Config(Section):
    """Complete configuration file."""

    server: Server = Field(default_factory=Server, description="The public listener.")
    admin: Admin | None = Field(
        default_factory=Admin, description="The operator's listener; null: none."
    )
    telemetry: Telemetry = Field(default_factory=Telemetry, description="Logs, metrics and traces.")
    demo: Demo | None = Field(None, description="Run the built-in demo backend beside the gateway.")
    auth: dict[Name, Provider] = Field(
        default_factory=dict, description="Identity providers by name."
    )
    store: Store = Field(default_factory=Store, description="Where limits are counted.")
    limits: dict[Name, Limit] = Field(default_factory=dict, description="Limits by name.")
    upstreams: dict[Name, Upstream] = Field(min_length=1, description="Backends by name.")
    shares: Shares = Field(
        default_factory=Shares, description="Who gets how much of a busy backend."
    )
    models: dict[str, Model] = Field(default_factory=dict, description="Models by public name.")
    routes: tuple[Route, ...] = Field(
        min_length=1, description="Routes; the most specific path wins."
    )
