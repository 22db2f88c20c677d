"""The end of a streamed answer is recognized in every dialect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.stream_end import has_end, is_cut_off


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


@pytest.mark.parametrize(
    "tail",
    [
        b'data: {"choices":[{"delta":{"content":"data: [DONE]"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"text":"a"}]}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
        b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: {"choices":[{"del',
        b'data: {"choices":[{"delta":{}}]}\r\n\r\n: ping\r\n\r\n',
        b'data: {"choices":[{"delta":{}}]}\n\nevent: ping\ndata: {"type":"ping"}\n\n',
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'data: {"type":"message_delta","delta":{"stop_reason":null}}\n\n',
        b'data: {"type":"response.created","response":{}}\n\n',
        b'data: {"type":"transcript.text.delta","delta":"a"}\n\n',
        b'{"response":"a","done":false}\n',
    ],
)
def test_a_part_of_an_answer_is_not_its_end(tail: bytes) -> None:
    assert is_cut_off(tail)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b": ping\n\n",
        b"data: hello\n\n",
        b'data: {"done":false}\n\n',
        b'data: {"type":"ping"}\n\n',
        b'data: {"type":"response.ready"}\n\n',
        b'data: {"choices":[{"delta":{}}]}\n\ndata: [DONE]',
        b'data: {"choices":[{"delta":{}}]}\n\ndata: {"error":{"message":"full"}}\n\n',
        b'data: {"choices":[{"finish_reason":"stop"}]}\n\n: bye\n\n',
        b'data: {"type":"response.failed","response":{}}\n\n',
        b'te: {"choices":[]}',
        b'data: {"type":"transcript.text.delta"}\n\ndata: {"type":"transcript.text.done"}\n\n',
        b'data: {"choices":[{"delta":{}}]}\n\ndata: {"citations":[]}\n\n',
        b'":[{"delta":{}}]}\n\n',
    ],
)
def test_an_end_or_an_unknown_form_is_not_cut_off(tail: bytes) -> None:
    assert not is_cut_off(tail)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_search_for_an_end(tail: bytes) -> None:
    is_cut_off(tail)
    is_cut_off(b"data: {" + tail)
    is_cut_off(b"{" + tail + b"\n")
