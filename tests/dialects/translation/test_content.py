"""Content of an answer that is a list of parts."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.translation.pieces import (
    Skip,
    Stop,
    whole,
)
from tests.dialects.translation.events import chunk, said, skips
from tests.dialects.translation.wire import (
    SIDES,
    heard,
    pieces_of,
)


@pytest.mark.parametrize(
    "content",
    [
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "Yes."},
        ],
        [{"type": "thinking", "thinking": "Hm."}, {"type": "output_text", "text": "Yes."}],
        [{"type": "reasoning", "text": "Hm."}, "Yes."],
    ],
)
def test_content_may_be_a_list_of_parts(content: Any) -> None:
    message = {"role": "assistant", "content": content}
    document = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert said(whole(SIDES["openai"].read_answer(document))) == ("Hm.", "Yes.", [], Stop.END)
    line = {"message": message, "done": True}
    assert said(whole(SIDES["ollama"].read_answer(line))) == ("Hm.", "Yes.", [], Stop.END)
    stream = chunk({"content": content}) + chunk({}, "stop") + b"data: [DONE]\n\n"
    assert said(heard("openai", stream)) == ("Hm.", "Yes.", [], Stop.END)


def test_an_unknown_part_is_left_out_and_counted() -> None:
    parts = [{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "Yes."}, 5]
    pieces = pieces_of("openai", [chunk({"content": parts}, "stop") + b"data: [DONE]\n\n"])
    assert (whole(pieces).text, skips(pieces)) == ("Yes.", [Skip.PART, Skip.PART])
    assert whole(pieces).skipped == [Skip.PART, Skip.PART]
