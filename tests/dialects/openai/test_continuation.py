"""Chat completions that another backend continues."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.streams import answer_in, continued, joined, sse_data

ALIVE = [
    b"data:\n\n",
    b": comment\n\n",
    b'event: ping\ndata: {"type":"ping"}\n\n',
    sse_data({"choices": [], "usage": {"prompt_tokens": 1}}),
]


def chat(content: Any) -> bytes:
    return sse_data({"id": "a", "choices": [{"delta": {"content": content}}]})


def test_usage_counts_every_part_of_the_answer() -> None:
    def chunk(said: str, prompt: int, completion: int) -> bytes:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        usage["total_tokens"] = prompt + completion
        choice = {"index": 0, "delta": {"content": said}}
        return sse_data({"choices": [choice], "usage": usage})

    *_, told = continued(
        "openai", chunk("Once ", 9, 2), chunk("upon ", 11, 3), chunk("a time", 14, 4)
    )
    assert told["usage"] == {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}


@pytest.mark.parametrize("alive", ALIVE)
def test_a_sign_of_life_is_no_reason_not_to_continue(alive: bytes) -> None:
    answer = answer_in("openai", chat("Once ") + alive + chat("upon"))
    assert (answer.open, answer.answered.text) == (True, "Once upon")
    joined("openai", answer, alive)
    assert answer.open


@pytest.mark.parametrize(
    "last", [chat([{"type": "text", "text": "x"}]), sse_data({"error": {"message": "x"}})]
)
def test_parts_and_errors_cannot_be_continued(last: bytes) -> None:
    assert not answer_in("openai", chat("Once ") + last).open
