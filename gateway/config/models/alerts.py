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
        description="Address that events are POSTed to. Those of Slack are secrets."
    )
    format: Literal["slack", "json"] = Field(
        "json", description="`slack`: a text, as Slack and Mattermost take it. `json`: all facts."
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
        description="Conditions that it is told of.",
    )
    secret: Secret | None = Field(
        None, description="Key of the signature in X-Gateway-Signature, by which it knows us."
    )
    soft: Share = Field(
        0.8, gt=0, description="Used share of a budget that has no soft limit of its own."
    )
    error_rate: Share = Field(
        0.1,
        gt=0,
        description="Share of a route's requests of the last minute that fail, of 20 at least.",
    )
    silent_streams: int = Field(
        3, ge=1, description="Streams of an upstream that got nothing for at least 30 s."
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy through which it is reached. `environment`: what HTTPS_PROXY, ALL_PROXY "
        "and NO_PROXY say.",
    )
