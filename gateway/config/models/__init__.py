"""Models of `config.yaml`, with one module for each part of the file.

Models describe YAML and nothing else: no behaviour, and no I/O except for secrets. Checks that need
more than one section (does this route's upstream exist?) are in `check.py` and `references.py`.
Reading files, `${ENV}` and line numbers are in `load.py`. Docstrings and field descriptions are the
source of `docs/configuration.md`. A model has the suffix Settings if its subject is also a class
that serves requests: `UpstreamSettings` describes an `Upstream`.
"""

from __future__ import annotations

from pydantic import Field

from gateway.config.models.alerts import AlertSettings
from gateway.config.models.auth import (
    ApiKeyProviderSettings,
    CertificateProviderSettings,
    ClaimNames,
    JwtProviderSettings,
    Provider,
    TicketProviderSettings,
)
from gateway.config.models.cache import CacheSettings, MirrorSettings
from gateway.config.models.channels import ChannelSettings
from gateway.config.models.credentials import Credentials
from gateway.config.models.egress import ProxySettings
from gateway.config.models.hooks import (
    HookSettings,
    PluginHookSettings,
    RedactSettings,
    WebhookSettings,
)
from gateway.config.models.include import IncludedPath, IncludeSettings, OwnedNames
from gateway.config.models.limits import Limit, ShareSettings, StoreSettings, Tier
from gateway.config.models.model_discovery import ModelDiscovery
from gateway.config.models.model_settings import ModelPrice, ModelSettings, ParameterSettings
from gateway.config.models.operators import (
    MachineToken,
    OperatorAuditSettings,
    RoleGroups,
    SignInSettings,
)
from gateway.config.models.prompt_audit import (
    AuditBucket,
    AuditEncryption,
    AuditPublicKey,
    AuditRotation,
    AuditSecretKey,
    PromptAuditSettings,
    RouteAudit,
)
from gateway.config.models.routes import (
    BatchSettings,
    BridgeSettings,
    CorsSettings,
    MiddlewareSettings,
    ResumeSettings,
    Route,
    WebSocket,
)
from gateway.config.models.secret_providers import SecretProviderSettings
from gateway.config.models.section import Section
from gateway.config.models.served_models import DeploymentSettings, Model
from gateway.config.models.server import (
    Admin,
    Demo,
    ListenerTls,
    Log,
    MetricsSettings,
    PlaygroundSettings,
    ServerSettings,
    TelemetrySettings,
)
from gateway.config.models.timeouts import RouteTimeouts, UpstreamTimeouts
from gateway.config.models.traces import KeepTraces, RouteTraces, Traces
from gateway.config.models.upstreams import (
    AdmissionSettings,
    Discover,
    EndpointSettings,
    HashKey,
    HealthCheck,
    Hedge,
    Outliers,
    Retries,
    Tls,
    TranslationSettings,
    UpstreamSettings,
)
from gateway.config.models.wake import WakeRequestSettings, WakeSettings
from gateway.config.types import Name


class Config(Section):
    """Complete configuration file."""

    include: tuple[IncludedPath | IncludeSettings, ...] = Field(
        (), description="Other files that are parts of this one, such as [teams/*.yaml]."
    )
    server: ServerSettings = Field(
        default_factory=ServerSettings, description="The public listener."
    )
    admin: Admin | None = Field(
        default_factory=Admin, description="The operators' listener; null: none."
    )
    telemetry: TelemetrySettings = Field(
        default_factory=TelemetrySettings, description="Logs, metrics and traces."
    )
    alerts: dict[Name, AlertSettings] = Field(
        default_factory=dict, description="Webhooks that report conditions to operators, by name."
    )
    prompt_audit: PromptAuditSettings | None = Field(
        None,
        description="Files or bucket in which prompts and answers of some routes are recorded; "
        "null: none.",
    )
    demo: Demo | None = Field(None, description="Run the built-in demo backend beside the gateway.")
    auth: dict[Name, Provider] = Field(
        default_factory=dict, description="Identity providers by name."
    )
    secret_providers: dict[Name, SecretProviderSettings] = Field(
        default_factory=dict, description="Plug-ins that read secrets, by name."
    )
    store: StoreSettings = Field(
        default_factory=StoreSettings,
        description="Store for limits, keys, streams and sessions, which gateways may share.",
    )
    limits: dict[Name, Limit] = Field(default_factory=dict, description="Limits by name.")
    upstreams: dict[Name, UpstreamSettings] = Field(min_length=1, description="Backends by name.")
    shares: ShareSettings = Field(
        default_factory=ShareSettings,
        description="Weights and priorities of tenants at a busy backend.",
    )
    models: dict[str, Model] = Field(default_factory=dict, description="Models by public name.")
    hooks: dict[Name, HookSettings] = Field(
        default_factory=dict,
        description="Guardrails that read, change and refuse requests and answers, by name.",
    )
    routes: tuple[Route, ...] = Field(
        min_length=1, description="Routes; the most specific path wins."
    )
