"""Event of an alert, and its message in the formats of webhooks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson


class AlertKind(StrEnum):
    """Kind of a condition that an alert can report."""

    BUDGET_SOFT = "budget_soft"
    """A budget is used up to its soft limit."""
    BUDGET_EXHAUSTED = "budget_exhausted"
    UPSTREAM_DOWN = "upstream_down"
    """No endpoint of an upstream gets requests. Its end is reported, too."""
    ERROR_RATE = "error_rate"
    """Too many requests of a route fail."""
    SILENT_STREAMS = "silent_streams"
    """Streams of an upstream are open, and nothing arrives."""
    PROMPT_AUDIT = "prompt_audit"
    """Records of prompts cannot be written, or were dropped."""
    TEST = "test"


class AlertState(StrEnum):
    """State of a condition in an event."""

    FIRING = "firing"
    RESOLVED = "resolved"


class AlertFormat(StrEnum):
    """Format of a webhook's body."""

    SLACK = "slack"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """Begin or end of a condition."""

    kind: AlertKind
    subject: str
    """Subject of the condition, such as `upstream vllm`."""
    text: str
    """Sentence for people."""
    at: float
    """Seconds since the epoch."""
    state: AlertState = AlertState.FIRING
    facts: dict[str, Any] = field(default_factory=dict)
    """Figures behind the sentence."""
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    """Identity of the event. A repeated delivery has the same."""


def body_of(event: AlertEvent, form: AlertFormat, host: str) -> bytes:
    """Return the JSON body of an event. `host` is the name of this machine."""
    if form is AlertFormat.SLACK:
        sign = ":white_check_mark:" if event.state is AlertState.RESOLVED else ":rotating_light:"
        return orjson.dumps({"text": f"{sign} {_escaped(event.text)} ({_escaped(host)})"})
    return orjson.dumps(
        {
            "id": event.id,
            "at": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds"),
            "kind": event.kind.value,
            "state": event.state.value,
            "subject": event.subject,
            "text": event.text,
            "host": host,
            "facts": event.facts,
        }
    )


def _escaped(text: str) -> str:
    """Escape Slack's control characters, so that a name cannot mention people or make a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
