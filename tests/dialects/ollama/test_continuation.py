"""Chats in lines that another backend continues; those in events are tested on the wire, too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.streams import answer_in, continued, joined


def line(text: str = "", *, done: bool = False, model: str = "one", **message: Any) -> bytes:
    said = {"role": "assistant", "content": text, **message}
    return json.dumps({"model": model, "message": said, "done": done}).encode() + b"\n"


def test_plain_text_under_way_can_be_continued() -> None:
    answer = answer_in("ollama", line("Once ") + b"\n" + line("upon "))
    assert (answer.open, answer.answered.text) == (True, "Once upon ")


@pytest.mark.parametrize(
    "last",
    [
        line("", done=True),
        line("", thinking="Hm."),
        b'{"message":{"content":[{"type":"text","text":"x"}]}}\n',
        line("", tool_calls=[{"function": {"name": "f"}}]),
        b'{"response":"of generate"}\n',
        b"no json\n",
    ],
)
def test_anything_else_cannot_be_continued(last: bytes) -> None:
    assert not answer_in("ollama", line("Once ") + last + line("more")).open


def test_a_later_part_has_the_model_of_the_first() -> None:
    answer = answer_in("ollama", line("Once "))
    assert json.loads(joined("ollama", answer, line("upon", model="two")))["model"] == "one"
    assert answer.answered.text == "Once upon"
    assert joined("ollama", answer, b"no json\n") == b"no json\n"


def test_counts_are_of_the_whole_answer() -> None:
    end = {"model": "two", "message": {"role": "assistant", "content": ""}, "done": True}
    end |= {"prompt_eval_count": 12, "eval_count": 3}
    last = line("a time") + json.dumps(end).encode() + b"\n"
    *_, told = continued("ollama", line("Once ") + line("upon "), last)
    assert (told["prompt_eval_count"], told["eval_count"]) == (10, 5)
