"""Section `alerts`: webhooks that tell operators of budgets, failures and silence."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.config.models.egress import ProxySettings
from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import Url
from gateway.config.units import Share


class AlertSettings(Section):
    """Webhook that is told when a condition begins, and when it ends. One process of the gateway
    watches all workers, so each event is sent once.
    """

    url: Url | Secret = Field(
        description="Address that receives the events by POST. A Slack address is a secret."
    )
    format: Literal["slack", "json"] = Field(
        "json",
        description="`slack`: a text for Slack and Mattermost. `json`: all fields of the event.",
    )
    events: tuple[
        Literal[
            "budget_soft",
            "budget_exhausted",
            "upstream_down",
            "error_rate",
            "silent_streams",
            "prompt_audit",
        ],
        ...,
    ] = Field(
        (
            *("budget_soft", "budget_exhausted", "upstream_down", "error_rate", "silent_streams"),
            "prompt_audit",
        ),
        min_length=1,
        description="Conditions that are sent to this webhook.",
    )
    secret: Secret | None = Field(
        None,
        description="Key of the signature in X-Gateway-Signature, by which the receiver "
        "recognises the gateway.",
    )
    soft: Share = Field(
        0.8,
        gt=0,
        description="Used share at which a budget without a soft limit of its own is reported.",
    )
    error_rate: Share = Field(
        0.1,
        gt=0,
        description="Share of failed requests of a route in the last minute, of at least 20 "
        "requests.",
    )
    silent_streams: int = Field(
        3,
        ge=1,
        description="Number of streams of an upstream that received nothing for at least 30 s.",
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy to the webhook. `environment`: the proxy in HTTPS_PROXY, ALL_PROXY "
        "and NO_PROXY.",
    )
