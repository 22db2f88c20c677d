"""Characters that are split between two strings of a text."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.translation.halves import Halves, mended
from gateway.dialects.translation.pieces import (
    whole,
)
from tests.dialects.translation.events import BEGIN, DONE, END, chunk
from tests.dialects.translation.wire import (
    CONTEXT,
    NAMES,
    SIDES,
    heard,
    pieces_of,
    told,
)

texts = st.text(st.sampled_from("aé☀\U0001f600\U0001f480\U0001f468‍"), max_size=12)


@given(text=texts, cuts=st.lists(st.integers(0, 60), max_size=6).map(sorted))
def test_text_cut_inside_its_characters_is_joined(text: str, cuts: list[int]) -> None:
    for encoding, errors in (("utf-8", "surrogateescape"), ("utf-16-le", "surrogatepass")):
        data = text.encode(encoding)
        step = 2 if encoding == "utf-16-le" else 1
        halves = Halves()
        joined, at = "", 0
        for cut in [*(cut * step for cut in cuts), len(data)]:
            joined += halves.feed(data[at:cut].decode(encoding, errors))
            at = max(at, cut)
        assert joined + halves.flush() == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ud83d", "\ufffd"),
        ("a\ud83db", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\udcf0\udc9f", "\ufffd"),
        ("é", "é"),
    ],
)
def test_a_half_without_the_other_is_replaced(text: str, expected: str) -> None:
    assert mended(text) == expected


@pytest.mark.parametrize("escaped", [True, False], ids=["surrogates", "bytes"])
def test_half_a_character_is_joined_in_text_thoughts_and_arguments(escaped: bool) -> None:
    halves = ("\\ud83d", "\\ude00") if escaped else ("\udcf0\udc9f", "\udc98\udc80")
    face = "\U0001f600"

    def events(*templates: str) -> bytes:
        return b"".join(
            b"data: %b\n\n" % (template % half).encode("utf-8", "surrogateescape")
            for template in templates
            for half in halves
        )

    openai = events(
        '{"choices":[{"delta":{"reasoning_content":"%s"}}]}',
        '{"choices":[{"delta":{"content":"%s"}}]}',
    )
    answer = heard("openai", openai + chunk({}, "stop"))
    assert (answer.thinking, answer.text) == (face, face)
    start = b'data: {"type":"content_block_start","index":%d,"content_block":{"type":"%b"%b}}\n\n'
    anthropic = (
        BEGIN
        + start % (0, b"text", b"")
        + events('{"type":"content_block_delta","delta":{"type":"text_delta","text":"%s"}}')
        + start % (1, b"tool_use", b',"id":"t","name":"f"')
        + events(
            '{"type":"content_block_delta","index":1,"delta":'
            '{"type":"input_json_delta","partial_json":"%s"}}'
        )
    )
    answer = heard("anthropic", anthropic + END)
    assert (answer.text, answer.calls[0].arguments) == (face, face)
    lines = b"".join(
        b'{"message":{"content":"%b"},"done":false}\n' % half.encode("utf-8", "surrogateescape")
        for half in halves
    )
    assert heard("ollama", lines + b'{"done":true}\n').text == face


@pytest.mark.parametrize("caller", NAMES)
def test_a_half_that_stays_alone_can_be_written(caller: str) -> None:
    half = "\ud83d"
    call = {"index": 0, "id": half, "function": {"name": half, "arguments": {half: half}}}
    event = {"model": half, "choices": [{"delta": {"content": half, "tool_calls": [call]}}]}
    pieces = pieces_of("openai", [b"data: %b\n\n" % json.dumps(event).encode() + DONE])
    assert heard(caller, told(caller, pieces)).text == "\ufffd"
    assert orjson.loads(SIDES[caller].write_answer(whole(pieces), CONTEXT))
