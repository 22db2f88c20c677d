"""Errors in OpenAI's dialect; what all dialects do is in `tests/dialects/test_dialects.py`."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.openai.errors import error_body
from gateway.errors import RequestError


@given(st.text(), st.text(max_size=30))
def test_an_openai_error_has_its_four_fields_and_the_id(message: str, request_id: str) -> None:
    error = RequestError(message or None, code="c", param="p")
    said = json.loads(error_body(error, request_id))["error"]
    assert {"message", "type", "code", "param"} <= set(said)
    assert (said["code"], said["param"], said["type"]) == ("c", "p", "invalid_request_error")
    assert said.get("request_id", "") == request_id
