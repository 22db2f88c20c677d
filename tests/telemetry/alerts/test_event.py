"""Messages of alerts."""

from __future__ import annotations

import json

from gateway.telemetry.alerts.event import (
    AlertEvent,
    AlertFormat,
    AlertKind,
    AlertState,
    body_of,
)

EVENT = AlertEvent(
    AlertKind.UPSTREAM_DOWN, "upstream a", "Upstream <!channel> & a", 0.0, facts={"n": 1}, id="i"
)


def test_json_has_all_facts() -> None:
    assert json.loads(body_of(EVENT, AlertFormat.JSON, "host")) == {
        "id": "i",
        "at": "1970-01-01T00:00:00.000+00:00",
        "kind": "upstream_down",
        "state": "firing",
        "subject": "upstream a",
        "text": "Upstream <!channel> & a",
        "host": "host",
        "facts": {"n": 1},
    }


def test_a_name_mentions_nobody_in_slack() -> None:
    body = json.loads(body_of(EVENT, AlertFormat.SLACK, "h"))
    assert body == {"text": ":rotating_light: Upstream &lt;!channel&gt; &amp; a (h)"}


def test_an_end_looks_different_in_slack() -> None:
    end = AlertEvent(AlertKind.ERROR_RATE, "s", "t", 0.0, AlertState.RESOLVED)
    assert b":white_check_mark:" in body_of(end, AlertFormat.SLACK, "h")
