"""Errors, error events and lists of models, in each dialect's shape."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import DIALECTS
from gateway.errors import GatewayError, RateLimited, RequestError, UpstreamReset

names = st.lists(st.text(min_size=1), max_size=5)


def last_event(stream: bytes) -> dict[str, str]:
    """The last event of an SSE stream, read as WHATWG HTML section 9.2.6 says."""
    event: dict[str, str] = {}
    last: dict[str, str] = {}
    for line in stream.decode().split("\n"):
        if not line:
            last, event = event or last, {}
            continue
        field, _, value = line.partition(":")
        event[field] = value.removeprefix(" ")
    return last


@given(st.text(), st.text(max_size=30))
def test_an_openai_error_has_its_four_fields_and_the_id(message: str, request_id: str) -> None:
    error = RequestError(message or None, code="c", param="p")
    said = json.loads(DIALECTS["openai"].error_body(error, request_id))["error"]
    assert {"message", "type", "code", "param"} <= set(said)
    assert (said["code"], said["param"], said["type"]) == ("c", "p", "invalid_request_error")
    assert said.get("request_id", "") == request_id


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RequestError(), "invalid_request_error"),
        (RateLimited("l", 1), "rate_limit_error"),
        (UpstreamReset("r"), "api_error"),
        (GatewayError(), "api_error"),
    ],
)
def test_an_anthropic_error_has_the_kind_of_its_status(error: GatewayError, kind: str) -> None:
    said = json.loads(DIALECTS["anthropic"].error_body(error, "id-1"))
    assert said["type"] == "error"
    assert said["error"] == {"type": kind, "message": error.message}
    assert said["request_id"] == "id-1"


def test_an_ollama_error_is_a_text() -> None:
    said = json.loads(DIALECTS["ollama"].error_body(UpstreamReset("r"), "id-1"))
    assert (said["error"], said["code"]) == (UpstreamReset.default_message, "upstream_reset")


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("before", [b"", b"data: 1\n\n", b"data: 1\n", b"data: 1", b"da", b": c\n"])
def test_an_error_event_is_an_event_of_its_own_whatever_came_before(
    name: str, before: bytes
) -> None:
    dialect = DIALECTS[name]
    stream = before + dialect.error_event(UpstreamReset("r"), "id-1", before[-1:])
    event = last_event(stream)
    assert json.loads(event["data"]) == json.loads(dialect.error_body(UpstreamReset("r"), "id-1"))
    assert event.get("event") == ("error" if name == "anthropic" else None)


@pytest.mark.parametrize("before", [b"", b'{"a":1}\n', b'{"a":1}', b'{"a'])
def test_an_ollama_error_event_is_a_line_of_its_own(before: bytes) -> None:
    stream = before + DIALECTS["ollama"].error_event(UpstreamReset("r"), "id-1", before[-1:])
    lines = stream.split(b"\n")
    assert json.loads(lines[-2])["code"] == "upstream_reset"
    assert lines[-1] == b""
    assert b"" not in lines[:-1]


@given(names)
def test_lists_of_models_name_each_in_order(models: list[str]) -> None:
    models = [name.encode("utf-8", "replace").decode() for name in models]
    openai = json.loads(DIALECTS["openai"].model_list(models))
    anthropic = json.loads(DIALECTS["anthropic"].model_list(models))
    ollama = json.loads(DIALECTS["ollama"].model_list(models))
    assert [model["id"] for model in openai["data"]] == models
    assert [model["id"] for model in anthropic["data"]] == models
    assert [model["model"] for model in ollama["models"]] == models
    assert anthropic["has_more"] is False
