"""Errors in Ollama's dialect; what all dialects do is in `tests/dialects/test_dialects.py`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.ollama.errors import error_body, error_event
from gateway.errors import UpstreamReset
from gateway.sse import TAIL_BYTES


def test_an_ollama_error_is_a_text() -> None:
    said = json.loads(error_body(UpstreamReset("r"), "id-1"))
    assert (said["error"], said["code"]) == (UpstreamReset.default_message, "upstream_reset")


@pytest.mark.parametrize("before", [b"", b'{"a":1}\n', b'{"a":1}', b'{"a'])
def test_an_ollama_error_event_is_a_line_of_its_own(before: bytes) -> None:
    stream = before + error_event(UpstreamReset("r"), "id-1", before[-TAIL_BYTES:])
    lines = stream.split(b"\n")
    assert json.loads(lines[-2])["code"] == "upstream_reset"
    assert lines[-1] == b""
    assert b"" not in lines[:-1]


@given(st.lists(st.dictionaries(st.text(max_size=4), st.integers()), max_size=5), st.data())
def test_an_ollama_error_ends_a_stream_that_breaks_off_anywhere(
    objects: list[dict[str, int]], cut: st.DataObject
) -> None:
    whole = "".join(json.dumps(item) + "\n" for item in objects).encode()
    sent = whole[: cut.draw(st.integers(0, len(whole)))]
    stream = sent + error_event(UpstreamReset("r"), "id-1", sent[-TAIL_BYTES:])
    said = stream.removesuffix(b"\n").split(b"\n")
    assert json.loads(said[-1])["error"] == UpstreamReset.default_message
    complete = sent.count(b"\n")
    assert [json.loads(line) for line in said[:complete]] == objects[:complete]
    assert len(said) - 1 <= complete + 1
