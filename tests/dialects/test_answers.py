"""Answers that may be gone on with, in lines: those in events are tested on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects.answers import LinesAnswer
from gateway.sse import EventTooLarge


def line(text: str = "", *, done: bool = False, model: str = "one", **message: Any) -> bytes:
    said = {"role": "assistant", "content": text, **message}
    return json.dumps({"model": model, "message": said, "done": done}).encode() + b"\n"


def heard(*lines: bytes) -> LinesAnswer:
    answer = LinesAnswer()
    for event in answer.splitter().feed(b"".join(lines)):
        answer.hear(event)
    return answer


def test_plain_text_under_way_can_be_gone_on_with() -> None:
    answer = heard(line("Once "), b"\n", line("upon "))
    assert (answer.open, answer.text) == (True, "Once upon ")


@pytest.mark.parametrize(
    "last",
    [
        line("", done=True),
        line("", thinking="Hm."),
        line("", tool_calls=[{"function": {"name": "f"}}]),
        b'{"response":"of generate"}\n',
        b"no json\n",
    ],
)
def test_anything_else_cannot(last: bytes) -> None:
    assert not heard(line("Once "), last, line("more")).open


def test_what_goes_on_has_the_name_of_what_began() -> None:
    answer = heard(line("Once "))
    (event,) = answer.splitter().feed(line("upon", model="two"))
    assert json.loads(answer.join(event))["model"] == "one"
    assert answer.text == "Once upon"
    (odd,) = answer.splitter().feed(b"no json\n")
    assert answer.join(odd) == b"no json\n"


def test_a_line_without_an_end_is_given_up() -> None:
    with pytest.raises(EventTooLarge) as caught:
        LinesAnswer().splitter().feed(line("a") + b"x" * 11 * 1024 * 1024)
    assert [event.raw for event in caught.value.events] == [line("a")]
