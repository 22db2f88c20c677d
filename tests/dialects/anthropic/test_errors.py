"""Errors in Anthropic's dialect; what all dialects do is in `tests/dialects/test_dialects.py`."""

from __future__ import annotations

import json

import pytest

from gateway.dialects.anthropic.errors import error_body
from gateway.errors import GatewayError, RateLimited, RequestError, UpstreamReset


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
    said = json.loads(error_body(error, "id-1"))
    assert said["type"] == "error"
    assert said["error"] == {"type": kind, "message": error.message}
    assert said["request_id"] == "id-1"
