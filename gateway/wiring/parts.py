"""Parts that the pipelines of all routes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from gateway.auth.provider import Provider
from gateway.channels.channels import Channels
from gateway.config import Config
from gateway.config.plug_in import PlugInUnusable
from gateway.config.problems import Fault
from gateway.dialects.listed_model import ListedModel
from gateway.limiting.activity import LimitActivity
from gateway.limiting.guard import GuardedStore
from gateway.limiting.leases import Leases
from gateway.limiting.own_rules import OwnRules
from gateway.limiting.rules import Rule
from gateway.limiting.soft_limits import SoftLimits
from gateway.load.offload import Offload
from gateway.load.overload import BodyBudget
from gateway.middleware.admission import Admission
from gateway.middleware.metrics import Counting
from gateway.middleware.own_usage import OwnUsage
from gateway.middleware.plugin import Plugin, load_plugin
from gateway.middleware.request_classes import RequestClasses
from gateway.prompt_audit.audit_log import PromptLog
from gateway.proxy.shadow import Shadows
from gateway.response_cache.cache import AnswerCache
from gateway.resume.streams import Streams
from gateway.routing.deployments import Deployments
from gateway.routing.model_access import ModelAccess
from gateway.store.records import Records
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.reports import Reports
from gateway.upstream.upstream import Upstream
from gateway.wiring.hooks import Hooks
from gateway.wiring.traces import TracingOf

Plugins = Mapping[str, Sequence[Plugin]]
"""Plug-ins of each route, by route name."""
Named = Mapping[str, Sequence[Rule]]
"""Rules of each limit, by limit name."""


@dataclass(frozen=True, slots=True)
class TelemetrySinks:
    """Telemetry sinks of requests: log, traces and metrics."""

    logger: FilteringBoundLogger
    log: LogControl
    """Setting of which log lines are written."""
    traced: TracingOf | None
    counting: Counting | None
    classes: RequestClasses
    """Classes of requests that these share."""
    reports: Reports
    """Ended requests that are not reported to them yet."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts that all routes share."""

    providers: Mapping[str, Provider]
    upstreams: Mapping[str, Upstream]
    deployments: Mapping[str, Deployments]
    """Deployments of each model that has some."""
    discovered: Mapping[str, ListedModel]
    """Models that are served because an upstream lists them, by the name for callers."""
    access: Mapping[str, ModelAccess]
    """Models that callers may name to an upstream, by upstream; not of those without a model."""
    most_output: Mapping[str, int]
    """Maximum tokens of one answer, by model, where it is configured."""
    store: GuardedStore
    leases: Leases
    limit_activity: LimitActivity
    admission: Admission | None
    plugins: Plugins
    hooks: Hooks
    streams: Streams
    channels: Channels
    answers: AnswerCache | None
    prompt_audit: PromptLog | None
    """Prompt audit; None if no route is recorded."""
    shadows: Shadows
    bodies: BodyBudget
    offload: Offload
    sinks: TelemetrySinks
    own_rules: OwnRules
    """Rules of the limits that keys, users and teams have since run time."""
    soft_limits: SoftLimits
    records: Records
    usage: OwnUsage
    """Past usage of callers."""


def plugins(config: Config, faults: list[Fault]) -> Plugins:
    """Load the plug-ins. A plug-in that cannot be used is added to `faults`."""
    loaded: dict[str, list[Plugin]] = {}
    for number, route in enumerate(config.routes):
        loaded[route.name] = []
        for index, plugin in enumerate(route.middleware):
            try:
                loaded[route.name].append(load_plugin(plugin.use, plugin.options))
            except PlugInUnusable as exc:
                faults.append((("routes", number, "middleware", index, *exc.path), exc.message))
    return loaded
