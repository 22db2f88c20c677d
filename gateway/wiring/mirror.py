"""Construction of shadow traffic."""

from __future__ import annotations

from gateway.config import Config, models
from gateway.config.served_names import served_models
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS
from gateway.middleware.mirror import MirrorOptions, MirrorRequests, ShadowSinks
from gateway.proxy.attempt import SendOptions
from gateway.wiring.parts import Parts
from gateway.wiring.targets import Targets


def mirror(
    config: Config, route: models.Route, parts: Parts, dialect: Dialect, sending: SendOptions
) -> MirrorRequests | None:
    """Return the policy that copies requests of a route; None if none are copied."""
    # A caller's credential is for the backend that the caller asks, and for no other.
    targets = Targets(config, route, parts, dialect, passes_credentials=False)
    found: dict[str, MirrorOptions] = {}
    for name in served_models(config, route):
        settings = route.mirror or config.models[name].mirror
        if settings is not None and settings.to != name and settings.to in config.models:
            found[name] = MirrorOptions(
                settings.to,
                targets.model(settings.to),
                settings.share,
                settings.concurrency,
                settings.timeout,
                settings.max_request,
            )
    if not found:
        return None
    sinks = parts.sinks
    counting, log = sinks.counting, config.telemetry.log
    shadow_sinks = ShadowSinks(
        sinks.logger,
        None if counting is None else counting.registry,
        None if sinks.traced is None else sinks.traced(route),
        log.access,
    )
    return MirrorRequests(
        found, sending, DIALECTS[dialect], parts.shadows, parts.admission, shadow_sinks
    )
