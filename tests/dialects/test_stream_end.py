"""The end of a streamed answer is recognized in every dialect."""

from __future__ import annotations

import pytest

from gateway.dialects.stream_end import has_end


@pytest.mark.parametrize(
    "body",
    [
        b"data: {}\n\ndata: [DONE]\n\n",
        b"data:[DONE]\n\n",
        b'data: {"choices":[{"finish_reason": "length"}]}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        b'data: {"type":"response.completed","response":{}}\n\n',
        b'{"message":{},"done":true}\n',
    ],
)
def test_an_end_is_recognized(body: bytes) -> None:
    assert has_end(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'data: {"choices":[{"finish_reason":null,"delta":{"content":"data: [DONE]"}}]}\n\n',
        b'{"message":{"content":"\\"done\\": true"},"done":false}\n',
        b'data: {"type":"response.created"}\n\n',
    ],
)
def test_text_is_no_end(body: bytes) -> None:
    assert not has_end(body)
