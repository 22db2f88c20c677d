"""The log at a terminal: what a person sees of a request, in one line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.logs.console import ConsoleRenderer, has_colours, request_line

ID = "84b41939d894be506de61c694c5a4597"
FIELDS: dict[str, Any] = {
    "event": "request",
    "request_id": ID,
    "client": "127.0.0.1",
    "method": "POST",
    "path": "/v1/chat/completions",
    "route": "openai",
    "subject": "ann",
    "model": "demo",
    "status": 200,
    "end": "complete",
    "tokens_in": 21,
    "tokens_out": 64,
    "ttft_ms": 41.2,
    "duration_ms": 1240.7,
}


def line(**changes: Any) -> str:
    return request_line("14:03:22", {**FIELDS, **changes}, colours=False)


def test_an_answered_request_is_one_line_with_its_status_first() -> None:
    assert line() == (
        "14:03:22 200 POST  /v1/chat/completions  demo 1.24 s ttft 41 ms 21→64 tokens ann  " + ID
    )


def test_a_refused_request_names_the_limit() -> None:
    text = line(status=429, error="rate_limit_exceeded", limit="per-user", model=None)
    assert "14:03:22 429 POST" in text
    assert "rate_limit_exceeded limit=per-user" in text


def test_a_fallback_and_a_backends_words_are_told() -> None:
    text = line(
        served="other", error="upstream_reset", end="upstream_reset", reason="out of memory"
    )
    assert "demo→other" in text
    assert text.count("upstream_reset") == 1
    assert "(out of memory)" in text


@given(
    st.fixed_dictionaries(
        {name: st.text(max_size=300) for name in ("path", "subject", "model", "reason", "error")}
    )
)
def test_a_line_has_160_columns_at_most_and_ends_with_the_request_id(texts: dict[str, str]) -> None:
    event: dict[str, Any] = {**FIELDS, **texts, "time": datetime.now(UTC), "level": "info"}
    rendered = ConsoleRenderer(colours=False)(None, "info", event)
    [text] = rendered.decode().splitlines()
    assert len(text) <= 160
    assert text.endswith(ID)


@pytest.mark.parametrize(
    ("environment", "terminal", "colours"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
    ],
)
def test_colours_follow_the_terminal_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, colours: bool
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    assert has_colours(environment) is colours


@pytest.mark.parametrize(("status", "colour"), [(200, "32"), (404, "33"), (502, "31")])
def test_the_status_is_coloured_by_its_class(status: int, colour: str) -> None:
    text = request_line("14:03:22", {**FIELDS, "status": status}, colours=True)
    assert f"\x1b[{colour}m{status}\x1b[0m" in text


def test_a_stream_that_broke_off_is_red() -> None:
    text = request_line("14:03:22", {**FIELDS, "end": "upstream_reset"}, colours=True)
    assert "\x1b[31m200\x1b[0m" in text


def test_other_events_keep_their_fields() -> None:
    event = {"event": "listening", "port": 8080, "time": datetime.now(UTC), "level": "info"}
    text = ConsoleRenderer(colours=False)(None, "info", event).decode()
    assert re.search(r"listening +port=8080", text)
