"""Construction of alerts from the `alerts` section."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.config import models
from gateway.telemetry.alerts.conditions import AlertThresholds
from gateway.telemetry.alerts.delivery import AlertTarget
from gateway.telemetry.alerts.event import AlertFormat
from gateway.wiring.egress import proxy_of


def alert_target(options: models.AlertSettings) -> AlertTarget:
    """Return the webhook of an alert."""
    url = options.url if isinstance(options.url, str) else options.url.reveal().decode()
    secret = None if options.secret is None else options.secret.reveal()
    proxy = proxy_of(options.proxy, urlsplit(url).scheme)
    return AlertTarget(url, AlertFormat(options.format), secret, proxy)


def alert_thresholds(options: models.AlertSettings) -> AlertThresholds:
    """Return the amounts from which an alert's conditions hold."""
    return AlertThresholds(options.soft, options.error_rate, options.silent_streams)
