"""Answers that may be gone on with, in lines: those in events are tested on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects.answers import ChatAnswer, LinesAnswer, MessagesAnswer
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
        b'{"message":{"content":[{"type":"text","text":"x"}]}}\n',
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


def continued(answer: Any, first: list[bytes], *rest: list[bytes]) -> list[dict[str, Any]]:
    """The documents of an answer that each part but the last broke off."""
    parts = [answer.splitter().feed(b"".join(part)) for part in (first, *rest)]
    for event in parts[0]:
        answer.hear(event)
    joined = b""
    for part in parts[1:]:
        answer.broke_off()
        joined += b"".join(answer.join(event) for event in part)
    return [json.loads(line[line.index(b"{") :]) for line in joined.split(b"\n") if b"{" in line]


def test_ollamas_counts_are_of_the_whole_answer() -> None:
    end = {"model": "two", "message": {"role": "assistant", "content": ""}, "done": True}
    end |= {"prompt_eval_count": 12, "eval_count": 3}
    last = [line("a time"), json.dumps(end).encode() + b"\n"]
    *_, told = continued(LinesAnswer(), [line("Once "), line("upon ")], last)
    assert (told["prompt_eval_count"], told["eval_count"]) == (10, 5)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def text(said: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": said})


def test_anthropics_usage_is_of_the_whole_answer() -> None:
    start = event("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}})
    again = event("message_start", message={"usage": {"input_tokens": 11, "output_tokens": 1}})
    usage = {"input_tokens": 2, "cache_read_input_tokens": 9, "output_tokens": 3}
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    *_, told = continued(
        MessagesAnswer(), [start, text("Once "), text("upon ")], [again, text("a time"), end]
    )
    assert told["usage"] == {"input_tokens": 9, "cache_read_input_tokens": 0, "output_tokens": 5}


def test_openais_usage_counts_every_part_of_the_answer() -> None:
    def chunk(said: str, prompt: int, completion: int) -> bytes:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        usage["total_tokens"] = prompt + completion
        choice = {"index": 0, "delta": {"content": said}}
        return b"data: %b\n\n" % json.dumps({"choices": [choice], "usage": usage}).encode()

    *_, told = continued(
        ChatAnswer(), [chunk("Once ", 9, 2)], [chunk("upon ", 11, 3)], [chunk("a time", 14, 4)]
    )
    assert told["usage"] == {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}


def test_a_line_without_an_end_is_given_up() -> None:
    with pytest.raises(EventTooLarge) as caught:
        LinesAnswer().splitter().feed(line("a") + b"x" * 11 * 1024 * 1024)
    assert [event.raw for event in caught.value.events] == [line("a")]


def data(document: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(document).encode()


def chat(content: Any) -> bytes:
    return data({"id": "a", "choices": [{"delta": {"content": content}}]})


ALIVE = [
    b"data:\n\n",
    b": comment\n\n",
    b'event: ping\ndata: {"type":"ping"}\n\n',
    data({"choices": [], "usage": {"prompt_tokens": 1}}),
]


@pytest.mark.parametrize("alive", ALIVE)
def test_a_sign_of_life_is_no_reason_not_to_go_on(alive: bytes) -> None:
    answer = ChatAnswer()
    for one in answer.splitter().feed(chat("Once ") + alive + chat("upon")):
        answer.hear(one)
    assert (answer.open, answer.text) == (True, "Once upon")
    (one,) = answer.splitter().feed(alive)
    answer.join(one)
    assert answer.open


@pytest.mark.parametrize("alive", [b"data:\n\n", b'event: ping\ndata: {"type":"ping"}\n\n'])
def test_nor_is_one_in_a_message(alive: bytes) -> None:
    block = {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
    said = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Once"}}
    answer = MessagesAnswer()
    for one in answer.splitter().feed(data(block) + alive + data(said)):
        answer.hear(one)
    assert (answer.open, answer.text) == (True, "Once")


@pytest.mark.parametrize(
    "last", [chat([{"type": "text", "text": "x"}]), data({"error": {"message": "x"}})]
)
def test_parts_and_errors_cannot_be_gone_on_with(last: bytes) -> None:
    answer = ChatAnswer()
    for one in answer.splitter().feed(chat("Once ") + last):
        answer.hear(one)
    assert not answer.open
