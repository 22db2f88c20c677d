"""Usage in one JSON document: found at the top level only, however it is cut and how long it is."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.usage import ReportedUsage
from gateway.dialects.usage_scan import UsageDocument, last_report, read_usage
from gateway.usage import Usage

TOLD = {"prompt_tokens": 7, "completion_tokens": 5}
FOUND = Usage(7, 5)
LONG = "x" * 200_000

DOCUMENTS: list[tuple[dict[str, Any], Usage | None]] = [
    ({"id": "a", "usage": TOLD}, FOUND),
    ({"usage": TOLD, "id": "a", "choices": [{"text": "}{"}]}, FOUND),
    ({"choices": [{"usage": TOLD}], "id": "a"}, None),
    ({"text": '"usage": {"prompt_tokens": 9}'}, None),
    ({"usage": None}, None),
    ({"type": "response.completed", "response": {"usage": TOLD}}, FOUND),
]


def usage_of(pieces: list[bytes]) -> Usage | None:
    reported = ReportedUsage()
    document = UsageDocument(reported)
    for piece in pieces:
        document.feed(piece)
    document.end()
    return reported.usage


@pytest.mark.parametrize(("document", "usage"), DOCUMENTS)
@pytest.mark.parametrize("padding", ["", LONG], ids=["short", "long"])
def test_usage_is_found_at_the_top_level_only(
    document: dict[str, Any], usage: Usage | None, padding: str
) -> None:
    for padded in ({"padding": padding, **document}, {**document, "padding": padding}):
        assert usage_of([json.dumps(padded).encode()]) == usage


@given(st.sampled_from(DOCUMENTS), st.sets(st.integers(0, 200)))
def test_where_a_document_is_cut_makes_no_difference(
    case: tuple[dict[str, Any], Usage | None], cuts: set[int]
) -> None:
    data = json.dumps(case[0]).encode()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert usage_of(pieces) == case[1]


@given(st.binary() | st.binary().map(lambda rest: b'{"usage": {' + rest), st.booleans())
def test_any_bytes_are_taken(data: bytes, complete: bool) -> None:
    read_usage(data, ReportedUsage(), complete=complete)
    usage_of([data])


@pytest.mark.parametrize(
    ("data", "reports"),
    [
        (b'{"usage": {"prompt_tokens": 1}}', True),
        (b'{"usage":null}', False),
        (b'{"usage": null}', False),
        (b'{"prompt_eval_count": 3}', True),
        (b'{"text": "usage"}', True),
        (b'{"text": "hello"}', False),
        (b'{"usage": {"prompt_tokens": 1}}{"usage": null}', True),
    ],
)
def test_most_events_are_not_looked_into(data: bytes, reports: bool) -> None:
    assert (last_report(data) >= 0) is reports
