"""Which field a backend did not take, in the words of errors that backends send."""

from __future__ import annotations

import pytest

from gateway.dialects.openai.refused_fields import refused_field
from gateway.dialects.openai.requests import OPTIONAL


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            b"""{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', """
            b"""'stream_options'), 'msg': 'Extra inputs are not permitted'}]","code":400}""",
            "stream_options",
        ),
        (b'{"detail":[{"loc":["body","x"],"input":{"include_usage":true}}]}', "stream_options"),
        (
            b"""{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with """
            b"""this model. Use 'max_completion_tokens' instead."}}""",
            "max_tokens",
        ),
        (
            b'{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"]}]}',
            "max_completion_tokens",
        ),
        (
            b"""{"error":{"message":"Unrecognized request argument supplied: reasoning_effort"}}""",
            "reasoning_effort",
        ),
        (b'{"detail":[{"type":"extra_forbidden","loc":["body","user"]}]}', "user"),
        (b'{"error":{"message":"roles must alternate user/assistant"}}', None),
        (b'{"error":{"message":"no such model"}}', None),
        (
            b'{"error":{"message":"This model\'s maximum context length is 8 tokens, max_tokens"}}',
            None,
        ),
    ],
)
def test_the_field_is_found_in_any_words(body: bytes, field: str | None) -> None:
    sent = OPTIONAL - {"max_completion_tokens"} if field == "max_tokens" else OPTIONAL
    assert refused_field(400, body, sent, OPTIONAL) == field
    assert refused_field(422, body, sent, OPTIONAL) == field
    assert refused_field(500, body, sent, OPTIONAL) is None
    assert refused_field(400, body, (), OPTIONAL) is None


def test_an_error_without_words_may_be_about_stream_options_until_they_were_taken() -> None:
    assert refused_field(400, b"no", {"stream_options"}, ()) == "stream_options"
    assert refused_field(400, b"no", {"stream_options"}, {"stream_options"}) is None
    assert refused_field(400, b"no", {"max_tokens"}, ()) is None
