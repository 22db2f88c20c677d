"""What answers of all dialects share when another backend continues them."""

from __future__ import annotations

import pytest

from gateway.dialects.continuation import Answered, document_of
from gateway.sse import Event


def test_the_text_is_that_of_all_parts() -> None:
    answered = Answered()
    answered.pieces.append("Once ")
    answered.broke_off()
    answered.pieces.append("upon")
    assert answered.text == "Once upon"


def test_pieces_of_a_part_count_as_tokens_where_its_backend_reported_none() -> None:
    answered = Answered()
    answered.pieces += ["Once ", "", "upon "]
    answered.broke_off()
    answered.pieces.append("a ")
    answered.broke_off()
    last = {"usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    answered.usage.whole(last)
    assert last["usage"]["completion_tokens"] == 2 + 1 + 4


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        (b'data: {"a":1}\n\n', {"a": 1}),
        (b"data: [DONE]\n\n", None),
        (b"data: [1]\n\n", None),
        (b": comment\n\n", None),
        (b"data:\n\n", None),
    ],
)
def test_an_event_has_a_document_if_it_is_one_json_object(
    raw: bytes, document: dict[str, int] | None
) -> None:
    assert document_of(Event(raw)) == document
